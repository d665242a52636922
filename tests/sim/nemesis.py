"""The nemesis: what goes wrong, and when. Never more at once than the tiers promise to survive.

One datacenter is in trouble at a time; a lie (a node that acknowledges and forgets, or denies what
it has) comes from one node. What is lost for good is lost only where every stripe can spare it,
judged by what nodes really hold, and repaired before anything else breaks. Gateways crash, lose
their index and are taken over at any time.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any

from gateway.model.layout import Tier
from storaged.base.errors import StorageError
from storaged.node import DriveFull, NodeUnavailable
from tests.sim.clients import Client
from tests.sim.nodes import DATACENTERS, SimNode
from tests.sim.oracle import check_codewords
from tests.sim.process import GatewayProcess
from tests.sim.settle import mend_stripes, round_of
from tests.sim.world import World

JOBS = ("checkpoint", "checkpoint", "compact", "free", "free", "sweep", "garbage", "repair")


class Nemesis:
    """See the module."""

    def __init__(self, world: World, zombie_client: Client) -> None:
        self.world = world
        self.rng = Random(world.rng.random())
        self._zombie_client = zombie_client
        self.running: set[asyncio.Task[None]] = set()

    async def run(self, rounds: int) -> None:
        """So many rounds of trouble, with rest in between."""
        events: tuple[tuple[Callable[[], Awaitable[None]], int], ...] = (
            (self.site_in_trouble, 30),
            (self.relay, 8),
            (self.node_in_trouble, 25),
            (self.crash, 20),
            (self.work, 40),
            (self.lie, 8),
            (self.lose, 12),
            (self.lose_index, 8),
            (self.take_over, 8),
            (self.power_cut, 6),
            (self.clock, 4),
        )
        choices, weights = zip(*events, strict=True)
        for _ in range(rounds):
            await asyncio.sleep(self.rng.expovariate(4))
            if not self.world.finished:
                await self.rng.choices(choices, weights)[0]()

    def _trace(self, line: str) -> None:
        self.world.trace(f"nemesis: {line}")
        self.world.counts[line.split(" ")[0]] += 1

    def _site(self) -> list[SimNode]:
        return self.world.site(self.rng.choice(DATACENTERS))

    async def _meanwhile(self) -> None:
        """What may happen while nodes are in trouble."""
        for _ in range(self.rng.choice((0, 0, 1, 1, 2))):
            await asyncio.sleep(self.rng.expovariate(2))
            event = self.rng.choices(
                (self.crash, self.work, self.lose_index, self.take_over, self.clock),
                (5, 5, 1, 2, 1),
            )[0]
            await event()
        await asyncio.sleep(self.rng.expovariate(0.5))

    # Trouble that passes

    async def site_in_trouble(self) -> None:
        """A datacenter is down, cut off, slow or frozen for a while."""
        site = self._site()
        how = self.rng.choice(("down", "down", "frozen", "slow", "cut"))
        self._trace(f"{how} {site[0].identity.datacenter}")
        for node in site:
            self._break(node, how)
        await self._meanwhile()
        self._mend(site)

    async def relay(self) -> None:
        """A datacenter goes when another has just come back, and the gateway dies with it: what was
        acknowledged at NODE meanwhile cannot be judged until it is there again, but is not void.
        """
        first, second = self.rng.sample(DATACENTERS, 2)
        self._trace(f"relay {first}, {second}")
        for node in self.world.site(first):
            self._break(node, "down")
        for _ in range(self.rng.randint(10, 60)):
            gateway = self.world.gateway
            if gateway is not None and gateway.serving and gateway.log.tier is Tier.NODE:
                break
            await asyncio.sleep(0.5)
        await asyncio.sleep(self.rng.expovariate(2))
        await self.world.crash_gateway(drop_last=True)
        self._mend(self.world.site(first))
        for node in self.world.site(second):
            self._break(node, "down")
        self._restart(rebuild=self.rng.random() < 0.3)
        await asyncio.sleep(3 + self.rng.expovariate(0.5))
        self._mend(self.world.site(second))

    async def node_in_trouble(self) -> None:
        """A node is down, drops answers, is full, or gives other bytes than it has."""
        node = self.rng.choice(self._site())
        how = self.rng.choice(
            ("down", "frozen", "slow", "drops", "full", "corrupt", "truncate", "swap", "fails")
        )
        self._trace(f"{how} node {node.number}")
        self._break(node, how)
        await self._meanwhile()
        self._mend([node])

    def _break(self, node: SimNode, how: str) -> None:
        faulty, rng = node.faulty, self.rng
        if how == "down":
            faulty.down = True
        elif how == "frozen":
            faulty.freeze()
        elif how == "slow":
            faulty.slow(rng.choice((0.1, 0.6, 2.5)))
        elif how == "cut":
            if self.world.gateway is not None:
                self.world.gateway.links[node.number].cut = True
        elif how == "drops":
            faulty.drop_answers = rng.randint(1, 6)
        elif how in ("full", "fails"):
            faulty.fail_puts = rng.randint(1, 8)
            faulty.put_error = DriveFull if how == "full" else NodeUnavailable
        elif how == "corrupt":
            faulty.corrupt_gets = True
        elif how == "truncate":
            faulty.truncate_gets = True
        elif how == "swap":
            faulty.swap_gets = True
        elif how == "forgets":
            faulty.false_puts = True
        elif how == "denies":
            faulty.deny_shards = True

    def _mend(self, nodes: list[SimNode]) -> None:
        self._trace(f"mended {[node.number for node in nodes]}")
        for node in nodes:
            node.faulty.mend()
            if self.world.gateway is not None:
                self.world.gateway.links[node.number].cut = False

    # What does not pass by itself

    async def lie(self) -> None:
        """A node acknowledges and forgets, or denies what it has; then everything is repaired."""
        if not await self._is_strong():
            return
        node = self.rng.choice(self._site())
        how = self.rng.choice(("forgets", "denies"))
        self._trace(f"{how} node {node.number}")
        self._break(node, how)
        await asyncio.sleep(self.rng.expovariate(0.5))
        self._mend([node])
        await mend_stripes(self.world)

    async def lose(self) -> None:
        """A node or a datacenter is lost with all it holds, and returns empty."""
        if not await self._is_strong():
            return
        gateway = await self.world.serving()
        if self.rng.random() < 0.7:
            for _ in range(2):  # a sweep that has found nothing missing may delete
                await round_of(self.world, gateway, "sweep")
        site = self._site()
        lost = site if self.rng.random() < 0.5 else [self.rng.choice(site)]
        numbers = frozenset(node.number for node in lost)
        tier = Tier.FULL if len(lost) > 1 or len(site) == 1 else Tier.NODE
        if gateway.log.tier < tier:
            return
        if await self.world.strength(gateway.stripe_rows(), numbers) < 0:
            return
        if not gateway.serving or gateway.log.tier < tier:
            return
        self._trace(f"wipe of {sorted(numbers)}")
        for node in lost:
            await node.wipe()
        if self.rng.random() < 0.5:
            await self._refill_beside_a_liar(numbers)
        else:
            await self._refill_slowly(lost)
        await mend_stripes(self.world)
        await check_codewords(self.world, await self.world.serving())

    async def _refill_beside_a_liar(self, lost: frozenset[int]) -> None:
        """What is lost is computed again while another node gives other bytes than it has, where
        every stripe can spare both.
        """
        world = self.world
        liar = self.rng.choice([n for n in world.nodes.values() if n.number not in lost])
        rows = (await world.serving()).stripe_rows()
        if await world.strength(rows, lost | {liar.number}) < 0:
            return
        how = self.rng.choice(("corrupt", "swap"))
        self._trace(f"{how} node {liar.number} while others are filled")
        self._break(liar, how)
        await mend_stripes(world, rounds=self.rng.randint(1, 4))
        self._mend([liar])

    async def _refill_slowly(self, lost: list[SimNode]) -> None:
        """One of those that are filled again is slow, so the shards of the other ones wait for
        their names, while the sweep looks at them.
        """
        slow = self.rng.choice(lost)
        self._trace(f"slow node {slow.number} while it is filled")
        slow.faulty.slow(self.rng.choice((0.6, 2.5)))
        await mend_stripes(self.world, rounds=self.rng.randint(2, 5))
        self._mend([slow])

    async def _is_strong(self) -> bool:
        """Every stripe can spare a datacenter, once repair has had its time."""
        return await mend_stripes(self.world)

    # Gateways

    async def crash(self) -> None:
        """The gateway dies, perhaps with its last transaction, and comes back."""
        drop_last = self.rng.random() < 0.4
        self._trace(f"crash, drop_last={drop_last}")
        await self.world.crash_gateway(drop_last=drop_last)
        await asyncio.sleep(self.rng.random())
        self._restart(rebuild=False)

    def _restart(self, *, rebuild: bool) -> None:
        self._background(self.world.start_gateway(rebuild=rebuild))

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.world.loop.create_task(work)
        self.running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            where = "".join(traceback.format_exception(error)[-6:])
            self.world.violate(f"start of the gateway: {type(error).__name__}: {error}\n{where}")

    async def lose_index(self) -> None:
        """The index is gone; another is made from the nodes."""
        self._trace("index lost")
        await self.world.crash_gateway(drop_last=False)
        self._restart(rebuild=True)

    async def take_over(self) -> None:
        """Another machine rebuilds and serves while the old gateway still runs, and is used."""
        world = self.world
        old = world.gateway
        if old is None or not old.serving:
            return
        self._trace("takeover")
        await old.scheduler.close()
        world.gateway = None
        world.machine = world.new_machine()
        self._restart(rebuild=True)
        self._background(self._use(old))

    async def _use(self, old: GatewayProcess) -> None:
        for _ in range(self.rng.randint(1, 6)):
            await asyncio.sleep(self.rng.expovariate(20))
            await self._zombie_client.put(gateway=old)
        old.end()
        await self.world.loop.kill(old.owner)

    async def work(self) -> None:
        """A job does one round, now."""
        name = self.rng.choice(JOBS)
        gateway = self.world.gateway
        if gateway is None or not gateway.serving:
            return
        self._trace(f"job {name}")
        task = self.world.loop.spawn(gateway.owner, gateway.round(name))
        if self.rng.random() < 0.5:
            await asyncio.wait({task}, timeout=30)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StorageError):
            self.world.violate(f"a job raised {type(error).__name__}: {error}")
        elif error is not None:
            self._trace(f"job ended with {type(error).__name__}")

    async def power_cut(self) -> None:
        """All machines stop at once: gateway and nodes with drives."""
        self._trace("power cut")
        await self.world.crash_gateway(drop_last=True)
        for node in self.world.nodes.values():
            await node.crash()
        self._restart(rebuild=False)

    async def clock(self) -> None:
        """The wall clock jumps."""
        by_s = self.rng.choice((-86_400, -60, 3600, 86_400))
        self._trace(f"clock {by_s:+d} s")
        self.world.env.jump(by_s * 1000)
