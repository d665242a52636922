"""PutBucketWebsite, GetBucketWebsite, DeleteBucketWebsite.

Serving the pages is in `gateway.s3.website`.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.objects import website
from gateway.objects.website import Redirect, RoutingRule, Website
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.operations import fields
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.xml_reader import Node, malformed, read
from gateway.s3.xml_reader import fields as fields_of

BODY_BYTES_MAX = 128 * 1024
STATUS_DIGITS_MAX = 4

_SECTIONS = frozenset({"RedirectAllRequestsTo", "IndexDocument", "ErrorDocument", "RoutingRules"})
_ALL = frozenset({"HostName", "Protocol"})
_CONDITION = frozenset({"KeyPrefixEquals", "HttpErrorCodeReturnedEquals"})
_REDIRECT = frozenset(
    {"Protocol", "HostName", "ReplaceKeyPrefixWith", "ReplaceKeyWith", "HttpRedirectCode"}
)


def parse_website(body: bytes) -> Website:
    """Body of PutBucketWebsite.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded.
    """
    root = read(body, "WebsiteConfiguration", BODY_BYTES_MAX)
    if any(child.name not in _SECTIONS for child in root.children):
        malformed()
    every, index = root.child("RedirectAllRequestsTo"), root.child("IndexDocument")
    error, rules = root.child("ErrorDocument"), root.child("RoutingRules")
    if every is not None:
        if len(root.children) > 1:
            malformed()
        found = fields_of(every, _ALL)
        if not found.get("HostName"):
            malformed()
        redirect = Redirect(host=found["HostName"], protocol=found.get("Protocol"))
        return Website(all_requests=redirect)
    if index is None:
        malformed()
    return Website(
        index=_only(index, "Suffix"),
        error_key="" if error is None else _only(error, "Key"),
        rules=() if rules is None else tuple(_rule(node) for node in rules.children),
    )


def _only(node: Node, name: str) -> str:
    """The text of an element's one child. Raises S3Error: MalformedXML."""
    found = fields_of(node, frozenset({name}))
    if name not in found:
        malformed()
    return found[name]


def _rule(node: Node) -> RoutingRule:
    if node.name != "RoutingRule":
        malformed()
    condition, redirect = node.child("Condition"), node.child("Redirect")
    known = (condition is not None) + (redirect is not None)
    if redirect is None or known != len(node.children):
        malformed()
    asked = {} if condition is None else fields_of(condition, _CONDITION)
    if condition is not None and not asked:
        malformed()
    told = fields_of(redirect, _REDIRECT)
    if not told:
        malformed()
    return RoutingRule(
        prefix=asked.get("KeyPrefixEquals", ""),
        error=_status(asked.get("HttpErrorCodeReturnedEquals")),
        redirect=Redirect(
            protocol=told.get("Protocol"),
            host=told.get("HostName"),
            key=told.get("ReplaceKeyWith"),
            prefix=told.get("ReplaceKeyPrefixWith"),
            status=_status(told.get("HttpRedirectCode")),
        ),
    )


def _status(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= STATUS_DIGITS_MAX):
        malformed()
    return int(digits)


def _optional(name: str, value: str | int | None) -> list[str]:
    return [] if value is None else [xml.element(name, value)]


def _rule_element(rule: RoutingRule) -> str:
    condition = _optional("KeyPrefixEquals", rule.prefix or None)
    condition += _optional("HttpErrorCodeReturnedEquals", rule.error)
    redirect = _optional("Protocol", rule.redirect.protocol)
    redirect += _optional("HostName", rule.redirect.host)
    redirect += _optional("ReplaceKeyPrefixWith", rule.redirect.prefix)
    redirect += _optional("ReplaceKeyWith", rule.redirect.key)
    redirect += _optional("HttpRedirectCode", rule.redirect.status)
    children = [xml.group("Condition", *condition)] if condition else []
    return xml.group("RoutingRule", *children, xml.group("Redirect", *redirect))


async def put_bucket_website(call: Call) -> Reply:
    fields.check_supported(call)
    configuration = parse_website(await call.body.read_document(BODY_BYTES_MAX))
    await website.put_website(call.context, call.bucket, configuration)
    return Reply()


async def get_bucket_website(call: Call) -> Reply:
    fields.check_supported(call)
    found = website.read_website(call.context, call.bucket)
    if found.all_requests is not None:
        inside = [xml.element("HostName", found.all_requests.host or "")]
        inside += _optional("Protocol", found.all_requests.protocol)
        children = [xml.group("RedirectAllRequestsTo", *inside)]
    else:
        children = [xml.group("IndexDocument", xml.element("Suffix", found.index))]
        if found.error_key:
            children.append(xml.group("ErrorDocument", xml.element("Key", found.error_key)))
        if found.rules:
            children.append(xml.group("RoutingRules", *map(_rule_element, found.rules)))
    return xml_reply(xml.document("WebsiteConfiguration", *children))


async def delete_bucket_website(call: Call) -> Reply:
    fields.check_supported(call)
    await website.delete_website(call.context, call.bucket)
    return Reply(status=204)


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutBucketWebsite": put_bucket_website,
    "GetBucketWebsite": get_bucket_website,
    "DeleteBucketWebsite": delete_bucket_website,
}
