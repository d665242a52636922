"""What must go in the batch that removes a version or an upload: its rows, and its stripes' counts.

A version of thousands of parts cannot go in one batch. Then the batch leaves a garbage row that
names its part rows, and `collect_garbage` takes them away in bounded batches, so that every stripe
is counted down exactly once, whatever crashes in between. The same goes for annotations; a copy
that brings some writes such a row before them and drops it in the batch that makes its version.

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
INLINE_ANNOTATIONS_MAX = 32  # of one version: 10 µs each, and a request may delete 1,000 versions
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
    version, whole = stored.version, stored.layout
    has_annotations = version.attributes.annotations > 0
    stripes = () if whole is None else tuple(releases_of(whole))
    if not version.is_multipart and not has_annotations:
        return Parting((), stripes, ()) if stripes else NOTHING
    if version.attributes.annotations > INLINE_ANNOTATIONS_MAX:
        later = part_later(services, bucket, version.object_uuid, (), with_annotations=True)
        return Parting(later.writes, stripes, ())
    gone = part_from_parts(
        services, bucket, version.object_uuid, (), with_annotations=has_annotations
    )
    return Parting(gone.writes, stripes + gone.stripes, gone.checks)


def part_from_parts(
    services: Services,
    bucket: BucketId,
    uuid: ObjectUuid,
    keep: Sequence[PartRun],
    *,
    with_annotations: bool = False,
) -> Parting:
    """Take away the parts of an object or upload, but those in `keep`. Raises RowCorrupt.

    Args:
        with_annotations: and all annotations.
    """
    writes: list[Write] = []
    stripes: list[StripeChange] = []
    checks: list[Check] = []
    for row in _rows_under(services, bucket, uuid, _numbers(keep), with_annotations):
        layout = open_stored_bytes(services.records, row.key, row.value).layout
        if layout is None:
            continue
        if len(stripes) + len(writes) + stripe_count(layout) > INLINE_STRIPES_MAX:
            return part_later(services, bucket, uuid, keep, with_annotations=with_annotations)
        writes.append(Write(row.key, None))
        stripes.extend(releases_of(layout))
        checks.append(Check(row.key, revision_of(row.value)))
    return Parting(tuple(writes), tuple(stripes), tuple(checks))


def _numbers(keep: Sequence[PartRun]) -> set[int]:
    return {run.first + offset for run in keep for offset in range(run.count)}


def _rows_under(
    services: Services,
    bucket: BucketId,
    uuid: ObjectUuid,
    kept: set[int],
    with_annotations: bool,
) -> Iterator[Row]:
    """Rows under an object's uuid, but those of the parts in `kept`."""
    for row in _rows(services, keyspace.part_range(bucket, uuid)):
        if keyspace.parse_part(row.key)[2] not in kept:
            yield row
    if with_annotations:
        yield from _rows(services, keyspace.annotation_range(bucket, uuid))


def _rows(services: Services, within: keyspace.Range) -> Iterator[Row]:
    start, end = within
    while True:
        rows = services.log.scan(start, end, limit=PAGE_ROWS)
        yield from rows
        if len(rows) < PAGE_ROWS:
            return
        start = keyspace.after(rows[-1].key)


def part_later(
    services: Services,
    bucket: BucketId,
    uuid: ObjectUuid,
    keep: Sequence[PartRun],
    *,
    with_annotations: bool = False,
    is_open: bool = False,
) -> Parting:
    """As part_from_parts, by a garbage row.

    Args:
        is_open: more rows may come until the garbage row changes, which whoever writes one checks.
    """
    row_key = keyspace.garbage_row(bucket, uuid)
    document: dict[str, object] = {"keep": [[run.first, run.count] for run in keep]}
    if with_annotations:
        document["annotations"] = True
    if is_open:
        document["open"] = True
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
    """Take away rows that garbage rows name, at most `rows_max` in this call. What a copy is still
    writing is left alone.

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
        if keyspace.parse_garbage(rows[0].key)[1] in services.in_the_making:
            start = keyspace.after(rows[0].key)
            continue
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
    if document.pop("open", False):
        # What a copy that has ended may still commit is refused from here on, so it is all there
        # to be seen the next time.
        value = seal_document(services.records, services.nonces, garbage.key, document)
        await _commit(services, bucket, checks, [Write(garbage.key, value)], ())
        return 1
    writes: list[Write] = []
    stripes: list[StripeChange] = []
    finished = True
    with_annotations = bool(document.get("annotations"))
    for row in _rows_under(services, bucket, uuid, kept, with_annotations):
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
    await _commit(services, bucket, checks, writes, stripes)
    return len(writes)


async def _commit(
    services: Services,
    bucket: BucketId,
    checks: Sequence[Check],
    writes: Sequence[Write],
    stripes: Sequence[StripeChange],
) -> None:
    batch = Batch(
        partition=bucket,
        request_id=services.env.random_bytes(16),
        checks=tuple(checks),
        writes=tuple(writes),
    )
    await services.log.commit_change(Change(batch=batch, stripes=tuple(stripes)))
