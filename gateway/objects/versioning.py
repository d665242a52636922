"""Versioning of a bucket: its state, and the listing of all versions.

Source: Amazon S3 API Reference, "PutBucketVersioning", "ListObjectVersions".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from gateway.meta import keyspace
from gateway.meta.keyspace import HEAD_BYTES
from gateway.meta.kv import Row
from gateway.meta.records import open_version
from gateway.model.action import Action
from gateway.model.bucket import Bucket, Versioning
from gateway.model.errors import InvalidArgument, InvalidBucketState
from gateway.model.names import NULL_VERSION, BucketId, ObjectKey, version_id, version_id_text
from gateway.model.version import Version
from gateway.objects.access_rules import rules_of
from gateway.objects.bucket_config import update_bucket
from gateway.objects.context import Context, Services
from gateway.objects.history import SEQUENCE_BYTES
from gateway.objects.target import current_bucket
from gateway.objects.walk import rolled_up

OPENED_AT_ONCE = 200  # rows, some 3 ms of work between turns of the event loop
PAGE_ROWS = 250  # noncurrent versions of a key that are read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionsOptions:
    """Versions after (`after_key`, `after_version_id`); with "" as id, after all of that key."""

    prefix: str = ""
    delimiter: str = ""
    after_key: str = ""
    after_version_id: str = ""
    keys_max: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVersion:
    """One version of a listing; `is_latest`: it is the current one."""

    key: str
    version_id: str
    is_latest: bool
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionsPage:
    """`next_key` and `next_version_id` None: not truncated; an id of "" follows a common prefix.

    Args:
        has_owners: versions have owners of their own; else all are the bucket owner's.
    """

    versions: tuple[ListedVersion, ...]
    common_prefixes: tuple[str, ...]
    next_key: str | None
    next_version_id: str | None
    has_owners: bool

    @property
    def is_truncated(self) -> bool:
        return self.next_key is not None


async def set_versioning(ctx: Context, bucket: str, state: Versioning) -> None:
    """Enable or suspend versioning.

    Raises: AccessDenied, NoSuchBucket, InvalidBucketState (object lock needs versioning).
    """

    def change(held: Bucket) -> Bucket:
        if held.object_lock and state is not Versioning.ENABLED:
            raise InvalidBucketState(
                message="An Object Lock configuration is present on this bucket, so the "
                "versioning state cannot be changed."
            )
        return replace(held, versioning=state)

    await update_bucket(ctx, bucket, change, Action.PUT_BUCKET_VERSIONING)


def get_versioning(ctx: Context, bucket: str) -> Versioning:
    """The state. Raises: AccessDenied, NoSuchBucket."""
    return current_bucket(ctx, bucket, Action.GET_BUCKET_VERSIONING).bucket.versioning


async def list_versions(ctx: Context, bucket: str, options: VersionsOptions) -> VersionsPage:
    """One page of all versions of a bucket: by key, and of a key the newest first.

    Raises: AccessDenied, NoSuchBucket, InvalidArgument (a marker without its key, or of no version
        of ours).
    """
    services = ctx.services
    opened = current_bucket(ctx, bucket, Action.LIST_BUCKET_VERSIONS)
    bucket_id = opened.bucket.bucket_id
    walk = _walk(services, bucket_id, options)
    found: list[ListedVersion | bytes] = []
    wanted = options.keys_max + 1 if options.keys_max else 0
    while taken := list(islice(walk, min(OPENED_AT_ONCE, wanted - len(found)))):
        found += taken
        await asyncio.sleep(0)  # other requests need not wait for the whole page
    next_key: str | None = None
    next_id: str | None = None
    if len(found) > options.keys_max:
        del found[options.keys_max :]
        last = found[-1]
        if isinstance(last, bytes):
            next_key, next_id = last.decode("utf-8", "replace"), ""
        else:
            next_key, next_id = last.key, last.version_id
    return VersionsPage(
        versions=tuple(item for item in found if not isinstance(item, bytes)),
        common_prefixes=tuple(
            item.decode("utf-8", "replace") for item in found if isinstance(item, bytes)
        ),
        next_key=next_key,
        next_version_id=next_id,
        has_owners=rules_of(opened).has_acls,
    )


def _walk(
    services: Services, bucket: BucketId, options: VersionsOptions
) -> Iterator[ListedVersion | bytes]:
    prefix = options.prefix.encode("utf-8", "surrogatepass")
    after = options.after_key.encode("utf-8", "surrogatepass")
    delimiter = options.delimiter.encode("utf-8", "surrogatepass")
    start, end = keyspace.object_prefix_range(bucket, prefix)
    if options.after_version_id and not after:
        raise InvalidArgument(
            message="A version-id marker cannot be specified without a key marker."
        )
    if after:
        if options.after_version_id and after.startswith(prefix):
            yield from _rest_of_key(services, bucket, ObjectKey(after), options.after_version_id)
        rest = after[len(prefix) :]
        if delimiter and after.startswith(prefix) and rest.endswith(delimiter):
            start = max(start, keyspace.after_common_prefix(bucket, after))
        start = max(start, keyspace.after_object(bucket, after))
    if start >= end:
        return
    rows = rolled_up(
        services.log.scan,
        start=start,
        end=end,
        name_of=lambda row_key: row_key[HEAD_BYTES:],
        prefix_bytes=len(prefix),
        delimiter=delimiter,
    )
    for item in rows:
        if isinstance(item, bytes):
            yield item
            continue
        key = ObjectKey(item.key[HEAD_BYTES:])
        yield _listed(services, key, item, is_latest=True)
        yield from _noncurrent(services, bucket, key, *keyspace.noncurrent_range(bucket, key))


def _rest_of_key(
    services: Services, bucket: BucketId, key: ObjectKey, after_version_id: str
) -> Iterator[ListedVersion]:
    """Versions of a key that are older than one of them."""
    wanted = version_id(after_version_id)
    row_key = keyspace.current_row(bucket, key)
    value = services.log.read((row_key,))[0]
    if value is None:
        return
    current = open_version(services.records, row_key, value).version
    start, end = keyspace.noncurrent_range(bucket, key)
    if current.version_id != wanted:
        if wanted == NULL_VERSION:
            sequence = current.attributes.null_sequence
        else:
            sequence = int.from_bytes(wanted[:SEQUENCE_BYTES], "big")
        start = keyspace.after(keyspace.noncurrent_row(bucket, key, sequence))
    yield from _noncurrent(services, bucket, key, start, end)


def _noncurrent(
    services: Services, bucket: BucketId, key: ObjectKey, start: bytes, end: bytes
) -> Iterator[ListedVersion]:
    while True:
        rows = services.log.scan(start, end, limit=PAGE_ROWS)
        for row in rows:
            yield _listed(services, key, row, is_latest=False)
        if len(rows) < PAGE_ROWS:
            return
        start = keyspace.after(rows[-1].key)


def _listed(services: Services, key: ObjectKey, row: Row, *, is_latest: bool) -> ListedVersion:
    version = open_version(services.records, row.key, row.value).version
    return ListedVersion(
        key=key.decode("utf-8"),
        version_id=version_id_text(version.version_id),
        is_latest=is_latest,
        version=version,
    )
