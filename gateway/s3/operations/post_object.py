"""PostObject: a browser uploads a file with a form that somebody with rights has signed.

Its fields become the headers of a PutObject, which then does all the rest. Not for the syntax of
forms, policies and signatures (`gateway.s3.post_form*`).

Source: Amazon S3 API Reference, "POST Object".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, urlencode, urlsplit

from gateway.objects import access
from gateway.s3 import checksums, uri, xml
from gateway.s3.body import BodyPromise
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations.objects import put_object
from gateway.s3.post_form import FormField, boundary_of
from gateway.s3.post_form_auth import POLICY, missing_field, signature_version, signer_of
from gateway.s3.post_form_body import FormBody, FormReader
from gateway.s3.post_form_policy import NO_POLICY, check_policy, parse_policy
from gateway.s3.responses import XML_TYPE, Header, Reply
from gateway.s3.tagging import parse_tagging

FILE_NAME = "${filename}"
_STATUSES = frozenset({"200", "201"})

# Fields that mean what the header of the same name means to PutObject.
_HEADERS = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-md5",
        "content-type",
        "expires",
    }
)
_NOT_HEADERS = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-signature",
        "x-amz-tagging",
    }
)
# Of the request itself; policies of buckets ask for them.
_KEPT_HEADERS = frozenset({"host", "referer", "user-agent", "x-amz-expected-bucket-owner"})
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


async def post_object(call: Call) -> Reply:
    reader = FormReader(call.body, boundary_of(call.headers.get("content-type", "")))
    listed, file_name = await reader.fields()
    fields = _by_name(listed)
    if "key" not in fields:
        missing_field("key")
    fields["key"] = fields["key"].replace(FILE_NAME, re.split(r"[/\\]", file_name)[-1])
    if not fields["key"]:
        raise S3Error("InvalidArgument", "User key must have a length greater than 0.")
    context = call.context
    services = context.services
    principal, policy = context.principal, NO_POLICY
    credentials = services.credentials
    signer = await credentials.having_key(
        lambda: signer_of(fields, credentials, regions=call.regions)
    )
    if signer is not None:
        if principal is not None:
            raise S3Error("InvalidArgument", "Only one auth mechanism allowed")
        principal, policy = signer, parse_policy(fields[POLICY])
        check_policy(policy, fields, call.bucket, services.env.now_ms())
    if principal is None:
        access.admit_anonymous(services, call.bucket)  # before the file is read
    headers = _headers_of(call.headers, fields)
    body = FormBody(reader, _promise_of(headers), policy)
    await body.begin()
    signed_as = "" if signer is None else signature_version(fields)
    facts = context.facts._replace(headers=headers, is_form=True, form_signature=signed_as)
    stored = await put_object(
        replace(
            call,
            operation="PutObject",
            key=fields["key"],
            headers=headers,
            body=body,
            context=replace(context, principal=principal, facts=facts),
        )
    )
    reply = _answer(call, fields, stored)
    reply.key, reply.signer = fields["key"], signer
    return reply


def _by_name(listed: Sequence[FormField]) -> dict[str, str]:
    """Fields by name, each once. Raises S3Error: InvalidArgument."""
    fields: dict[str, str] = {}
    for field in listed:
        if field.name in fields:
            extra = {"ArgumentName": field.name[:64]}
            raise S3Error("InvalidArgument", "A field occurs more than once.", extra=extra)
        fields[field.name] = field.value
    return fields


def _headers_of(sent: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, str]:
    """The headers of a PutObject that means the same.

    Raises:
        S3Error: InvalidArgument (what no header can carry), MalformedXML (tags).
    """
    headers = {name: sent[name] for name in _KEPT_HEADERS & sent.keys()}
    for name, value in fields.items():
        if name not in _HEADERS and (not name.startswith("x-amz-") or name in _NOT_HEADERS):
            continue
        if _NAME.fullmatch(name) is None or _CONTROL.search(value) is not None:
            text = "A field holds a character that no header can carry."
            raise S3Error("InvalidArgument", text, extra={"ArgumentName": name[:64]})
        headers[name] = value.strip()
    if "acl" in fields:
        headers["x-amz-acl"] = fields["acl"]
    if "tagging" in fields:
        headers["x-amz-tagging"] = urlencode(parse_tagging(fields["tagging"].encode()))
    return headers


def _promise_of(headers: Mapping[str, str]) -> BodyPromise:
    """What the fields say about the file. Raises S3Error: InvalidDigest, InvalidRequest."""
    md5 = headers.get("content-md5")
    return BodyPromise(
        length=0,
        md5=None if md5 is None else checksums.decode_content_md5(md5),
        sha256=None,
        checksum=checksums.claim_of(headers),
    )


def _answer(call: Call, fields: Mapping[str, str], stored: Reply) -> Reply:
    """What the form asked to be answered once the file is stored."""
    key, headers = fields["key"], stored.headers
    etag = next((value for name, value in headers if name == "ETag"), "")
    target = fields.get("success_action_redirect", fields.get("redirect"))
    location = None if target is None else _redirect(target, call.bucket, key, etag)
    if location is not None:
        return Reply(status=303, headers=[*headers, ("Location", location)])
    path = uri.encode_path(f"/{key}".encode())
    if call.raw_path != "/":  # the host does not name the bucket
        path = f"/{call.bucket}{path}"
    answer: list[Header] = [*headers, ("Location", call.origin + path)]
    status = fields.get("success_action_status", "")
    if status not in _STATUSES:
        return Reply(status=204, headers=answer)
    if status == "200":
        return Reply(headers=answer)
    children = (
        xml.element("Location", call.origin + path),
        xml.element("Bucket", call.bucket),
        xml.element("Key", key),
        xml.element("ETag", etag),
    )
    document = f"{xml.DECLARATION}{xml.group('PostResponse', *children)}".encode()
    return Reply(status=201, headers=[("Content-Type", XML_TYPE), *answer], body=document)


def _redirect(target: str, bucket: str, key: str, etag: str) -> str | None:
    """Where the browser goes next; None for what is no address of the web."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc or _CONTROL.search(target):
        return None
    query = urlencode({"bucket": bucket, "key": key, "etag": etag}, quote_via=quote, safe="/")
    query = f"{parts.query}&{query}" if parts.query else query
    return parts._replace(query=query).geturl()


OPERATIONS: Mapping[str, OperationFunction] = {
    "PostObject": post_object,
}
