"""Where versions of a bucket are replicated to: its configuration.

The document: `role` and `rules`, each as the client gave it, in S3's own names. A destination names
one of the targets of the gateway's configuration by its bucket, so that no credential is ever in a
document.

Source: Amazon S3 API Reference, "PutBucketReplication".
"""

from __future__ import annotations

from gateway.model.action import Action
from gateway.model.bucket import Versioning
from gateway.model.errors import (
    InvalidArgument,
    InvalidRequest,
    ReplicationConfigurationNotFoundError,
)
from gateway.objects.bucket_config import Document, find_document, put_document
from gateway.objects.context import Context
from gateway.objects.replicas import ARN, DOCUMENT, rules_of
from gateway.objects.target import current_bucket


def read_replication(ctx: Context, bucket: str) -> Document:
    """The configuration. Raises: AccessDenied, NoSuchBucket, RowCorrupt,
    ReplicationConfigurationNotFoundError.
    """
    opened = current_bucket(ctx, bucket, Action.GET_REPLICATION_CONFIGURATION)
    document = find_document(ctx.services, opened, DOCUMENT)
    if document is None:
        raise ReplicationConfigurationNotFoundError(bucket=bucket)
    return document


async def put_replication(ctx: Context, bucket: str, document: Document | None) -> None:
    """Set it, or replicate nothing from here on.

    Raises: AccessDenied, NoSuchBucket, OperationAborted, InvalidRequest (no versioning, rules that
        contradict each other), InvalidArgument (a destination that is not configured).
    """
    action = Action.PUT_REPLICATION_CONFIGURATION
    services, opened = ctx.services, current_bucket(ctx, bucket, action)
    if document is not None:
        if opened.bucket.versioning is not Versioning.ENABLED:
            raise InvalidRequest(
                message="Versioning must be 'Enabled' on the bucket to apply a replication "
                "configuration"
            )
        rules = rules_of(document, only_enabled=False)
        if len({rule.rule_id for rule in rules}) != len(rules):
            raise InvalidRequest(message="Rule ids must be unique.")
        for rule in rules:
            if not services.may_use(
                services.replication_targets, rule.destination, opened.bucket.tenant
            ):
                raise InvalidArgument(
                    message="Destination bucket must exist.",
                    argument_name="Bucket",
                    argument_value=ARN + rule.destination,
                )
    await put_document(ctx, bucket, DOCUMENT, document, action)
