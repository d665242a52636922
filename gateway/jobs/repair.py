"""Job `repair`: bring stripes back to full strength, lowest margin first.

Not inside the read path: reads and the sweep report, this job repairs. It also spreads stripes that
were written while a datacenter was away, once it is back. Sources are verified by their keyed tags
before anything is decoded; the index learns of a shard only when its node has synced it (D1).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest

from gateway.commit.change import Change, StripeChange
from gateway.commit.forming import CLUSTER_PARTITION
from gateway.commit.log import Log
from gateway.data.health import HealthView
from gateway.data.placement import margin, reachable_tier, tier_of, too_much_with_one
from gateway.data.stripes import StripeStore
from gateway.data.topology import NodeState, Topology
from gateway.jobs.repair_plan import first_steps, plan_moves, without
from gateway.meta.kv import Batch, OutcomeUnknown
from gateway.meta.sealing import RecordKeys
from gateway.meta.stripes import scan_stripes
from gateway.model.layout import StripeRow, Tier
from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeId
from storaged.base.jobs import Progress, give_way
from storaged.node import ShardConflict

logger = logging.getLogger(__name__)

QUEUE_MAX = 100_000
SCAN_ROWS = 100  # in one helping, each row opened: about a millisecond of the event loop's time
IDLE_S = 2.0
SCAN_EVERY_S = 30.0
ATTEMPTS_MAX = 5
AT_ONCE = 8  # stripes repaired side by side: at most 8 stripes' cells in memory
SORTED_MAX = 256
HELD_S = 0.1


@dataclass(slots=True)
class Wanted:
    """A stripe that needs work. `missing`: shard indexes that are known to be gone or bad where the
    row says.
    """

    missing: set[int]
    reason: str
    attempts: int = 0


class RepairQueue:
    """Stripes waiting for repair, and those that could not be repaired. Bounded: what does not fit
    is found again.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.waiting: dict[StripeId, Wanted] = {}
        self.unrecoverable: dict[StripeId, str] = {}
        # Stripes whose shards are being put by repair or deleted by the sweep right now: the other
        # one leaves them alone, else the sweep could delete what repair is about to name (D1).
        self.held: set[StripeId] = set()

    def report(self, stripe: StripeId, index: int | None, reason: str) -> None:
        """Add a stripe, or a bad shard of it."""
        wanted = self.waiting.get(stripe)
        if wanted is None:
            if len(self.waiting) >= QUEUE_MAX:
                return
            wanted = self.waiting[stripe] = Wanted(set(), reason)
        if index is not None:
            wanted.missing.add(index)


