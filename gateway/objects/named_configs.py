"""Configurations of which a bucket may have many, each with an id: analytics, metrics, inventory,
intelligent tiering. Each is a document of the bucket.

Not for what they mean. Source: Amazon S3 API Reference, "PutBucketInventoryConfiguration" and its
siblings.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.model.action import Action
from gateway.model.errors import NoSuchConfiguration, TooManyConfigurations
from gateway.objects.bucket_config import Document, find_document, put_document
from gateway.objects.context import Context
from gateway.objects.target import current_bucket

OF_A_KIND_MAX = 1000
PAGE = 100


class ConfigPage(NamedTuple):
    """Some configurations in order of their ids; `next_id` None: there are no more."""

    documents: list[Document]
    next_id: str | None


def name_of(kind: str, config_id: str) -> str:
    """Name of the document."""
    return f"{kind}/{config_id}"


def read_config(ctx: Context, bucket: str, kind: str, config_id: str, action: Action) -> Document:
    """One configuration. Raises: AccessDenied, NoSuchBucket, NoSuchConfiguration, RowCorrupt."""
    opened = current_bucket(ctx, bucket, action)
    found = find_document(ctx.services, opened, name_of(kind, config_id))
    if found is None:
        raise NoSuchConfiguration()
    return found


def list_configs(ctx: Context, bucket: str, kind: str, after: str, action: Action) -> ConfigPage:
    """The configurations of a kind whose ids sort above `after`. Raises: as read_config."""
    opened = current_bucket(ctx, bucket, action)
    names = _names(opened.bucket.cold, kind)
    above = [name for name in names if name > name_of(kind, after)] if after else names
    page = above[:PAGE]
    found = [find_document(ctx.services, opened, name) for name in page]
    is_last = len(page) == len(above)
    next_id = None if is_last else page[-1].removeprefix(name_of(kind, ""))
    return ConfigPage([document for document in found if document is not None], next_id)


async def put_config(
    ctx: Context, bucket: str, kind: str, config_id: str, document: Document, action: Action
) -> None:
    """Set one. Raises: AccessDenied, NoSuchBucket, TooManyConfigurations, OperationAborted."""
    held = _names(current_bucket(ctx, bucket, action).bucket.cold, kind)
    name = name_of(kind, config_id)
    if name not in held and len(held) >= OF_A_KIND_MAX:
        raise TooManyConfigurations()
    await put_document(ctx, bucket, name, document, action)


async def delete_config(
    ctx: Context, bucket: str, kind: str, config_id: str, action: Action
) -> None:
    """Drop one. Raises: AccessDenied, NoSuchBucket, NoSuchConfiguration, OperationAborted."""
    name = name_of(kind, config_id)
    if name not in current_bucket(ctx, bucket, action).bucket.cold:
        raise NoSuchConfiguration()
    await put_document(ctx, bucket, name, None, action)


def _names(cold: frozenset[str], kind: str) -> list[str]:
    return sorted(name for name in cold if name.startswith(name_of(kind, "")))
