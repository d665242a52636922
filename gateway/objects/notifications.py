"""Who is told of what happens in a bucket: its configuration.

The document: `rules`, each `id`, `kind` (the element it came in), `arn`, `events`, `prefix`,
`suffix`. Destinations are those of the gateway's own configuration; a rule names one by the last
part of its ARN.

Source: Amazon S3 API Reference, "PutBucketNotificationConfiguration".
"""

from __future__ import annotations

from gateway.commit.change import Change
from gateway.meta import keyspace
from gateway.meta.queues import Queues
from gateway.model.action import Action
from gateway.model.errors import InvalidArgument
from gateway.model.events import check, rules_of
from gateway.objects.bucket_config import Document, put_document, read_document
from gateway.objects.context import Context
from gateway.objects.notices import DOCUMENT, event_time, request_id
from gateway.objects.target import current_bucket

NOWHERE = "Unable to validate the following destination configurations"


def read_notifications(ctx: Context, bucket: str) -> Document | None:
    """The configuration. Raises: AccessDenied, NoSuchBucket, RowCorrupt."""
    return read_document(ctx, bucket, DOCUMENT, Action.GET_BUCKET_NOTIFICATION)


async def put_notifications(
    ctx: Context, bucket: str, document: Document | None, *, skips_validation: bool
) -> None:
    """Set it, or tell nobody any more; destinations are sent a test event, as S3 does.

    Raises: AccessDenied, NoSuchBucket, OperationAborted, InvalidArgument.
    """
    action = Action.PUT_BUCKET_NOTIFICATION
    opened = current_bucket(ctx, bucket, action)
    rules = () if document is None else rules_of(document)
    check(rules)
    services = ctx.services
    if not skips_validation:
        for rule in rules:
            tenant = opened.bucket.tenant
            if not services.may_use(services.event_targets, rule.destination, tenant):
                raise InvalidArgument(
                    message=NOWHERE, argument_name=rule.arn, argument_value="unknown destination"
                )
    await put_document(ctx, bucket, DOCUMENT, document, action)
    if skips_validation or not rules:
        return
    queues = Queues(services.log, services.records, services.nonces, services.env)
    now_ms = services.env.now_ms()
    test = {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": event_time(now_ms),
        "Bucket": bucket,
        "RequestId": request_id(ctx),
        "HostId": "",
    }
    entries = [
        queues.entry(
            keyspace.EVENT,
            opened.bucket.bucket_id,
            {"destination": destination, "message": test},
            now_ms,
        )
        for destination in sorted({rule.destination for rule in rules})
    ]
    batch = queues.changed(opened.bucket.bucket_id, (), entries)
    await services.log.commit_change(Change(batch=batch))
