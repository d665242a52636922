"""Tells a tenant's journal what was metered: each hour that is over once, and that it is closed.

Not for when (`gateway.jobs.usage_journal`). Rows of hours are the source, the journal is what they
are told to. A journal and a log are not written in one transaction, so what was told is read from
the journal's end after a start or a failure, and only the rest is told: an hour is never told
twice, nor left out, wherever a process dies.

Source: docs/metering.md, "From the journal"; docs/decisions/0006-usage-in-the-journal.md.
Requirement: A-16.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.commit.change import Change
from gateway.journal.events import Event, read_line
from gateway.journal.journal import Journal
from gateway.journal.shelf import LOGS
from gateway.journal.store import read_lines
from gateway.journal.usage import (
    CLOSED,
    FIRST,
    HOUR,
    PLAN,
    Closing,
    ToldHour,
    closed_event,
    digest_of,
    hour_event,
    plan_event,
    read_closing,
    read_hour,
    read_plan,
)
from gateway.meta import hours as hour_rows
from gateway.meta import keyspace, told_rows
from gateway.meta.kv import Batch, Exists, Write
from gateway.meta.told_rows import ToldBucket, ToldTenant
from gateway.model.names import BucketId, TenantId
from gateway.objects import limits_set
from gateway.objects.context import Services

EVENTS_AT_ONCE = 500  # that wait for one sync together
ROWS_AT_ONCE = 500


class _Found:
    """What a journal's end tells beyond the rows."""

    def __init__(self, told: ToldTenant) -> None:
        self.told = told
        self.unclosed = 0
        self.buckets: dict[BucketId, ToldBucket] = {}

    def take(self, line: bytes, seq: int) -> None:
        """See a line of an event about usage. Raises: EntryInvalid, UsageEventInvalid."""
        entry = read_line(line, seq)
        if entry.type == HOUR:
            told = read_hour(entry)
            self.unclosed += 1
            self.buckets[BucketId(bytes.fromhex(told.bucket_id))] = ToldBucket(
                hour=told.hour.number, revision=told.revision, digest=digest_of(told.hour)
            )
        elif entry.type == PLAN:
            self.told = replace(self.told, plan_hour=read_plan(entry).since_hour)
        elif entry.type == CLOSED:
            self.told = replace(self.told, hour=read_closing(entry).hour)
            self.unclosed = 0


async def close_hours(
    services: Services,
    journal: Journal,
    tenant: TenantId,
    before: int,
    touched: Iterable[BucketId] | None,
    *,
    from_hour: int,
) -> int | None:
    """Tell a tenant's journal all that is over, and that it is; how many hours were told. None: the
    journal is ahead of the clock, and its end is to be read by the next call too.

    Args:
        before: the first hour that is not over; rows of earlier ones are all written.
        touched: buckets of which there is something to tell; None: not known, so all that have
            hours, and the end of the journal is read first.
        from_hour: where a journal begins that was told nothing.

    Idempotent, also where an earlier call has failed anywhere. One call for a tenant at a time.
    Raises: JournalUnavailable, RowCorrupt, BatchConflict (the tenant is gone), as the log.
    """
    log, records = services.log, services.records
    told = told_rows.read_told_tenant(log, records, tenant)
    if told is None:
        seq = await journal.size(tenant.hex())
        told = ToldTenant(seq=seq, hour=FIRST, from_hour=from_hour, plan_hour=FIRST)
        await _keep(services, tenant, told, {})
        touched = None
    found = _Found(told)
    if touched is None:
        size = await journal.size(tenant.hex())
        await _read_end(journal, tenant, told.seq, size, found)
        touched = [one for _, one in hour_rows.metered_buckets(log, tenant)]
        if found.told.hour >= before - 1 and not found.unclosed:
            await _keep(services, tenant, replace(found.told, seq=size), found.buckets)
    if found.told.hour >= before - 1:
        return None if found.unclosed else 0
    events: list[Event] = []
    for bucket in touched:
        _tell_bucket(services, tenant, bucket, before, found, events)
        await _give_way(services, journal, tenant, events)
    _tell_plans(services, tenant, before, found, events)
    await _record(journal, tenant, events)
    closing = Closing(
        hour=before - 1,
        previous=found.told.hour,
        from_hour=found.told.from_hour,
        hours=found.unclosed,
    )
    await _record(journal, tenant, [closed_event(services.env.now_ms(), closing)])
    size = await journal.size(tenant.hex())
    await _keep(services, tenant, replace(found.told, seq=size, hour=before - 1), found.buckets)
    return found.unclosed


