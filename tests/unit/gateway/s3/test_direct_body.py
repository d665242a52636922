"""Large bodies, received past the HTTP library's parser: what is read is what was sent, for any
cut, and the connection goes on with the byte behind it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp.streams import StreamReader
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limits import FRAME_BYTES
from gateway.s3 import direct_body
from gateway.s3.body import BodyPace
from gateway.s3.direct_body import DIRECT_FROM_BYTES, PIECE_BYTES, UNREAD_BYTES_MAX, DirectBody
from storaged.base.env import RealEnv
from storaged.endpoint_certificate import issue_server
from storaged.identity import write_issued
from storaged.tls import s3_server_context
from tests.support import raw_s3
from tests.support.node_link import make_certificates
from tests.support.s3_endpoint import CREDENTIALS, Endpoint, running_endpoint

CONTENT = random.Random(64).randbytes(9 * FRAME_BYTES * 8 + 12_345)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint(pace=BodyPace(idle_s=0.6, floor_bytes_per_s=512, window_s=60)) as running:
        yield running


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the bodies that were received directly."""
    lengths: list[int] = []
    begin = DirectBody._begin

    def counting(self: DirectBody) -> bool:
        is_direct = begin(self)
        if is_direct:
            lengths.append(self._length)
        return is_direct

    monkeypatch.setattr(DirectBody, "_begin", counting)
    return lengths


def head_of(client: raw_s3.RawClient, method: str, target: str, length: int) -> bytes:
    headers = {"host": client.authority}
    if method == "PUT":
        headers["content-length"] = str(length)
    signed = raw_s3.sign(CREDENTIALS, method, target, headers, payload=raw_s3.UNSIGNED)
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in signed.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("cut", [3_000, FRAME_BYTES, 300_001, 10**9])
@pytest.mark.parametrize("length", [DIRECT_FROM_BYTES, 16 * FRAME_BYTES + 1, len(CONTENT) - 2])
def test_the_next_request_begins_behind_the_last_byte(
    endpoint: Endpoint, begun: list[int], length: int, cut: int
) -> None:
    """Whatever the pieces it comes in; three bodies and two other requests on one connection."""
    with endpoint.client() as client:
        sent = b""
        for number in range(3):
            sent += head_of(client, "PUT", f"/bucket/direct{number}", length)
            sent += CONTENT[number : number + length]
            sent += head_of(client, "HEAD", f"/bucket/direct{number}", 0)
        view = memoryview(sent)
        for at in range(0, len(view), cut):
            client.connect().sendall(view[at : at + cut])
        for number in range(3):
            assert client.read_answer().status == 200
            assert client.read_answer(is_head=True).status == 200
            stored = endpoint.store.objects["bucket"].pop(f"direct{number}")
            assert stored.content == CONTENT[number : number + length]
    assert begun


@pytest.mark.parametrize("mode", raw_s3.STREAMING_MODES)
def test_chunks_are_decoded(endpoint: Endpoint, begun: list[int], mode: str) -> None:
    with endpoint.client() as client:
        for chunk_bytes in (65_536, 5 * 1024 * 1024):
            answer = client.put_chunked("/bucket/chunked", CONTENT, mode, chunk_bytes=chunk_bytes)
            assert answer.status == 200
            assert endpoint.store.objects["bucket"].pop("chunked").content == CONTENT
    assert begun


