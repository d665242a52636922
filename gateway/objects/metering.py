"""The meter: integrates what buckets hold from the moves of their counts, and counts requests and
bytes, an hour at a time.

Not for prices (`gateway.model.billing`) nor for when rows are written (`gateway.jobs.metering`).
What happened since the last flush is in memory; a crash loses it, and what was held meanwhile is
metered at the lower of the levels before and after, so nothing is billed that was not there. Time
is the monotonic clock, anchored at the start to the wall clock, so a wall clock that is set does
not make hours.

Source: docs/metering.md, "What a crash may lose".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from gateway.commit.change import Change
from gateway.meta import buckets as bucket_rows
from gateway.meta import hours as hour_rows
from gateway.meta import keyspace
from gateway.meta.kv import Batch, MetaStore, Write
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.meta.usage import Moves, unpack_slots, usage_of
from gateway.model.billing import ANNOTATIONS, HOUR_MS, LOOSE, Hour, Metered
from gateway.model.names import BucketId, TenantId
from gateway.objects.context import CommitLog
from gateway.objects.quotas import UsageSource
from storaged.base.env import Env
from storaged.base.errors import StorageError

logger = logging.getLogger(__name__)

BATCH_ROWS = 500
IDLE_MAX = 100_000  # buckets of which nothing is to be written that are kept ready, 1 KiB each

_KIND_OF_PREFIX = (
    ("List", "list"),
    ("Get", "read"),
    ("Head", "read"),
    ("Select", "read"),
    ("Delete", "delete"),
    ("Abort", "delete"),
)


@lru_cache(maxsize=512)
def kind_of(operation: str) -> str:
    """One of REQUEST_KINDS, by S3's name of an operation."""
    for prefix, kind in _KIND_OF_PREFIX:
        if operation.startswith(prefix):
            return kind
    return "write"


class _Running:
    """The hour of a bucket that is under way."""

    __slots__ = ("bucket", "in_hour", "is_dirty", "levels", "name", "number", "since_ms", "tenant")

    def __init__(self, tenant: TenantId, bucket: BucketId, name: str, now_ms: int) -> None:
        self.tenant = tenant
        self.bucket = bucket
        self.name = name
        self.number = now_ms // HOUR_MS
        self.since_ms = now_ms
        self.levels: Mapping[str, int] = {}
        self.in_hour = Metered()
        self.is_dirty = False

    def hour(self) -> Hour:
        """As a row says it."""
        held = self.in_hour
        return Hour(
            number=self.number,
            name=self.name,
            until_ms=self.since_ms,
            levels=dict(self.levels),
            byte_ms=dict(held.byte_ms),
            requests=dict(held.requests),
            in_bytes=held.in_bytes,
            out_bytes=held.out_bytes,
        )


