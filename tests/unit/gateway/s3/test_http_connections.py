"""Connections: many requests on one, declined upgrades, clients that do not read, cut answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from gateway.s3.body import BodyPace
from tests.support import raw_s3
from tests.support.s3_endpoint import CREDENTIALS, Endpoint, running_endpoint


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint(pace=BodyPace(idle_s=0.5)) as running:
        yield running


def _get(client: raw_s3.RawClient, target: str, extra: str = "") -> bytes:
    signed = raw_s3.sign(CREDENTIALS, "GET", target, {"host": client.authority})
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.headers.items())
    return f"GET {target} HTTP/1.1\r\n{lines}{extra}\r\n".encode()


def _wait_for(counters: object, name: str) -> None:
    end = time.monotonic() + 5
    while not getattr(counters, name) and time.monotonic() < end:
        time.sleep(0.02)


def test_more_requests_than_the_library_holds_are_all_answered(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        given = {"host": client.authority, "content-length": "7"}
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/bucket/k", given, payload="UNSIGNED-PAYLOAD")
        client.send_head("PUT", "/bucket/k", signed.headers)
        assert endpoint.store.reading.wait(5)  # a body after its head: the library counts it twice
        client.send(b"content" + _get(client, "/bucket/k") * 200)
        assert client.read_answer().status == 200
        for _ in range(200):
            assert client.read_answer().body == b"content"


def test_an_upgrade_is_declined_and_what_follows_is_answered(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        client.request("PUT", "/bucket/k", b"content")
        upgrade = _get(client, "/bucket/k", "connection: upgrade\r\nupgrade: websocket\r\n")
        client.send(upgrade + _get(client, "/bucket/k"))
        assert [client.read_answer().body for _ in range(2)] == [b"content"] * 2


def test_a_client_that_reads_no_small_answers_is_cut(endpoint: Endpoint) -> None:
    with endpoint.client(timeout_s=2.0) as client:
        client.request("PUT", "/bucket/k", bytes(48 * 1024))
        counters = endpoint.metrics.operation("GetObject")
        requests = _get(client, "/bucket/k") * 50
        with suppress(ConnectionError, TimeoutError):
            for _ in range(20):  # their answers are far more than the kernel holds for us
                client.send(requests)
        _wait_for(counters, "errors")
        assert counters.errors == {"ClientGone": 1}


def test_an_answer_that_ends_early_breaks_the_connection_and_closes_its_source(
    endpoint: Endpoint,
) -> None:
    """HTTP-11."""
    closed: list[str] = []

    class Short:
        def __init__(self) -> None:
            self._left = [b"a" * 70_000, b"b"]

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            await asyncio.sleep(0)
            if not self._left:
                raise StopAsyncIteration
            return self._left.pop(0)

        async def aclose(self) -> None:
            closed.append("closed")

    with endpoint.client() as client:
        client.request("PUT", "/bucket/k", bytes(100_000))
        endpoint.store._pieces = lambda content: Short()  # type: ignore[method-assign]
        with pytest.raises(raw_s3.ClosedByServer):
            client.request("GET", "/bucket/k")
    assert closed == ["closed"]
    assert endpoint.metrics.aborted_answers == 1
