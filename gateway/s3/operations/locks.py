"""Object lock: its configuration, retention and legal hold of versions.

Source: Amazon S3 API Reference, PutObjectLockConfiguration, PutObjectRetention,
PutObjectLegalHold and their readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.objects import locks
from gateway.objects.context import Context
from gateway.objects.locks import DefaultRetention, Retention
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.operations.lock_headers import MODES, until_ms_of
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.xml_reader import fields as leaves
from gateway.s3.xml_reader import malformed, read

LOCK_BODY_MAX_BYTES = 8192
YEARS_MAX = 100
DAYS_MAX = 36_500


async def put_configuration(call: Call) -> Reply:
    fields.check_supported(call)
    document = await call.body.read_document(LOCK_BODY_MAX_BYTES)
    root = read(document, "ObjectLockConfiguration", LOCK_BODY_MAX_BYTES)
    enabled, rule = root.child("ObjectLockEnabled"), root.child("Rule")
    if enabled is None or enabled.text.strip() != "Enabled":
        malformed()
    default = None
    if rule is not None:
        held = rule.child("DefaultRetention")
        if held is None:
            malformed()
        default = _default(leaves(held, frozenset({"Mode", "Days", "Years"})))
    await locks.put_lock_configuration(call.context, call.bucket, default)
    return Reply()


def _default(found: dict[str, str]) -> DefaultRetention:
    days, years = found.get("Days"), found.get("Years")
    if found.get("Mode") not in MODES or (days is None) == (years is None):
        malformed()
    try:
        default = DefaultRetention(found["Mode"], int(days or 0), int(years or 0))
    except ValueError:
        malformed()
    number, most = (default.years, YEARS_MAX) if days is None else (default.days, DAYS_MAX)
    if not 1 <= number <= most:
        raise S3Error("InvalidRetentionPeriod")
    return default


async def get_configuration(call: Call) -> Reply:
    fields.check_supported(call)
    default = locks.get_lock_configuration(call.context, call.bucket)
    children = [xml.element("ObjectLockEnabled", "Enabled")]
    if default is not None:
        length = ("Days", default.days) if default.days else ("Years", default.years)
        retention = xml.group(
            "DefaultRetention", xml.element("Mode", default.mode), xml.element(*length)
        )
        children.append(xml.group("Rule", retention))
    return xml_reply(xml.document("ObjectLockConfiguration", *children))


def _asking(
    call: Call, *, mode: str | None = None, until: str | None = None, hold: str | None = None
) -> Context:
    """The request as policies see it: what the body asks for, as headers of a write say it."""
    stated = {
        "x-amz-object-lock-mode": mode,
        "x-amz-object-lock-retain-until-date": until,
        "x-amz-object-lock-legal-hold": hold,
    }
    headers = {name: text for name, text in call.headers.items() if name not in stated}
    headers.update((name, text) for name, text in stated.items() if text)
    return replace(call.context, facts=call.context.facts._replace(headers=headers))


async def put_retention(call: Call) -> Reply:
    fields.check_supported(call)
    document = await call.body.read_document(LOCK_BODY_MAX_BYTES)
    root = read(document, "Retention", LOCK_BODY_MAX_BYTES)
    found = leaves(root, frozenset({"Mode", "RetainUntilDate"}))
    retention = Retention("", 0)
    if found:
        until_ms = until_ms_of(found.get("RetainUntilDate", ""))
        if found.get("Mode") not in MODES or until_ms is None:
            malformed()
        if until_ms <= call.context.services.env.now_ms():
            raise S3Error("InvalidArgument", "The retain until date must be in the future!")
        retention = Retention(found["Mode"], until_ms)
    await locks.put_retention(
        _asking(call, mode=found.get("Mode"), until=found.get("RetainUntilDate")),
        call.bucket,
        call.key,
        call.query.get("versionId"),
        retention,
        bypass_governance=fields.bypasses_governance(call),
    )
    return Reply()


async def get_retention(call: Call) -> Reply:
    fields.check_supported(call)
    retention = locks.get_retention(
        call.context, call.bucket, call.key, call.query.get("versionId")
    )
    children = [
        xml.element("Mode", retention.mode),
        xml.element("RetainUntilDate", xml.timestamp(retention.until_ms)),
    ]
    return xml_reply(xml.document("Retention", *children))


async def put_legal_hold(call: Call) -> Reply:
    fields.check_supported(call)
    document = await call.body.read_document(LOCK_BODY_MAX_BYTES)
    found = leaves(read(document, "LegalHold", LOCK_BODY_MAX_BYTES), frozenset({"Status"}))
    if found.get("Status") not in ("ON", "OFF"):
        malformed()
    await locks.put_legal_hold(
        _asking(call, hold=found["Status"]),
        call.bucket,
        call.key,
        call.query.get("versionId"),
        found["Status"] == "ON",
    )
    return Reply()


async def get_legal_hold(call: Call) -> Reply:
    fields.check_supported(call)
    is_held = locks.get_legal_hold(call.context, call.bucket, call.key, call.query.get("versionId"))
    status = xml.element("Status", "ON" if is_held else "OFF")
    return xml_reply(xml.document("LegalHold", status))


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutObjectLockConfiguration": put_configuration,
    "GetObjectLockConfiguration": get_configuration,
    "PutObjectRetention": put_retention,
    "GetObjectRetention": get_retention,
    "PutObjectLegalHold": put_legal_hold,
    "GetObjectLegalHold": get_legal_hold,
}