async def _read_end(
    journal: Journal, tenant: TenantId, first: int, size: int, found: _Found
) -> None:
    """Take what the journal has from an event on. Behind its `size` stands what a failed write has
    left, and is to be cut away.
    """
    folder = journal.folder / LOGS / tenant.hex()

    def read() -> None:
        for seq, line in enumerate(read_lines(folder, first, size - first), first):
            if b'"type":"usage.' in line and line.endswith(b"\n"):
                found.take(line, seq)

    await journal.env.offload(read)


def _tell_bucket(
    services: Services,
    tenant: TenantId,
    bucket: BucketId,
    before: int,
    found: _Found,
    events: list[Event],
) -> None:
    """Events of the hours of a bucket that were not told, or not as they are."""
    log, records = services.log, services.records
    last = found.buckets.get(bucket) or told_rows.read_told_bucket(log, records, tenant, bucket)
    first = found.told.from_hour if last is None else last.hour + 1
    for hour in hour_rows.hours_between(log, records, tenant, bucket, first, before):
        digest, revision = digest_of(hour), 0
        if last is not None and hour.number <= last.hour:
            if hour.number < last.hour or digest == last.digest:
                continue
            revision = last.revision + 1
        told = ToldHour(
            bucket_id=bucket.hex(),
            hour=hour,
            previous=FIRST if last is None else last.hour,
            revision=revision,
        )
        events.append(hour_event(services.env.now_ms(), told))
        last = ToldBucket(hour=hour.number, revision=revision, digest=digest)
        found.buckets[bucket] = last
        found.unclosed += 1


def _tell_plans(
    services: Services, tenant: TenantId, before: int, found: _Found, events: list[Event]
) -> None:
    for change in limits_set.plan_changes(services, tenant):
        if found.told.plan_hour < change.since_hour < before:
            events.append(plan_event(services.env.now_ms(), change))
            found.told = replace(found.told, plan_hour=change.since_hour)


async def _give_way(
    services: Services, journal: Journal, tenant: TenantId, events: list[Event]
) -> None:
    if len(events) >= EVENTS_AT_ONCE:
        await _record(journal, tenant, events)
        events.clear()
    await services.env.sleep(0)


async def _record(journal: Journal, tenant: TenantId, events: Sequence[Event]) -> None:
    """Put events into the tenant's log, those of a bucket in their order. Raises:
    JournalUnavailable.
    """
    wave: dict[object, Event] = {}
    for event in events:
        # One that fails must not be followed by a later one of its bucket: that is where the next
        # call goes on. Those of different buckets share a sync.
        about = event.body.get("bucket_id")
        if about is None or about in wave or len(wave) >= EVENTS_AT_ONCE:
            await _record_wave(journal, tenant, list(wave.values()))
            wave.clear()
        wave[about] = event
    await _record_wave(journal, tenant, list(wave.values()))


async def _record_wave(journal: Journal, tenant: TenantId, events: Sequence[Event]) -> None:
    results = await asyncio.gather(
        *(journal.record(tenant.hex(), event) for event in events), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _keep(
    services: Services,
    tenant: TenantId,
    told: ToldTenant,
    buckets: dict[BucketId, ToldBucket],
) -> None:
    """Write what was told; the tenant's row last, for by it the journal's end is read again.

    Raises: BatchConflict: the tenant is gone.
    """
    records, nonces = services.records, services.nonces
    writes: list[Write] = [
        told_rows.set_told_bucket(records, nonces, tenant, bucket, one)
        for bucket, one in buckets.items()
    ]
    writes.append(told_rows.set_told_tenant(records, nonces, tenant, told))
    for at in range(0, len(writes), ROWS_AT_ONCE):
        batch = Batch(
            partition=keyspace.CLUSTER_PARTITION,
            request_id=services.env.random_bytes(16),
            checks=(Exists(keyspace.tenant_row(tenant)),),
            writes=tuple(writes[at : at + ROWS_AT_ONCE]),
        )
        await services.log.commit_change(Change(batch=batch))
