"""Headers that say when lifecycle rules will take something away.

Source: Amazon S3 API Reference, "PutObject" (x-amz-expiration), "CreateMultipartUpload"
(x-amz-abort-date).
"""

from __future__ import annotations

from urllib.parse import quote

from gateway.objects import lifecycle
from gateway.objects.values import ObjectHead
from gateway.s3.call import Call
from gateway.s3.responses import Header, http_date

LAST_SECOND = 253_402_214_400  # midnight of 9999-12-31: later dates cannot be written


def expiration_headers(call: Call, head: ObjectHead) -> list[Header]:
    """When the current version of a key goes; nothing for other versions."""
    services = call.context.services
    opened = services.buckets.find(call.bucket)
    if opened is None or lifecycle.DOCUMENT not in opened.bucket.cold:
        return []
    if "versionId" in call.query:
        return []
    found = lifecycle.expiration_of(services, call.bucket, head)
    if found is None:
        return []
    date, rule_id = _date(found.due_ms), quote(found.rule_id, safe="")
    return [("x-amz-expiration", f'expiry-date="{date}", rule-id="{rule_id}"')]


def abort_headers(call: Call, created_at_ms: int) -> list[Header]:
    """When an upload goes unless it is completed."""
    found = lifecycle.abort_of(call.context.services, call.bucket, call.key, created_at_ms)
    if found is None:
        return []
    return [
        ("x-amz-abort-date", _date(found.due_ms)),
        ("x-amz-abort-rule-id", quote(found.rule_id, safe="")),
    ]


def _date(at_ms: int) -> str:
    return http_date(min(at_ms // 1000, LAST_SECOND))