def test_over_tls(begun: list[int], tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    issued = issue_server(made.authority, ("localhost", "127.0.0.1"), RealEnv())
    write_issued(issued, tmp_path / "s3.crt", tmp_path / "s3.key")
    server = s3_server_context(tmp_path / "s3.crt", tmp_path / "s3.key")
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with running_endpoint(ssl_context=server) as running, running.client() as client:
        raw = socket.create_connection((client.host, client.port), 10)
        client._socket = anyone.wrap_socket(raw)
        for _ in range(2):
            client.send(head_of(client, "PUT", "/bucket/tls", len(CONTENT)) + CONTENT)
            assert client.read_answer().status == 200
            assert running.store.objects["bucket"].pop("tls").content == CONTENT
    assert begun


def test_a_body_that_stops_is_cut(endpoint: Endpoint, begun: list[int]) -> None:
    """HTTP-10. In the middle of a frame, which is never given out."""
    with endpoint.client() as client:
        client.send(head_of(client, "PUT", "/bucket/stops", len(CONTENT)))
        client.send(CONTENT[: DIRECT_FROM_BYTES + 1000])
        answer = client.read_answer()
        assert (answer.status, answer.code) == (400, "RequestTimeout")
        assert not client.is_open()
    assert begun and "stops" not in endpoint.store.objects["bucket"]


def test_a_body_that_trickles_is_read_as_it_comes(endpoint: Endpoint, begun: list[int]) -> None:
    """Each byte counts against the time without any, although a frame takes much longer."""
    with endpoint.client() as client:
        client.send(head_of(client, "PUT", "/bucket/slow", DIRECT_FROM_BYTES) + CONTENT[:1000])
        for at in range(1000, 1008):
            time.sleep(0.15)
            client.send(CONTENT[at : at + 1])
        client.send(CONTENT[1008:DIRECT_FROM_BYTES])
        assert client.read_answer().status == 200
    stored = endpoint.store.objects["bucket"].pop("slow").content
    assert begun and stored == CONTENT[:DIRECT_FROM_BYTES]


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_who_goes_away_leaves_nothing(endpoint: Endpoint, begun: list[int], leave: str) -> None:
    errors = endpoint.metrics.operation("PutObject").errors
    before = sum(errors.values())
    client = endpoint.client()
    client.send(head_of(client, "PUT", "/bucket/gone", len(CONTENT)) + CONTENT[:2_000_000])
    while not begun:
        time.sleep(0.005)
    getattr(client, leave)()
    end = time.monotonic() + 5
    while sum(errors.values()) == before:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert "gone" not in endpoint.store.objects["bucket"]


def test_a_refused_body_is_answered_at_once(endpoint: Endpoint) -> None:
    """HTTP-08. And what comes after all is not taken for a request."""
    with endpoint.client() as client:
        client.send(head_of(client, "PUT", "/absent/k", len(CONTENT)) + CONTENT[:500_000])
        answer = client.read_answer()
        assert (answer.status, answer.code) == (404, "NoSuchBucket")
        assert answer.headers["connection"] == "close"


class _Transport:
    """Counts; the test plays the socket."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.is_reading = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class _Connection:
    is_held_back = False
    heads = 0
    writing_paused = False

    def __init__(self) -> None:
        self.transport: Any = _Transport()

    def forget_body(self) -> None:
        self.heads += 1

    def resume_reading(self, resume_parser: bool = True) -> None:
        """The library's reader asks for more."""

    def pause_reading(self) -> None:
        """The library's reader has enough."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `Connection`."""

    def eof_received(self) -> bool | None:
        return None

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False


async def _receive(length: int, early: int, cuts: list[int], reads: list[bool]) -> None:
    """Play a socket and a reader in turns; all pieces are held to the end."""
    loop = asyncio.get_running_loop()
    connection = _Connection()
    content = StreamReader(cast(Any, connection), 1 << 20, loop=loop)
    body = DirectBody(cast(Any, connection), content, length)
    if early:
        content.feed_data(CONTENT[:early])
    pieces: list[bytes | bytearray | memoryview] = []
    copies: list[bytes] = []
    reader: asyncio.Task[Any] | None = None
    sent, step = early, 0
    while sum(map(len, pieces)) < length:
        if reader is None and (reads[step % len(reads)] or sent == length):
            reader = asyncio.create_task(body.readchunk())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if reader is not None and reader.done():
            piece, _ = reader.result()
            assert len(piece)
            pieces.append(piece)
            copies.append(bytes(piece))
            reader = None
        elif connection.transport.protocol is body and connection.transport.is_reading:
            room = body.get_buffer(-1)
            count = min(len(room), cuts[step % len(cuts)])
            room[:count] = CONTENT[sent : sent + count]
            sent += count
            body.buffer_updated(count)
            assert sent - sum(map(len, pieces)) <= UNREAD_BYTES_MAX + PIECE_BYTES
        step += 1
    assert b"".join(copies) == CONTENT[:length] == b"".join(pieces)  # nobody wrote into them since
    assert body.is_eof() and body.at_eof() and connection.heads == 1
    assert connection.transport.protocol is connection and connection.transport.is_reading


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(DIRECT_FROM_BYTES, 3 * PIECE_BYTES),
    early=st.integers(0, 300_000),
    cuts=st.lists(st.integers(1_000, 700_000), min_size=1, max_size=6),
    reads=st.lists(st.booleans(), min_size=1, max_size=5).filter(any),
)
def test_any_cut_gives_the_same_bytes(
    length: int, early: int, cuts: list[int], reads: list[bool]
) -> None:
    asyncio.run(_receive(length, early, cuts, reads))


def test_pieces_end_where_frames_do() -> None:
    """So that they are sealed where they lie."""

    async def receive() -> list[int]:
        connection = _Connection()
        content = StreamReader(cast(Any, connection), 1 << 20, loop=asyncio.get_running_loop())
        body = DirectBody(cast(Any, connection), content, 5 * PIECE_BYTES)
        content.feed_data(CONTENT[:1000])
        lengths = [len((await body.readchunk())[0])]
        sent = 1000
        while sum(lengths) < 5 * PIECE_BYTES:
            reading = asyncio.create_task(body.readchunk())
            await asyncio.sleep(0)
            while connection.transport.is_reading and sent < 5 * PIECE_BYTES:
                count = min(len(body.get_buffer(-1)), 256_000)
                body.buffer_updated(count)
                sent += count
            lengths.append(len((await reading)[0]))
        return lengths

    lengths = asyncio.run(receive())
    ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
    assert ends[-1] == 5 * PIECE_BYTES
    assert all(end % FRAME_BYTES == 0 for end in ends[1:]), ends


def test_a_lost_connection_wakes_the_reader() -> None:
    async def receive() -> None:
        connection = _Connection()
        content = StreamReader(cast(Any, connection), 1 << 20, loop=asyncio.get_running_loop())
        body = DirectBody(cast(Any, connection), content, DIRECT_FROM_BYTES)
        reading = asyncio.create_task(body.readchunk())
        await asyncio.sleep(0)
        assert connection.transport.protocol is body
        body.set_exception(ConnectionResetError())
        with pytest.raises(ConnectionResetError):
            await reading
        with pytest.raises(ConnectionResetError):
            await body.readchunk()

    asyncio.run(receive())


def test_memory_is_used_again() -> None:
    taken = direct_body._pieces.take(PIECE_BYTES)
    address = taken.obj
    del taken
    assert direct_body._pieces.take(PIECE_BYTES).obj is address
