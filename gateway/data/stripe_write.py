"""One stripe on its way to the nodes: puts, hand-off, and when it counts as stored.

Not for sealing or coding: attributes and cells are final when they come here, and every put sends
the same bytes.

A put is never cancelled while its buffer may be used again: the lease is held until every put has
ended. A put that has not ended after NODE_PUT_S spoils the lease, so that its buffer is never used
again, and only then is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from gateway.data.buffers import Lease
from gateway.data.health import HealthView
from gateway.data.placement import reachable_tier, replacement, tier_of
from gateway.data.stripe_errors import NodeFailure, TierNotReached
from gateway.data.topology import Topology
from gateway.limits import HAND_OFF_S, NODE_PUT_S
from gateway.model.layout import Geometry, Tier
from storaged.base.errors import DeadlineExceeded, StorageError
from storaged.base.ids import ShardId, StripeId
from storaged.node import Buffer, Fence, Node

RETRY_S = 0.25  # pause before nodes that failed for a reason that may pass are tried again


class StripeWrite:
    """Puts the shards of one stripe. Make it, then await `run` once.

    Args:
        shards: attributes and cell of each index to put.
        stored: node for each index that is there already, 0 = to be put.
        placed: wanted node for each index, stored ones included; 0 = none.
        required: tier that must be acknowledged.
        region: whose nodes alone may take a shard.
        deadline_s: seconds from now after which the tier counts as missed.
    """

    def __init__(
        self,
        nodes: Mapping[int, Node],
        topology: Topology,
        health: HealthView,
        *,
        stripe: StripeId,
        geometry: Geometry,
        shards: Mapping[int, tuple[bytes, Buffer]],
        stored: Sequence[int],
        placed: Sequence[int],
        required: Tier,
        fence: Fence | None,
        retain_until_ms: int,
        deadline_s: float,
        lease: Lease | None,
        region: int,
    ) -> None:
        self._nodes = nodes
        self._topology = topology
        self._health = health
        self._stripe = stripe
        self._geometry = geometry
        self._shards = shards
        self._placed = list(placed)
        self._required = required
        self._fence = fence
        self._retain_until_ms = retain_until_ms
        self._lease = lease
        self._region = region
        self._loop = asyncio.get_running_loop()
        self._started_s = self._loop.time()
        self._deadline_s = self._started_s + deadline_s
        self._late_s = self._next_hand_off_s = self._started_s + min(HAND_OFF_S, deadline_s)
        self._acked = list(stored)
        self._missing = self._acked.count(0)
        self._failures: list[NodeFailure] = []
        self._excluded: set[int] = set()
        self._outstanding: dict[asyncio.Task[None], tuple[int, int]] = {}
        self._handed_off: set[asyncio.Task[None]] = set()
        self._bug: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    async def run(self) -> tuple[tuple[int, ...], Tier]:
        """Put the shards until the tier is acknowledged and the rest has had its time.

        Returns:
            Acknowledged node for each index (0: none in time), and the tier that they make.

        Raises:
            TierNotReached: the deadline passed, or the usable nodes cannot reach the tier.

        Cancelled: puts under way go on by themselves; what they store is garbage for the sweep.
        """
        if self._lease is not None:
            self._lease.retain()
        try:
            for index, number in enumerate(self._placed):
                if number and not self._acked[index]:
                    self._launch(index, number)
            while True:
                tier = self._verdict()
                if tier is not None:
                    return tuple(self._acked), tier
                await self._wait()
        finally:
            self._close()

    def _verdict(self) -> Tier | None:
        """The tier when the write is over, None while it goes on. Raises TierNotReached."""
        if self._bug is not None:
            raise self._bug
        now_s = self._loop.time()
        late = now_s >= self._late_s
        if self._missing and self._outstanding and not late:
            return None
        tier = self._tier()
        if tier >= self._required:
            self._mark_slow()
            return tier
        if now_s >= self._deadline_s:
            self._mark_slow()
            raise self._not_reached(tier)
        if now_s >= self._next_hand_off_s:
            self._hand_off_slow(now_s)
        if late and not self._is_in_reach():
            raise self._not_reached(tier)
        if not self._outstanding and not self._retry_is_worth_it():
            raise self._not_reached(tier)
        return None

    def _tier(self) -> Tier:
        return tier_of(self._acked, self._topology, self._geometry.k)

    def _not_reached(self, tier: Tier) -> TierNotReached:
        return TierNotReached(
            stripe=self._stripe,
            required=self._required.name,
            acknowledged=tier.name,
            failures=tuple(self._failures),
        )

    def _is_in_reach(self) -> bool:
        """Whether the nodes that acknowledged and those that still answer could make the tier."""
        alive = self._usable().union(number for number in self._acked if number)
        reachable = reachable_tier(self._topology, self._geometry, alive, self._region)
        return reachable >= self._required

    def _retry_is_worth_it(self) -> bool:
        if not self._missing or not any(f.error.retryable for f in self._failures):
            return False
        reachable = reachable_tier(self._topology, self._geometry, self._usable(), self._region)
        return reachable >= self._required

    def _usable(self) -> frozenset[int]:
        """Nodes that may take a shard of this stripe, as they are known."""
        return self._topology.within(self._health.usable(), self._region)

    def _launch(self, index: int, number: int) -> None:
        attributes, content = self._shards[index]
        put = self._nodes[number].put(
            ShardId(self._stripe, index),
            attributes,
            content,
            fence=self._fence,
            retain_until_ms=self._retain_until_ms,
        )
        task = self._loop.create_task(put)
        self._outstanding[task] = (index, number)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        index, number = self._outstanding.pop(task)
        self._handed_off.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            self._wake()
        elif error is None:
            if not self._acked[index]:
                self._acked[index] = number
                self._missing -= 1
            self._health.mark_ok(number)
            if not self._missing or not self._outstanding or self._loop.time() >= self._late_s:
                self._wake()
        elif isinstance(error, StorageError):
            self._health.mark_failed(number, error)
            self._failures.append(NodeFailure(node=number, index=index, error=error))
            self._excluded.add(number)
            if not self._closed and not self._acked[index]:
                self._hand_off(index)
            self._wake()
        else:
            self._bug = error
            self._wake()
        if self._closed and not self._outstanding:
            self._let_go()

    def _hand_off(self, index: int) -> None:
        """The same bytes to another node, if one is left within the rules of placement."""
        number = replacement(
            self._stripe,
            self._topology,
            self._geometry,
            self._placed,
            index,
            self._usable(),
            self._excluded,
            self._region,
        )
        if number is not None:
            self._placed[index] = number
            self._launch(index, number)

    def _hand_off_slow(self, now_s: float) -> None:
        """Hand off what has been under way for too long, and look again after as long."""
        self._mark_slow()
        for task, (index, number) in list(self._outstanding.items()):
            if not self._acked[index] and task not in self._handed_off:
                self._handed_off.add(task)
                self._excluded.add(number)
                self._hand_off(index)
        self._next_hand_off_s = now_s + HAND_OFF_S

    def _mark_slow(self) -> None:
        """Tell the health view of nodes that had HAND_OFF_S and did not answer."""
        if self._loop.time() < self._late_s:
            return
        for task, (index, number) in self._outstanding.items():
            if task not in self._handed_off:
                error = DeadlineExceeded(node=number, index=index, after_s=HAND_OFF_S)
                self._health.mark_failed(number, error)
                self._failures.append(NodeFailure(node=number, index=index, error=error))

    async def _wait(self) -> None:
        """Until a put ends in a way that matters, the next hand-off is due, or the deadline."""
        if not self._outstanding:
            await self._pause()
            return
        due_s = min(self._next_hand_off_s, self._deadline_s)
        self._waiter = self._loop.create_future()
        timer = self._loop.call_at(due_s, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    async def _pause(self) -> None:
        """Every node that was tried failed: let time pass, then try what is usable by then."""
        await asyncio.sleep(max(0.0, min(RETRY_S, self._deadline_s - self._loop.time())))
        self._excluded.clear()
        for index, acked in enumerate(self._acked):
            if not acked:
                self._placed[index] = 0
        for index, acked in enumerate(self._acked):
            if not acked:
                self._hand_off(index)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _close(self) -> None:
        self._closed = True
        if not self._outstanding:
            self._let_go()
            return
        self._loop.call_at(max(self._loop.time(), self._started_s + NODE_PUT_S), self._cut)

    def _cut(self) -> None:
        """Give up puts that do not end; their buffer is theirs from then on."""
        if self._outstanding and self._lease is not None:
            self._lease.spoil()
        for task in list(self._outstanding):
            task.cancel()

    def _let_go(self) -> None:
        if self._lease is not None:
            self._lease.release()
            self._lease = None
