"""The node suite on `RemoteNode` over mutual TLS: behind it memory, and a real drive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from storaged.base.env import RealEnv
from storaged.local import open_local_node
from storaged.memory import MemoryNode
from storaged.node import Node
from tests.conformance.node_suite import CAPACITY_BYTES, NodeSuite
from tests.support.node_link import PARIS_1, Certificates, linked, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


class TestRemoteMemoryNode(NodeSuite):
    @pytest.fixture(autouse=True)
    def _certificates(self, certificates: Certificates) -> None:
        self.certificates = certificates

    def open_node(
        self, *, capacity_bytes: int = CAPACITY_BYTES
    ) -> AbstractAsyncContextManager[Node]:
        return _over_memory(self.certificates, capacity_bytes)


class TestRemoteLocalNode(NodeSuite):
    @pytest.fixture(autouse=True)
    def _certificates(self, certificates: Certificates, tmp_path: Path) -> None:
        self.certificates = certificates
        self.directory = tmp_path / "node"

    def open_node(
        self, *, capacity_bytes: int = CAPACITY_BYTES
    ) -> AbstractAsyncContextManager[Node]:
        return _over_drive(self.certificates, self.directory, capacity_bytes)


@asynccontextmanager
async def _over_memory(certificates: Certificates, capacity_bytes: int) -> AsyncIterator[Node]:
    node = MemoryNode(PARIS_1, capacity_bytes=capacity_bytes)
    async with linked(node, certificates) as (client, _):
        yield client


@asynccontextmanager
async def _over_drive(
    certificates: Certificates, directory: Path, capacity_bytes: int
) -> AsyncIterator[Node]:
    env = RealEnv()
    node = await open_local_node(directory, PARIS_1, env, capacity_bytes=capacity_bytes)
    async with linked(node, certificates) as (client, _):
        yield client
    await node.close()
    env.close()
