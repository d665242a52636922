"""A node behind a server on loopback, and the certificates of a small cluster."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from storaged.base.env import RealEnv
from storaged.base.ids import ShardId, StripeFamily, StripeId, datacenter_id, node_id
from storaged.base.limits import CALL_DEADLINE_S
from storaged.identity import (
    Authority,
    create_authority,
    issue_gateway,
    issue_node,
    write_authority,
    write_issued,
)
from storaged.memory import MemoryNode
from storaged.metrics import NodeMetrics
from storaged.node import Node, NodeIdentity
from storaged.remote import RemoteNode
from storaged.server import NodeServer
from storaged.tls import node_client_context, node_server_context

DOMAIN = "cluster.test"
PARIS_1 = NodeIdentity(node=node_id("p1"), datacenter=datacenter_id("paris"), country="fr")
LYON_1 = NodeIdentity(node=node_id("l1"), datacenter=datacenter_id("lyon"), country="fr")


def shard(counter: int, index: int = 0) -> ShardId:
    """A data shard."""
    return ShardId(StripeId(StripeFamily.DATA, 1, counter), index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """A CA with a node's and a gateway's certificate, as files in one folder."""

    folder: Path
    authority: Authority

    def server(self, name: str = "node") -> ssl.SSLContext:
        """TLS of the node."""
        return node_server_context(*self._pair(name), self.folder / "ca.crt")

    def client(self, name: str = "gateway") -> ssl.SSLContext:
        """TLS of the gateway."""
        return node_client_context(*self._pair(name), self.folder / "ca.crt")

    def _pair(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


def make_certificates(
    folder: Path, identity: NodeIdentity = PARIS_1, domain: str = DOMAIN
) -> Certificates:
    """ca.crt, node.crt, gateway.crt and their keys in `folder`."""
    env = RealEnv()
    authority = create_authority(domain, env)
    write_authority(authority, folder)
    write_issued(issue_node(authority, identity, env), folder / "node.crt", folder / "node.key")
    write_issued(
        issue_gateway(authority, "g1", env), folder / "gateway.crt", folder / "gateway.key"
    )
    return Certificates(folder=folder, authority=authority)


def remote(
    address: tuple[str, int],
    context: ssl.SSLContext | None,
    *,
    identity: NodeIdentity = PARIS_1,
    call_deadline_s: float = CALL_DEADLINE_S,
) -> RemoteNode:
    """A `RemoteNode` with the defaults of tests."""
    return RemoteNode(
        identity,
        address,
        ssl_context=context,
        domain=DOMAIN,
        gateway="g1",
        env=RealEnv(),
        call_deadline_s=call_deadline_s,
    )


@asynccontextmanager
async def served(
    node: Node, context: ssl.SSLContext | None, metrics: NodeMetrics | None = None
) -> AsyncIterator[NodeServer]:
    """A node behind a server that listens."""
    server = NodeServer(node, ssl_context=context, domain=DOMAIN, env=RealEnv(), metrics=metrics)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def linked(
    node: Node | None = None,
    certificates: Certificates | None = None,
    *,
    metrics: NodeMetrics | None = None,
    call_deadline_s: float = CALL_DEADLINE_S,
) -> AsyncIterator[tuple[RemoteNode, NodeServer]]:
    """A node (by default in memory) behind a server, and a `RemoteNode` that reaches it."""
    node = node if node is not None else MemoryNode(PARIS_1)
    async with served(node, certificates.server() if certificates else None, metrics) as server:
        client = remote(
            server.address,
            certificates.client() if certificates else None,
            identity=node.identity,
            call_deadline_s=call_deadline_s,
        )
        try:
            yield client, server
        finally:
            await client.close()
