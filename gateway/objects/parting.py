"""What must go in the batch that removes a version or an upload: its rows, and its stripes' counts.

A version of thousands of parts cannot go in one batch. Then the batch leaves a garbage row that
names its part rows, and `collect_garbage` takes them away in bounded batches, so that every stripe
is counted down exactly once, whatever crashes in between.

Invariants: D2, D3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from gateway.commit.change import Change, StripeChange
from gateway.meta import keyspace
from gateway.meta.kv import Batch, BatchConflict, Check, Row, Write, revision_of
from gateway.meta.records import (
    StoredVersion,
    open_document,
    open_stored_bytes,
    seal_document,
)
from gateway.model.names import BucketId, ObjectUuid
from gateway.model.version import PartRun
from gateway.objects.context import Services
from gateway.objects.releases import releases_of, stripe_count

INLINE_STRIPES_MAX = 2048  # rows of one batch: about 600 KiB of records
PAGE_ROWS = 500


class Parting(NamedTuple):
    """Writes and stripe changes that take something away.

    `checks`: the rows are what was read, so that nobody else counts their stripes down as well:
    neither a second delete nor a compaction that moves their bytes.
    """

    writes: tuple[Write, ...]
    stripes: tuple[StripeChange, ...]
    checks: tuple[Check, ...]


NOTHING = Parting((), (), ())


def part_from_version(services: Services, bucket: BucketId, stored: StoredVersion) -> Parting:
    """Take away the bytes of a version; its own row, and the check on it, are the caller's."""
    if stored.layout is not None:
        return Parting((), tuple(releases_of(stored.layout)), ())
    if stored.version.is_multipart:
        return part_from_parts(services, bucket, stored.version.object_uuid, ())
    return NOTHING


def part_from_parts(
    services: Services, bucket: BucketId, uuid: ObjectUuid, keep: Sequence[PartRun]
) -> Parting:
    """Take away the parts of an object or upload, but those in `keep`. Raises RowCorrupt."""
    kept = _numbers(keep)
    writes: list[Write] = []
    stripes: list[StripeChange] = []
    checks: list[Check] = []
    for row in _part_rows(services, bucket, uuid):
        if keyspace.parse_part(row.key)[2] in kept:
            continue
        layout = open_stored_bytes(services.records, row.key, row.value).layout
        if layout is None:
            continue
        if len(stripes) + len(writes) + stripe_count(layout) > INLINE_STRIPES_MAX:
            return part_later(services, bucket, uuid, keep)
        writes.append(Write(row.key, None))
        stripes.extend(releases_of(layout))
        checks.append(Check(row.key, revision_of(row.value)))
    return Parting(tuple(writes), tuple(stripes), tuple(checks))


def _numbers(keep: Sequence[PartRun]) -> set[int]:
    return {run.first + offset for run in keep for offset in range(run.count)}


def _part_rows(services: Services, bucket: BucketId, uuid: ObjectUuid) -> Iterator[Row]:
    start, end = keyspace.part_range(bucket, uuid)
    while True:
        rows = services.log.scan(start, end, limit=PAGE_ROWS)
        yield from rows
        if len(rows) < PAGE_ROWS:
            return
        start = keyspace.after(rows[-1].key)


def part_later(
    services: Services, bucket: BucketId, uuid: ObjectUuid, keep: Sequence[PartRun]
) -> Parting:
    """Take away the parts of an object or upload, but those in `keep`, by a garbage row."""
    row_key = keyspace.garbage_row(bucket, uuid)
    document = {"keep": [[run.first, run.count] for run in keep]}
    value = seal_document(services.records, services.nonces, row_key, document)
    return Parting((Write(row_key, value),), (), ())


async def collect_object(services: Services, bucket: BucketId, uuid: ObjectUuid) -> None:
    """Take away what the garbage row of one object names, as far as one batch goes.

    What it leaves, and what it finds changed, is left to `collect_garbage`.
    """
    row_key = keyspace.garbage_row(bucket, uuid)
    value = services.log.read((row_key,))[0]
    if value is None:
        return
    with suppress(BatchConflict):
        await _collect(services, Row(row_key, value))


async def collect_garbage(services: Services, *, rows_max: int) -> int:
    """Take away part rows that garbage rows name, at most `rows_max` in this call.

    Returns:
        Rows taken away; 0 when no garbage is left.

    Raises: RowCorrupt, and what the log raises. A conflict ends the call: the next one goes on.
    """
    start, end = keyspace.garbage_range()
    taken = 0
    while taken < rows_max:
        rows = services.log.scan(start, end, limit=1)
        if not rows:
            break
        try:
            taken += await _collect(services, rows[0])
        except BatchConflict:
            break
    return taken


async def _collect(services: Services, garbage: Row) -> int:
    bucket, uuid = keyspace.parse_garbage(garbage.key)
    document = open_document(services.records, garbage.key, garbage.value)
    kept = _numbers(
        [PartRun(first=first, count=count, plain_bytes=0) for first, count in document["keep"]]
    )
    checks = [Check(garbage.key, revision_of(garbage.value))]
    writes: list[Write] = []
    stripes: list[StripeChange] = []
    finished = True
    for row in _part_rows(services, bucket, uuid):
        if keyspace.parse_part(row.key)[2] in kept:
            continue
        layout = open_stored_bytes(services.records, row.key, row.value).layout
        if layout is not None:
            if writes and len(stripes) + stripe_count(layout) > INLINE_STRIPES_MAX:
                finished = False
                break
            stripes.extend(releases_of(layout))
        checks.append(Check(row.key, revision_of(row.value)))
        writes.append(Write(row.key, None))
    if finished:
        writes.append(Write(garbage.key, None))
    batch = Batch(
        partition=bucket,
        request_id=services.env.random_bytes(16),
        checks=tuple(checks),
        writes=tuple(writes),
    )
    await services.log.commit_change(Change(batch=batch, stripes=tuple(stripes)))
    return len(writes)
