"""PutBucketLifecycleConfiguration, GetBucketLifecycleConfiguration, DeleteBucketLifecycle.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from gateway.model.lifecycle import (
    ALL_CLASSES_128K,
    VARIES_BY_CLASS,
    Filter,
    NoncurrentTransition,
    Rule,
    Transition,
)
from gateway.model.lifecycle_checks import check_newer_versions
from gateway.objects import lifecycle
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.tagging import tag_of
from gateway.s3.xml_reader import Node, malformed, read_steps
from gateway.s3.xml_reader import fields as leaves

BODY_BYTES_MAX = 1 << 20
ELEMENTS_MAX = 40_000  # of 1,000 rules
DIGITS_MAX = 15
COUNT_MAX = (1 << 31) - 1  # of days or versions
# Classes of S3 that objects may be moved to, and the one they come from: here it is a way back.
CLASSES = frozenset(
    {
        "DEEP_ARCHIVE",
        "GLACIER",
        "GLACIER_IR",
        "INTELLIGENT_TIERING",
        "ONEZONE_IA",
        "STANDARD",
        "STANDARD_IA",
    }
)
MINIMUM = "x-amz-transition-default-minimum-object-size"

_RULE = frozenset(
    {
        "AbortIncompleteMultipartUpload",
        "Expiration",
        "Filter",
        "ID",
        "NoncurrentVersionExpiration",
        "NoncurrentVersionTransition",
        "Prefix",
        "Status",
        "Transition",
    }
)


def rule_of(node: Node) -> Rule:
    """A Rule element.

    Raises:
        S3Error: MalformedXML.
        InvalidArgument: a count of versions that is out of range.
    """
    if node.name != "Rule" or any(child.name not in _RULE for child in node.children):
        malformed()
    status = _text(node, "Status")
    if status not in ("Enabled", "Disabled"):
        malformed()
    expiration = _leaves(node, "Expiration", {"Date", "Days", "ExpiredObjectDeleteMarker"})
    if expiration is not None and len(expiration) != 1:
        malformed()
    ended = expiration or {}
    noncurrent = _leaves(
        node, "NoncurrentVersionExpiration", {"NewerNoncurrentVersions", "NoncurrentDays"}
    )
    if noncurrent is not None and "NoncurrentDays" not in noncurrent:
        malformed()
    abort = _leaves(node, "AbortIncompleteMultipartUpload", {"DaysAfterInitiation"})
    if abort is not None and not abort:
        malformed()
    return Rule(
        rule_id=_text(node, "ID") or "",
        is_enabled=status == "Enabled",
        filter=_filter_of(node),
        expire_days=_number(ended, "Days"),
        expire_date_ms=_date_ms(ended),
        expire_markers=_flag(ended.get("ExpiredObjectDeleteMarker")),
        transitions=tuple(map(_transition, _all(node, "Transition"))),
        noncurrent_days=_number(noncurrent or {}, "NoncurrentDays"),
        newer_versions=_newer_versions(noncurrent or {}, "NoncurrentVersionExpiration"),
        noncurrent_transitions=tuple(
            map(_noncurrent_transition, _all(node, "NoncurrentVersionTransition"))
        ),
        abort_days=_number(abort or {}, "DaysAfterInitiation"),
    )


def _all(node: Node, name: str) -> list[Node]:
    return [child for child in node.children if child.name == name]


def _text(node: Node, name: str) -> str | None:
    found = node.child(name)
    if found is None:
        return None
    if found.children:
        malformed()
    return found.text


def _leaves(node: Node, name: str, names: set[str]) -> dict[str, str] | None:
    found = node.child(name)
    return None if found is None else leaves(found, frozenset(names))


def _number(found: dict[str, str], name: str) -> int | None:
    if name not in found:
        return None
    count = _integer(found[name])
    if count > COUNT_MAX:
        malformed()
    return count


def _integer(text: str) -> int:
    text = text.strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= DIGITS_MAX):
        malformed()
    return int(text)


def _flag(text: str | None) -> bool | None:
    if text is None:
        return None
    if text.strip() not in ("true", "false"):
        malformed()
    return text.strip() == "true"


def _date_ms(found: dict[str, str]) -> int | None:
    """Milliseconds of an ISO 8601 date, which S3 wants at midnight."""
    if "Date" not in found:
        return None
    text = found["Date"].strip()
    if "-" not in text:
        malformed()
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        return round(instant.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        malformed()


def _storage_class(found: dict[str, str]) -> str:
    name = found.get("StorageClass", "").strip()
    if name not in CLASSES:
        malformed()
    return name


def _newer_versions(found: dict[str, str], action: str) -> int:
    count = _number(found, "NewerNoncurrentVersions")
    if count is None:
        return 0
    check_newer_versions(count, action)
    return count


def _transition(node: Node) -> Transition:
    found = leaves(node, frozenset({"Date", "Days", "StorageClass"}))
    if ("Date" in found) == ("Days" in found):
        malformed()
    return Transition(
        days=_number(found, "Days"), date_ms=_date_ms(found), storage_class=_storage_class(found)
    )


def _noncurrent_transition(node: Node) -> NoncurrentTransition:
    found = leaves(node, frozenset({"NewerNoncurrentVersions", "NoncurrentDays", "StorageClass"}))
    days = _number(found, "NoncurrentDays")
    if days is None:
        malformed()
    newer = _newer_versions(found, "NoncurrentVersionTransition")
    return NoncurrentTransition(
        days=days, newer_versions=newer, storage_class=_storage_class(found)
    )


def _filter_of(rule: Node) -> Filter:
    """Prefix or Filter of a rule. Where a Filter says several things without an And, which S3's
    schema forbids, all of them must hold.
    """
    legacy, chosen = rule.child("Prefix"), rule.child("Filter")
    if (legacy is None) == (chosen is None):
        malformed()
    if chosen is None:
        return Filter(prefix=_text(rule, "Prefix") or "", is_legacy=True)
    together = chosen.child("And")
    parts = [child for child in chosen.children if child.name != "And"]
    joined = [*parts, *(() if together is None else together.children)]
    prefixes, tags, above, below = [""], [], [], []
    for child in joined:
        if child.name == "Tag":
            tags.append(tag_of(child))
        elif child.children:
            malformed()
        elif child.name == "Prefix":
            prefixes.append(child.text)
        elif child.name == "ObjectSizeGreaterThan":
            above.append(_integer(child.text))
        elif child.name == "ObjectSizeLessThan":
            below.append(_integer(child.text))
        else:
            malformed()
    prefix = max(prefixes, key=len)
    if not all(prefix.startswith(other) for other in prefixes):
        malformed()
    return Filter(
        prefix=prefix,
        tags=tuple(dict.fromkeys(tags)),
        bytes_above=max(above, default=None),
        bytes_below=min(below, default=None),
        is_and=together is not None or len(parts) > 1,
    )


def _minimum_of(call: Call) -> str | None:
    minimum = call.headers.get(MINIMUM)
    if minimum not in (None, "", ALL_CLASSES_128K, VARIES_BY_CLASS):
        raise S3Error("InvalidRequest", f"Invalid value for the {MINIMUM} header")
    return minimum or None


async def put_lifecycle(call: Call) -> Reply:
    fields.check_supported(call)
    if not call.body.is_protected:
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5")
    minimum = _minimum_of(call)
    body = await call.body.read_document(BODY_BYTES_MAX)
    rules: list[Rule] = []
    for root in read_steps(body, "LifecycleConfiguration", BODY_BYTES_MAX, ELEMENTS_MAX):
        await call.context.services.env.sleep(0)
        if root is not None:
            rules = [rule_of(node) for node in root.children]
    if not rules:
        malformed()
    chosen = await lifecycle.put_lifecycle(call.context, call.bucket, rules, minimum)
    return Reply(headers=[(MINIMUM, chosen)])


async def get_lifecycle(call: Call) -> Reply:
    fields.check_supported(call)
    configuration = lifecycle.read_lifecycle(call.context, call.bucket)
    document = xml.document("LifecycleConfiguration", *map(_rule_element, configuration.rules))
    return xml_reply(document, headers=[(MINIMUM, configuration.minimum)])


def _rule_element(rule: Rule) -> str:
    children = [xml.element("ID", rule.rule_id), _filter_element(rule.filter)]
    children.append(xml.element("Status", "Enabled" if rule.is_enabled else "Disabled"))
    ended = [_when(rule.expire_days, rule.expire_date_ms)] if rule.expires else []
    if rule.expire_markers is not None:
        ended.append(xml.element("ExpiredObjectDeleteMarker", rule.expire_markers))
    if ended:
        children.append(xml.group("Expiration", *ended))
    children += [
        xml.group(
            "Transition",
            _when(move.days, move.date_ms),
            xml.element("StorageClass", move.storage_class),
        )
        for move in rule.transitions
    ]
    if rule.noncurrent_days is not None:
        counted = _counted(rule.noncurrent_days, rule.newer_versions)
        children.append(xml.group("NoncurrentVersionExpiration", *counted))
    children += [
        xml.group(
            "NoncurrentVersionTransition",
            *_counted(move.days, move.newer_versions),
            xml.element("StorageClass", move.storage_class),
        )
        for move in rule.noncurrent_transitions
    ]
    if rule.abort_days is not None:
        days = xml.element("DaysAfterInitiation", rule.abort_days)
        children.append(xml.group("AbortIncompleteMultipartUpload", days))
    return xml.group("Rule", *children)


def _when(days: int | None, date_ms: int | None) -> str:
    if days is not None:
        return xml.element("Days", days)
    return xml.element("Date", xml.timestamp(date_ms or 0))


def _counted(days: int, newer_versions: int) -> list[str]:
    children = [xml.element("NoncurrentDays", days)]
    if newer_versions:
        children.append(xml.element("NewerNoncurrentVersions", newer_versions))
    return children


def _filter_element(chosen: Filter) -> str:
    if chosen.is_legacy:
        return xml.element("Prefix", chosen.prefix)
    children = []
    has_other = chosen.tags or chosen.has_size
    if chosen.prefix or not has_other:
        children.append(xml.element("Prefix", chosen.prefix))
    children += [
        xml.group("Tag", xml.element("Key", key), xml.element("Value", value))
        for key, value in chosen.tags
    ]
    if chosen.bytes_above is not None:
        children.append(xml.element("ObjectSizeGreaterThan", chosen.bytes_above))
    if chosen.bytes_below is not None:
        children.append(xml.element("ObjectSizeLessThan", chosen.bytes_below))
    if chosen.is_and or len(children) > 1:
        return xml.group("Filter", xml.group("And", *children))
    return xml.group("Filter", *children)


async def delete_lifecycle(call: Call) -> Reply:
    fields.check_supported(call)
    await lifecycle.delete_lifecycle(call.context, call.bucket)
    return Reply(status=204)


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutBucketLifecycleConfiguration": put_lifecycle,
    "GetBucketLifecycleConfiguration": get_lifecycle,
    "DeleteBucketLifecycle": delete_lifecycle,
}