class Repairer:
    """Scans for stripes below full strength, and repairs what the queue holds."""

    name = "repair"

    def __init__(
        self,
        *,
        log: Log,
        store: StripeStore,
        health: HealthView,
        records: RecordKeys,
        queue: RepairQueue,
        env: Env,
        drain_reports: Callable[[], Sequence[tuple[StripeId, int, str]]],
    ) -> None:
        self._log = log
        self._store = store
        self._health = health
        self._records = records
        self._queue = queue
        self._env = env
        self._drain_reports = drain_reports
        self._sorted: list[StripeId] = []  # the most urgent, as of the last look
        self._scan_after: StripeId | None = None
        self._scanning = True
        self._next_scan_s = 0.0
        self._done = self._total = 0
        self._margins: Counter[int] = Counter()
        self.histogram: dict[int, int] = {}
        self.histogram_at_ms = 0  # end of the look that counted it

    def progress(self) -> Progress:
        waiting = len(self._queue.waiting)
        detail = f"{len(self._queue.unrecoverable)} unrecoverable" if waiting == 0 else ""
        return Progress(done=self._done, total=self._done + waiting, unit="stripes", detail=detail)

    def look_again(self) -> None:
        """Scan all stripes in the next steps, whenever the last look was."""
        self._scanning = True
        self._scan_after = None
        self._margins.clear()
        self._done = 0

    async def step(self) -> float:
        for stripe, index, reason in self._drain_reports():
            self._queue.report(stripe, index, reason)
        if self._scanning:
            began_s = self._env.monotonic_s()
            self._scan_some()
            await give_way(self._env, began_s)
            return 0
        if self._queue.waiting:
            urgent = self._most_urgent()
            if not urgent:
                await self._env.sleep(HELD_S)
                return 0
            await asyncio.gather(*(self._repair(stripe) for stripe in urgent))
            return 0 if self._queue.waiting else IDLE_S
        if self._env.monotonic_s() >= self._next_scan_s:
            self.look_again()
            return 0
        return IDLE_S

    def _scan_some(self) -> None:
        """One page of stripe rows: count margins, queue those that could be stronger."""
        usable = self._health.usable()
        page = scan_stripes(self._log, self._records, self._scan_after, limit=SCAN_ROWS)
        for stored in page:
            row = stored.row
            self._margins[self._margin(row)] += 1
            if self._is_weak(row, usable):
                self._queue.report(row.stripe, None, "below full strength")
        if len(page) == SCAN_ROWS:
            self._scan_after = page[-1].row.stripe
            return
        self._scan_after, self._scanning = None, False
        self.histogram = dict(self._margins)
        self.histogram_at_ms = self._env.now_ms()
        self._next_scan_s = self._env.monotonic_s() + SCAN_EVERY_S

    def _alive(self) -> list[int]:
        return [number for number in self._store.nodes if self._health.readable(number)]

    def _margin(self, row: StripeRow) -> int:
        return margin(row.nodes, self._queue.topology, row.geometry.k, self._alive())

    def _is_weak(self, row: StripeRow, usable: frozenset[int]) -> bool:
        topology = self._queue.topology
        best = reachable_tier(topology, row.geometry, usable, row.region)
        if tier_of(row.nodes, topology, row.geometry.k) < best:
            return True
        placeable = sum(1 for number in row.nodes if number) < row.geometry.n
        if best >= Tier.NODE and too_much_with_one(row.nodes, topology, row.geometry, row.region):
            return True
        return (placeable and best >= row.tier) or any(
            number in topology.by_number
            and (
                topology.by_number[number].state is not NodeState.ACTIVE
                or not topology.allows(row.region, number)
            )
            for number in row.nodes
        )

    def _most_urgent(self) -> list[StripeId]:
        """Up to AT_ONCE stripes with the lowest margins, counting shards that are known to be
        missing. Looks over the queue once for SORTED_MAX stripes, not for each.
        """
        queue = self._queue
        self._sorted = [stripe for stripe in self._sorted if stripe in queue.waiting]
        if not self._sorted:
            alive = self._alive()
            urgency = {stripe: self._urgency(stripe, alive) for stripe in queue.waiting}
            self._sorted = nsmallest(SORTED_MAX, urgency, key=lambda stripe: urgency[stripe])
        free = [stripe for stripe in self._sorted if stripe not in queue.held]
        return free[:AT_ONCE]

    def _urgency(self, stripe: StripeId, alive: list[int]) -> int:
        """Margin of a stripe as far as is known; later after each failure."""
        row = self._log.stripe_row(stripe)
        if row is None:
            return -len(alive)
        wanted = self._queue.waiting[stripe]
        nodes = without(row.nodes, wanted.missing)
        return margin(nodes, self._queue.topology, row.geometry.k, alive) + wanted.attempts

    async def _repair(self, stripe: StripeId) -> None:
        held = self._queue.held
        wanted = self._queue.waiting.pop(stripe)
        held.add(stripe)
        try:
            await self._restore(stripe, wanted)
        finally:
            held.discard(stripe)

    async def _restore(self, stripe: StripeId, wanted: Wanted) -> None:
        row = self._log.stripe_row(stripe)
        if row is None:
            self._queue.unrecoverable.pop(stripe, None)
            return
        usable = self._health.usable()
        plan = plan_moves(row, wanted.missing, self._queue.topology, usable)
        if not plan:
            self._done += 1
            return
        try:
            source = _masked(row, wanted.missing)
            whole, plan = plan, first_steps(source, plan)
            shards = await self._store.reconstruct(source, sorted(plan))
            outcomes = await self._store.put_shards(
                stripe, shards, plan, fence=None, retain_until_ms=row.retain_until_ms
            )
            false = {i: plan[i] for i, e in outcomes.items() if isinstance(e, ShardConflict)}
            if false:
                # What k verified shards prove is put; a node that holds other bytes under that id
                # holds no copy of anything.
                for index, number in false.items():
                    await self._store.nodes[number].delete([ShardId(stripe, index)])
                again = {index: shards[index] for index in false}
                outcomes |= await self._store.put_shards(
                    stripe, again, false, fence=None, retain_until_ms=row.retain_until_ms
                )
            stored = {index: plan[index] for index, error in outcomes.items() if error is None}
            if stored:
                await self._commit(row, stored)
            for failed in outcomes.values():
                if failed is not None:
                    raise failed
        except StorageError as error:
            wanted.attempts += 1
            logger.warning("stripe %s cannot be repaired yet: %s", stripe, error)
            if wanted.attempts >= ATTEMPTS_MAX:
                self._queue.unrecoverable[stripe] = str(error)
            else:
                self._queue.waiting.setdefault(stripe, wanted)
                await self._env.sleep(0.2)
            return
        self._queue.unrecoverable.pop(stripe, None)
        if len(plan) < len(whole):
            self._queue.report(stripe, None, wanted.reason)
            return
        self._done += 1

    async def _commit(self, row: StripeRow, stored: dict[int, int]) -> None:
        nodes = [stored.get(index, number) for index, number in enumerate(row.nodes)]
        batch = Batch(
            partition=CLUSTER_PARTITION,
            request_id=self._env.random_bytes(16),
            checks=(),
            writes=(),
        )
        change = StripeChange(
            stripe=row.stripe,
            moved=tuple(sorted(stored.items())),
            tier=tier_of(nodes, self._queue.topology, row.geometry.k),
        )
        while True:
            try:
                await self._log.commit_change(Change(batch=batch, stripes=(change,)))
            except OutcomeUnknown:
                # Asked until it is known, for the shards may be named at any time until then.
                if not self._log.serving:
                    raise
            else:
                return


def _masked(row: StripeRow, missing: set[int]) -> StripeRow:
    """The row as reads should see it: a shard that is known to be bad is not a source."""
    return replace(row, nodes=without(row.nodes, missing))
