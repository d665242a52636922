"""The load generator reads answers right, counts what is wrong, and sends what it says."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from bench.heads import UNSIGNED, Endpoint, HeadMaker
from bench.load import (
    PIECE_BYTES,
    Job,
    Result,
    content_length,
    job_from_json,
    job_to_json,
    payload,
    payload_sha256,
    percentile,
    run_job,
)
from gateway.s3.signer import sign_request
from gateway.s3.sigv4 import RequestHead

ENDPOINT = Endpoint(
    host="127.0.0.1",
    port=1,
    authority="127.0.0.1:9000",
    access_key_id="AKIDEXAMPLE",
    secret="not a secret",
    region="fr",
)

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    return head, await reader.readexactly(content_length(head) or 0)


def always(*pieces: bytes) -> Answer:
    """A server that answers every request with these pieces, each in a write of its own."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)

    return answer


def measured(answer: Answer, **fields: object) -> Result:
    """Run a job against a server of this process."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> Result:
        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 20)
        port = server.sockets[0].getsockname()[1]
        values: dict[str, object] = {"method": "GET", "path": "/b/{}", "count": 20, "clients": 3}
        values |= fields
        job = Job(endpoint=replace(ENDPOINT, port=port), **values)  # type: ignore[arg-type]
        result = await run_job(job)
        server.close()
        return result

    return asyncio.run(run())


def test_every_request_of_a_job_is_answered_once() -> None:
    result = measured(always(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), answer_bytes=5)
    assert (result.ops, result.errors, result.answer_bytes) == (20, 0, 5)
    assert result.first_error == ""
    assert 0 < result.p50_ms <= result.p99_ms <= result.max_ms


@pytest.mark.parametrize("cut", [1, 9, 16, 17, 36, 37, 38, 40, 44])
def test_answers_may_arrive_in_any_pieces(cut: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    result = measured(always(answer[:cut], answer[cut:]), answer_bytes=5)
    assert (result.ops, result.errors) == (20, 0)


def test_a_long_answer_is_counted_to_its_end() -> None:
    head = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 900000\r\n\r\n"
    result = measured(
        always(head, bytes(400_000), bytes(500_000)), statuses=(206,), answer_bytes=900_000, count=4
    )
    assert (result.ops, result.errors, result.answer_bytes) == (4, 0, 900_000)


def test_a_head_request_has_a_length_and_no_body() -> None:
    result = measured(always(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n"), method="HEAD")
    assert (result.ops, result.errors, result.mib_per_s) == (20, 0, 0.0)


def test_no_content_needs_no_length() -> None:
    result = measured(
        always(b"HTTP/1.1 204 No Content\r\n\r\n"), method="DELETE", statuses=(200, 204)
    )
    assert (result.ops, result.errors) == (20, 0)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nbusy", "status 503: b'busy'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour", "4 bytes, 5 wanted"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "answer 200 without Content-Length"),
        (b"SSH-2.0-other\r\n\r\n", "no status line: b'SSH-2.0-other\\r\\n'"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
            "more bytes than the answer's length",
        ),
    ],
)
def test_a_wrong_answer_is_an_error_and_never_an_operation(answer: bytes, reason: str) -> None:
    result = measured(always(answer), answer_bytes=5)
    assert (result.ops, result.errors) == (0, 20)
    assert result.first_error == reason


def test_a_lost_connection_is_an_error_and_is_replaced() -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await read_request(reader)

    result = measured(answer_once, clients=1, count=10)
    assert (result.ops, result.errors) == (5, 5)
    assert result.first_error.startswith("connection lost")


@pytest.mark.parametrize("body_bytes", [0, 1, 4096, 65_537, 3 * PIECE_BYTES + 7])
def test_bodies_arrive_whole(body_bytes: int) -> None:
    digests = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            digests.append((hashlib.sha256(body).hexdigest(), len(body)))
            assert f"x-amz-content-sha256: {digests[-1][0]}\r\n".encode() in head
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    result = measured(answer, method="PUT", body_bytes=body_bytes, signed=True, count=5)
    assert (result.ops, result.errors) == (5, 0)
    assert digests == [(payload_sha256(body_bytes), body_bytes)] * 5


def test_an_answer_before_the_body_is_sent_is_an_error() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read()

    result = measured(answer, method="PUT", body_bytes=64 * PIECE_BYTES, count=2, clients=1)
    assert (result.ops, result.errors) == (0, 2)


def test_heads_are_what_the_gateways_signer_makes() -> None:
    now_ms = 1_700_000_000_000
    maker = HeadMaker(
        ENDPOINT, method="GET", body_bytes=None, content_sha256=UNSIGNED, now_s=now_ms / 1000
    )
    for path, query in (("/b/k-1", ""), ("/b", "list-type=2&max-keys=1000&start-after=k%2F1")):
        head = RequestHead(
            method="GET", raw_path=path, raw_query=query, headers=[("host", ENDPOINT.authority)]
        )
        headers = sign_request(
            head, access_key_id="AKIDEXAMPLE", secret="not a secret", now_ms=now_ms, region="fr"
        )
        lines = maker.head(path, query).decode().split("\r\n")
        sent = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines[1:-2]}
        assert sent == dict(headers)


def test_a_path_that_needs_encoding_is_refused() -> None:
    maker = HeadMaker(ENDPOINT, method="GET", body_bytes=None, content_sha256=UNSIGNED, now_s=0)
    with pytest.raises(ValueError, match="not a plain path"):
        maker.head("/b/a b")


def test_jobs_survive_their_json_form() -> None:
    job = Job(endpoint=ENDPOINT, method="PUT", path="/b/{}", statuses=(200, 204), seconds=1.5)
    assert job_from_json(job_to_json(job)) == job
    assert "not a secret" not in repr(job)


def test_percentiles_are_by_nearest_rank() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert (percentile(ordered, 0.5), percentile(ordered, 0.99), percentile([], 0.5)) == (
        51,
        100,
        0,
    )


def test_payloads_do_not_depend_on_the_run() -> None:
    assert payload(4096) == payload(4096)
    assert len(set(payload(4096))) > 200


def test_against_the_ceiling_for_half_a_second() -> None:
    from aiohttp import web

    from bench.ceiling import answer as ceiling_answer

    async def run() -> list[Result]:
        loop = asyncio.get_running_loop()
        protocol = web.Server(ceiling_answer, access_log=None)
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        endpoint = replace(ENDPOINT, port=server.sockets[0].getsockname()[1])
        results = []
        for method, size in (("PUT", 4096), ("GET", 4096), ("HEAD", 4096), ("GET", 3 << 20)):
            job = Job(
                endpoint=endpoint,
                method=method,
                path=f"/b/{size}/{{:08d}}",
                count=100,
                body_bytes=size if method == "PUT" else None,
                answer_bytes=None if method == "PUT" else size,
                clients=8,
                seconds=0.12,
            )
            results.append(await run_job(job))
        server.close()
        await protocol.shutdown(1.0)
        return results

    results = asyncio.run(run())
    assert all(result.errors == 0 and result.ops > 0 for result in results), results


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",),
        (CHUNKED, b"3\r\nabc\r\n", b"0\r", b"\n\r\n"),
        (CHUNKED + b"3\r\nabc\r\n0\r\n", b"\r\n"),
        (CHUNKED + b"0\r\n\r\n",),
    ],
)
def test_a_chunked_answer_ends_with_its_last_chunk(pieces: tuple[bytes, ...]) -> None:
    result = measured(always(*pieces))
    assert (result.ops, result.errors) == (20, 0)
