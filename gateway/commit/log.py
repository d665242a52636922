"""The committer: takes changes, forms groups, makes them durable on nodes, then moves the index;
nothing is skipped.

Not for deciding what a change means (use cases do), nor for starting an epoch from what nodes hold
(`gateway.commit.recovery`). One `Log` per index and process; it is the MetaStore the gateway runs
on.

The story of a change: `commit_change` decides it at once over index + groups in flight + the
forming group and adds it (steps 3–5); the loop closes the forming group as soon as the window has
room (one group being stored at a time), stores it as a commit stripe at the tier of the epoch (step
6), and hands it to the index, strictly in order, while the next group is already on its way to the
nodes (step 7). Only then are its callers answered. When the tier is out of reach, or back in reach,
the log opens another epoch (step 8): the group that could not be stored is void for ever, because
the epoch's first record takes its sequence number, and its changes are decided again.

Invariants: D1, D4, D6. Source: docs/data-layout.md, "The commit protocol".
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.commit.callers import Callers
from gateway.commit.change import Change, Committed, LogUnavailable, Position, validate_change
from gateway.commit.forming import Group, Sealed, StripeRowCodec, Term, Waiter, admit, seal_group
from gateway.commit.group_store import GroupStore, TierUnreachable
from gateway.commit.header import Applied, GroupKind
from gateway.commit.keys import LogKeys
from gateway.commit.pipeline import AppliedListener, Pipeline
from gateway.commit.reservations import Reservations
from gateway.meta.keyspace import partition_of
from gateway.meta.kv import Batch, Index, IndexFull, MetaUnavailable, Row
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.ids import StripeFamily, StripeId
from storaged.node import FencedOut

logger = logging.getLogger(__name__)
T = TypeVar("T")

DEADLINE_TICK_S = 0.5
RETRY_S = 0.2  # pause before an epoch is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """For `status` and metrics."""

    epoch: int
    sequence: int
    tier: Tier
    serving: bool
    waiting: int
    groups: int
    changes: int
    payload_bytes: int
    checkpoint: tuple[int, int]
    detail: str


class Log:
    """See the module docstring. Made by `gateway.commit.recovery.open_log`."""

    def __init__(
        self,
        *,
        index: Index,
        store: GroupStore,
        keys: LogKeys,
        codec: StripeRowCodec,
        geometry: Geometry,
        env: Env,
        applied: Applied,
        epoch: int,
        tier: Tier,
        reservations: Reservations,
    ) -> None:
        self.index = index
        self.geometry = geometry
        self.reservations = reservations
        self.codec = codec
        self.keys = keys
        self._store = store
        self._env = env
        self._callers = Callers(reservations.release)
        self._pipeline = Pipeline(
            index=index,
            store=store,
            codec=codec,
            geometry=geometry,
            env=env,
            applied=applied,
            callers=self._callers,
        )
        self._view = self._pipeline.view
        self._digest = applied.digest
        self._checkpoint = applied.checkpoint
        self._term = self._term_of(epoch, tier)
        self._forming = Group(Position(epoch, applied.sequence + 1))
        self._wake = asyncio.Event()
        self._dead: StorageError | None = None
        self._detail = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._paused = False
        self._exclusive: set[asyncio.Task[Any]] = set()
        self.suspect: frozenset[bytes] = frozenset()  # partitions whose sums do not hold
        self.refuses_growth = False  # set while the index has only its reserve left

    # What the gateway calls

    async def start(self, won: tuple[int, Tier]) -> None:
        """Write the first record of the epoch that was won, then serve."""
        self._callers.held = []
        await self._open_epoch(None, won)
        self._tasks = [
            asyncio.create_task(self._run(), name="log"),
            asyncio.create_task(self._watch_deadlines(), name="log-deadlines"),
        ]
        self._tasks[0].add_done_callback(self._broken_off)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As MetaStore.read: what is applied. Raises also MetaUnavailable: a row that is not found
        may have been hidden by rot.
        """
        values = self._pipeline.latest.read(keys)
        if self.suspect:
            for key, value in zip(keys, values, strict=True):
                if value is None and partition_of(key) in self.suspect:
                    raise MetaUnavailable(reason="the index is damaged")
        return values

    def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """As MetaStore.scan: what is applied. Raises as `read`."""
        if self.suspect and partition_of(start) in self.suspect:
            raise MetaUnavailable(reason="the index is damaged")
        return self.index.scan(start, end, limit=limit, reverse=reverse)

    async def commit(self, batch: Batch) -> None:
        """As MetaStore.commit."""
        await self.commit_change(Change(batch=batch))

    async def commit_change(self, change: Change) -> Committed:
        """Commit one change.

        Raises:
            BatchConflict, StripeBusy: refused; nothing changed.
            OutcomeUnknown: not decided before COMMIT_S; may still be committed, never twice.
            LogBusy, LogUnavailable, IndexFull: not taken.
            ChangeTooLarge: more than CHANGE_BYTES_MAX; ValueError: beyond the port's bounds.

        Durable when: it returns; the commit stripe has reached the epoch's tier. Cancelled: as
            OutcomeUnknown.
        Concurrent: any number; changes take effect in the order of the calls.
        """
        validate_change(change)
        if self._dead is not None or self._closing:
            raise LogUnavailable(reason=self._detail or "closing")
        if self.refuses_growth and (change.drafts or change.bodies):
            raise IndexFull()
        callers, now_s = self._callers, self._env.monotonic_s()
        request_id = change.batch.request_id
        known = callers.outcome(request_id)
        if known is not None:
            return known
        pending = callers.pending(request_id, now_s)
        if pending is not None:
            return await asyncio.shield(pending)
        if self._store.is_choosy:
            self.check_reach()
        waiter = callers.register(change, now_s)
        if callers.queue or self._paused or callers.held is not None or self._forming.full:
            callers.queue.append(waiter)
            self._wake.set()
        else:
            self._admit(waiter)
        return await waiter.future

    def check_reach(self) -> None:
        """Refuse at once what could only wait for nodes that are known to be away.

        Raises: LogUnavailable: policy wants a higher tier than the one in reach.
        """
        if not self._store.is_choosy:
            return
        reachable = self._store.refused_reach
        if reachable is not None:
            raise LogUnavailable(reason=f"writes at tier {reachable.name} are refused by policy")

    def is_undecided(self, reserved: StripeId) -> bool:
        """Whether a change with this reservation may still be committed; the log gives the ids back
        once it is decided and its caller has gone.
        """
        return self._callers.holds(reserved)

    @property
    def has_unknown(self) -> bool:
        """Whether what somebody was told to be unknown may still be committed, by this run or by a
        later one. A change that is committed now comes after it; what is only read does not.
        """
        return self._dead is not None or self._callers.has_unknown

    def stripe_row(self, stripe: StripeId) -> StripeRow | None:
        """The applied row of a stripe, cached; None when the index does not know it."""
        return self._pipeline.rows.get(stripe)

    @property
    def tier(self) -> Tier:
        """The tier of the epoch: what data stripes must reach as well."""
        return self._term.tier

    @property
    def epoch(self) -> int:
        return self._term.epoch

    @property
    def position(self) -> Applied:
        """How far the index has followed."""
        return self._pipeline.applied

    @property
    def on_applied(self) -> list[AppliedListener]:
        """Who is told of each applied group."""
        return self._pipeline.listeners

    @property
    def serving(self) -> bool:
        return self._dead is None and not self._closing

    def status(self) -> LogStatus:
        return LogStatus(
            epoch=self._term.epoch,
            sequence=self._pipeline.applied.sequence,
            tier=self._term.tier,
            serving=self.serving,
            waiting=len(self._callers.queue) + len(self._forming.waiters),
            groups=self._pipeline.groups,
            changes=self._pipeline.changes,
            payload_bytes=self._pipeline.payload_bytes,
            checkpoint=self._checkpoint,
            detail=self._detail,
        )

    async def commit_record(self, kind: GroupKind, extra: bytes, change: Change) -> Position:
        """Commit a group of its own that carries `extra` (a checkpoint's manifest) and one change.

        Raises: what `commit_change` raises; TierUnreachable: not committed, another epoch has been
            opened. Cancelled: it goes on by itself.
        """
        validate_change(change)
        return await self._to_its_end(self._commit_record(kind, extra, change))

    async def _commit_record(self, kind: GroupKind, extra: bytes, change: Change) -> Position:
        await self._pause()
        before = self._checkpoint
        try:
            group = Group(Position(self._term.epoch, self._pipeline.applied.sequence + 1))
            future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
            error = admit(self._view, group, Waiter(change, future, math.inf, counted=False))
            if error is not None:
                raise error
            if kind is GroupKind.CHECKPOINT:
                self._checkpoint = (group.position.epoch, group.position.sequence)
            try:
                await self._push(group, self._seal(group, kind, extra))
            except TierUnreachable:
                self._checkpoint = before
                self._callers.held = []
                await self._open_epoch(None)
                raise
            except (FencedOut, LogUnavailable) as fatal:
                self._die(fatal, group)
            await self._settle()
            self._forming = Group(Position(self._term.epoch, self._pipeline.applied.sequence + 1))
            return (await future).position
        finally:
            self._resume()

    async def change_tier(self, tier: Tier) -> None:
        """Open another epoch at `tier` once what is in flight has committed (degraded and back).

        Cancelled: it goes on by itself.
        """
        await self._to_its_end(self._change_tier(tier))

    async def _to_its_end(self, work: Coroutine[None, None, T]) -> T:
        """Do what nobody may cut short: an id that has been sealed is stored or void, never sealed
        again (D4).
        """
        task = asyncio.create_task(work, name="log-exclusive")
        self._exclusive.add(task)
        task.add_done_callback(self._exclusive.discard)
        return await asyncio.shield(task)

    async def _change_tier(self, tier: Tier) -> None:
        await self._pause()
        try:
            if tier is not self._term.tier:
                self._callers.held = []
                await self._open_epoch(tier)
        finally:
            self._resume()

    async def close(self) -> None:
        """Finish what is admitted, then stop."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._exclusive, return_exceptions=True)
        if self._tasks:
            run, deadlines = self._tasks
            if self._dead is None:
                await run
            deadlines.cancel()
            run.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pipeline.settle()

    # Forming

    def _admit(self, waiter: Waiter) -> None:
        try:
            error = admit(self._view, self._forming, waiter)
        except StorageError as refused:
            error = refused
        if error is not None:
            self._callers.fail(waiter, error)
        else:
            self._wake.set()

    def _admit_queued(self) -> None:
        queue = self._callers.queue
        while queue and not self._forming.full:
            waiter = queue.popleft()
            if waiter.future.done():
                self._callers.forget(waiter)
            else:
                self._admit(waiter)

    def _term_of(self, epoch: int, tier: Tier) -> Term:
        return Term(
            log=self.keys.log,
            epoch=epoch,
            tier=tier,
            log_key=self.keys.log_key,
            cipher=self.keys.cipher(epoch),
        )

    def _seal(self, group: Group, kind: GroupKind, extra: bytes = b"") -> Sealed:
        return seal_group(
            self._term,
            group,
            self.codec,
            kind=kind,
            previous=self._digest,
            checkpoint=self._checkpoint,
            request_id=self._env.random_bytes(16),
            extra=extra,
        )

    # The loop

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._paused:
                continue
            await asyncio.sleep(0)  # callers that were answered together may ask together
            while not self._paused and (self._forming.waiters or self._callers.queue):
                self._admit_queued()
                if not self._forming.waiters:
                    continue
                self._idle.clear()
                await self._commit_forming()
                self._idle.set()
                if self._dead is not None:
                    return
            if self._closing and not self._paused:
                await self._settle()
                return

    async def _commit_forming(self) -> None:
        group = self._forming
        self._forming = Group(Position(self._term.epoch, group.position.sequence + 1))
        sealed = self._seal(group, GroupKind.CHANGES)
        try:
            await self._push(group, sealed)
        except TierUnreachable as error:
            logger.warning("the tier is out of reach, opening another epoch: %s", error)
            untaken = self._callers.undecided(self._forming)
            if self._store.refused_reach is not None:
                self._callers.refuse(untaken, LogUnavailable(reason=str(error)))
                untaken = []
            self._callers.held = [*self._callers.undecided(group), *untaken]
            await self._settle()
            await self._open_epoch(None)
        except (FencedOut, LogUnavailable) as error:
            self._die(error, group)

    async def _push(self, group: Group, sealed: Sealed) -> None:
        await self._pipeline.push(group, sealed, self._term)
        self._digest = sealed.digest

    async def _settle(self) -> None:
        await self._pipeline.settle()
        if self._pipeline.dead is not None:
            self._die(self._pipeline.dead)

    # Epochs

    async def _open_epoch(self, tier: Tier | None, won: tuple[int, Tier] | None = None) -> None:
        """Fence, write the epoch's first record, decide the held changes again. Tries until it is
        done.
        """
        while True:
            if self._dead is not None:
                return
            try:
                if won is None:
                    fenced, reached = await self._store.fence(self._term.epoch + 1, tier)
                    won = fenced.epoch, reached
                epoch, reached = won
                won = None
                self._term = self._term_of(epoch, reached)
                group = Group(Position(epoch, self._pipeline.applied.sequence + 1))
                self._digest = self._pipeline.applied.digest
                record = self._store.epoch_record(self._term, self._pipeline.applied)
                sealed = self._seal(group, GroupKind.EPOCH, record)
                await self._push(group, sealed)
                await self._settle()
            except FencedOut as error:
                self._die(error)
                return
            except StorageError as error:
                self._detail = str(error)
                logger.warning("no epoch can be opened yet: %s", error)
                if self._closing:
                    self._die(error)
                    return
                tier = None
                if self._store.refused_reach is not None:
                    self._callers.refuse_queued(LogUnavailable(reason=self._detail))
                await self._env.sleep(RETRY_S)
                continue
            break
        self._detail = ""
        self._view.clear()
        self._forming = Group(Position(self._term.epoch, self._pipeline.applied.sequence + 1))
        self._callers.release()
        self._wake.set()

    async def _pause(self) -> None:
        while self._paused:
            await self._env.sleep(0.01)
        self._paused = True
        await self._idle.wait()
        if self._dead is not None:
            self._paused = False
            raise LogUnavailable(reason=self._detail)
        await self._settle()
        if self._forming.waiters:
            # The forming group waits with its place; it is decided again when the log goes on.
            self._callers.held = self._callers.undecided(self._forming)
            self._view.clear()
            self._forming = Group(self._forming.position)
            self._callers.release()

    def _resume(self) -> None:
        self._paused = False
        self._wake.set()

    # Ends

    def _die(self, error: StorageError, *more: Group) -> None:
        """Stop for good: fenced out by another gateway, or the index failed. Callers learn that
        they don't know.
        """
        if self._dead is None:
            logger.error("the log stops: %s", error)
        self._dead = error
        self._detail = str(error)
        self._callers.abandon(error, [*more, *self._pipeline.unapplied, self._forming])

    def _broken_off(self, run: asyncio.Task[None]) -> None:
        """The loop has ended. If by an error nobody foresaw, callers must not wait for it."""
        error = None if run.cancelled() else run.exception()
        if error is not None:
            logger.error("the log's loop broke", exc_info=error)
            self._die(LogUnavailable(reason=f"{type(error).__name__}: {error}"))

    async def _watch_deadlines(self) -> None:
        while True:
            await self._env.sleep(DEADLINE_TICK_S)
            if self._pipeline.dead is not None and self._dead is None:
                self._die(self._pipeline.dead)
            groups = [*self._pipeline.unapplied, self._forming]
            self._callers.expire(self._env.monotonic_s(), groups)

    # Ids

    def new_stripe_ids(self, count: int) -> StripeId:
        """First of `count` consecutive DATA stripe ids of this writer epoch; call
        `release_stripe_ids` when the change that names them is committed or given up, and every put
        has ended."""
        return self.reservations.reserve(StripeFamily.DATA, count)

    def pack_stripe_id(self) -> StripeId:
        """A PACK stripe id of this writer epoch; released like the others."""
        return self.reservations.reserve(StripeFamily.PACK, 1)

    def release_stripe_ids(self, first: StripeId) -> None:
        """The sweep may reclaim what is unnamed of this reservation."""
        self.reservations.release(first)
