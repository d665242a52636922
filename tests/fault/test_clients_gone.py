"""Clients that go away in the middle, a gateway that is told to stop in the middle, and one that
runs out of file descriptors.
"""

from __future__ import annotations

import hashlib
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from gateway.compose import Gateway
from tests.support.histories import Model, check, listed, put, write
from tests.support.processes import Cluster, end, running, settle
from tests.support.raw_s3 import (
    SIGNED_CHUNKS,
    UNSIGNED,
    Answer,
    ClosedByServer,
    RawClient,
    encode_chunks,
    sign,
)

ABORTS = 60
CONTENT_BYTES = 6 << 20  # two stripes of a large body

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path / "data") as started:
        yield started


def _begin(client: RawClient, key: str, content: bytes, *, chunked: bool) -> bytes:
    """Send the head of a PUT; returns the body as it goes over the wire."""
    target = f"/bucket/{key}"
    headers = {"host": client.authority}
    if not chunked:
        headers["content-length"] = str(len(content))
        signed = sign(client.credentials, "PUT", target, headers, payload=UNSIGNED)
        client.send_head("PUT", target, signed.headers)
        return content
    headers["content-encoding"] = "aws-chunked"
    headers["x-amz-decoded-content-length"] = str(len(content))
    signed = sign(client.credentials, "PUT", target, headers, payload=SIGNED_CHUNKS)
    body = encode_chunks(signed, SIGNED_CHUNKS, content)
    client.send_head("PUT", target, {**signed.headers, "content-length": str(len(body))})
    return body


def test_aborted_puts_leave_nothing(cluster: Cluster) -> None:
    """At random offsets, by a reset, a close or a half-close, plain and aws-chunked; over a key
    that is not there and over one that is.
    """
    rng, model = Random(23), Model()
    with cluster.client() as client:
        assert write(model, client, "old", rng.randbytes(300_000)) == 200
    for number in range(ABORTS):
        with cluster.client() as client:
            size = rng.choice((50_000, CONTENT_BYTES))
            key = "old" if number % 2 else f"new-{number}"
            body = _begin(client, key, rng.randbytes(size), chunked=number % 3 == 0)
            try:
                client.send(body[: rng.randrange(len(body))])
                if number % 5 == 0:
                    client.connect().shutdown(socket.SHUT_WR)
                    assert client.read_answer().status >= 400
                elif number % 5 == 1:
                    client.close()
                else:
                    client.reset()
            except (OSError, ClosedByServer):
                continue  # cut by the gateway, which is as good
    with cluster.client() as client:
        check(model, client)
        assert listed(client) == ["old"]
    assert cluster.stop_gateway() == 0

    async def look(gateway: Gateway) -> None:
        detail = await settle(gateway)
        assert detail.startswith("0 missing, 0 unnamed"), detail
        assert gateway.log.reservations.open_count == 0

    cluster.inside(look)


def test_sigterm_lets_requests_end(cluster: Cluster) -> None:
    """A PUT and a GET that are under way end well; nobody new is let in; the exit code is 0."""
    rng, model = Random(29), Model()
    content = rng.randbytes(CONTENT_BYTES)
    answers: list[Answer] = []
    assert cluster.gateway is not None
    with cluster.client() as putting, cluster.client() as getting:
        assert write(model, getting, "held", content) == 200
        body = _begin(putting, "slow", content, chunked=False)
        putting.send(body[: 4 << 20])
        target = "/bucket/held"
        signed = sign(getting.credentials, "GET", target, {"host": getting.authority})
        getting.send_head("GET", target, signed.headers)
        time.sleep(0.3)
        cluster.gateway.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with cluster.client(2.0) as late, pytest.raises((OSError, ClosedByServer)):
            late.request("GET", "/bucket/held")
        reading = threading.Thread(target=lambda: answers.append(getting.read_answer()))
        reading.start()
        putting.send(body[4 << 20 :])
        assert putting.read_answer().status == 200
        reading.join(20)
    assert answers and answers[0].body == content
    assert end(cluster.gateway) == 0
    model.ok("slow", content)
    cluster.start()
    with cluster.client() as client:
        check(model, client)


def test_no_file_descriptors_left(cluster: Cluster) -> None:
    """Connections that cannot be accepted wait or are closed; when others go, all is as before."""
    model = Model()
    held = len(list(Path(f"/proc/{cluster.pid}/fd").iterdir()))
    limits = resource.prlimit(cluster.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(cluster.pid, resource.RLIMIT_NOFILE, (held + 20, limits[1]))
    clients = [cluster.client(3.0) for _ in range(60)]
    served = 0
    for number, client in enumerate(clients):
        try:
            served += put(client, f"k{number}", b"x" * 5000).status == 200
        except (OSError, ClosedByServer):
            model.unsure(f"k{number}", b"x" * 5000)
            client.close()
        else:
            model.ok(f"k{number}", b"x" * 5000)
        if number > 30 and served == 0:
            break
    for client in clients:
        client.close()
    resource.prlimit(cluster.pid, resource.RLIMIT_NOFILE, limits)
    assert 0 < served < 60, served
    began = time.monotonic()
    while True:
        try:
            with cluster.client(5.0) as client:
                if write(model, client, "after", b"y" * 5000) == 200:
                    break
        except (OSError, ClosedByServer):
            assert time.monotonic() - began < 20, "does not recover"
    print(
        f"{served} of 60 served with 20 descriptors, recovered in {time.monotonic() - began:.2f} s"
    )
    with cluster.client() as client:
        check(model, client)
    digest = hashlib.md5(b"y" * 5000, usedforsecurity=False).hexdigest()
    with cluster.client() as client:
        assert client.request("HEAD", "/bucket/after").headers["etag"] == f'"{digest}"'
