"""A page of a bucket's rows for the job `rotation`: what is under an older epoch of the bucket's
key, and how it is written under the newest.

Not for writing it. Nothing is changed here, so a page may be made while the one before is being
written; each of its rows is written only if it still is what was read.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.jobs import rotation_pace
from gateway.meta import keyspace
from gateway.meta.kv import Check, Row, Write, revision_of
from gateway.meta.rotations import Rotation
from gateway.meta.sealing import not_under
from gateway.model.errors import KmsKeyDestroyed
from gateway.model.names import BucketId
from gateway.objects.context import Services
from gateway.objects.rewrapping import FAMILIES, RowsUnderWay
from storaged.base.errors import StorageError

logger = logging.getLogger(__name__)

PAGE_BYTES_MAX = 2 * 1024 * 1024  # of rows in one change
LOOKED_AT_ROWS = 500  # for each page at least: the most of a pass may have nothing to be written

_FAMILY_ORDER = tuple(FAMILIES)


@dataclass(slots=True)
class Rewrites:
    """Rows under an older epoch, and how they are written under the newest.

    Attributes:
        unreadable: how many of them stay where they are.
        counts: the others by what they are.
    """

    old: Sequence[Row]
    writes: list[Write]
    checks: list[Check]
    counts: Counter[str]
    unreadable: int


@dataclass(slots=True)
class Page:
    """Rows from a place of a rotation on.

    Attributes:
        begins: that place, see `place_of`.
        at: where the next page begins, hexadecimal.
        is_last: of its family.
        old: those of its rows that are under an older epoch.
        rewrites: None while rows are only counted.
    """

    begins: tuple[object, ...]
    at: str
    is_last: bool
    old: Sequence[Row]
    rewrites: Rewrites | None


def place_of(current: Rotation) -> tuple[object, ...]:
    """Where a rotation is: of which key, in which pass, at which row."""
    return current.kind, current.owner, current.epoch, current.number, current.family, current.at


async def read_page(services: Services, current: Rotation) -> Page:
    """The page at which a bucket's rotation is. Raises: as the index, and what the bucket's keys
    raise.
    """
    bucket = BucketId(bytes.fromhex(current.owner))
    start, end = keyspace.family_range(_FAMILY_ORDER[current.family], bucket)
    start = bytes.fromhex(current.at) or start
    written_max = rotation_pace.page_rows(services, current.rows_per_s)
    limit = max(LOOKED_AT_ROWS, written_max)
    rows = services.log.scan(start, end, limit=limit)
    old, is_cut = not_under(current.epoch, rows), False
    if current.number:
        old, is_cut = _in_one_change(old, written_max)
    at = current.at
    if rows:
        at = keyspace.after((old[-1] if is_cut else rows[-1]).key).hex()
    rewrites = None
    if current.number and old:
        rewrites = await rewritten(services, bucket, current.epoch, old)
    return Page(place_of(current), at, len(rows) < limit and not is_cut, old, rewrites)


async def rewritten(
    services: Services, bucket: BucketId, epoch: int, old: Sequence[Row]
) -> Rewrites:
    """Rows under another epoch. Raises: what the bucket's keys raise, but for what makes a row
    stay.
    """
    found = Rewrites(old, [], [], Counter(), 0)
    for row, value in zip(old, await _values_of(services, bucket, epoch, old), strict=True):
        if isinstance(value, StorageError):
            if not isinstance(value, KmsKeyDestroyed):
                logger.error("row %s stays under an older key: %s", row.key[:64].hex(), value)
            found.unreadable += 1
            continue
        found.writes.append(Write(row.key, value, keeps_counts=True))
        found.checks.append(Check(row.key, revision_of(row.value)))
        found.counts[FAMILIES[row.key[:1]]] += 1
    return found


async def _values_of(
    services: Services, bucket: BucketId, epoch: int, old: Sequence[Row]
) -> list[bytes | StorageError]:
    """Values under another epoch, or why there is none. Raises: as rewritten."""
    is_shared = rotation_pace.is_shared(services)
    one_call = rotation_pace.call_rows(services)
    if is_shared or not services.bucket_keys.is_remote:
        one_call = min(one_call, rotation_pace.TURN_ROWS)
        values: list[bytes | StorageError] = []
        for at in range(0, len(old), one_call):
            values += await _values_of_part(services, bucket, epoch, old[at : at + one_call])
        return values
    # While one part is with the key service the next one is opened here.
    parts = [old[at : at + one_call] for at in range(0, len(old), one_call)]
    ended = await asyncio.gather(
        *(_values_of_part(services, bucket, epoch, part) for part in parts),
        return_exceptions=True,
    )
    values = []
    for one in ended:
        if isinstance(one, BaseException):
            raise one
        values += one
    return values


async def _values_of_part(
    services: Services, bucket: BucketId, epoch: int, part: Sequence[Row]
) -> list[bytes | StorageError]:
    keys = services.bucket_keys
    under_way = RowsUnderWay(services, bucket, epoch)
    for at in range(0, len(part), rotation_pace.TURN_ROWS):
        if keys.is_cold(bucket):
            await keys.warm(bucket)
        under_way.open(part[at : at + rotation_pace.TURN_ROWS])
        await rotation_pace.turn(services)
    for run in under_way.runs:
        under_way.seal(run, await keys.apart(run.resealed, is_long=True))
    return under_way.values


def _in_one_change(old: list[Row], rows_max: int) -> tuple[list[Row], bool]:
    """The first of these rows, as many as one change takes; whether those are not all."""
    held_bytes = 0
    for count, row in enumerate(old):
        held_bytes += len(row.value)
        if count == rows_max or (count and held_bytes > PAGE_BYTES_MAX):
            return old[:count], True
    return old, False
