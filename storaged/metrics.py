"""Counters of a node, declared in one place, and the small HTTP answerer that shows them.

Not for HTTP in general: one connection, one GET, one answer. `/metrics` (Prometheus text),
`/healthz` (the process runs), `/readyz` (the node takes requests).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

REQUEST_HEAD_BYTES_MAX = 8192
READ_DEADLINE_S = 5.0
CONNECTIONS_MAX = 16

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class NodeMetrics:
    """What a node counts; each instance has a registry of its own."""

    def __init__(self, certificate_days: Callable[[], float] | None = None) -> None:
        self.registry = CollectorRegistry()
        if certificate_days is not None:
            Gauge(
                "storaged_certificate_days_left",
                "Days until the node's certificate ends",
                registry=self.registry,
            ).set_function(certificate_days)
        self._requests = Counter(
            "storaged_requests_total",
            "Requests answered, by verb and outcome",
            ("verb", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "storaged_request_seconds",
            "Time from request to answer",
            ("verb",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._content = Counter(
            "storaged_content_bytes_total",
            "Content received and sent",
            ("direction",),
            registry=self.registry,
        )
        self.connections = Gauge(
            "storaged_connections", "Gateways connected", registry=self.registry
        )
        self.refused = Counter(
            "storaged_connections_refused_total",
            "Connections refused: certificate, protocol, or too many",
            registry=self.registry,
        )
        self._in_service = Gauge(
            "storaged_in_service", "1 while the drive is in service", registry=self.registry
        )
        self._space = Gauge("storaged_bytes", "Space by kind", ("kind",), registry=self.registry)
        self._shards = Gauge("storaged_shards", "Shards held", registry=self.registry)
        self._corrupt = Gauge(
            "storaged_corrupt_shards", "Shards known to be corrupt", registry=self.registry
        )
        self._children: dict[tuple[str, str], Counter] = {}
        self._timers: dict[str, Histogram] = {}
        self._received = self._content.labels("received")
        self._sent = self._content.labels("sent")

    def answered(
        self, verb: str, outcome: str, *, seconds: float, received_bytes: int, sent_bytes: int
    ) -> None:
        """One request was answered; `outcome` is "ok" or the kind of the error."""
        counter = self._children.get((verb, outcome))
        if counter is None:
            counter = self._children[verb, outcome] = self._requests.labels(verb, outcome)
        timer = self._timers.get(verb)
        if timer is None:
            timer = self._timers[verb] = self._seconds.labels(verb)
        counter.inc()
        timer.observe(seconds)
        if received_bytes:
            self._received.inc(received_bytes)
        if sent_bytes:
            self._sent.inc(sent_bytes)

    def observe_space(
        self,
        *,
        in_service: bool,
        stored_bytes: int,
        capacity_bytes: int,
        free_bytes: int,
        shard_count: int,
        corrupt_count: int,
        trash_bytes: int,
    ) -> None:
        """The node's own status, as of this moment."""
        self._in_service.set(1 if in_service else 0)
        self._space.labels("stored").set(stored_bytes)
        self._space.labels("capacity").set(capacity_bytes)
        self._space.labels("free").set(free_bytes)
        self._space.labels("trash").set(trash_bytes)
        self._shards.set(shard_count)
        self._corrupt.set(corrupt_count)

    def render(self) -> bytes:
        """Prometheus text."""
        return generate_latest(self.registry)


class MetricsServer:
    """Answers `/metrics`, `/healthz` and `/readyz`."""

    def __init__(self, render: Callable[[], bytes], is_ready: Callable[[], bool]) -> None:
        self._render = render
        self._is_ready = is_ready
        self._server: asyncio.Server | None = None
        self._open_count = 0

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address. Raises OSError."""
        self._server = await asyncio.start_server(
            self._serve, host, port, limit=REQUEST_HEAD_BYTES_MAX
        )
        address = self._server.sockets[0].getsockname()
        return address[0], address[1]

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open_count += 1
        try:
            if self._open_count <= CONNECTIONS_MAX:
                async with asyncio.timeout(READ_DEADLINE_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head))
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a probe that hangs up, stalls or talks too long gets no answer
        finally:
            self._open_count -= 1
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        content_type = "text/plain; charset=utf-8"
        status, body = "404 Not Found", b"not found\n"
        if method not in (b"GET", b"HEAD"):
            status, body = "405 Method Not Allowed", b"only GET\n"
        elif path == b"/metrics":
            status, body, content_type = "200 OK", self._render(), CONTENT_TYPE_LATEST
        elif path == b"/healthz":
            status, body = "200 OK", b"ok\n"
        elif path == b"/readyz":
            ready = self._is_ready()
            status = "200 OK" if ready else "503 Service Unavailable"
            body = b"ready\n" if ready else b"not ready\n"
        start = (
            f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return start.encode() + (b"" if method == b"HEAD" else body)
