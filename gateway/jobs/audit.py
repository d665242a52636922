"""Job `sweep`: hold what nodes have against what the index names, in both directions.

Shards that are named but not there go to the repair queue; shards that are there but not named are
deleted. Both lists come in the order of ids, so one node is held against the index as two streams,
whatever their length.

Sweeping is off until one whole pass of this process has found nothing missing, so a rebuilt index
proves itself before anything is deleted on its word; and the partitions' sums must hold, so a row
that rot has hidden does not cost shards.
Never by age: what is in flight is known by its reservation or its epoch (step 14).

Invariants: D2, D3.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.commit.change import Change
from gateway.commit.forming import CLUSTER_PARTITION
from gateway.commit.log import Log
from gateway.data.health import HealthView
from gateway.data.topology import NodeState
from gateway.jobs.repair import RepairQueue
from gateway.meta.keyspace import after, parse_stripe, stripe_range, stripe_row
from gateway.meta.kv import Batch
from gateway.meta.sealing import RecordKeys
from gateway.meta.stripes import open_stripe
from gateway.meta.verification import SumsCheck, SumsMismatch
from gateway.model.layout import StripeRow
from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.base.jobs import Progress, give_way
from storaged.node import Node, ShardInfo, ShardMissing

logger = logging.getLogger(__name__)

PAUSE_S = 600.0
RETRY_S = 10.0
# One helping holds the event loop for one or two milliseconds; whoever waits for a request does not
# notice.
PAGE_SHARDS = 200
SCAN_ROWS = 100
FIRST_SHARD = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)


@dataclass(slots=True)
class _Pass:
    """One round over all nodes."""

    numbers: list[int]
    sweeping: bool
    at: ShardId | None = FIRST_SHARD
    missing: int = 0
    unnamed: int = 0
    deleted: int = 0
    skipped: int = 0


class Audit:
    """See the module docstring."""

    name = "sweep"

    def __init__(
        self,
        *,
        log: Log,
        nodes: Mapping[int, Node],
        health: HealthView,
        records: RecordKeys,
        repairs: RepairQueue,
        env: Env,
    ) -> None:
        self._log = log
        self._nodes = nodes
        self._health = health
        self._records = records
        self._repairs = repairs
        self._env = env
        self._check: SumsCheck | None = None
        self._pass: _Pass | None = None
        self._proven = False
        self._done = 0
        self._last = ""

    def progress(self) -> Progress:
        return Progress(done=self._done, total=len(self._nodes), unit="nodes", detail=self._last)

    async def step(self) -> float:
        if self._pass is None:
            await self._begin()
            return 0
        if not self._pass.numbers:
            return self._end(self._pass)
        began_s, number = self._env.monotonic_s(), self._pass.numbers[0]
        try:
            await self._page(self._pass, number)
        except StorageError as error:
            logger.warning("sweep skips node %d: %s", number, error)
            self._pass.skipped += 1
            self._next_node(self._pass)
        await give_way(self._env, began_s)
        return 0

    async def _begin(self) -> None:
        """A helping of the check of the index; after the last one the pass begins."""
        if self._check is None:
            self._check = SumsCheck(self._log.index, self._env)
        is_over = True
        try:
            is_over = await self._check.step()
        except SumsMismatch as error:
            self._log.suspect = error.partitions
            raise
        except asyncio.CancelledError:
            is_over = False  # whoever asked for the round has gone; the job goes on with it
            raise
        finally:
            if is_over:
                self._check.end()
                self._check = None
        if not is_over:
            return
        self._log.suspect = frozenset()
        numbers = [
            node.number
            for node in self._repairs.topology.nodes
            if node.state is not NodeState.GONE and node.number in self._nodes
        ]
        self._done = 0
        self._pass = _Pass(numbers=numbers, sweeping=self._proven)

    def _next_node(self, current: _Pass) -> None:
        current.numbers.pop(0)
        current.at = FIRST_SHARD
        self._done += 1

    def _end(self, finished: _Pass) -> float:
        self._last = (
            f"{finished.missing} missing, {finished.unnamed} unnamed, {finished.deleted} deleted"
            + (f", {finished.skipped} nodes not reached" if finished.skipped else "")
            + ("" if finished.sweeping else ", looked only")
        )
        self._pass = None
        if finished.missing == 0 and finished.skipped == 0 and not self._proven:
            self._proven = True
            return RETRY_S if finished.unnamed else PAUSE_S
        if finished.missing or finished.skipped:
            return RETRY_S * 3
        return PAUSE_S

    async def _page(self, current: _Pass, number: int) -> None:
        start = current.at
        assert start is not None
        node = self._nodes[number]
        page = await node.list(start, None, limit=PAGE_SHARDS)
        listed = {info.shard: info for info in page.shards}
        candidates = [info for info in page.shards if not self._in_flight(info.shard.stripe)]
        rows = await self._rows(start.stripe, page.next)
        await self._find_missing(current, number, start, page.next, listed, rows)
        unnamed = [
            info.shard
            for info in candidates
            if not _names(rows.get(info.shard.stripe), info, number)
        ]
        current.unnamed += len(unnamed)
        if unnamed and current.sweeping:
            current.deleted += await self._delete(number, unnamed)
        if page.next is None:
            self._next_node(current)
        else:
            current.at = page.next

    async def _delete(self, number: int, unnamed: Sequence[ShardId]) -> int:
        """Delete what is unnamed still, and what repair is not about to name; returns how many.

        Raises: what the log raises when it is not ours any more: another gateway may have named
            what our index does not know.
        """
        await self._log.commit_change(self._nothing())
        held = self._repairs.held
        doomed = [
            shard
            for shard in unnamed
            if shard.stripe not in held and not _is_named(self._log, shard, number)
        ]
        if (
            not doomed or not self._log.serving
        ):  # a log that has stopped knows no more what is named
            return 0
        stripes = {shard.stripe for shard in doomed}
        held |= stripes
        try:
            outcomes = await self._nodes[number].delete(doomed)
        finally:
            held -= stripes
        return sum(outcome is None for outcome in outcomes)

    def _nothing(self) -> Change:
        """A change whose commit proves that nobody has taken over."""
        request_id = self._env.random_bytes(16)
        return Change(
            batch=Batch(partition=CLUSTER_PARTITION, request_id=request_id, checks=(), writes=())
        )

    def _in_flight(self, stripe: StripeId) -> bool:
        """Whether a shard that no row names may still get its name."""
        log = self._log
        if stripe.family is StripeFamily.COMMIT:
            return stripe.epoch >= log.epoch and stripe.counter > log.position.sequence
        return stripe.epoch > log.reservations.writer_epoch or log.reservations.in_flight(stripe)

    async def _rows(self, first: StripeId, stop: ShardId | None) -> dict[StripeId, StripeRow]:
        """Stripe rows from `first` to the stripe of `stop`, both included."""
        rows: dict[StripeId, StripeRow] = {}
        start = stripe_row(first)
        end = stripe_range()[1] if stop is None else after(stripe_row(stop.stripe))
        while True:
            page = self._log.scan(start, end, limit=SCAN_ROWS)
            for row in page:
                rows[parse_stripe(row.key)] = open_stripe(self._records, row.key, row.value)
            if len(page) < SCAN_ROWS:
                return rows
            start = after(page[-1].key)
            await self._env.sleep(0)

    async def _find_missing(
        self,
        current: _Pass,
        number: int,
        start: ShardId,
        stop: ShardId | None,
        listed: Mapping[ShardId, ShardInfo],
        rows: Mapping[StripeId, StripeRow],
    ) -> None:
        for row in rows.values():
            for index, holder in enumerate(row.nodes):
                shard = ShardId(row.stripe, index)
                if holder != number or shard in listed or shard < start:
                    continue
                if stop is not None and shard >= stop:
                    continue
                if await self._is_missing(number, shard):
                    current.missing += 1
                    self._repairs.report(row.stripe, index, "not on its node")

    async def _is_missing(self, number: int, shard: ShardId) -> bool:
        """Ask again: it may have come after the list was made, or its row may have gone."""
        if not _is_named(self._log, shard, number):
            return False
        try:
            await self._nodes[number].stat(shard)
        except ShardMissing:
            return True
        return False


def _is_named(log: Log, shard: ShardId, number: int) -> bool:
    row = log.stripe_row(shard.stripe)
    return row is not None and row.nodes[shard.index] == number


def _names(row: StripeRow | None, info: ShardInfo, number: int) -> bool:
    index = info.shard.index
    return row is not None and index < len(row.nodes) and row.nodes[index] == number
