"""What gateways can have the key service keep in memory: who could have it killed for that would
have whole budgets again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.data.keyring import FileKeyring
from gateway.keyd import server as module
from gateway.keyd.refusals import KeydFailed, decode_refusal
from gateway.keyd.server import KeydServer
from gateway.keyd.service import KeyService
from gateway.keyd.wire import DONE, HEAD, REFUSED, VERSION, Verb, encode_fields, encode_message
from storaged.base.env import RealEnv
from tests.support.keyd_rig import CLUSTER, SECRET

pytestmark = pytest.mark.proves("B-08")

HELLO = encode_message(Verb.HELLO, 1, encode_fields("b", [CLUSTER]))
WHOLE_BYTES = 60 << 20
BEGUN = HEAD.pack(WHOLE_BYTES, VERSION, Verb.IS_WHOLE, 2)  # a whole keyring is on its way
STATUS = HEAD.pack(0, VERSION, Verb.STATUS, 3)
JUNK = b"junk" * 10
MIB = 1 << 20
TRIES = 500

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def service_in(folder: Path) -> Iterator[tuple[KeyService, RealEnv]]:
    env = RealEnv(threads_max=2)
    keyring = FileKeyring(folder, SECRET, env)
    yield KeyService(keyring, CLUSTER, env, cache_s=300.0, provider_name="file"), env
    env.close()


@asynccontextmanager
async def serving(folder: Path, *, is_slow: bool = False) -> AsyncIterator[tuple[KeydServer, Path]]:
    with service_in(folder) as (service, env):
        server, path = (
            KeydServer(service, env, users=(os.geteuid(),), is_slow=is_slow),
            folder / "s",
        )
        await server.listen_unix(path)
        try:
            yield server, path
        finally:
            await server.close()


async def greeted(path: Path) -> Line:
    line = await asyncio.open_unix_connection(path)
    line[1].write(HELLO)
    assert (await answer_of(line))[:2] == (DONE, 1)
    return line


async def answer_of(line: Line) -> tuple[int, int, bytes]:
    payload_bytes, _, code, request_id = HEAD.unpack(await line[0].readexactly(HEAD.size))
    return code, request_id, await line[0].readexactly(payload_bytes)


def is_gone(line: Line) -> bool:
    """Whether the other side has closed it."""
    return line[0].at_eof() or line[0].exception() is not None


def is_busy(answer: tuple[int, int, bytes]) -> bool:
    """Whether an answer says that too many requests wait."""
    code, _, payload = answer
    return code == REFUSED and isinstance(decode_refusal(payload), KeydFailed)


def calls(server: KeydServer) -> int:
    return server.service.calls["status"]


def connections(server: KeydServer) -> set[Any]:
    """What the server keeps of each connection."""
    return server._connections


async def ends(what: Callable[[], bool]) -> bool:
    """Whether it becomes so, after the other side has had many turns."""
    for _ in range(TRIES):
        if what():
            return True
        await asyncio.sleep(0.002)
    return False


def test_messages_that_never_end_fill_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun on many connections; who holds most goes, others stay."""
    monkeypatch.setattr(module, "HELD_BYTES_MAX", 8 * MIB)

    async def main() -> None:
        async with serving(tmp_path) as (server, path):
            honest = await greeted(path)
            honest[1].write(STATUS[:7])
            lines = [await greeted(path) for _ in range(6)]
            for number, line in enumerate(lines):
                line[1].write(BEGUN + bytes((2 + number) * MIB))
            assert await ends(lambda: is_gone(lines[-1]))
            assert await ends(lambda: sum(one.held_bytes for one in connections(server)) < 8 * MIB)
            honest[1].write(STATUS[7:])
            assert (await answer_of(honest))[:2] == (DONE, 3)
            for _, writer in (*lines, honest):
                writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("is_refused", [False, True])
