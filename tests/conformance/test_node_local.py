"""The node suite on `LocalNode`, over real files with a thread lane, and over simulated ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from storaged.base.env import RealEnv
from storaged.base.ids import datacenter_id, node_id
from storaged.index_tables import MemoryTables
from storaged.local import open_local_node, open_node_over
from storaged.node import Node, NodeIdentity
from tests.conformance.node_suite import CAPACITY_BYTES, NodeSuite
from tests.support.crashable_files import CrashableFiles

IDENTITY = NodeIdentity(node=node_id("l1"), datacenter=datacenter_id("paris"), country="fr")


class TestLocalNode(NodeSuite):
    reads_in_place = True

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "node"

    def open_node(
        self, *, capacity_bytes: int = CAPACITY_BYTES
    ) -> AbstractAsyncContextManager[Node]:
        return _opened(self.directory, capacity_bytes)


class TestLocalNodeOverCrashableFiles(NodeSuite):
    def open_node(
        self, *, capacity_bytes: int = CAPACITY_BYTES
    ) -> AbstractAsyncContextManager[Node]:
        return _simulated(capacity_bytes)


@asynccontextmanager
async def _opened(directory: Path, capacity_bytes: int) -> AsyncIterator[Node]:
    env = RealEnv()
    node = await open_local_node(directory, IDENTITY, env, capacity_bytes=capacity_bytes)
    try:
        yield node
    finally:
        await node.close()
        env.close()


@asynccontextmanager
async def _simulated(capacity_bytes: int) -> AsyncIterator[Node]:
    env = RealEnv()
    node = await open_node_over(
        CrashableFiles(Random(1)),
        MemoryTables,
        IDENTITY,
        env,
        lane=None,
        capacity_bytes=capacity_bytes,
        reserve_bytes=0,
    )
    try:
        yield node
    finally:
        await node.close()
        env.close()
