"""What a gateway may do to a node is bound to one connection, one node and one epoch: whoever
records it, sends it elsewhere or keeps it has nothing.

A node gives out no right to a single shard, so there is none to be used for another. What can be
taken along is what goes over the wire, and an epoch of the log that has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from storaged.base.ids import LogId
from storaged.identity import issue_node, write_issued
from storaged.memory import MemoryNode
from storaged.node import Fence, FencedOut, NodeUnavailable
from tests.support.node_link import (
    LYON_1,
    PARIS_1,
    Certificates,
    linked,
    make_certificates,
    remote,
    served,
    shard,
)

pytestmark = pytest.mark.proves("NOD-02", "B-14")

LOG = LogId(b"l" * 16)
CONTENT = b"a shard of somebody " * 500


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


class Tap:
    """Somebody between gateway and node, who keeps what the gateway has sent.

    Args:
        altered: what he makes of a piece of it.
    """

    def __init__(self, to: tuple[str, int], altered: Callable[[bytes, int], bytes]) -> None:
        self._to = to
        self._altered = altered
        self.sent: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node_reader, node_writer = await asyncio.open_connection(*self._to)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await asyncio.gather(
                self._pass(reader, node_writer, keeps=True),
                self._pass(node_reader, writer, keeps=False),
            )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keeps: bool
    ) -> None:
        passed = 0
        while piece := await reader.read(65536):
            if keeps:
                self.sent.append(piece)
                piece, passed = self._altered(piece, passed), passed + len(piece)
            writer.write(piece)
            await writer.drain()
        writer.close()


def _as_it_is(piece: bytes, _: int) -> bytes:
    return piece


@asynccontextmanager
async def tapped(
    certificates: Certificates,
    node: MemoryNode,
    altered: Callable[[bytes, int], bytes] = _as_it_is,
) -> AsyncIterator[tuple[Tap, tuple[str, int], tuple[str, int]]]:
    """A tap before a node; its address, and the node's."""
    async with served(node, certificates.server()) as server:
        tap = Tap(server.address, altered)
        listener = await asyncio.start_server(tap.serve, "127.0.0.1", 0)
        try:
            yield tap, listener.sockets[0].getsockname()[:2], server.address
        finally:
            listener.close()


async def _held(node: MemoryNode, counter: int) -> bytes:
    found = await node.get(shard(counter), offset=0, length=len(CONTENT))
    return bytes(found.content)


def test_what_was_sent_once_does_nothing_when_it_is_sent_again(certificates: Certificates) -> None:
    """A delete that was recorded, when the shard is there again: in one piece, and as it came."""

    async def main() -> None:
        node = MemoryNode(PARIS_1)
        async with tapped(certificates, node) as (tap, by_tap, address):
            gateway = remote(by_tap, certificates.client())
            await gateway.put(shard(1), b"a", CONTENT, fence=None, retain_until_ms=0)
            assert await gateway.delete([shard(1)]) == (None,)
            await gateway.close()
            await node.put(shard(1), b"a", CONTENT, fence=None, retain_until_ms=0)
            for pieces in ([b"".join(tap.sent)], tap.sent, tap.sent[1:], tap.sent[-2:]):
                reader, writer = await asyncio.open_connection(*address)
                for piece in pieces:
                    writer.write(piece)
                with suppress(ConnectionError):
                    await writer.drain()
                    writer.write_eof()
                    await asyncio.wait_for(reader.read(), 10)
                writer.close()
                assert await _held(node, 1) == CONTENT
            assert (await node.status()).shard_count == 1

    asyncio.run(main())


def test_no_byte_of_a_connection_can_be_changed(certificates: Certificates) -> None:
    """One that names another shard, say: the connection ends, and the node has done nothing."""

    async def main() -> None:
        length = 0
        async with tapped(certificates, MemoryNode(PARIS_1)) as (tap, by_tap, _):
            gateway = remote(by_tap, certificates.client())
            await gateway.delete([shard(1)])
            await gateway.close()
            length = sum(map(len, tap.sent))
        for at in range(0, length, max(1, length // 40)):
            node = MemoryNode(PARIS_1)
            await node.put(shard(1), b"a", CONTENT, fence=None, retain_until_ms=0)
            await node.put(shard(2), b"a", CONTENT, fence=None, retain_until_ms=0)

            def altered(piece: bytes, passed: int, at: int = at) -> bytes:
                inside = at - passed
                if not 0 <= inside < len(piece):
                    return piece
                return piece[:inside] + bytes([piece[inside] ^ 1]) + piece[inside + 1 :]

            async with tapped(certificates, node, altered) as (_, by_tap, _):
                gateway = remote(by_tap, certificates.client(), call_deadline_s=0.5)
                with suppress(StorageError):
                    await gateway.delete([shard(1)])
                await gateway.close()
                assert await _held(node, 2) == CONTENT

    asyncio.run(main())


def test_what_is_for_one_node_is_not_done_by_another(
    certificates: Certificates, tmp_path: Path
) -> None:
    """Somebody leads a gateway's connection to another node of the same cluster."""
    issued = issue_node(certificates.authority, LYON_1, RealEnv())
    write_issued(issued, tmp_path / "other.crt", tmp_path / "other.key")

    async def main() -> None:
        node = MemoryNode(LYON_1)
        await node.put(shard(1), b"a", CONTENT, fence=None, retain_until_ms=0)
        async with served(node, certificates.server("other")) as server:
            to_paris = remote(server.address, certificates.client(), call_deadline_s=2.0)
            with pytest.raises(NodeUnavailable):
                await to_paris.delete([shard(1)])
            assert await _held(node, 1) == CONTENT
            await to_paris.close()

    asyncio.run(main())


def test_an_epoch_that_has_passed_opens_no_log_to_who_kept_it(certificates: Certificates) -> None:
    """Also over a connection of his own, with a gateway's certificate."""

    async def main() -> None:
        node = MemoryNode(PARIS_1)
        async with linked(node, certificates) as (gateway, _):
            assert (await gateway.fence(LOG, 1, b"1" * 16)).granted
            old = Fence(log=LOG, epoch=1)
            await gateway.put(shard(1), b"a", CONTENT, fence=old, retain_until_ms=0)
            assert (await gateway.fence(LOG, 2, b"2" * 16)).granted
            with pytest.raises(FencedOut):
                await gateway.put(shard(2), b"a", CONTENT, fence=old, retain_until_ms=0)
            assert not (await gateway.fence(LOG, 1, b"1" * 16)).granted
            assert (await node.status()).shard_count == 1

    asyncio.run(main())
