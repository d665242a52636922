"""Tags of objects and of buckets.

An object's tags are part of its version's row: changing them writes that row anew and leaves its
bytes, its date and its ETag alone. A bucket's tags are one of its documents.

Source: Amazon S3 API Reference, "PutObjectTagging", "PutBucketTagging".
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from gateway.model.action import Action
from gateway.model.errors import NoSuchTagSet
from gateway.model.tags import bucket_tags, object_tags
from gateway.model.version import Pairs, Version
from gateway.objects.bucket_config import Document, put_document, read_document
from gateway.objects.context import Context
from gateway.objects.rewriting import named_version, rewrite_version

BUCKET_DOCUMENT = "tagging"


class Tagged(NamedTuple):
    """Tags of a version; `version_id` None in buckets without versioning."""

    tags: Pairs
    version_id: str | None


def get_object_tags(ctx: Context, bucket: str, key: str, version_id: str | None) -> Tagged:
    """The tags of a version, in order of their keys.

    Raises: AccessDenied, NoSuchBucket, NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete
        marker).
    """
    action = Action.GET_OBJECT_TAGGING if version_id is None else Action.GET_OBJECT_VERSION_TAGGING
    version, shown_id = named_version(ctx, bucket, key, version_id, action)
    return Tagged(version.tags, shown_id)


async def put_object_tags(
    ctx: Context, bucket: str, key: str, version_id: str | None, tags: Pairs
) -> str | None:
    """Set the tags of a version in place of those it has; the id of the version.

    Raises: as get_object_tags, and InvalidTag, ConditionalRequestConflict.
    """
    ordered = object_tags(tags)
    ctx = replace(ctx, facts=ctx.facts._replace(request_tags=dict(ordered)))
    action = Action.PUT_OBJECT_TAGGING if version_id is None else Action.PUT_OBJECT_VERSION_TAGGING
    return await _set_tags(ctx, bucket, key, version_id, ordered, action)


async def delete_object_tags(
    ctx: Context, bucket: str, key: str, version_id: str | None
) -> str | None:
    """Take all tags of a version away; the id of the version. Raises: as put_object_tags."""
    action = (
        Action.DELETE_OBJECT_TAGGING if version_id is None else Action.DELETE_OBJECT_VERSION_TAGGING
    )
    return await _set_tags(ctx, bucket, key, version_id, (), action)


async def _set_tags(
    ctx: Context, bucket: str, key: str, version_id: str | None, tags: Pairs, action: Action
) -> str | None:
    def change(version: Version) -> Version:
        return replace(version, tags=tags)

    return await rewrite_version(ctx, bucket, key, version_id, action, change)


def bucket_document(tags: Pairs) -> Document | None:
    """The document that keeps these tags, which have been checked; None without any."""
    return {"tags": [list(tag) for tag in tags]} if tags else None


def get_bucket_tags(ctx: Context, bucket: str) -> Pairs:
    """The tags of a bucket. Raises: AccessDenied, NoSuchBucket, NoSuchTagSet."""
    document = read_document(ctx, bucket, BUCKET_DOCUMENT, Action.GET_BUCKET_TAGGING)
    if document is None:
        raise NoSuchTagSet(bucket=bucket)
    return tuple((key, value) for key, value in document["tags"])


async def put_bucket_tags(ctx: Context, bucket: str, tags: Pairs) -> None:
    """Set the tags of a bucket.

    Raises: AccessDenied, NoSuchBucket, InvalidTag, OperationAborted.
    """
    document = bucket_document(bucket_tags(tags))
    await put_document(ctx, bucket, BUCKET_DOCUMENT, document, Action.PUT_BUCKET_TAGGING)


async def delete_bucket_tags(ctx: Context, bucket: str) -> None:
    """Take the tags of a bucket away. Raises: as put_bucket_tags."""
    await put_document(ctx, bucket, BUCKET_DOCUMENT, None, Action.PUT_BUCKET_TAGGING)
