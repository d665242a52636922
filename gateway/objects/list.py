"""ListObjects, both versions. A delimiter seeks past each common prefix: nothing below is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from gateway.meta import keyspace
from gateway.meta.keyspace import HEAD_BYTES
from gateway.meta.kv import Row
from gateway.meta.records import ListingEntry, open_listing_page
from gateway.meta.sealing import RecordKeys
from gateway.model.action import Action
from gateway.model.bucket import Versioning
from gateway.model.errors import InvalidArgument
from gateway.model.names import BucketId
from gateway.objects.access_rules import rules_of
from gateway.objects.context import Context
from gateway.objects.target import current_bucket
from gateway.objects.tokens import AT_COMMON_PREFIX, AT_KEY, decode_token, encode_token
from gateway.objects.values import ListOptions, ListPage
from gateway.objects.walk import NOTHING_HERE, rolled_up

OPENED_AT_ONCE = 500  # rows, some 1.5 ms of work between turns of the event loop

_NOTHING = ListPage(
    entries=(), common_prefixes=(), is_truncated=False, next_after=None, next_token=None
)


class _Opening:
    """Opens rows by the page, each once: one by one they cost several times as much."""

    def __init__(self, keys: RecordKeys) -> None:
        self._keys = keys
        self._opened: dict[bytes, ListingEntry] = {}

    def objects_in(self, rows: list[Row]) -> list[Row]:
        """Those whose current version is no delete marker; they stay opened."""
        found = []
        for row, entry in zip(rows, open_listing_page(self._keys, rows), strict=True):
            if not entry.is_delete_marker:
                self._opened[row.key] = entry
                found.append(row)
        return found

    async def entries_of(self, rows: list[Row]) -> list[ListingEntry]:
        """What is listed of rows, which `objects_in` has given or never saw any of."""
        if self._opened:
            return [self._opened[row.key] for row in rows]
        entries: list[ListingEntry] = []
        for start_at in range(0, len(rows), OPENED_AT_ONCE):
            if start_at:
                await asyncio.sleep(0)  # other requests need not wait for the whole page
            entries += open_listing_page(self._keys, rows[start_at : start_at + OPENED_AT_ONCE])
        return entries


async def list_objects(ctx: Context, bucket: str, options: ListOptions) -> ListPage:
    """One page of a bucket.

    Raises: AccessDenied, NoSuchBucket, InvalidArgument (a token that is not ours, keys_max below
        0).
    """
    services = ctx.services
    opened = current_bucket(ctx, bucket, Action.LIST_BUCKET)
    held = opened.bucket
    bucket_id = held.bucket_id
    if options.keys_max < 0:
        raise InvalidArgument(message="max-keys cannot be negative")
    prefix = _bytes(options.prefix)
    start, end = keyspace.object_prefix_range(bucket_id, prefix)
    start = max(start, _start_after(bucket_id, options))
    if not options.keys_max or start >= end:
        return _NOTHING
    found: Sequence[Row | bytes]
    opening = _Opening(services.records)
    has_markers = held.versioning is not Versioning.OFF
    if options.delimiter or has_markers:
        walk = rolled_up(
            services.log.scan,
            start=start,
            end=end,
            name_of=_name_of,
            prefix_bytes=len(prefix),
            delimiter=_bytes(options.delimiter),
            visible=opening.objects_in if has_markers else None,
        )
        found = await _first(walk, options.keys_max + 1)
        is_truncated = len(found) > options.keys_max
        found = found[: options.keys_max]
        rows = [item for item in found if isinstance(item, Row)]
        prefixes = [item for item in found if not isinstance(item, Row)]
    else:
        rows = services.log.scan(start, end, limit=options.keys_max + 1)
        is_truncated = len(rows) > options.keys_max
        found = rows = rows[: options.keys_max]
        prefixes = []
    entries = await opening.entries_of(rows)
    next_after, next_token = _following(bucket_id, found[-1]) if is_truncated else (None, None)
    return ListPage(
        entries=tuple(entries),
        common_prefixes=tuple([prefix.decode("utf-8", "replace") for prefix in prefixes]),
        is_truncated=is_truncated,
        next_after=next_after,
        next_token=next_token,
        has_owners=rules_of(opened).has_acls and any(entry.owner_id for entry in entries),
    )


async def _first(walk: Iterable[Row | bytes], count: int) -> list[Row | bytes]:
    """The first items of a walk; other requests have their turns where it finds nothing."""
    found: list[Row | bytes] = []
    for item in walk:
        if item == NOTHING_HERE:
            await asyncio.sleep(0)
            continue
        found.append(item)
        if len(found) == count:
            break
    return found


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _name_of(row_key: bytes) -> bytes:
    return row_key[HEAD_BYTES:]


def _start_after(bucket: BucketId, options: ListOptions) -> bytes:
    """First row key that may be listed; b"" when everything may.

    A marker that ends with the delimiter is the common prefix of the page before: all below it has
    been answered.
    """
    if options.token is not None:
        kind, position = decode_token(bucket, options.token)
        if kind == AT_COMMON_PREFIX:
            return keyspace.after_common_prefix(bucket, position)
        return keyspace.after_object(bucket, position)
    if not options.after:
        return b""
    after = _bytes(options.after)
    rest = options.after[len(options.prefix) :]
    if (
        options.delimiter
        and options.after.startswith(options.prefix)
        and rest.find(options.delimiter) == len(rest) - len(options.delimiter) >= 0
    ):
        return keyspace.after_common_prefix(bucket, after)
    return keyspace.after_object(bucket, after)


def _following(bucket: BucketId, last: Row | bytes) -> tuple[str, str]:
    """Marker and token that go on behind the last item of a page."""
    if isinstance(last, Row):
        name, kind = last.key[HEAD_BYTES:], AT_KEY
    else:
        name, kind = last, AT_COMMON_PREFIX
    return name.decode("utf-8", "replace"), encode_token(bucket, kind, name)
