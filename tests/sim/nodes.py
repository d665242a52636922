"""Simulated nodes: memory nodes, or real ones on a drive in memory that forgets what is not synced.

Behind each is a `FaultyNode` whose switches stay when what is behind it is wiped or crashes.
"""

from __future__ import annotations

import asyncio
from random import Random

from storaged.base.ids import ShardId, StripeFamily, StripeId, datacenter_id, node_id
from storaged.base.limits import LIST_LIMIT_MAX
from storaged.index_tables import MemoryTables
from storaged.local import open_node_over
from storaged.memory import MemoryNode
from storaged.node import Node, NodeIdentity
from tests.support.crashable_files import CrashableFiles
from tests.support.faulty_node import FaultyNode
from tests.support.simloop import SimEnv, SimLoop

DATACENTERS = ("paris", "lyon", "marseille")
FIRST_SHARD = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)


class SimNode:
    """One node of the cluster. `crashable`: a LocalNode on a drive that forgets.

    Attributes:
        stored: shards that it has acknowledged since it was last wiped, and not as a lie.
    """

    def __init__(self, number: int, datacenter: str, rng: Random, env: SimEnv) -> None:
        self.number = number
        self.identity = NodeIdentity(
            node=node_id(f"{datacenter}-{number}"),
            datacenter=datacenter_id(datacenter),
            country="fr",
        )
        self.faulty = FaultyNode(MemoryNode(self.identity), Random(rng.random()))
        self.wiped = 0
        self.stored: set[ShardId] = set()
        self._rng = Random(rng.random())
        self._env = env
        self._files: CrashableFiles | None = None
        self._tables = MemoryTables()
        self._opens = 0

    @property
    def owner(self) -> str:
        """The process of the node, as it was last started."""
        return f"node-{self.number}-{self._opens}"

    @property
    def crashable(self) -> bool:
        return self._files is not None

    async def make_local(self) -> None:
        """Become a LocalNode with an empty drive."""
        self._files = CrashableFiles(Random(self._rng.random()))
        self._tables = MemoryTables()
        await self._open()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        assert self._files is not None
        files, tables = self._files, self._tables
        self._opens += 1
        opening = open_node_over(
            files,
            lambda: tables,
            self.identity,
            self._env,
            lane=None,
            capacity_bytes=None,
            reserve_bytes=0,
        )
        self.faulty.node = await loop.spawn(self.owner, opening)

    async def crash(self) -> None:
        """The machine stops and starts: what its drive had not synced may be gone."""
        if self._files is None:
            return
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        self.faulty.down = True
        self._files.crash()
        await loop.kill(self.owner)
        await self._open()
        self.faulty.down = False

    async def wipe(self) -> None:
        """The drive is replaced by an empty one; promises are gone too."""
        self.wiped += 1
        self.stored.clear()
        self.faulty.down = True
        if self._files is None:
            self.faulty.node = MemoryNode(self.identity)
        else:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, SimLoop)
            self._files.crash()
            await loop.kill(self.owner)
            await self.make_local()
        self.faulty.down = False

    async def shards(self) -> set[ShardId]:
        """What it holds, whatever its switches say."""
        node: Node = self.faulty.node
        held: set[ShardId] = set()
        at: ShardId | None = FIRST_SHARD
        while at is not None:
            page = await node.list(at, None, limit=LIST_LIMIT_MAX)
            held |= {info.shard for info in page.shards}
            at = page.next
        return held
