"""Job `replication`: puts versions and delete markers into buckets of other endpoints, in the order
in which each key has changed, and writes down how it went.

A version that is not PENDING any more is done with, whatever rows name it: so work that is done
twice does no harm. Every request says that it makes a replica, which is not replicated further, so
two buckets that replicate to each other come to rest. A target that cannot be
reached is held back, longer each time; what a target refuses is marked FAILED.

Not for what is sent (`gateway.jobs.replica_sending`), nor for what has no row for want of room
(`gateway.jobs.replica_catch_up`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from gateway.commit.change import Change
from gateway.jobs import replica_sending
from gateway.jobs.replica_catch_up import CatchUp
from gateway.jobs.replica_sending import Source
from gateway.jobs.replica_target import ReplicaTarget
from gateway.jobs.replica_versions import (
    KEY_DISABLED,
    Pending,
    older_replica,
    pending_versions,
    write_status,
)
from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace
from gateway.meta.queues import LAST_MS, Queued
from gateway.model.names import BucketId, version_id
from gateway.objects.access_request import ROOT_USER
from gateway.objects.context import Context, Principal, Services
from gateway.objects.get import head_object
from gateway.objects.log_delivery import queues_of
from gateway.objects.replicas import COMPLETED, FAILED
from gateway.objects.values import GetOptions, ObjectHead
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

PAGE_ROWS = 64
KEYS_AT_ONCE = 8
IDLE_S = 0.5
HELD_PASS_S = 5.0
HELD_ROW_S = 0.0003  # ten times what a look at a row costs: a target may be away for days
HOLD_FIRST_S, HOLD_MAX_S = 1.0, 300.0
REPLICATION_S = 3600.0  # of one object
_FINAL = frozenset({Kind.INVALID, Kind.DENIED})


class NoSuchTarget(StorageError):
    """No rule covers the version any more, or its destination is not configured."""

    kind = Kind.DENIED


async def _head(ctx: Context, bucket: str, key: str, shown_id: str) -> ObjectHead:
    return (await head_object(ctx, bucket, key, GetOptions(version_id=shown_id))).head


class Replicator:
    """One page of rows a step, over and over."""

    name = "replication"

    def __init__(self, services: Services, targets: Mapping[str, ReplicaTarget]) -> None:
        self._services = services
        self._targets = targets
        self._backlog = services.replica_backlog
        self._backlog.count()
        self._catch_up = CatchUp(services)
        self._after: bytes | None = None
        self._held: dict[str, tuple[float, float]] = {}  # until, next pause
        self._blocked: set[tuple[BucketId, str]] = set()  # keys that wait for the next pass
        self._left: Counter[BucketId] = Counter()  # rows that this pass has seen and not done
        self._took = self._done = self._failed = 0

    async def step(self) -> float:
        """Replicate one page."""
        page = queues_of(self._services).page(keyspace.REPLICA, self._after, limit=PAGE_ROWS)
        by_key: dict[tuple[BucketId, str], list[Queued]] = {}
        for row in page:
            if row.at_ms == LAST_MS:
                self._backlog.behind.add(row.bucket)
            else:
                by_key.setdefault((row.bucket, row.document["key"]), []).append(row)
        gate = asyncio.Semaphore(KEYS_AT_ONCE)

        async def in_order(rows: Sequence[Queued]) -> int:
            async with gate:
                return await self._in_order(rows)

        counts = await asyncio.gather(*map(in_order, by_key.values()))
        for ((bucket, _), rows), count in zip(by_key.items(), counts, strict=True):
            self._left[bucket] += len(rows) - count
        self._took += sum(counts)
        is_looking = await self._catch_up.step()
        if len(page) == PAGE_ROWS:
            self._after = page[-1].row_key
            return 0.0
        return self._end_pass(is_looking=is_looking)

    def _end_pass(self, *, is_looking: bool) -> float:
        progressed, backlog = self._took, self._backlog
        left = self._left.total()
        backlog.counted(self._left)
        self._after, self._took, self._left = None, 0, Counter()
        self._blocked.clear()
        if is_looking or progressed:
            return 0.0
        if not left:
            return IDLE_S
        return max(min(HELD_PASS_S, self._soonest_s()), left * HELD_ROW_S)

    def _soonest_s(self) -> float:
        now_s = self._services.env.monotonic_s()
        waits = [until_s - now_s for until_s, _ in self._held.values()]
        return max(0.05, min(waits, default=IDLE_S))

    async def _in_order(self, rows: Sequence[Queued]) -> int:
        """Rows of one key, until one has to wait; how many are done with."""
        for count, row in enumerate(rows):
            place = (row.bucket, row.document["key"])
            if place in self._blocked or not await self._settle(row):
                self._blocked.add(place)
                return count
        return len(rows)

    async def _settle(self, row: Queued) -> bool:
        """Replicate what a row names and drop it; False: it has to wait."""
        name, env = row.document["destination"], self._services.env
        until_s, pause_s = self._held.get(name, (0.0, HOLD_FIRST_S))
        if until_s > env.monotonic_s():
            return False
        try:
            await self._replicate(row)
        except KEY_DISABLED:
            return False  # until it is enabled again, and nothing else waits for that
        except StorageError as error:
            logger.warning("%s is not replicated to %s: %s", row.document["key"], name, error)
            if error.kind not in _FINAL:
                self._held[name] = (env.monotonic_s() + pause_s, min(2 * pause_s, HOLD_MAX_S))
                return False
        else:
            self._held.pop(name, None)
        batch = queues_of(self._services).changed(row.bucket, (row.row_key,))
        await self._services.log.commit_change(Change(batch=batch))
        self._backlog.done(row.bucket)
        return True

    async def _replicate(self, row: Queued) -> None:
        """What a row names, after what is older and waits without a row. Raises: what has to be
        tried again.
        """
        found = self._place(row)
        if found is None:
            return
        ctx, bucket = found
        if "annotation" in row.document:
            await self._send_annotation(ctx, bucket, row)
            return
        key, wanted = row.document["key"], version_id(row.document["version_id"])
        is_last = False
        while not is_last:
            versions = pending_versions(self._services, row.bucket, key, wanted)
            is_last = not versions or versions[-1].version_id == wanted
            for pending in versions:
                await self._replicate_version(ctx, bucket, row, pending)

    async def _send_annotation(self, ctx: Context, bucket: str, row: Queued) -> None:
        """The status of a version says nothing of what was attached to it later."""
        target = self._targets.get(row.document["destination"])
        if target is None:
            return
        shown_id = row.document["version_id"]
        try:
            head = await _head(ctx, bucket, row.document["key"], shown_id)
        except StorageError as error:
            if error.kind is Kind.NOT_FOUND:
                return  # the version has gone
            raise
        source = Source(ctx, bucket, head, shown_id, "", "")
        await replica_sending.send_annotations(source, [row.document["annotation"]], target)

    async def _replicate_version(
        self, ctx: Context, bucket: str, row: Queued, pending: Pending
    ) -> None:
        """Send one version and write down how it went. Raises: what has to be tried again."""
        key, name = row.document["key"], row.document["destination"]
        status, replica, reason = COMPLETED, "", StorageError()
        try:
            target = self._targets.get(name)
            if target is None:
                raise NoSuchTarget(name=name)
            if pending.is_marker:
                if await target.head(key) is not None:
                    await target.delete(key)
            else:
                head = await _head(ctx, bucket, key, pending.shown_id)
                older = older_replica(self._services, row.bucket, key, pending)
                storage_class = row.document["storage_class"]
                source = Source(ctx, bucket, head, pending.shown_id, storage_class, older)
                replica = await replica_sending.send(source, target)
        except StorageError as error:
            if error.kind not in (Kind.NOT_FOUND, *_FINAL):
                raise
            status, reason = FAILED, error
        if not await write_status(self._services, row.bucket, key, pending, status, replica):
            return
        if status == FAILED:
            logger.warning("%s, version %s, is FAILED: %s", key, pending.shown_id, reason)
        self._done += status == COMPLETED
        self._failed += status == FAILED

    def _place(self, row: Queued) -> tuple[Context, str] | None:
        """A context of our own with the rights of the bucket's owner, and the bucket's name."""
        services = self._services
        stored = bucket_rows.read_bucket(services.log, services.records, row.bucket)
        if stored is None:
            return None
        bucket = stored.bucket
        owner = services.identities.of_tenant(bucket.tenant)
        principal = Principal(
            tenant=bucket.tenant, access_key_id="", owner_id=owner.owner_id, user=ROOT_USER
        )
        env = services.env
        deadline_s = env.monotonic_s() + REPLICATION_S
        return Context(services, principal, env.random_bytes(16), deadline_s), bucket.name

    def progress(self) -> Progress:
        """Versions replicated since the start."""
        detail = f"{self._backlog.summary()}, {self._failed} failed"
        return Progress(
            done=self._done,
            total=0,
            unit="versions",
            detail=detail,
            waiting=self._backlog.waiting,
        )
