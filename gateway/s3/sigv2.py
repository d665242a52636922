"""AWS Signature Version 2: who sent this request? For suites of tests only.

It signs neither the body nor all headers, and the secret itself is the key; production refuses it
(`sigv4.authorize`). Forms have their own use of it (`post_form_auth`).

Source: Amazon S3 Developer Guide (2006-03-01), "Signing and authenticating REST requests".
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from email.utils import mktime_tz, parsedate_tz
from typing import NamedTuple

from gateway.objects.context import Principal
from gateway.objects.credentials import Credentials
from gateway.s3 import sigv4
from gateway.s3.errors import S3Error
from gateway.s3.sigv4 import Authorized, RequestHead
from gateway.s3.sigv4_claim import SKEW_MAX_S, amz_date_at, epoch_s
from gateway.s3.uri import decode_escapes

SCHEME = "AWS "
EXPIRES_DIGITS_MAX = 12

_NO_DATE = "AWS authentication requires a valid Date or x-amz-date header"
# What of the query is signed: names of sub-resources, and what changes an answer.
_SIGNED_NAMES = frozenset(
    {
        "accelerate",
        "acl",
        "analytics",
        "attributes",
        "cors",
        "defaultObjectAcl",
        "delete",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "partNumber",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "retention",
        "select",
        "select-type",
        "storageClass",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    }
)


# What says in a query who asks, in this version and in the other.
_NAMES = frozenset({"AWSAccessKeyId", "Signature"})
_NAMES_V4 = frozenset({"X-Amz-Credential", "X-Amz-Signature"})


class _Claim(NamedTuple):
    """What a request says about its signature; `date_line` is what is signed as its date."""

    access_key_id: str
    signature: str
    date_line: str
    presigned: bool


def is_claimed(head: RequestHead) -> bool:
    """Whether a request says that it is signed in this way."""
    if "AWSAccessKeyId=" in head.raw_query and "Signature=" in head.raw_query:
        return True
    return any(name == "authorization" and value.startswith(SCHEME) for name, value in head.headers)


def identify(
    head: RequestHead, credentials: Credentials, *, now_ms: int, host_bucket: str | None
) -> tuple[Authorized, Principal]:
    """Who sent a request; its signature holds.

    Args:
        host_bucket: the bucket that the host names; None: path style.

    Raises:
        S3Error: AccessDenied, InvalidArgument, InvalidAccessKeyId, RequestTimeTooSkewed,
            SignatureDoesNotMatch.
    """
    fields = {name: value.strip() for name, value in head.headers}  # each that counts is there once
    query = _query_of(head.raw_query)
    in_header, in_query = "authorization" in fields, not _NAMES.isdisjoint(query)
    if in_header + in_query + (not _NAMES_V4.isdisjoint(query)) > 1:
        raise S3Error("InvalidArgument", sigv4.ONLY_ONE)
    claim = _header_claim(fields, now_ms) if in_header else _query_claim(query, now_ms)
    path = head.raw_path if host_bucket is None else f"/{host_bucket}{head.raw_path}"
    # Some signers (botocore among them) sign a bucket's path as one that ends with a slash.
    for signed_path in (path, path + "/") if path.count("/") == 1 else (path,):
        text = _string_to_sign(head.method, signed_path, fields, query, claim)
        known = credentials.sign_v2(claim.access_key_id, text.encode("utf-8", "surrogateescape"))
        if known is None:
            raise S3Error("InvalidAccessKeyId", extra={"AWSAccessKeyId": claim.access_key_id})
        principal, digest = known
        if hmac.compare_digest(b64encode(digest), claim.signature.encode("utf-8", "replace")):
            authorized = replace(
                sigv4.unsigned(head), access_key_id=claim.access_key_id, presigned=claim.presigned
            )
            return authorized, principal
    extra = {"AWSAccessKeyId": claim.access_key_id, "StringToSign": text}
    raise S3Error("SignatureDoesNotMatch", extra=extra)


def _query_of(raw_query: str) -> dict[str, str | None]:
    """Decoded values by name as sent; None for a name without `=`."""
    query: dict[str, str | None] = {}
    for item in raw_query.split("&"):
        name, mark, value = item.partition("=")
        if name in query:
            raise S3Error("InvalidArgument", "A query parameter occurs more than once.")
        if name:
            query[name] = decode_escapes(value).decode("utf-8", "replace") if mark else None
    return query


def _header_claim(fields: Mapping[str, str], now_ms: int) -> _Claim:
    pair = fields["authorization"].removeprefix(SCHEME).strip()
    access_key_id, colon, signature = pair.partition(":")
    if not colon or not access_key_id:
        extra = {"ArgumentName": "Authorization", "ArgumentValue": pair}
        text = "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature"
        raise S3Error("InvalidArgument", text, extra=extra)
    in_amz_header = "x-amz-date" in fields
    stated = fields["x-amz-date"] if in_amz_header else fields.get("date", "")
    requested_s = _instant_s(stated)
    if requested_s is None:
        raise S3Error("AccessDenied", _NO_DATE)
    if abs(requested_s * 1000 - now_ms) > SKEW_MAX_S * 1000:
        extra = {"RequestTime": stated, "ServerTime": amz_date_at(now_ms)}
        raise S3Error("RequestTimeTooSkewed", extra=extra)
    return _Claim(access_key_id, signature, "" if in_amz_header else stated, False)


def _instant_s(stated: str) -> int | None:
    """Seconds since the epoch of a date in one of HTTP's forms or ISO 8601's; None for no date."""
    at_s = epoch_s(stated)
    if at_s is not None:
        return at_s
    parsed = parsedate_tz(stated)
    if parsed is None:
        return None
    try:
        found = int(mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None
    return found if found >= 0 else None


def _query_claim(query: Mapping[str, str | None], now_ms: int) -> _Claim:
    expires = query.get("Expires") or ""
    if not (expires.isascii() and expires.isdigit() and len(expires) <= EXPIRES_DIGITS_MAX):
        raise S3Error("AccessDenied", "Query-string authentication requires a valid Expires")
    if now_ms > int(expires) * 1000:
        extra = {"Expires": expires, "ServerTime": amz_date_at(now_ms)}
        raise S3Error("AccessDenied", "Request has expired", extra=extra)
    access_key_id, signature = query.get("AWSAccessKeyId") or "", query.get("Signature") or ""
    return _Claim(access_key_id, signature, expires, True)


def _string_to_sign(
    method: str,
    path: str,
    fields: Mapping[str, str],
    query: Mapping[str, str | None],
    claim: _Claim,
) -> str:
    amz = sorted(name for name in fields if name.startswith("x-amz-"))
    signed = [
        name if query[name] is None else f"{name}={query[name]}"
        for name in sorted(_SIGNED_NAMES & query.keys())
    ]
    lines = [
        method,
        fields.get("content-md5", ""),
        fields.get("content-type", ""),
        claim.date_line,
        *(f"{name}:{fields[name]}" for name in amz),
        f"{path}?{'&'.join(signed)}" if signed else path,
    ]
    return "\n".join(lines)
