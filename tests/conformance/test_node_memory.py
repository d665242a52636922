"""The node suite on `MemoryNode`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from storaged.base.ids import datacenter_id, node_id
from storaged.memory import MemoryNode
from storaged.node import Node, NodeIdentity
from tests.conformance.node_suite import CAPACITY_BYTES, NodeSuite

IDENTITY = NodeIdentity(node=node_id("m1"), datacenter=datacenter_id("paris"), country="fr")


class TestMemoryNode(NodeSuite):
    def open_node(
        self, *, capacity_bytes: int = CAPACITY_BYTES
    ) -> AbstractAsyncContextManager[Node]:
        return _opened(capacity_bytes)


@asynccontextmanager
async def _opened(capacity_bytes: int) -> AsyncIterator[Node]:
    yield MemoryNode(IDENTITY, capacity_bytes=capacity_bytes)
