"""The load generator: a closed loop of N clients that spends as little as it can on each request.

A job is JSON on standard input, its result JSON on standard output; it runs in a process of its
own, so its work is not counted as the server's. One keep-alive connection per client, heads signed
before the clock starts, bodies written from one buffer; of an answer only the status line and the
length are read. Against the ceiling the very same bytes are sent.

Not a general HTTP client: an answer with neither Content-Length nor chunks is an error, and so is a
redirect. Chunks are not taken apart: with one request under way, what ends an answer is its last
chunk, and over TLS certificates are not checked, for peers on loopback make their own.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

import uvloop

from bench.heads import EMPTY_SHA256, UNSIGNED, Endpoint, HeadMaker

BUFFER_BYTES = 256 * 1024
PIECE_BYTES = 1024 * 1024
JOINED_BYTES_MAX = 64 * 1024  # bodies up to this leave in the same write as their head
SIGNED_AHEAD_MAX = 60_000  # heads kept in memory; a longer job signs as it goes
ERRORS_MAX = 1000  # beyond this a job gives up
STALL_S = 120.0
NO_BODY = frozenset({204, 304})
STAMP_BYTES = 16
LAST_CHUNK = b"\r\n0\r\n\r\n"
# What a mixed job does, in every twenty requests: the shares that S3 benchmarks commonly take.
MIXED = (
    *("GET", "HEAD", "GET", "PUT", "GET", "HEAD", "GET", "HEAD", "DELETE", "GET"),
    *("HEAD", "GET", "PUT", "GET", "HEAD", "GET", "HEAD", "PUT", "GET", "DELETE"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One closed loop.

    Attributes:
        path, query: with one `{}`-field for the request number, or none; there are `count` numbers
            from `first`, `stride` apart.
        body_bytes: what is sent; None for a request without a body.
        answer_bytes: length an answer must have; None for any.
        seconds: how long new requests are begun; None to send each number once and end.
        warm_up_s: requests begun earlier than this are not counted.
        signed: the payload's SHA-256 is signed; else UNSIGNED-PAYLOAD.
        mixed: GET and HEAD of the path's keys, PUT and DELETE of others beside them; `method` is
            not used.
        tls: connections are over TLS.
        salt: when not empty, no two MiB that are sent are alike, nor like those of a job with
            another salt: for stores that keep what is alike once. Not with `signed`.
        stall_s: a timed job that overruns by this is cut, its open requests are errors.
    """

    endpoint: Endpoint
    method: str
    path: str
    query: str = ""
    first: int = 0
    count: int = 1
    stride: int = 1
    body_bytes: int | None = None
    answer_bytes: int | None = None
    statuses: tuple[int, ...] = (200,)
    clients: int = 1
    seconds: float | None = None
    warm_up_s: float = 0.0
    signed: bool = False
    mixed: bool = False
    tls: bool = False
    salt: str = ""
    stall_s: float = STALL_S


@dataclass(slots=True)
class Result:
    """What a job measured. Latencies are from the first byte sent to the last byte received."""

    ops: int = 0
    errors: int = 0
    seconds: float = 0.0
    ops_per_s: float = 0.0
    mib_per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    answer_bytes: int = 0  # of the last good answer
    generator_cpu_s: float = 0.0
    first_error: str = ""


def content_length(head: bytes) -> int | None:
    """Content-Length of a response head, None when it has none; any case of the name is known."""
    at = head.find(b"\r\nContent-Length: ")
    if at < 0:
        at = head.lower().find(b"\r\ncontent-length: ")
        if at < 0:
            return None
    start = at + 18
    digits = head[start : head.index(b"\r\n", start)].strip()
    return int(digits) if digits.isdigit() else None


