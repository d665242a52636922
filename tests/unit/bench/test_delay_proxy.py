"""The delaying proxy changes when bytes arrive, and nothing else. Nothing here is timed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from typing import TypeVar

import pytest
import uvloop

from bench.delay_proxy import UNDER_WAY_BYTES_MAX, DelayProxy

T = TypeVar("T")
Runner = Callable[[Coroutine[None, None, T]], T]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run_on(request: pytest.FixtureRequest) -> Runner:
    """Both loops: transports of uvloop, which the bench uses, are of no asyncio class."""
    return request.param


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, then the end."""
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    writer.close()


async def through(proxy: DelayProxy, pieces: list[bytes]) -> bytes:
    """What comes back before the far side closes."""
    port = await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()

    async def read(wanted: int) -> None:
        while len(received) < wanted and (piece := await reader.read(1 << 20)):
            received.extend(piece)

    reading = asyncio.create_task(read(sum(map(len, pieces))))
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    await reading
    writer.close()
    proxy.close()
    return bytes(received)


def test_bytes_come_back_whole_and_in_order(run_on: Runner) -> None:
    pieces = [hashlib.shake_128(bytes([n])).digest(1 + n * 3001) for n in range(60)]

    async def run() -> bytes:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = DelayProxy("127.0.0.1", server.sockets[0].getsockname()[1], one_way_s=0.002)
        received = await through(proxy, pieces)
        server.close()
        return received

    assert run_on(run()) == b"".join(pieces)


def test_more_than_may_be_under_way_still_arrives(run_on: Runner) -> None:
    body = bytes(1 << 20)
    count = UNDER_WAY_BYTES_MAX // len(body) + 8

    async def run() -> int:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = DelayProxy("127.0.0.1", server.sockets[0].getsockname()[1], one_way_s=0.2)
        received = await through(proxy, [body] * count)
        server.close()
        return len(received)

    assert run_on(run()) == count * len(body)


def test_the_end_of_one_side_reaches_the_other(run_on: Runner) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.close()

    async def run() -> bytes:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        proxy = DelayProxy("127.0.0.1", server.sockets[0].getsockname()[1], one_way_s=0.002)
        reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
        received = await reader.read()
        writer.close()
        proxy.close()
        server.close()
        return received

    assert run_on(run()) == b"bye"


def test_a_target_that_refuses_closes_the_connection(run_on: Runner) -> None:
    async def run() -> bytes:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        proxy = DelayProxy("127.0.0.1", port, one_way_s=0.002)
        reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
        received = await reader.read()
        writer.close()
        proxy.close()
        return received

    assert run_on(run()) == b""
