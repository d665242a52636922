"""Job `lifecycle`: walk the buckets that have rules, and do what is due.

Not for what a rule means (`gateway.model.lifecycle`) nor for doing it
(`gateway.objects.lifecycle_acts`): here rows are found that may be due, a page at a time. A pass
goes over the buckets by id, and in each over current versions, noncurrent ones and uploads, where
rules speak of them. A step holds one page; a pass that is interrupted goes on where it was, as a
row in the index says, and whatever is looked at twice is decided anew. As real days end at
midnight, a bucket in which nothing was due is left alone until then, unless its settings change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.commit.change import Change
from gateway.commit.forming import CLUSTER_PARTITION
from gateway.jobs.lifecycle_walk import ABORTED, FAILED, LOCKED, Phase, next_span, told
from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace
from gateway.meta.documents import open_document, seal_document
from gateway.meta.kv import Batch, Row, Write, revision_of
from gateway.meta.records import open_version
from gateway.meta.uploads import open_upload
from gateway.model.lifecycle import DAY_MS, Act, Decision, Instant
from gateway.model.names import BucketId, ObjectKey
from gateway.objects.context import Services
from gateway.objects.lifecycle import has_real_days, instant_of
from gateway.objects.lifecycle_acts import (
    Ruled,
    apply_current,
    apply_noncurrent,
    apply_upload,
    find_ruled,
    is_only_version,
    refreshed,
    ruled_of,
)
from gateway.objects.lifecycle_moves import move_bytes
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

PAGE_ROWS = 250  # some 5 ms of work between turns of the event loop
PAGE_BUCKETS = 100
RULES_PER_PAGE_MAX = 20_000  # rows times rules that are looked at in one step
ROWS_PER_S = 20_000
ACTS_PER_S = 1000
ACTS_AT_ONCE = 32
MOVES_AT_ONCE = 2  # each holds one stripe, some 12 MiB for 8+4
PASSES_PER_DAY = 24
PAUSE_MIN_S, PAUSE_MAX_S = 1.0, 3600.0
SAVE_EVERY_S = 60.0
WALKED_MAX = 100_000  # buckets that are remembered, some 200 bytes each
NOT_SINCE_ITS_START = -1  # a bucket whose walk was begun by an earlier process
POSITION_ROW = keyspace.cluster_row("lifecycle")

# What concerns one row, and is seen again in the next pass.
_PASSED_OVER = frozenset(
    {Kind.CONFLICT, Kind.CORRUPT, Kind.DENIED, Kind.EXHAUSTED, Kind.INVALID, Kind.NOT_FOUND}
)


Acting = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Pass:
    """One walk over all buckets.

    Args:
        after: buckets up to this id are done.
        ruled: the bucket that is being walked.
        at: row key from which on the phase has rows to look at; b"" = its start.
        newer: (key, noncurrent versions of it seen, delete markers left out).
        entered: midnights before the walk of the bucket began.
        done_before: what had been done when it began.
        moves_wait: nodes for other stripes are away; what is due to move does in a later pass.
    """

    after: BucketId | None = None
    ruled: Ruled | None = None
    phase: Phase = Phase.CURRENT
    at: bytes = b""
    newer: tuple[ObjectKey, int] = (ObjectKey(b""), 0)
    entered: int = NOT_SINCE_ITS_START
    done_before: int = 0
    looked_at: int = 0
    acts: dict[str, int] = field(default_factory=dict)
    moves_wait: bool = False

    def done_count(self) -> int:
        """What was done or tried; what is locked is looked at again after midnight."""
        return sum(count for act, count in self.acts.items() if act != LOCKED)


class LifecycleKeeper:
    """See the module docstring."""

    name = "lifecycle"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pass: _Pass | None = None
        self._done = 0
        self._last = ""
        self._saved_s = 0.0
        self._has_position = True  # perhaps, from an earlier process
        # Buckets in which nothing was due: revision of the row, and midnights before that.
        self._walked: dict[BucketId, tuple[bytes, int]] = {}
        self._moving = asyncio.Semaphore(MOVES_AT_ONCE)

    def progress(self) -> Progress:
        current = self._pass
        if current is None:
            return Progress(done=self._done, total=self._done, unit="rows", detail=self._last)
        return Progress(done=current.looked_at, total=0, unit="rows", detail=told(current.acts))

    async def step(self) -> float:
        """Look at one page; what is due is done when this returns."""
        services = self._services
        if self._pass is None:
            self._pass = self._begun()
        current = self._pass
        await self._save(current)
        ruled = current.ruled
        if ruled is None:
            if self._next_bucket(current):
                return 0.0
            return await self._end(current)
        current.ruled = refreshed(services, ruled)
        if current.ruled is not None:
            await self._page(current, current.ruled)
        return 0.0

    def _begun(self) -> _Pass:
        """A new pass, or the one that an earlier process has not ended."""
        self._saved_s = self._services.env.monotonic_s()
        value = self._services.log.read((POSITION_ROW,))[0]
        self._has_position = value is not None
        if value is None:
            return _Pass()
        try:
            held = open_document(self._services.records, POSITION_ROW, value)
        except StorageError as error:
            logger.warning("lifecycle begins anew: %s", error)
            return _Pass()
        after = held["after"]
        begun = _Pass(after=BucketId(bytes.fromhex(after)) if after else None)
        begun.ruled = find_ruled(self._services, BucketId(bytes.fromhex(held["bucket"])))
        if begun.ruled is not None:
            begun.phase, begun.at = Phase(held["phase"]), bytes.fromhex(held["at"])
        return begun

    async def _save(self, current: _Pass) -> None:
        """Write down where a long pass is, once in a while."""
        now_s = self._services.env.monotonic_s()
        if current.ruled is None or now_s < self._saved_s + SAVE_EVERY_S:
            return
        self._saved_s = now_s
        at = current.at
        if current.phase is Phase.NONCURRENT and current.newer[0]:
            # Versions are counted from the newest on, so a key is begun anew.
            bucket_id = current.ruled.opened.bucket.bucket_id
            at = keyspace.noncurrent_range(bucket_id, current.newer[0])[0]
        document = {
            "after": current.after.hex() if current.after else "",
            "bucket": current.ruled.opened.bucket.bucket_id.hex(),
            "phase": int(current.phase),
            "at": at.hex(),
        }
        services = self._services
        value = seal_document(services.records, services.nonces, POSITION_ROW, document)
        await self._write_position(value)
        self._has_position = True

    async def _write_position(self, value: bytes | None) -> None:
        batch = Batch(
            partition=CLUSTER_PARTITION,
            request_id=self._services.env.random_bytes(16),
            checks=(),
            writes=(Write(POSITION_ROW, value),),
        )
        await self._services.log.commit_change(Change(batch=batch))

    def _next_bucket(self, current: _Pass) -> bool:
        """Go on to the next bucket that has rules; False when there is none."""
        services = self._services
        page = bucket_rows.scan_buckets(
            services.log, services.records, current.after, limit=PAGE_BUCKETS
        )
        for stored in page:
            current.after = stored.bucket.bucket_id
            midnights = self._midnights()
            seen = (stored.revision, midnights)
            if has_real_days(services) and self._walked.get(current.after) == seen:
                continue  # nothing is due before the next midnight
            current.ruled = ruled_of(services, stored)
            if current.ruled is not None:
                current.phase, current.at = Phase.CURRENT, b""
                current.entered, current.done_before = midnights, current.done_count()
                return True
        return len(page) == PAGE_BUCKETS

    def _midnights(self) -> int:
        return self._services.env.now_ms() // DAY_MS

    def _leave(self, current: _Pass, ruled: Ruled) -> None:
        """The bucket has been walked; where nothing was done, nothing is due until midnight."""
        is_still = current.done_count() == current.done_before
        if is_still and current.entered != NOT_SINCE_ITS_START:
            if len(self._walked) >= WALKED_MAX:
                self._walked.clear()
            opened = ruled.opened
            seen = (revision_of(opened.value), current.entered)
            self._walked[opened.bucket.bucket_id] = seen
        current.ruled, current.entered = None, NOT_SINCE_ITS_START

    async def _end(self, finished: _Pass) -> float:
        if self._has_position:
            await self._write_position(None)
            self._has_position = False
        self._done, self._last = finished.looked_at, told(finished.acts)
        self._pass = None
        pause_s = self._services.lifecycle_day_s / PASSES_PER_DAY
        return min(max(pause_s, PAUSE_MIN_S), PAUSE_MAX_S)

    async def _page(self, current: _Pass, ruled: Ruled) -> None:
        """Look at the next rows of the bucket, and do what is due. When the log cannot take it,
        the page is looked at again.
        """
        services = self._services
        span = next_span(
            ruled.configuration, ruled.opened.bucket.bucket_id, current.phase, current.at
        )
        if span is None:
            current.at = b""
            current.newer = (ObjectKey(b""), 0)
            if current.phase is Phase.UPLOADS:
                self._leave(current, ruled)
            else:
                current.phase = Phase(current.phase + 1)
            return
        start, end = span
        limit = max(1, min(PAGE_ROWS, RULES_PER_PAGE_MAX // max(1, len(ruled.configuration.rules))))
        rows = services.log.scan(start, end, limit=limit)
        newer = current.newer
        acting = self._due(current, ruled, rows)
        try:
            for first in range(0, len(acting), ACTS_AT_ONCE):
                await asyncio.gather(*(act() for act in acting[first : first + ACTS_AT_ONCE]))
        except StorageError:
            current.newer = newer
            raise
        current.looked_at += len(rows)
        current.at = end if len(rows) < limit else keyspace.after(rows[-1].key)
        await services.env.sleep(max(len(rows) / ROWS_PER_S, len(acting) / ACTS_PER_S))

    def _due(self, current: _Pass, ruled: Ruled, rows: list[Row]) -> list[Acting]:
        """What is to be done about a page of rows."""
        at, found = instant_of(self._services), []
        look = (self._look_current, self._look_noncurrent, self._look_upload)[current.phase]
        for row in rows:
            try:
                act = look(current, ruled, row, at)
            except StorageError as error:
                self._pass_over(current, error)
                continue
            if act is not None:
                found.append(act)
        return found

    def _look_current(self, current: _Pass, ruled: Ruled, row: Row, at: Instant) -> Acting | None:
        services = self._services
        bucket, key = keyspace.parse_current(row.key)
        version = open_version(services.records, row.key, row.value).version
        is_only = not version.is_delete_marker or is_only_version(services, bucket, key)
        decision = ruled.configuration.current(key, version, is_only=is_only, at=at)
        if decision.act is Act.KEEP:
            return None

        async def act() -> None:
            if await self._prepare(current, ruled, row.key, decision):
                await self._count(current, apply_current(services, ruled, key))

        return act

    def _look_noncurrent(
        self, current: _Pass, ruled: Ruled, row: Row, at: Instant
    ) -> Acting | None:
        services = self._services
        _, key, sequence = keyspace.parse_noncurrent(row.key)
        version = open_version(services.records, row.key, row.value).version
        newer = current.newer[1] if current.newer[0] == key else 0
        current.newer = (key, newer if version.is_delete_marker else newer + 1)
        decision = ruled.configuration.noncurrent(key, version, newer=newer, at=at)
        if decision.act is Act.KEEP:
            return None

        async def act() -> None:
            if await self._prepare(current, ruled, row.key, decision):
                await self._count(current, apply_noncurrent(services, ruled, key, sequence))

        return act

    def _look_upload(self, current: _Pass, ruled: Ruled, row: Row, at: Instant) -> Acting | None:
        services = self._services
        _, key, upload_id = keyspace.parse_upload(row.key)
        created_at_ms = open_upload(services.records, row.key, row.value).upload.created_at_ms
        if not ruled.configuration.abort(key, created_at_ms, at):
            return None

        async def aborted() -> str:
            was_aborted = await apply_upload(services, ruled, key, upload_id)
            return ABORTED if was_aborted else Act.KEEP

        async def act() -> None:
            await self._count(current, aborted())

        return act

    async def _prepare(
        self, current: _Pass, ruled: Ruled, row_key: bytes, decision: Decision
    ) -> bool:
        """Bring the bytes of what moves to where its class wants them; False: not in this pass."""
        if decision.act is not Act.MOVE:
            return True
        services, bucket_id = self._services, ruled.opened.bucket.bucket_id
        async with self._moving:
            if current.moves_wait:
                return False
            try:
                await move_bytes(services, bucket_id, row_key, decision.storage_class)
            except StorageError as error:
                # While nodes are away the rest has to be done all the same.
                current.moves_wait = error.kind not in _PASSED_OVER
                self._pass_over(current, error)
                return False
        return True

    async def _count(self, current: _Pass, acting: Awaitable[str]) -> None:
        """Do something and count it; what concerns one row alone is passed over."""
        try:
            act = await acting
        except StorageError as error:
            if error.kind not in _PASSED_OVER:
                raise
            self._pass_over(current, error)
            return
        current.acts[act] = current.acts.get(act, 0) + 1

    def _pass_over(self, current: _Pass, error: StorageError) -> None:
        if error.kind is Kind.DENIED:
            current.acts[LOCKED] = current.acts.get(LOCKED, 0) + 1
            return
        logger.warning("lifecycle passes over a row: %s", error)
        current.acts[FAILED] = current.acts.get(FAILED, 0) + 1
