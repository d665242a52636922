"""Headers of object lock, in requests that write a version and answers that tell about one.

Source: Amazon S3 API Reference, PutObject, HeadObject.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from gateway.model.attributes import COMPLIANCE, GOVERNANCE, Attributes
from gateway.s3 import xml
from gateway.s3.call import Call
from gateway.s3.errors import S3Error
from gateway.s3.responses import Header

MODES = frozenset({GOVERNANCE, COMPLIANCE})
MODE, UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"
HOLD = "x-amz-object-lock-legal-hold"
HEADERS = frozenset({MODE, UNTIL, HOLD})


def until_ms_of(text: str) -> int | None:
    """Milliseconds since the epoch of an ISO 8601 instant; None if it is none."""
    try:
        instant = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        return int(instant.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def with_lock(call: Call, attributes: Attributes) -> Attributes:
    """What the headers of a write say about the new version's lock.

    Raises:
        S3Error: InvalidArgument.
    """
    headers = call.headers
    if HEADERS.isdisjoint(headers):
        return attributes
    mode, until = headers.get(MODE), headers.get(UNTIL)
    if (mode is None) != (until is None):
        raise S3Error(
            "InvalidArgument",
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
        )
    if mode is not None and until is not None:
        if mode not in MODES:
            raise S3Error("InvalidArgument", "Unknown wormMode directive.")
        until_ms = until_ms_of(until)
        if until_ms is None:
            raise S3Error("InvalidArgument", "The retain until date must be in ISO 8601 format.")
        if until_ms <= call.context.services.env.now_ms():
            raise S3Error("InvalidArgument", "The retain until date must be in the future!")
        attributes = replace(attributes, retention_mode=mode, retain_until_ms=until_ms)
    hold = headers.get(HOLD, "OFF")
    if hold not in ("ON", "OFF"):
        raise S3Error("InvalidArgument", "Legal Hold must be either of 'ON' or 'OFF'")
    return replace(attributes, legal_hold=hold == "ON")


def lock_headers(attributes: Attributes) -> list[Header]:
    """Headers of a read that tell about the version's lock."""
    headers: list[Header] = []
    if attributes.retention_mode:
        headers.append((MODE, attributes.retention_mode))
        headers.append((UNTIL, xml.timestamp(attributes.retain_until_ms)))
    if attributes.legal_hold:
        headers.append((HOLD, "ON"))
    return headers
