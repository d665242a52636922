"""Settings and documents of a bucket: read them, change them.

Not for what a document means, nor for its XML. A document is a JSON object; one in HOT_DOCUMENTS
lies in the bucket's row, any other in a row of its own, whose name the bucket's row holds. Every
change rewrites the bucket's row, so whoever holds the bucket finds out at the next look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.commit.change import Change
from gateway.meta import buckets as bucket_rows
from gateway.meta.buckets import StoredBucket
from gateway.meta.kv import Write
from gateway.model.action import Action
from gateway.model.bucket import HOT_DOCUMENTS, Bucket
from gateway.model.errors import InvalidRequest
from gateway.objects.bucket_documents import Document, find_document
from gateway.objects.context import Context
from gateway.objects.publish import until_committed
from gateway.objects.target import current_bucket

__all__ = ["Document", "find_document", "put_document", "read_document", "update_bucket"]

DOCUMENTS_MAX = 1200  # of one bucket: 1,000 of the kind that S3 allows 1,000 of, and the others


def read_document(ctx: Context, bucket: str, name: str, action: Action) -> Document | None:
    """A document of a bucket, as it is. Raises: AccessDenied, NoSuchBucket, RowCorrupt."""
    return find_document(ctx.services, current_bucket(ctx, bucket, action), name)


async def put_document(
    ctx: Context, bucket: str, name: str, document: Document | None, action: Action
) -> None:
    """Set a document of a bucket, or drop it (None). Raises: as update_bucket."""

    def change(held: Bucket) -> Bucket:
        if name in HOT_DOCUMENTS:
            kept = {other: held.documents[other] for other in held.documents if other != name}
            return replace(held, documents=kept if document is None else {**kept, name: document})
        cold = held.cold - {name} if document is None else held.cold | {name}
        if len(cold) > DOCUMENTS_MAX:
            raise InvalidRequest(message="The bucket has too many configurations.")
        return replace(held, cold=cold)

    await update_bucket(
        ctx, bucket, change, action, None if name in HOT_DOCUMENTS else (name, document)
    )


async def update_bucket(
    ctx: Context,
    name: str,
    change: Callable[[Bucket], Bucket],
    action: Action,
    document: tuple[str, Document | None] | None = None,
) -> Bucket:
    """Change a bucket's settings; `change` sees what is there, perhaps more than once.

    Args:
        document: (name, content) of a cold document that is written at the same instant.

    Raises: AccessDenied, NoSuchBucket, OperationAborted, and what `change` raises.
    """
    services = ctx.services

    async def attempt() -> Bucket:
        opened = current_bucket(ctx, name, action)
        changed = change(opened.bucket)
        also: tuple[Write, ...] = ()
        if document is not None:
            bucket_id = opened.bucket.bucket_id
            also = (
                bucket_rows.set_document(services.records, services.nonces, bucket_id, *document),
            )
        batch = bucket_rows.update_batch(
            services.records,
            services.nonces,
            StoredBucket(opened.bucket, opened.value),
            changed,
            services.env.random_bytes(16),
            *also,
        )
        await services.log.commit_change(Change(batch=batch))
        services.buckets.forget(name)
        return changed

    row_key = current_bucket(ctx, name, action).row_key
    return await until_committed(services, row_key, attempt)
