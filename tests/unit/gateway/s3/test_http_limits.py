"""HTTP-09, HTTP-10: what clients may hold of a server that ask for nothing, or for too much.

Source: aiohttp CVE-2026-22815 (trailers), GHSA-4fvr (pipelining), CVE-2025-53643 (the parser in
Python).
"""

from __future__ import annotations

import socket
import tracemalloc
from contextlib import ExitStack
from importlib.metadata import version

import aiohttp.http_parser
import pytest

from gateway.s3 import connections
from gateway.s3.body import BodyPace
from storaged.base.errors import ConfigError
from tests.support import raw_s3
from tests.support.s3_endpoint import CREDENTIALS, running_endpoint

IDLE = 400
IDLE_BYTES_MAX = 64 * 1024  # of one connection that asks for nothing


def is_closed(client: raw_s3.RawClient) -> bool:
    """Whether the server ends the connection before the client loses patience."""
    try:
        return client.connect().recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", b"GET", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_http_10_a_connection_that_asks_for_nothing_is_closed(sent: bytes) -> None:
    with running_endpoint(keep_alive_s=0.3) as running, running.client(5.0) as client:
        client.send(sent)
        assert is_closed(client)


def test_http_10_a_connection_that_asks_no_more_is_closed() -> None:
    with running_endpoint(keep_alive_s=0.3) as running, running.client(5.0) as client:
        assert client.request("GET", "/").status == 200
        assert is_closed(client)


def test_http_10_idle_connections_cost_little_and_are_counted() -> None:
    with ExitStack() as stack:
        running = stack.enter_context(running_endpoint(connections_max=IDLE, keep_alive_s=60.0))
        with running.client() as first:
            assert first.request("GET", "/").status == 200  # what is made once is made
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(IDLE):
            stack.enter_context(running.client(10.0)).connect()
        with running.client() as late:
            assert is_closed(late)  # those that are here stay, the next one goes
        assert running.metrics.connections_refused >= 1
        held, _ = tracemalloc.get_traced_memory()
        assert held - before < IDLE * IDLE_BYTES_MAX


def test_http_10_idle_connections_make_room() -> None:
    with ExitStack() as stack:
        running = stack.enter_context(running_endpoint(connections_max=50, keep_alive_s=0.5))
        idle = [stack.enter_context(running.client(10.0)) for _ in range(50)]
        for client in idle:
            client.connect()
        assert all(is_closed(client) for client in idle)
        with running.client() as again:
            assert again.request("GET", "/").status == 200


def sent_until_stuck(client: raw_s3.RawClient, piece: bytes, bytes_max: int) -> int:
    """How many bytes the server's side takes, `bytes_max` if it never stops."""
    sent = 0
    connection = client.connect()
    connection.settimeout(1.0)
    try:
        while sent < bytes_max:
            sent += connection.send(piece)
    except (TimeoutError, ConnectionError):
        pass
    return sent


def test_http_09_trailers_have_an_end() -> None:
    with running_endpoint(pace=BodyPace(idle_s=2.0)) as running, running.client() as client:
        given = {"host": client.authority, "transfer-encoding": "chunked"}
        target = "/bucket/trailers"
        signed = raw_s3.sign(CREDENTIALS, "PUT", target, given, payload=raw_s3.UNSIGNED)
        client.send_head("PUT", target, signed.headers)
        client.send(b"1\r\nx\r\n0\r\n")
        trailers = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(1000))
        assert sent_until_stuck(client, trailers, 64 << 20) < 32 << 20
        assert "trailers" not in running.store.objects["bucket"]


def test_http_09_requests_in_advance_wait_with_their_client() -> None:
    with running_endpoint(pace=BodyPace(idle_s=20.0)) as running, running.client() as client:
        client.request("PUT", "/bucket/large", bytes(100_000))
        signed = raw_s3.sign(CREDENTIALS, "GET", "/bucket/large", {"host": client.authority})
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.headers.items())
        one = f"GET /bucket/large HTTP/1.1\r\n{lines}\r\n".encode()
        client.connect().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        # Nobody reads the answers, so at some point nothing more is taken.
        assert sent_until_stuck(client, one * 100, 64 << 20) < 32 << 20


def test_http_09_the_library_is_one_without_known_holes() -> None:
    installed = tuple(int(number) for number in version("aiohttp").split(".")[:3])
    assert installed >= (3, 14, 5)


def test_http_05_only_the_parser_in_c_reads_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = aiohttp.http_parser.HttpRequestParserPy
    monkeypatch.setattr(connections, "HttpRequestParser", parser)
    with pytest.raises(ConfigError) as refused, running_endpoint():
        raise AssertionError("it started")
    assert refused.value.fields["key"] == "AIOHTTP_NO_EXTENSIONS"
