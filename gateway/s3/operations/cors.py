"""PutBucketCors, GetBucketCors, DeleteBucketCors, and the preflight request.

Source: Amazon S3 API Reference, these operations; "OPTIONS object".
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.objects import cors
from gateway.objects.cors import CorsRule
from gateway.s3 import cors as syntax
from gateway.s3 import routes, xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.operations import fields
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.xml_reader import Node, malformed, read

BODY_BYTES_MAX = 64 * 1024  # S3's own limit
ID_CHARACTERS_MAX = 255
AGE_DIGITS_MAX = 9
_LISTED = frozenset({"AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader"})
_SINGLE = frozenset({"ID", "MaxAgeSeconds"})


def parse_cors(body: bytes) -> tuple[CorsRule, ...]:
    """Body of PutBucketCors, at least one rule.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded.
    """
    rules = [_rule(node) for node in read(body, "CORSConfiguration", BODY_BYTES_MAX).children]
    if not rules:
        malformed()
    return tuple(rules)


def _rule(node: Node) -> CorsRule:
    if node.name != "CORSRule":
        malformed()
    listed: dict[str, list[str]] = {name: [] for name in _LISTED}
    single: dict[str, str] = {}
    for child in node.children:
        if child.children:
            malformed()
        if child.name in _LISTED:
            listed[child.name].append(child.text.strip())
        elif child.name in _SINGLE and child.name not in single:
            single[child.name] = child.text.strip()
        else:
            malformed()
    if not listed["AllowedOrigin"] or not listed["AllowedMethod"]:
        malformed()
    return CorsRule(
        origins=tuple(listed["AllowedOrigin"]),
        methods=tuple(listed["AllowedMethod"]),
        headers=tuple(listed["AllowedHeader"]),
        exposed=tuple(listed["ExposeHeader"]),
        max_age_s=_age_s(single.get("MaxAgeSeconds")),
        rule_id=_rule_id(single.get("ID")),
    )


def _age_s(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= AGE_DIGITS_MAX):
        malformed()
    return int(text)


def _rule_id(text: str | None) -> str | None:
    if text is not None and len(text) > ID_CHARACTERS_MAX:
        malformed()
    return text


def _rule_element(rule: CorsRule) -> str:
    children = [] if rule.rule_id is None else [xml.element("ID", rule.rule_id)]
    children += [xml.element("AllowedMethod", method) for method in rule.methods]
    children += [xml.element("AllowedOrigin", origin) for origin in rule.origins]
    children += [xml.element("AllowedHeader", name) for name in rule.headers]
    children += [xml.element("ExposeHeader", name) for name in rule.exposed]
    if rule.max_age_s is not None:
        children.append(xml.element("MaxAgeSeconds", rule.max_age_s))
    return xml.group("CORSRule", *children)


async def put_bucket_cors(call: Call) -> Reply:
    fields.check_supported(call)
    rules = parse_cors(await call.body.read_document(BODY_BYTES_MAX))
    await cors.put_cors(call.context, call.bucket, rules)
    return Reply()


async def get_bucket_cors(call: Call) -> Reply:
    fields.check_supported(call)
    rules = cors.read_cors(call.context, call.bucket)
    return xml_reply(xml.document("CORSConfiguration", *map(_rule_element, rules)))


async def delete_bucket_cors(call: Call) -> Reply:
    fields.check_supported(call)
    await cors.delete_cors(call.context, call.bucket)
    return Reply(status=204)


async def options_object(call: Call) -> Reply:
    level = routes.level_of(call.bucket or None, call.key or None)
    return syntax.preflight(
        call.context.services, call.bucket, call.headers, resource_type=level.value
    )


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutBucketCors": put_bucket_cors,
    "GetBucketCors": get_bucket_cors,
    "DeleteBucketCors": delete_bucket_cors,
    "OptionsObject": options_object,
}