def test_answers_that_nobody_takes_fill_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    """Neither where the connection is being closed for something else."""
    monkeypatch.setattr(module, "HELD_BYTES_MAX", 2 * MIB)
    monkeypatch.setattr(module, "LARGE_BYTES", 1000)

    async def main() -> None:
        async with serving(tmp_path) as (server, path):
            lines = []
            for number in range(5):
                reader, writer = await greeted(path)
                reader._transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(STATUS * 8000)
                assert await ends(lambda so_far=number: calls(server) >= 8000 * (so_far + 1))
                writer.write(JUNK if is_refused else b"")
                lines.append(writer)
            assert sum(one.held_bytes for one in connections(server)) <= 2 * MIB
            other = await greeted(path)
            other[1].write(STATUS)
            assert (await answer_of(other))[:2] == (DONE, 3)
            for writer in (*lines, other[1]):
                writer.transport.abort()

    asyncio.run(main())


def test_a_message_has_its_time_however_it_trickles_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HALF_MESSAGE_S", 0.1)

    async def main() -> None:
        async with serving(tmp_path) as (_, path):
            line = await greeted(path)
            line[1].write(BEGUN)
            for _ in range(TRIES):
                if is_gone(line):
                    break
                line[1].write(b".")
                await asyncio.sleep(0.01)
            assert is_gone(line)
            line[1].close()

    asyncio.run(main())


def test_one_gateway_takes_no_more_than_its_share_of_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATEWAY_CONNECTIONS_MAX", 3)
    names = iter(["gw-1"] * 5 + ["gw-2"])
    monkeypatch.setattr(module, "_local_peer", lambda users: lambda transport: next(names))

    async def main() -> None:
        async with serving(tmp_path) as (_, path):
            lines = [await greeted(path) for _ in range(3)]
            for _ in range(2):
                reader, writer = await asyncio.open_unix_connection(path)
                assert (await answer_of((reader, writer)))[0] == REFUSED
                writer.close()
            lines.append(await greeted(path))
            for _, writer in lines:
                writer.close()

    asyncio.run(main())


def test_a_connection_that_is_refused_and_takes_nothing_is_no_place_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HALF_MESSAGE_S", 0.05)

    async def main() -> None:
        async with serving(tmp_path) as (server, path):
            reader, writer = await greeted(path)
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(STATUS * 8000)
            assert await ends(lambda: calls(server) == 8000)
            writer.write(JUNK)
            assert await ends(lambda: not connections(server))
            writer.transport.abort()

    asyncio.run(main())


@pytest.mark.parametrize("limit", ["IN_FLIGHT_MAX", "GATEWAY_IN_FLIGHT_MAX", "HELD_BYTES_MAX"])
def test_requests_that_wait_for_a_device_are_bounded_also_when_they_come_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    asked = encode_message(Verb.SPEND_WARRANT, 4, encode_fields("sbs", ["item", bytes(1000), "x"]))
    bound = 5 * (len(asked) - HEAD.size) - 1 if limit == "HELD_BYTES_MAX" else 4
    monkeypatch.setattr(module, limit, bound)

    async def main() -> None:
        async with serving(tmp_path, is_slow=True) as (_, path):
            line = await greeted(path)
            for _ in range(2):  # and what is done gives its place back
                line[1].write(asked * 50)
                answers = [await answer_of(line) for _ in range(50)]
                busy = [one for one in answers if is_busy(one)]
                assert len(busy) == 46
            line[1].close()

    asyncio.run(main())


def test_a_gateway_that_asks_for_much_keeps_no_other_one_from_being_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATEWAY_IN_FLIGHT_MAX", 4)
    monkeypatch.setattr(module, "IN_FLIGHT_MAX", 5)
    names = iter(["gw-1", "gw-2"])
    monkeypatch.setattr(module, "_local_peer", lambda users: lambda transport: next(names))
    asked = encode_message(Verb.SPEND_WARRANT, 4, encode_fields("sbs", ["item", b"", "x"]))

    async def main() -> None:
        async with serving(tmp_path, is_slow=True) as (server, path):
            many, other = await greeted(path), await greeted(path)
            async with server._lane:  # a device that takes long
                many[1].write(asked * 50)
                busy = [await answer_of(many) for _ in range(46)]
                assert all(is_busy(one) for one in busy)
                other[1].write(asked)
                assert await ends(lambda: server._in_flight == 5)
            assert not is_busy(await answer_of(other))
            for _, writer in (many, other):
                writer.close()

    asyncio.run(main())