class Meter:
    """See the module.

    Args:
        store: read past the log's view, as its listeners run inside a commit.
    """

    def __init__(
        self,
        *,
        log: CommitLog,
        store: MetaStore,
        usage: UsageSource,
        records: RecordKeys,
        nonces: NonceSource,
        env: Env,
    ) -> None:
        self._log = log
        self._store = store
        self._usage = usage
        self._records = records
        self._nonces = nonces
        self._env = env
        self._wall_ms = env.now_ms()
        self._anchor_s = env.monotonic_s()
        self._running: dict[bytes, _Running] = {}
        self._ended: dict[tuple[bytes, int], tuple[_Running, Hour]] = {}
        self._flushing = asyncio.Lock()
        self._written: dict[TenantId, set[BucketId]] = {}
        self.flushed_at_ms = 0

    def now_ms(self) -> int:
        """The meter's time."""
        return self._wall_ms + int((self._env.monotonic_s() - self._anchor_s) * 1000)

    def follow(self, counts: Mapping[bytes, tuple[Moves, bytes | None]]) -> None:
        """Take in what a transaction has moved: levels change from here on."""
        now_ms = self.now_ms()
        for bucket, (moves, kept) in counts.items():
            running = self._running.get(bucket)
            if running is None:
                running = self._begin(bucket, _levels_before(kept, moves), now_ms)
                if running is None:
                    continue
            self._advance(running, now_ms)
            running.levels = levels_of(kept)
            running.is_dirty = True

    def request(self, bucket: BucketId, operation: str, in_bytes: int, out_bytes: int) -> None:
        """Count a request that was answered without an error."""
        now_ms = self.now_ms()
        running = self._running.get(bucket)
        if running is None:
            running = self._begin(bucket, levels_of(self._usage.usage_entry(bucket)), now_ms)
            if running is None:
                return
        if now_ms // HOUR_MS != running.number:
            self._advance(running, now_ms)
        held = running.in_hour
        kind = kind_of(operation)
        held.requests[kind] = held.requests.get(kind, 0) + 1
        held.in_bytes += in_bytes
        held.out_bytes += out_bytes
        running.is_dirty = True

    def reconcile(self, buckets: Iterable[bytes]) -> None:
        """Begin the buckets whose last hour does not say what they hold: a crash has lost the
        change. For the start.
        """
        now_ms = self.now_ms()
        for bucket in buckets:
            if bucket in self._running:
                continue
            levels = levels_of(self._usage.usage_entry(bucket))
            running = self._begin(bucket, levels, now_ms)
            if running is None:
                continue
            if running.is_dirty:
                self._advance(running, now_ms)
            else:
                del self._running[bucket]

    def end_of(self, tenant: TenantId, bucket: BucketId) -> None:
        """A bucket that has hours and is gone holds nothing from here on. For the start."""
        hour = hour_rows.last_hour(self._store, self._records, tenant, bucket)
        if hour is None or not hour.levels or bucket in self._running:
            return
        gone = replace(hour, levels={})
        running = _Running(tenant, bucket, hour.name, hour.until_ms)
        self._ended[bucket, hour.number] = (running, gone)

    async def flush(self) -> int:
        """Write what has changed; returns how many rows. Raises what the log raises: then, and when
        cancelled, it is all still to be written. One at a time: a row must not be set back to what
        it was.
        """
        async with self._flushing:
            return await self._flush()

    async def _flush(self) -> int:
        now_ms = self.now_ms()
        dirty = [running for running in self._running.values() if running.is_dirty]
        for running in dirty:
            self._advance(running, now_ms)
        written: list[tuple[_Running, Hour]] = list(self._ended.values())
        self._ended = {}
        for running in dirty:
            written.append((running, running.hour()))
            running.is_dirty = False
        is_written = False
        try:
            await self._write(written)
            is_written = True
        finally:  # also when the job is stopped: what is left is written at the end of the process
            if not is_written:
                self._take_back(written)
        self._forget_idle(now_ms // HOUR_MS)
        self.flushed_at_ms = now_ms
        return len(written)

    def _take_back(self, written: list[tuple[_Running, Hour]]) -> None:
        """What a flush may not have written is to be written still."""
        for running, hour in written:
            if hour.number == running.number and self._running.get(running.bucket) is running:
                running.is_dirty = True
            else:
                self._ended.setdefault((running.bucket, hour.number), (running, hour))

    async def _write(self, written: list[tuple[_Running, Hour]]) -> None:
        for first in range(0, len(written), BATCH_ROWS):
            writes: list[Write] = [
                hour_rows.set_hour(
                    self._records, self._nonces, running.tenant, running.bucket, hour
                )
                for running, hour in written[first : first + BATCH_ROWS]
            ]
            batch = Batch(
                partition=keyspace.CLUSTER_PARTITION,
                request_id=self._env.random_bytes(16),
                checks=(),
                writes=tuple(writes),
            )
            await self._log.commit_change(Change(batch=batch))
            for running, _ in written[first : first + BATCH_ROWS]:
                self._written.setdefault(running.tenant, set()).add(running.bucket)

    def take_written(self) -> dict[TenantId, set[BucketId]]:
        """Buckets of which rows were written since the last call, by tenant."""
        written, self._written = self._written, {}
        return written

    def _forget_idle(self, number: int) -> None:
        """Buckets that nothing happens to are carried by their last row."""
        crowded = len(self._running) > IDLE_MAX
        idle = [
            bucket
            for bucket, running in self._running.items()
            if not running.is_dirty and (crowded or running.number < number)
        ]
        for bucket in idle:
            del self._running[bucket]

    def _begin(self, bucket: bytes, levels: Mapping[str, int], now_ms: int) -> _Running | None:
        """The running hour of a bucket, from its last row on; None: there is no such bucket, or
        its rows cannot be read.

        Args:
            levels: what it has held up to this moment.
        """
        store, records, bucket_id = self._store, self._records, BucketId(bucket)
        try:
            found = bucket_rows.read_bucket(
                store, records, bucket_id
            ) or bucket_rows.read_closed_bucket(store, records, bucket_id)
            if found is None:
                return None
            held = found.bucket
            last = hour_rows.last_hour(store, records, held.tenant, held.bucket_id)
        except StorageError:
            logger.exception("bucket %s is not metered", bucket.hex())
            return None
        running = _Running(held.tenant, held.bucket_id, held.name, now_ms)
        running.levels = levels
        self._running[bucket] = running
        if last is None:
            running.is_dirty = bool(levels)
            return running
        self._go_on(running, last)
        return running

    def _go_on(self, running: _Running, last: Hour) -> None:
        """From the last row to this moment the lower of what it says and what there is was held."""
        levels = running.levels
        if last.levels != levels:
            running.is_dirty = True
            lines = last.levels.keys() & levels.keys()
            running.levels = {line: min(last.levels[line], levels[line]) for line in lines}
        running.number = max(running.number, last.number)
        if running.number == last.number:
            running.in_hour.add(last)
            running.since_ms = last.until_ms
        else:
            if running.is_dirty:
                lower = replace(last, levels=running.levels)
                self._ended[running.bucket, last.number] = (running, lower)
            running.since_ms = running.number * HOUR_MS
        self._advance(running, max(self.now_ms(), running.since_ms))
        running.levels = levels

    def _advance(self, running: _Running, now_ms: int) -> None:
        """Integrate up to now; an hour that has ended is ready to be written."""
        end_ms = (running.number + 1) * HOUR_MS
        if now_ms >= end_ms:
            running.in_hour.hold(running.levels, end_ms - running.since_ms)
            running.since_ms = end_ms
            if running.is_dirty:
                self._ended[running.bucket, running.number] = (running, running.hour())
            running.in_hour = Metered()
            running.number = now_ms // HOUR_MS
            running.since_ms = running.number * HOUR_MS
        if now_ms > running.since_ms:
            running.in_hour.hold(running.levels, now_ms - running.since_ms)
            running.since_ms = now_ms


def levels_of(kept: bytes | None) -> dict[str, int]:
    """Bytes by line of a bucket's counts; lines of nothing are left out."""
    return _levels(unpack_slots(kept)) if kept else {}


def _levels_before(kept: bytes | None, moves: Moves) -> dict[str, int]:
    slots = unpack_slots(kept)
    for slot, (count, moved_bytes) in moves.items():
        after = slots.get(slot, (0, 0))
        slots[slot] = (after[0] - count, after[1] - moved_bytes)
    return _levels(slots)


def _levels(slots: Mapping[int, tuple[int, int]]) -> dict[str, int]:
    usage = usage_of(slots)
    levels = {name: held.stored_bytes for name, held in usage.classes.items()}
    levels[LOOSE] = usage.loose_bytes
    levels[ANNOTATIONS] = usage.annotation_bytes
    return {line: held for line, held in levels.items() if held > 0}
