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
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.commit.change import Change, Committed, LogBusy, LogUnavailable, Position
from gateway.commit.forming import (
    CLUSTER_PARTITION,
    Group,
    Sealed,
    StripeRowCodec,
    Term,
    View,
    Waiter,
    admit,
    seal_group,
)
from gateway.commit.group_store import GroupStore, StoredGroup, TierUnreachable
from gateway.commit.header import Applied, GroupKind
from gateway.commit.keys import LogKeys
from gateway.commit.reservations import Reservations
from gateway.limits import COMMIT_QUEUE_BATCHES_MAX, COMMIT_S
from gateway.meta.kv import Batch, Index, OutcomeUnknown, Row, Write
from gateway.model.layout import Geometry, Packed, StripeRow, Tier
from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.ids import StripeFamily, StripeId
from storaged.node import FencedOut

logger = logging.getLogger(__name__)

AppliedListener = Callable[[Sealed, Mapping[StripeId, StripeRow | None]], None]
"""Called after each applied group with the group and the stripe rows it set (None: dropped). Must
be quick.
"""

STRIPE_CACHE_MAX = 200_000  # rows of ~300 bytes: 60 MB at the most
REQUEST_IDS_MAX = 65_536  # a repeat of one of these commits nothing; in memory, as its callers are
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
        self._view = View(index, codec)
        self._view.load_stripe = self._load_stripe
        self._applied = applied
        self._digest = applied.digest
        self._checkpoint = applied.checkpoint
        self._term = self._term_of(epoch, tier)
        self._forming = Group(Position(epoch, applied.sequence + 1))
        self._queue: deque[Waiter] = deque()
        self._wake = asyncio.Event()
        self._unapplied: list[Group] = []
        self._stripe_cache: OrderedDict[StripeId, StripeRow] = OrderedDict()
        self._dead: StorageError | None = None
        self._detail = ""
        self._groups = self._changes = self._payload_bytes = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._applying: asyncio.Task[None] | None = None
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._paused = False
        self._held: list[Waiter] | None = None  # undecided callers while an epoch is being opened
        self._pending: dict[bytes, asyncio.Future[Committed]] = {}
        self._recent: OrderedDict[bytes, tuple[int, ...]] = OrderedDict()
        self.on_applied: list[AppliedListener] = []

    # What the gateway calls

    async def start(self, won: tuple[int, Tier]) -> None:
        """Write the first record of the epoch that was won, then serve."""
        self._held = []
        await self._open_epoch(None, won)
        self._tasks = [
            asyncio.create_task(self._run(), name="log"),
            asyncio.create_task(self._watch_deadlines(), name="log-deadlines"),
        ]

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As MetaStore.read: what is applied."""
        return self.index.read(keys)

    def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """As MetaStore.scan: what is applied."""
        return self.index.scan(start, end, limit=limit, reverse=reverse)

    async def commit(self, batch: Batch) -> None:
        """As MetaStore.commit."""
        await self.commit_change(Change(batch=batch))

    async def commit_change(self, change: Change) -> Committed:
        """Commit one change.

        Raises:
            BatchConflict, StripeBusy: refused; nothing changed.
            OutcomeUnknown: not decided before COMMIT_S; may still be committed, never twice.
            LogBusy, LogUnavailable: not taken.

        Durable when: it returns; the commit stripe has reached the epoch's tier. Cancelled: as
            OutcomeUnknown.
        Concurrent: any number; changes take effect in the order of the calls.
        """
        if self._dead is not None or self._closing:
            raise LogUnavailable(reason=self._detail or "closing")
        if len(self._queue) >= COMMIT_QUEUE_BATCHES_MAX:
            raise LogBusy()
        request_id = change.batch.request_id
        known = self._recent.get(request_id)
        if known is not None:
            return _committed(known)
        pending = self._pending.get(request_id)
        if pending is not None:
            return await asyncio.shield(pending)
        waiter = Waiter(
            change,
            asyncio.get_running_loop().create_future(),
            self._env.monotonic_s() + COMMIT_S,
        )
        self._pending[request_id] = waiter.future
        if self._queue or self._forming.full or self._paused or self._held is not None:
            self._queue.append(waiter)
            self._wake.set()
        else:
            self._admit(waiter)
        try:
            return await waiter.future
        except StorageError:
            self._pending.pop(request_id, None)
            raise

    def stripe_row(self, stripe: StripeId) -> StripeRow | None:
        """The applied row of a stripe, cached; None when the index does not know it."""
        return self._load_stripe(stripe)

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
        return self._applied

    @property
    def serving(self) -> bool:
        return self._dead is None and not self._closing

    def status(self) -> LogStatus:
        return LogStatus(
            epoch=self._term.epoch,
            sequence=self._applied.sequence,
            tier=self._term.tier,
            serving=self.serving,
            waiting=len(self._queue) + len(self._forming.waiters),
            groups=self._groups,
            changes=self._changes,
            payload_bytes=self._payload_bytes,
            checkpoint=self._checkpoint,
            detail=self._detail,
        )

    async def commit_record(self, kind: GroupKind, extra: bytes, change: Change) -> Position:
        """Commit a group of its own that carries `extra` (a checkpoint's manifest) and one change.

        Raises: what `commit_change` raises; TierUnreachable: not committed, another epoch has been
            opened.
        """
        await self._pause()
        before = self._checkpoint
        try:
            group = Group(Position(self._term.epoch, self._applied.sequence + 1))
            future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
            error = admit(self._view, group, Waiter(change, future, math.inf))
            if error is not None:
                raise error
            if kind is GroupKind.CHECKPOINT:
                self._checkpoint = (group.position.epoch, group.position.sequence)
            try:
                await self._store_and_apply(group, self._seal(group, kind, extra))
            except TierUnreachable:
                self._checkpoint = before
                self._held = []
                await self._open_epoch(None)
                raise
            except (FencedOut, LogUnavailable) as fatal:
                self._die(fatal, group)
            await self._settle_applies()
            self._forming = Group(Position(self._term.epoch, self._applied.sequence + 1))
            return (await future).position
        finally:
            self._resume()

    async def change_tier(self, tier: Tier) -> None:
        """Open another epoch at `tier` once what is in flight has committed (degraded and back)."""
        await self._pause()
        try:
            if tier is not self._term.tier:
                self._held = []
                await self._open_epoch(tier)
        finally:
            self._resume()

    async def close(self) -> None:
        """Finish what is admitted, then stop."""
        self._closing = True
        self._wake.set()
        if self._tasks:
            run, deadlines = self._tasks
            if self._dead is None:
                await run
            deadlines.cancel()
            run.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._applying is not None:
            await asyncio.gather(self._applying, return_exceptions=True)

    # Forming

    def _admit(self, waiter: Waiter) -> None:
        try:
            error = admit(self._view, self._forming, waiter)
        except StorageError as refused:
            error = refused
        if error is not None:
            _fail(waiter, error)
        else:
            self._wake.set()

    def _admit_queued(self) -> None:
        while self._queue and not self._forming.full:
            waiter = self._queue.popleft()
            if not waiter.future.done():
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
            while not self._paused and (self._forming.waiters or self._queue):
                self._admit_queued()
                if not self._forming.waiters:
                    continue
                self._idle.clear()
                await self._commit_forming()
                self._idle.set()
                if self._dead is not None:
                    return
            if self._closing and not self._paused:
                await self._settle_applies()
                return

    async def _commit_forming(self) -> None:
        group = self._forming
        self._forming = Group(Position(self._term.epoch, group.position.sequence + 1))
        sealed = self._seal(group, GroupKind.CHANGES)
        try:
            await self._store_and_apply(group, sealed)
        except TierUnreachable as error:
            logger.warning("the tier is out of reach, opening another epoch: %s", error)
            self._held = self._take_back(group)
            await self._settle_applies()
            await self._open_epoch(None)
        except (FencedOut, LogUnavailable) as error:
            self._die(error, group)

    async def _store_and_apply(self, group: Group, sealed: Sealed) -> None:
        self._unapplied.append(group)
        try:
            stored = await self._store.store(sealed, self._term)
        except StorageError:
            self._unapplied.remove(group)
            raise
        self._digest = sealed.digest
        await self._settle_applies()
        if self._dead is not None:
            raise LogUnavailable(reason=self._detail)
        self._applying = asyncio.create_task(self._apply(group, sealed, stored), name="log-apply")

    async def _apply(self, group: Group, sealed: Sealed, stored: StoredGroup) -> None:
        header = sealed.header
        own = self._own_row(sealed, stored)
        applied = Applied(header.epoch, header.sequence, sealed.digest, header.checkpoint)
        own_batch = Batch(
            partition=CLUSTER_PARTITION,
            request_id=self._env.random_bytes(16),
            checks=(),
            writes=(Write(self.codec.key(own.stripe), self.codec.seal(own)),),
        )
        try:
            await self.index.apply((*sealed.batches, own_batch), applied.encode())
        except StorageError as error:
            self._die(error, group)
            return
        self._applied = applied
        self._remember(own)
        for stripe, row in group.stripes.items():
            if row is None:
                self._stripe_cache.pop(stripe, None)
            else:
                self._remember(row)
        self._view.settle(group)
        self._unapplied.remove(group)
        self._groups += 1
        self._changes += len(group.waiters)
        self._payload_bytes += sealed.payload_bytes
        for waiter in group.waiters:
            self._remember_outcome(group.position, waiter)
            if not waiter.future.done():
                waiter.future.set_result(Committed(group.position, waiter.places))
        for waiter, refusal in group.refused:
            _fail(waiter, refusal)
        for listener in self.on_applied:
            listener(sealed, group.stripes)

    def _own_row(self, sealed: Sealed, stored: StoredGroup) -> StripeRow:
        return StripeRow(
            stripe=sealed.header.stripe,
            geometry=self.geometry,
            cell_bytes=stored.cell_bytes,
            payload_bytes=sealed.payload_bytes,
            nodes=stored.nodes,
            tier=stored.tier,
            live_bytes=sealed.header.bodies_bytes,
        )

    async def _settle_applies(self) -> None:
        if self._applying is not None:
            await self._applying
            self._applying = None

    def _remember_outcome(self, position: Position, waiter: Waiter) -> None:
        """So that a repeat commits nothing. Plain numbers: the collector has nothing to look at."""
        request_id = waiter.change.batch.request_id
        self._pending.pop(request_id, None)
        numbers = [position.epoch, position.sequence]
        for place in waiter.places:
            numbers += (place.offset, place.sealed_bytes)
        self._recent[request_id] = tuple(numbers)
        if len(self._recent) > REQUEST_IDS_MAX:
            self._recent.popitem(last=False)

    # Stripe rows

    def _load_stripe(self, stripe: StripeId) -> StripeRow | None:
        cached = self._stripe_cache.get(stripe)
        if cached is not None:
            return cached
        value = self.index.read((self.codec.key(stripe),))[0]
        if value is None:
            return None
        row = self.codec.open(stripe, value)
        self._remember(row)
        return row

    def _remember(self, row: StripeRow) -> None:
        self._stripe_cache[row.stripe] = row
        if len(self._stripe_cache) > STRIPE_CACHE_MAX:
            self._stripe_cache.popitem(last=False)

    # Epochs

    def _take_back(self, stuck: Group) -> list[Waiter]:
        """All undecided callers in the order of their calls: the stuck group's, then the forming
        group's.
        """
        waiters = []
        for group in (stuck, self._forming):
            waiters += group.waiters
            waiters += [waiter for waiter, _ in group.refused]
        return [waiter for waiter in waiters if not waiter.future.done()]

    async def _open_epoch(self, tier: Tier | None, won: tuple[int, Tier] | None = None) -> None:
        """Fence, write the epoch's first record, decide the held changes again. Tries until it is
        done.
        """
        held = self._held or []
        while not self._dead:
            try:
                if won is None:
                    fenced, reached = await self._store.fence(self._term.epoch + 1, tier)
                    won = fenced.epoch, reached
                epoch, reached = won
                won = None
                self._term = self._term_of(epoch, reached)
                group = Group(Position(epoch, self._applied.sequence + 1))
                self._digest = self._applied.digest
                record = self._store.epoch_record(self._term, self._applied)
                sealed = self._seal(group, GroupKind.EPOCH, record)
                await self._store_and_apply(group, sealed)
                await self._settle_applies()
            except FencedOut as error:
                self._die(error, self._forming)
                return
            except StorageError as error:
                self._detail = str(error)
                logger.warning("no epoch can be opened yet: %s", error)
                tier = None
                await self._env.sleep(RETRY_S)
                continue
            break
        self._detail = ""
        self._view.clear()
        self._forming = Group(Position(self._term.epoch, self._applied.sequence + 1))
        self._held = None
        self._queue.extendleft(reversed(held))
        self._wake.set()

    async def _pause(self) -> None:
        while self._paused:
            await self._env.sleep(0.01)
        self._paused = True
        await self._idle.wait()
        if self._dead is not None:
            self._paused = False
            raise LogUnavailable(reason=self._detail)
        await self._settle_applies()
        if self._forming.waiters:
            # The forming group waits with its place; it is decided again when the log goes on.
            waiters = self._take_back(self._forming)
            self._view.clear()
            self._forming = Group(self._forming.position)
            self._queue.extendleft(reversed(waiters))

    def _resume(self) -> None:
        self._paused = False
        self._wake.set()

    # Ends

    def _die(self, error: StorageError, group: Group) -> None:
        """Stop for good: fenced out by another gateway, or the index failed. Callers learn that
        they don't know.
        """
        if self._dead is None:
            logger.error("the log stops: %s", error)
        self._dead = error
        self._detail = str(error)
        unknown = OutcomeUnknown(reason=str(error))
        for waiting in [*group.waiters, *(self._held or [])]:
            _fail(waiting, unknown)
        for unapplied in [*self._unapplied, self._forming]:
            for waiting in [*unapplied.waiters, *(waiter for waiter, _ in unapplied.refused)]:
                _fail(waiting, unknown)
        for waiting in self._queue:
            _fail(waiting, LogUnavailable(reason=str(error)))
        self._queue.clear()

    async def _watch_deadlines(self) -> None:
        while True:
            await self._env.sleep(DEADLINE_TICK_S)
            now = self._env.monotonic_s()
            for group in [*self._unapplied, self._forming]:
                for waiter in group.waiters:
                    if waiter.deadline_s < now:
                        _fail(waiter, OutcomeUnknown(deadline_s=COMMIT_S))
            for waiter in [*(self._held or []), *self._queue]:
                if waiter.deadline_s < now:
                    _fail(waiter, LogUnavailable(reason="deadline before the change was taken"))

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


def _fail(waiter: Waiter, error: StorageError) -> None:
    if not waiter.future.done():
        waiter.future.set_exception(error)


def _committed(numbers: tuple[int, ...]) -> Committed:
    epoch, sequence, *places = numbers
    stripe = StripeId(StripeFamily.COMMIT, epoch, sequence)
    return Committed(
        Position(epoch, sequence),
        tuple(
            Packed(stripe=stripe, offset=offset, sealed_bytes=length)
            for offset, length in zip(places[::2], places[1::2], strict=True)
        ),
    )
