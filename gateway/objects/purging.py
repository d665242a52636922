"""Rows that nothing opens any longer, taken away by their cluster part: their space is freed,
and listings of the bucket work again.

Not for destroying keys (`gateway.objects.key_epochs`). Two ways: what is under destroyed epochs of
a bucket's key (`purge_destroyed`), and all of a bucket whose keys are destroyed (`purge_bucket`).
The stripes of a version are counted down in the very batch that takes its row; its parts and
annotations go by a garbage row, as always. Each page is a change of its own, so a crash loses
nothing and nothing is counted down twice.

Invariants: D2, D3 (see `gateway.objects.parting`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gateway.commit.change import Change, StripeChange
from gateway.meta import bucket_key_rows, keyspace
from gateway.meta import buckets as bucket_rows
from gateway.meta.kv import Batch, BatchConflict, Check, Row, Write, revision_of
from gateway.meta.records import open_stored_bytes, open_version, seal_version
from gateway.meta.sealing import key_epoch_of
from gateway.meta.usage import unpack_slots, usage_of
from gateway.model.errors import KmsKeyDestroyed
from gateway.model.key_states import KeyState
from gateway.model.names import NULL_VERSION, BucketId
from gateway.objects.buckets import finish_deletions
from gateway.objects.context import Services
from gateway.objects.parting import part_later
from gateway.objects.releases import releases_of, stripe_count
from gateway.objects.rewrapping import rewrapped_version

PAGE_ROWS = 200
STRIPES_MAX = 2048  # of one change, but for a version that has more by itself
VERSIONS = {
    keyspace.NONCURRENT: "noncurrent",
    keyspace.CURRENT: "current",
    keyspace.UPLOAD: "uploads",
}
LOOSE = {keyspace.PART: "parts", keyspace.ANNOTATION: "annotations"}
QUEUED = (*keyspace.QUEUES, keyspace.BUCKET_DOCUMENT)


def held_in(services: Services, bucket: BucketId) -> tuple[int, int]:
    """Versions of a bucket, and their bytes."""
    usage = services.quotas.usage
    if usage is not None:
        entry = usage.usage_entry(bucket)
        held = usage_of(unpack_slots(entry)) if entry is not None else None
        return (0, 0) if held is None else (held.objects, held.stored_bytes)
    count = size = 0
    for family in (keyspace.CURRENT, keyspace.NONCURRENT):
        for row in _rows(services, *keyspace.family_range(family, bucket)):
            count += 1
            size += open_stored_bytes(services.records, row.key, row.value).plain_bytes
    return count, size


def destroyed_epochs(services: Services, bucket: BucketId) -> set[int]:
    """Epochs of a bucket's key that nothing can be opened with any more: they were destroyed, or
    what they are wrapped under was. Raises: RowCorrupt.
    """
    found = set()
    provider = services.bucket_keys.provider
    for key in bucket_key_rows.scan_bucket_keys(services.log, services.records, bucket):
        gone = {
            about.epoch
            for about in provider.tenant_epochs(key.tenant)
            if about.state is KeyState.DESTROYED
        }
        if key.about.state is KeyState.DESTROYED or key.tenant_epoch in gone:
            found.add(key.about.epoch)
    return found


async def count_destroyed(services: Services, bucket: BucketId) -> Counter[str]:
    """What is under destroyed epochs of a bucket's key, by what it is."""
    epochs, found = destroyed_epochs(services, bucket), Counter[str]()
    for family, name in ({**VERSIONS, **LOOSE} if epochs else {}).items():
        for number, row in enumerate(_rows(services, *keyspace.family_range(family, bucket))):
            found[name] += key_epoch_of(row.value) in epochs
            if number % PAGE_ROWS == 0:
                await services.env.sleep(0)
    return +found


async def purge_destroyed(services: Services, bucket: BucketId) -> Counter[str]:
    """Take away what is under destroyed epochs of a bucket's key; rows by what they were.

    Where an older version of a key can still be read, it becomes the current one. Resumable: what
    is left is taken by the next call. Raises: RowCorrupt, as the log.
    """
    epochs, taken = destroyed_epochs(services, bucket), Counter[str]()
    for family, name in (VERSIONS if epochs else {}).items():
        start, end = keyspace.family_range(family, bucket)
        while rows := services.log.scan(start, end, limit=PAGE_ROWS):
            start = keyspace.after(rows[-1].key)
            lost = [row for row in rows if key_epoch_of(row.value) in epochs]
            taken[name] += await _take(services, bucket, lost)
            await services.env.sleep(0)
    return +taken