def percentile(ordered: list[float], share: float) -> float:
    """Nearest-rank percentile of an ordered list; 0.0 of an empty one."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def payload(body_bytes: int) -> bytes:
    """Bytes that neither compress nor repeat within 1 MiB; longer bodies repeat this buffer."""
    return hashlib.shake_128(b"hexagone bench").digest(min(body_bytes, PIECE_BYTES))


class Stamps:
    """The first bytes of each MiB: none alike; the rest of a body is `payload`."""

    def __init__(self, salt: str) -> None:
        self._prefix = hashlib.sha256(salt.encode()).digest()[:8]
        self._count = 0

    def next(self) -> bytes:
        """16 bytes that this salt never gave before."""
        self._count += 1
        return self._prefix + self._count.to_bytes(8, "little")


def payload_sha256(body_bytes: int) -> str:
    """SHA-256 of a whole body, 64 hexadecimal digits."""
    piece, digest = memoryview(payload(body_bytes)), hashlib.sha256()
    for offset in range(0, body_bytes, PIECE_BYTES):
        digest.update(piece[: body_bytes - offset])
    return digest.hexdigest()


def mixed_requests(job: Job) -> Iterator[bytes]:
    """The requests of a mixed job, bodies included: 45 % GET, 30 HEAD, 15 PUT, 10 DELETE.

    A DELETE names a key that a PUT made long before it, so that both have done with it.
    """
    body, stamps = payload(job.body_bytes or 0), Stamps(job.salt)
    makers = {
        method: HeadMaker(
            job.endpoint,
            method=method,
            body_bytes=len(body) if method == "PUT" else None,
            content_sha256=UNSIGNED if method == "PUT" else EMPTY_SHA256,
        )
        for method in set(MIXED)
    }
    made = gone = 0
    for n in range(job.count):
        method = MIXED[n % len(MIXED)]
        path = job.path.format(n)
        if method == "PUT":
            path, made = job.path.format(job.count + made), made + 1
        elif method == "DELETE":
            path, gone = job.path.format(job.count + max(0, gone - 2 * job.clients)), gone + 1
        head = makers[method].head(path)
        yield head + stamps.next() + body[STAMP_BYTES:] if method == "PUT" else head


class Run:
    """The shared state of one job: what to send next, what was measured."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.body_bytes = job.body_bytes or 0
        self.piece = memoryview(payload(self.body_bytes))
        self.stamps = Stamps(job.salt) if job.salt and self.body_bytes >= STAMP_BYTES else None
        if self.stamps is not None and job.signed:
            raise ValueError("a body with stamps is not signed")
        self.latencies_ms: list[float] = []
        self.result = Result()
        self.is_stopped = False
        self.measured_from = 0.0
        self.last_end = 0.0
        self._requests = self._plan()

    def _heads(self) -> Iterator[bytes]:
        """Every request of the job once, dated afresh for each thousand."""
        job = self.job
        sha256 = EMPTY_SHA256 if job.body_bytes is None else UNSIGNED
        if job.signed and job.body_bytes is not None:
            sha256 = payload_sha256(job.body_bytes)
        joined = bytes(self.piece) if self.body_bytes <= JOINED_BYTES_MAX else b""
        numbers = range(job.first, job.first + job.count * job.stride, job.stride)
        for start in range(0, job.count, 1000):
            maker = HeadMaker(
                job.endpoint, method=job.method, body_bytes=job.body_bytes, content_sha256=sha256
            )
            for n in numbers[start : start + 1000]:
                head = maker.head(job.path.format(n), job.query.format(n))
                if self.stamps is not None and joined:
                    head += self.stamps.next() + joined[STAMP_BYTES:]
                else:
                    head += joined
                yield head

    def _plan(self) -> Iterator[bytes]:
        if self.job.mixed:
            if self.body_bytes > JOINED_BYTES_MAX:
                raise ValueError(f"a mixed job's bodies have at most {JOINED_BYTES_MAX} bytes")
            return cycle(list(mixed_requests(self.job)))
        if self.job.seconds is None:
            late = self.job.count > SIGNED_AHEAD_MAX
            return self._heads() if late else iter(list(self._heads()))
        if self.job.count > SIGNED_AHEAD_MAX:
            raise ValueError(f"a timed job may have at most {SIGNED_AHEAD_MAX} paths")
        return cycle(list(self._heads()))

    def next_request(self) -> bytes | None:
        """The next head (with its body if that is short); None when the job is over."""
        request = None if self.is_stopped else next(self._requests, None)
        self.is_stopped = request is None
        return request

    def succeeded(self, began: float, ended: float, answer_bytes: int) -> None:
        self.last_end = ended
        if began >= self.measured_from:
            self.latencies_ms.append((ended - began) * 1000.0)
            self.result.answer_bytes = answer_bytes

    def failed(self, reason: str) -> None:
        self.result.errors += 1
        self.last_end = time.perf_counter()
        if not self.result.first_error:
            self.result.first_error = reason
        if self.result.errors >= ERRORS_MAX:
            self.is_stopped = True

    def finish(self) -> Result:
        result, ordered = self.result, sorted(self.latencies_ms)
        result.ops = len(ordered)
        result.seconds = max(self.last_end - self.measured_from, 1e-9)
        result.ops_per_s = result.ops / result.seconds
        moved = self.body_bytes if self.job.body_bytes is not None else result.answer_bytes
        if self.job.method == "HEAD" or self.job.mixed:
            moved = 0
        result.mib_per_s = result.ops_per_s * moved / 2**20
        result.p50_ms, result.p99_ms = percentile(ordered, 0.50), percentile(ordered, 0.99)
        result.max_ms = ordered[-1] if ordered else 0.0
        return result


