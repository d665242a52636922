"""What the network can do to a node: silence, cuts, drains, floods, strangers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from storaged import link as link_module
from storaged import verbs, wire
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError, DeadlineExceeded
from storaged.base.ids import ShardId
from storaged.memory import MemoryNode
from storaged.metrics import NodeMetrics
from storaged.node import (
    Buffer,
    Fence,
    NodeUnavailable,
    ShardMissing,
    ShardRange,
)
from storaged.server import NodeServer
from storaged.session import Answered, ClientSession, ServerSession, local_hello
from tests.support.node_link import (
    DOMAIN,
    PARIS_1,
    Certificates,
    linked,
    make_certificates,
    remote,
    shard,
)

NODE_NAMES = ("fr", "paris", "p1")
MIB = 1 << 20


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


class GatedNode(MemoryNode):
    """A node whose gets and puts wait for `gate`, and which counts those that were cancelled."""

    def __init__(self) -> None:
        super().__init__(PARIS_1)
        self.gate = asyncio.Event()
        self.waiting_count = 0
        self.waiting_count_max = 0
        self.cancelled_count = 0

    async def get(self, shard: ShardId, *, offset: int, length: int) -> ShardRange:
        await self._pass()
        return await super().get(shard, offset=offset, length=length)

    async def put(
        self,
        shard: ShardId,
        attributes: bytes,
        content: Buffer,
        *,
        fence: Fence | None,
        retain_until_ms: int,
    ) -> None:
        await self._pass()
        await super().put(shard, attributes, content, fence=fence, retain_until_ms=retain_until_ms)

    async def _pass(self) -> None:
        self.waiting_count += 1
        self.waiting_count_max = max(self.waiting_count_max, self.waiting_count)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled_count += 1
            raise
        finally:
            self.waiting_count -= 1


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def test_without_tls_only_loopback_is_allowed() -> None:
    with pytest.raises(ConfigError):
        remote(("192.0.2.1", 7400), None)
    server = NodeServer(MemoryNode(PARIS_1), ssl_context=None, domain=DOMAIN, env=RealEnv())
    with pytest.raises(ConfigError):
        asyncio.run(server.start("0.0.0.0", 0))


async def _stall(greets: bool, call_deadline_s: float = 0.2) -> None:
    """A peer that accepts, perhaps says hello, and never answers."""
    held = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        if greets:
            session = ServerSession(local_hello(NODE_NAMES))
            session.receive(await reader.read(4096))
            writer.writelines([bytes(part) for part in session.take_output()])
        await reader.read(-1)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    client = remote(server.sockets[0].getsockname(), None, call_deadline_s=call_deadline_s)
    started = asyncio.get_running_loop().time()
    try:
        with pytest.raises((DeadlineExceeded, NodeUnavailable)):
            await client.put(shard(1), b"", b"x", fence=None, retain_until_ms=0)
        assert asyncio.get_running_loop().time() - started < 2
    finally:
        for writer in held:
            writer.transport.abort()
        await client.close()
        server.close()


@pytest.mark.parametrize("greets", [False, True])
def test_a_stalled_peer_costs_a_deadline(greets: bool) -> None:
    asyncio.run(_stall(greets))


def test_a_silent_peer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "PING_AFTER_S", 0.02)
    monkeypatch.setattr(link_module, "DEAD_AFTER_S", 0.05)
    asyncio.run(_stall(True, call_deadline_s=60.0))


def test_an_idle_connection_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "PING_AFTER_S", 0.02)
    monkeypatch.setattr(link_module, "DEAD_AFTER_S", 0.05)

    async def story() -> None:
        async with linked() as (client, server):
            await client.put(shard(1), b"", b"x", fence=None, retain_until_ms=0)
            await asyncio.sleep(0.3)
            assert client.connected
            assert server.connection_count == 1

    asyncio.run(story())


def test_a_cut_connection_fails_its_calls_and_is_replaced() -> None:
    async def story() -> None:
        node = GatedNode()
        async with linked(node) as (client, server):
            calls = [
                asyncio.create_task(client.get(shard(1), offset=0, length=0)) for _ in range(5)
            ]
            await _until(lambda: node.waiting_count == 5)
            server.drop_connections()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(outcome, NodeUnavailable) for outcome in outcomes)
            await _until(lambda: node.cancelled_count == 5)
            await client.status()

    asyncio.run(story())


def test_a_node_that_is_away_fails_at_once_and_comes_back(certificates: Certificates) -> None:
    async def story() -> None:
        node = MemoryNode(PARIS_1)
        async with linked(node, certificates) as (client, server):
            await client.put(shard(1), b"", b"x", fence=None, retain_until_ms=0)
            address = server.address
            await server.close()
            with pytest.raises(NodeUnavailable):
                while True:
                    await client.stat(shard(1))
            second = NodeServer(
                node, ssl_context=certificates.server(), domain=DOMAIN, env=RealEnv()
            )
            await second.start(*address)
            await _until(lambda: client.connected)
            assert (await client.stat(shard(1))).content_bytes == 1
            await second.close()

    asyncio.run(story())


def test_deadlines_and_cancellation_reach_the_node() -> None:
    async def story() -> None:
        node = GatedNode()
        async with linked(node, call_deadline_s=0.05) as (client, _):
            with pytest.raises(DeadlineExceeded):
                await client.get(shard(1), offset=0, length=0)
            await _until(lambda: node.cancelled_count == 1)
        async with linked(node) as (client, _):
            call = asyncio.create_task(client.get(shard(1), offset=0, length=0))
            await _until(lambda: node.waiting_count == 1)
            call.cancel()
            await _until(lambda: node.cancelled_count == 2)
            node.gate.set()
            with pytest.raises(ShardMissing):
                await client.get(shard(1), offset=0, length=0)

    asyncio.run(story())


def test_more_calls_than_places_all_get_their_turn() -> None:
    async def story() -> None:
        node = GatedNode()
        async with linked(node) as (client, _):
            calls = [
                asyncio.create_task(
                    client.put(shard(index), b"", bytes(100), fence=None, retain_until_ms=0)
                )
                for index in range(1000)
            ]
            await _until(lambda: node.waiting_count == 256)
            node.gate.set()
            await asyncio.gather(*calls)
            assert node.waiting_count_max == 256
            assert (await client.status()).shard_count == 1000

    asyncio.run(story())


def test_answers_under_way_are_bounded() -> None:
    async def story() -> None:
        node = GatedNode()
        content = bytes(4 * MIB)
        await MemoryNode.put(node, shard(1), b"", content, fence=None, retain_until_ms=0)
        async with linked(node) as (client, _):
            calls = [
                asyncio.create_task(client.get(shard(1), offset=0, length=4 * MIB))
                for _ in range(40)
            ]
            await _until(lambda: node.waiting_count == 16)
            await client.status()
            assert node.waiting_count == 16  # 64 MiB of answers, the rest waits
            node.gate.set()
            for call in calls:
                assert (await call).content == content

    asyncio.run(story())


@pytest.mark.parametrize("tls", [False, True])
def test_many_contents_at_once_come_back_equal(tls: bool, certificates: Certificates) -> None:
    async def story() -> None:
        async with linked(None, certificates if tls else None) as (client, _):
            contents = {index: bytes([index]) * (index * 77_777) for index in range(40)}

            async def there_and_back(index: int) -> None:
                content = memoryview(bytearray(contents[index]))
                await client.put(shard(index), b"h", content, fence=None, retain_until_ms=0)
                length = len(content)
                got = await client.get(shard(index), offset=length // 3, length=length // 2)
                assert got.content == contents[index][length // 3 : length // 3 + length // 2]

            await asyncio.gather(*(there_and_back(index) for index in contents))

    asyncio.run(story())


def test_drain_finishes_what_is_under_way_and_refuses_the_rest() -> None:
    async def story() -> None:
        node = GatedNode()
        async with linked(node) as (client, server):
            call = asyncio.create_task(
                client.put(shard(1), b"", bytes(MIB), fence=None, retain_until_ms=0)
            )
            await _until(lambda: node.waiting_count == 1)
            drain = asyncio.create_task(server.drain())
            await _until(lambda: not client.connected)
            assert not drain.done() and not server.ready
            node.gate.set()
            await call
            await drain
            with pytest.raises(NodeUnavailable):
                while True:
                    await client.status()
        assert (await node.status()).shard_count == 1

    asyncio.run(story())


def test_drain_ends_although_a_request_does_not() -> None:
    async def story() -> None:
        node = GatedNode()
        async with linked(node) as (client, server):
            call = asyncio.create_task(client.get(shard(1), offset=0, length=0))
            await _until(lambda: node.waiting_count == 1)
            await server.drain(timeout_s=0.05)
            with pytest.raises(NodeUnavailable):
                await call

    asyncio.run(story())


def test_a_bug_behind_one_request_ends_that_request() -> None:
    class BrokenNode(MemoryNode):
        async def verify(self, shard: ShardId) -> None:  # type: ignore[override]
            raise ZeroDivisionError

    async def story() -> None:
        metrics = NodeMetrics()
        async with linked(BrokenNode(PARIS_1), metrics=metrics) as (client, _):
            with pytest.raises(NodeUnavailable, match="internal error"):
                await client.verify(shard(1))
            await client.status()
        text = metrics.render().decode()
        assert 'storaged_requests_total{outcome="internal",verb="verify"} 1.0' in text
        assert 'storaged_requests_total{outcome="ok",verb="status"} 1.0' in text

    asyncio.run(story())


@pytest.mark.parametrize("length", [0, 100])  # started at once; waiting for room for its answer
def test_a_request_cancelled_in_the_same_breath_is_answered(length: int) -> None:
    async def story() -> None:
        async with linked(GatedNode()) as (_, server):
            reader, writer = await asyncio.open_connection(*server.address)
            session = ClientSession(local_hello(("g1",)))
            writer.writelines(session.take_output())
            assert session.receive(await reader.read(4096))
            raw = verbs.encode_get(shard(1), offset=0, length=length)
            request = session.request(raw, memoryview(b""), deadline_ms=60_000)
            session.cancel(request)
            writer.writelines(session.take_output())
            async with asyncio.timeout(5):
                (answer,) = session.receive(await reader.read(4096))
            assert isinstance(answer, Answered)
            assert isinstance(wire.decode_error(answer.fields), wire.Cancelled)
            writer.close()

    asyncio.run(story())


def _raw_client(send: bytes) -> Callable[[], Awaitable[None]]:
    async def story() -> None:
        metrics = NodeMetrics()
        async with linked(metrics=metrics) as (_, server):
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(send)
            assert await reader.read(-1) == b""
            writer.close()
            assert "storaged_connections_refused_total 1.0" in metrics.render().decode()

    return story


@pytest.mark.proves("NOD-03")
@pytest.mark.parametrize(
    "send",
    [
        b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n",
        bytes(64),
        wire.encode_message(wire.MessageType.PING, 0, b""),
    ],
)
def test_a_stranger_is_dropped_without_a_word(send: bytes) -> None:
    asyncio.run(_raw_client(send)())  # type: ignore[arg-type]


@pytest.mark.proves("NOD-01", "NOD-03")
def test_a_malformed_request_is_answered_and_the_connection_lives() -> None:
    async def story() -> None:
        async with linked() as (client, _):
            await client.status()
            with pytest.raises(Exception, match="not of the protocol"):
                await client._call(b"\x63nonsense", memoryview(b""), 1.0)
            with pytest.raises(Exception, match="not of the"):
                raw = verbs.encode_stat(shard(1))
                await client._call(raw[:1] + b"\x09" + raw[2:], memoryview(b""), 1.0)
            assert client.connected

    asyncio.run(story())


def test_too_many_connections_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storaged.server.CONNECTIONS_MAX", 1)

    async def story() -> None:
        async with linked() as (client, server):
            await client.status()
            second = remote(server.address, None)
            with pytest.raises(NodeUnavailable):
                await second.status()
            await second.close()
            await client.status()

    asyncio.run(story())