async def purge_bucket(services: Services, bucket: BucketId) -> Counter[str]:
    """Take away a page of all that a bucket holds; empty once nothing is left. The keys of the
    bucket must be destroyed, so that nothing is added. Raises: RowCorrupt, as the log.
    """
    for family, name in {**VERSIONS, **LOOSE}.items():
        rows = services.log.scan(*keyspace.family_range(family, bucket), limit=PAGE_ROWS)
        if rows:
            return Counter({name: await _take(services, bucket, rows)})
    for family in QUEUED:
        rows = services.log.scan(*keyspace.family_range(family, bucket), limit=PAGE_ROWS)
        if rows:
            await _commit(services, bucket, (), [Write(row.key, None) for row in rows], ())
            return Counter({"queued": len(rows)})
    return Counter()


async def drop_bucket(services: Services, bucket: BucketId) -> None:
    """Take away the rows of an empty bucket itself. Idempotent. Raises: as the log."""
    stored = bucket_rows.read_bucket(services.log, services.records, bucket)
    if stored is not None:
        request_id = services.env.random_bytes(16)
        batch = bucket_rows.close_batch(services.records, services.nonces, stored, request_id)
        try:
            await services.log.commit_change(Change(batch=batch))
        finally:
            services.buckets.forget(stored.bucket.name)
    await finish_deletions(services)
    services.bucket_keys.forget(bucket)


async def _take(services: Services, bucket: BucketId, rows: Sequence[Row]) -> int:
    """Take rows away in changes of bounded size; one that has changed meanwhile is left to the next
    look.
    """
    taken = 0
    checks: list[Check] = []
    writes: list[Write] = []
    stripes: list[StripeChange] = []
    names = 0

    async def flush() -> None:
        nonlocal taken, names
        if names:
            try:
                await _commit(services, bucket, checks, writes, stripes)
                taken += names
            except BatchConflict:
                await services.env.sleep(0)
        names = 0
        for held in (checks, writes, stripes):
            held.clear()

    for row in rows:
        stored = open_stored_bytes(services.records, row.key, row.value)
        count = 0 if stored.layout is None else stripe_count(stored.layout)
        if stripes and len(stripes) + count > STRIPES_MAX:
            await flush()
        instead = _in_place_of(services, bucket, row, checks)
        if instead is None:
            continue
        names += 1
        checks.append(Check(row.key, revision_of(row.value)))
        writes += instead
        if stored.layout is not None:
            stripes += releases_of(stored.layout)
        if row.key[:1] in VERSIONS:
            writes += part_later(
                services, bucket, stored.object_uuid, (), with_annotations=True
            ).writes
    await flush()
    return taken


def _in_place_of(
    services: Services, bucket: BucketId, row: Row, checks: list[Check]
) -> list[Write] | None:
    """What is written where a row was: a current version's heir, if there is one. None: it has to
    wait, for a version that has not been taken yet is in the way.

    Raises: what the heir's key raises, unless it was destroyed.
    """
    if row.key[:1] != keyspace.CURRENT:
        return [Write(row.key, None)]
    _, key = keyspace.parse_current(row.key)
    stored = bucket_rows.read_bucket(services.log, services.records, bucket)
    older = list(_rows(services, *keyspace.noncurrent_range(bucket, key)))
    if not older:
        return [Write(row.key, None)]
    try:
        versions = [open_version(services.records, one.key, one.value) for one in older]
    except KmsKeyDestroyed:
        return None
    heir = versions[0]
    nulls = [one.version.sequence for one in versions if one.version.version_id == NULL_VERSION]
    is_null = heir.version.version_id == NULL_VERSION
    attributes = replace(
        heir.version.attributes,
        noncurrent_since_ms=0,
        null_sequence=0 if is_null or not nulls else nulls[0],
    )
    promoted = replace(heir.version, attributes=attributes)
    if stored is not None:
        promoted = rewrapped_version(services, stored.bucket, key, promoted, is_promoted=True)
    value = seal_version(services.records, services.nonces, row.key, promoted, heir.layout)
    checks.append(Check(older[0].key, heir.revision))
    return [Write(row.key, value), Write(older[0].key, None)]


def _rows(services: Services, start: bytes, end: bytes) -> Iterator[Row]:
    while rows := services.log.scan(start, end, limit=PAGE_ROWS):
        yield from rows
        start = keyspace.after(rows[-1].key)


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
