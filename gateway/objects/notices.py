"""Events of a bucket as they are told: who wants one, and what is sent.

Not for setting rules (`objects.notifications`), nor for sending (`gateway.jobs.events`).

Source: Amazon S3 User Guide, "Event message structure".
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from gateway.model.bucket import Bucket
from gateway.model.events import Rule, rules_of
from gateway.model.names import version_id_text
from gateway.model.version import Version
from gateway.objects.bucket_documents import find_document
from gateway.objects.context import Context, Services
from gateway.objects.target import OpenBucket

DOCUMENT = "notification"
COMPILED = "notification rules"
EVENT_VERSION = "2.3"


class Happened(NamedTuple):
    """An event of an object.

    Args:
        ctx: the request that made it; None: work of our own.
        version: what came, or what went.
    """

    ctx: Context | None
    name: str
    key: str
    version: Version
    shows_version: bool


def rules_in_force(services: Services, opened: OpenBucket) -> tuple[Rule, ...]:
    """Rules of an open bucket, compiled once. Raises: RowCorrupt."""
    if COMPILED not in opened.parsed:
        document = find_document(services, opened, DOCUMENT)
        opened.parsed[COMPILED] = () if document is None else rules_of(document)
    rules: tuple[Rule, ...] = opened.parsed[COMPILED]
    return rules


def message_of(
    services: Services, bucket: Bucket, rule: Rule, happened: Happened, now_ms: int
) -> dict[str, Any]:
    """What is sent of one event to one destination."""
    version, ctx = happened.version, happened.ctx
    told: dict[str, Any] = {"key": quote_plus(happened.key, safe="/")}
    if not version.is_delete_marker and not happened.name.startswith("s3:ObjectRemoved"):
        told |= {"size": version.content_bytes, "eTag": version.etag}
    if happened.shows_version:
        told["versionId"] = version_id_text(version.version_id)
    told["sequencer"] = f"{now_ms:012X}{version.sequence:08X}"
    owner = services.identities.of_tenant(bucket.tenant).owner_id
    principal = None if ctx is None else ctx.principal
    asker = "s3.amazonaws.com" if ctx is None else "Anonymous"
    record = {
        "eventVersion": EVENT_VERSION,
        "eventSource": "aws:s3",
        "awsRegion": services.region,
        "eventTime": event_time(now_ms),
        "eventName": happened.name.removeprefix("s3:"),
        "userIdentity": {"principalId": asker if principal is None else principal.owner_id},
        "requestParameters": {"sourceIPAddress": "" if ctx is None else ctx.facts.source_ip},
        "responseElements": {
            "x-amz-request-id": "" if ctx is None else request_id(ctx),
            "x-amz-id-2": "",
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule.rule_id,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": {"principalId": owner},
                "arn": f"arn:aws:s3:::{bucket.name}",
            },
            "object": told,
        },
    }
    return {"Records": [record]}


def request_id(ctx: Context) -> str:
    """The request's id as the client is told it."""
    return ctx.request_id[:8].hex().upper()


def event_time(at_ms: int) -> str:
    """1970-01-01T00:00:00.000Z."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