class Client(asyncio.BufferedProtocol):
    """One connection with at most one request under way."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._filled = 0  # bytes of an incomplete head
        self._left = 0  # bytes of the answer's body still to come
        self._answer_bytes = 0
        self._status = 0
        self._is_waiting = False
        self._is_head = False  # the request under way is a HEAD
        self._is_chunked = False
        self._tail = b""  # the end of what came of a chunked answer
        self._is_paused = False
        self._unsent = 0
        self._began = 0.0
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def begin(self) -> None:
        """Send the next request, or close when there is none."""
        request = self._run.next_request()
        transport = self._transport
        assert transport is not None, "begin() comes after connection_made()"
        if request is None:
            transport.close()
            return
        self._is_waiting = True
        self._is_head = request.startswith(b"HEAD ")
        body_bytes = self._run.body_bytes
        self._unsent = body_bytes if body_bytes > JOINED_BYTES_MAX else 0
        self._began = time.perf_counter()
        transport.write(request)
        if self._unsent:
            self._pump()

    def _pump(self) -> None:
        transport = self._transport
        assert transport is not None, "_pump() comes after begin()"
        while self._unsent and not self._is_paused:
            piece = self._run.piece[: self._unsent]
            self._unsent -= len(piece)
            if self._run.stamps is not None:
                transport.write(self._run.stamps.next())
                piece = piece[STAMP_BYTES:]
            transport.write(piece)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._unsent:
            self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_chunked:
            if not self._take_chunks(bytes(self._view[:nbytes])):
                return
        elif self._left:
            self._left -= nbytes
            if self._left > 0:
                return
        else:
            self._filled += nbytes
            if not self._take_head():
                return
        if self._left < 0:
            self._abandon("more bytes than the answer's length")
        else:
            self._answered()

    def _take_head(self) -> bool:
        """Read status and length; True when the answer is complete (or wrong)."""
        end = self._buffer.find(b"\r\n\r\n", 0, self._filled)
        if end < 0:
            if self._filled == BUFFER_BYTES:
                self._abandon("head without end")
            return False
        head = bytes(self._view[: end + 2])
        after = self._filled - end - 4
        self._filled = 0
        if head[:7] != b"HTTP/1." or not head[9:12].isdigit():
            self._abandon(f"no status line: {head[:60]!r}")
            return False
        self._status = int(head[9:12])
        is_bare = self._is_head or self._status in NO_BODY
        body = self._view[end + 4 : end + 4 + after]
        if self._status not in self._run.job.statuses and not self._run.result.first_error:
            self._run.result.first_error = f"status {self._status}: {bytes(body[:300])!r}"
        length = content_length(head)
        if length is None and not is_bare and b"chunked" in head.lower():
            self._is_chunked, self._tail, self._answer_bytes = True, b"\r\n", 0
            return self._take_chunks(bytes(body))
        if length is None and not is_bare:
            self._abandon(f"answer {self._status} without Content-Length")
            return False
        self._answer_bytes = length or 0
        self._left = (0 if is_bare else self._answer_bytes) - after
        return self._left <= 0

    def _take_chunks(self, piece: bytes) -> bool:
        """Count a piece of a chunked answer; True when it ends with the last chunk."""
        self._answer_bytes += len(piece)
        self._tail = (self._tail + piece)[-len(LAST_CHUNK) :]
        self._is_chunked = self._tail != LAST_CHUNK
        return not self._is_chunked

    def _answered(self) -> None:
        ended = time.perf_counter()
        run = self._run
        if not self._is_waiting:
            self._abandon("an answer nobody asked for")
            return
        if self._unsent:
            self._abandon(f"status {self._status} before the body was sent")
            return
        self._is_waiting = False
        wanted = run.job.answer_bytes
        if self._status not in run.job.statuses:
            run.failed(f"status {self._status}")
        elif wanted is not None and wanted != self._answer_bytes:
            run.failed(f"{self._answer_bytes} bytes, {wanted} wanted")
        else:
            run.succeeded(self._began, ended, self._answer_bytes)
        self.begin()

    def _abandon(self, reason: str) -> None:
        """Count an error and leave this connection; another takes its place."""
        self._is_waiting = self._is_chunked = False
        self._left = self._filled = 0
        self._run.failed(reason)
        if self._transport is not None:
            self._transport.abort()

    def cut(self) -> None:
        """End of patience: the open request is an error."""
        if self._is_waiting and self._transport is not None:
            self._abandon("no answer in time")

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._run.failed(f"connection lost: {exc}")
        if not self.lost.done():
            self.lost.set_result(None)


async def _connect(run: Run) -> Client:
    loop, endpoint = asyncio.get_running_loop(), run.job.endpoint
    context = None
    if run.job.tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, client = await loop.create_connection(
        lambda: Client(run), endpoint.host, endpoint.port, ssl=context
    )
    return client


async def _keep_going(run: Run, clients: list[Client], index: int) -> None:
    """One closed loop: a connection that was lost is replaced until the job is over."""
    while True:
        clients[index].begin()
        await clients[index].lost
        if run.is_stopped:
            return
        clients[index] = await _connect(run)


async def run_job(job: Job) -> Result:
    """Run one job on the running loop.

    Raises:
        OSError: a connection is refused.
        ValueError: a path cannot be signed as it is.
    """
    run = Run(job)
    clients = [await _connect(run) for _ in range(job.clients)]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        run.is_stopped = True

    def cut() -> None:
        stop()
        for client in clients:
            client.cut()

    gc.collect()
    gc.disable()
    cpu_before, began = time.process_time(), time.perf_counter()
    run.measured_from = run.last_end = began + job.warm_up_s
    timers = []
    if job.seconds is not None:
        timers.append(loop.call_later(job.warm_up_s + job.seconds, stop))
        timers.append(loop.call_later(job.warm_up_s + job.seconds + job.stall_s, cut))
    try:
        await asyncio.gather(*(_keep_going(run, clients, index) for index in range(job.clients)))
    finally:
        gc.enable()
        for timer in timers:
            timer.cancel()
    run.result.generator_cpu_s = time.process_time() - cpu_before
    return run.finish()


def job_to_json(job: Job) -> str:
    """The line a generator process reads."""
    return json.dumps(asdict(job))


def job_from_json(text: str) -> Job:
    """Undo `job_to_json`."""
    fields = json.loads(text)
    endpoint = Endpoint(**fields.pop("endpoint"))
    return Job(endpoint=endpoint, statuses=tuple(fields.pop("statuses")), **fields)


def main() -> None:
    """`python -m bench.load < job.json`; the result is one line of JSON."""
    result = uvloop.run(run_job(job_from_json(sys.stdin.read())))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
