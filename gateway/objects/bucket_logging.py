"""Where the access log of a bucket goes: its configuration, and who may set it.

The document: `target` (bucket name), `prefix`, `format` (SIMPLE, or the partition date source of
the partitioned form), `grants` ([kind, grantee, permission], for the delivered objects).

Not for records of the log (`gateway.s3.server_log`) nor for delivering them (`objects.log_spool`).

Source: Amazon S3 User Guide, "Enabling Amazon S3 server access logging".
"""

from __future__ import annotations

from gateway.model.action import Action
from gateway.model.errors import AccessDenied, InvalidTargetBucketForLogging
from gateway.objects import access
from gateway.objects.access_request import Values
from gateway.objects.bucket_config import Document, put_document, read_document
from gateway.objects.context import Context
from gateway.objects.target import OpenBucket, current_bucket

DOCUMENT = "logging"
SIMPLE, EVENT_TIME, DELIVERY_TIME = "SimplePrefix", "EventTime", "DeliveryTime"
DELIVERER = "logging.s3.amazonaws.com"


def read_logging(ctx: Context, bucket: str) -> Document | None:
    """The configuration; None: there is no log. Raises: AccessDenied, NoSuchBucket, RowCorrupt."""
    return read_document(ctx, bucket, DOCUMENT, Action.GET_BUCKET_LOGGING)


async def put_logging(ctx: Context, bucket: str, document: Document | None) -> None:
    """Set it, or end the log.

    Raises: AccessDenied (also: the target does not let logs be delivered), NoSuchBucket,
        InvalidTargetBucketForLogging, OperationAborted.
    """
    opened = current_bucket(ctx, bucket, Action.PUT_BUCKET_LOGGING)
    if document is not None:
        target = ctx.services.buckets.find(document["target"])
        if target is None:
            raise InvalidTargetBucketForLogging(bucket=document["target"])
        if not may_deliver(ctx, opened, target, document["prefix"]):
            raise AccessDenied(bucket=document["target"])
    await put_document(ctx, bucket, DOCUMENT, document, Action.PUT_BUCKET_LOGGING)


def may_deliver(ctx: Context, source: OpenBucket, target: OpenBucket, prefix: str) -> bool:
    """Whether the target lets the log of the source be delivered under the prefix: by its policy,
    or by its ACL.
    """
    owner = ctx.services.identities.of_tenant(source.bucket.tenant).owner_id
    return may_deliver_for(ctx, target, source.bucket.name, owner, prefix)


def may_deliver_for(
    ctx: Context, target: OpenBucket, source: str, source_owner: str, prefix: str
) -> bool:
    """As `may_deliver`, of a source by its name and its owner's canonical id."""
    given: dict[str, Values] = {
        "aws:sourcearn": (f"arn:aws:s3:::{source}",),
        "aws:sourceaccount": (source_owner,),
    }
    return access.admits_service(ctx, target, DELIVERER, Action.PUT_OBJECT, prefix, given)
