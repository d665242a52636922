"""The TCP server of a node: session events → the Node port.

Not for storing: any `Node` will do. It refuses peers that are no gateways of its cluster, and
holds every connection to its limits: requests, content being received (the window), content being
read and not yet sent.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import cast

from storaged import verbs
from storaged.answers import answer_bytes_max, answer_request, verb_name
from storaged.base.env import Env
from storaged.base.errors import DeadlineExceeded, ProtocolError, StorageError
from storaged.base.limits import (
    CONNECTIONS_MAX,
    DEADLINE_S_MAX,
    DRAIN_S,
    HANDSHAKE_S,
    IDLE_CLIENT_S,
    WIRE_ANSWER_BYTES_MAX,
)
from storaged.base.log import Log
from storaged.identity import check_gateway_peer
from storaged.metrics import NodeMetrics
from storaged.node import Node, NodeUnavailable
from storaged.session import (
    PeerReady,
    RequestCancelled,
    Requested,
    ServerSession,
    local_hello,
)
from storaged.sockets import require_loopback, tune_socket
from storaged.wire import Cancelled

_LOG = Log("storaged.server")
_DRAIN_STEP_S = 0.01


class _Running:
    """A request that the node is busy with."""

    __slots__ = ("reason", "reserved_bytes", "task", "timer")

    def __init__(self, task: asyncio.Task[None], timer: asyncio.TimerHandle, reserved: int) -> None:
        self.task = task
        self.timer = timer
        self.reserved_bytes = reserved
        self.reason: StorageError | None = None  # why the task was cancelled


class _Connection(asyncio.BufferedProtocol):
    """One gateway."""

    def __init__(self, server: NodeServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        identity = server.node.identity
        self._session = ServerSession(
            local_hello((identity.country, identity.datacenter, identity.node))
        )
        self._transport: asyncio.Transport | None = None
        self._peer = "?"
        self._running: dict[int, _Running] = {}
        # Requests that wait for room for their answers, with the bytes that those may have.
        self._queue: deque[tuple[Requested, int]] = deque()
        self._reserved_bytes = 0
        self._paused = False
        self._flush_scheduled = False
        self._closed = False
        self._draining = False
        self._heard = False
        self._timer = self._loop.call_later(HANDSHAKE_S, self._handshake_ends)

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        try:
            self._peer = self._server.admit(self, transport)
        except StorageError as error:
            _LOG.warning("connection refused", peer=_address(transport), error=error)
            self.abort()
            return
        tune_socket(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._session.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        if self._closed:
            return
        self._heard = True
        try:
            for event in self._session.received(nbytes):
                match event:
                    case Requested():
                        self._arrive(event)
                    case RequestCancelled():
                        self._cancel(event.request, Cancelled())
                    case PeerReady():
                        self._timer.cancel()
                        self._timer = self._loop.call_later(IDLE_CLIENT_S, self._tick)
                    case _:
                        raise ProtocolError(reason="not an event of a server")
        except StorageError as error:
            _LOG.warning("connection dropped", peer=self._peer, error=error)
            self._server.metrics.refused.inc()
            self.abort()
            return
        self._start_queued()
        if self._session.has_output():
            self._schedule_flush()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.abort()

    # The server's calls

    @property
    def idle(self) -> bool:
        """True when nothing is under way and everything has been handed to the transport."""
        return not (self._running or self._queue or self._session.has_output())

    def drain(self) -> None:
        """Ask for no further requests; those that come all the same are refused."""
        self._draining = True
        self._session.drain()
        self._schedule_flush()

    def close_gracefully(self) -> None:
        """Close once what the transport holds has been sent."""
        if self._transport is not None:
            self._transport.close()

    # Requests

    def _arrive(self, request: Requested) -> None:
        """Start a request, or let it wait. One whose answer is small waits for nobody."""
        reserved = answer_bytes_max(request.fields)
        if reserved:
            self._queue.append((request, reserved))
        else:
            self._start(request, 0)

    def _start_queued(self) -> None:
        """Start what there is room for, in order."""
        while self._queue and not self._closed:
            request, reserved = self._queue[0]
            held = self._reserved_bytes + self._session.pending_bytes
            if held and held + reserved > WIRE_ANSWER_BYTES_MAX:
                return
            self._queue.popleft()
            self._start(request, reserved)

    def _start(self, request: Requested, reserved: int) -> None:
        if request.damaged or self._draining:
            reason = "request damaged on its way" if request.damaged else "draining"
            error = NodeUnavailable(node=self._server.node.identity.node, reason=reason)
            self._session.respond(request.request, verbs.encode_failure(error))
            return
        deadline_s = request.deadline_ms / 1000 or DEADLINE_S_MAX
        self._reserved_bytes += reserved
        self._running[request.request] = _Running(
            self._loop.create_task(self._serve(request)),
            self._loop.call_later(
                deadline_s,
                self._cancel,
                request.request,
                DeadlineExceeded(deadline_s=f"{deadline_s:.3f}"),
            ),
            reserved,
        )

    def _cancel(self, request: int, reason: StorageError) -> None:
        running = self._running.get(request)
        if running is not None:
            running.reason = running.reason or reason
            # Behind the task's first step: one that is cancelled before it would answer nothing.
            self._loop.call_soon(running.task.cancel)
            return
        for waiting in self._queue:
            if waiting[0].request == request:
                self._queue.remove(waiting)
                self._session.respond(request, verbs.encode_failure(reason))
                return

    async def _serve(self, request: Requested) -> None:
        """Answer one request, whatever happens."""
        started_s = self._server.env.monotonic_s()
        outcome, content = "ok", memoryview(b"")
        try:
            fields, answer = await answer_request(
                self._server.node, request.fields, request.content
            )
            content = memoryview(answer)
        except StorageError as error:
            fields, outcome = verbs.encode_failure(error), str(error.kind)
        except asyncio.CancelledError:
            reason = self._running[request.request].reason
            if reason is None:
                raise
            fields, outcome = verbs.encode_failure(reason), str(reason.kind)
        except Exception as error:  # the request boundary: a bug in one request ends that request
            _LOG.error("request failed", error=error, peer=self._peer)
            failure = NodeUnavailable(node=self._server.node.identity.node, reason="internal error")
            fields, outcome = verbs.encode_failure(failure), "internal"
        running = self._running.pop(request.request)
        running.timer.cancel()
        self._reserved_bytes -= running.reserved_bytes
        if self._closed:
            return
        self._session.respond(request.request, fields, content)
        self._schedule_flush()
        self._server.metrics.answered(
            verb_name(request.fields),
            outcome,
            seconds=self._server.env.monotonic_s() - started_s,
            received_bytes=len(request.content),
            sent_bytes=len(content),
        )
        if self._queue:
            self._start_queued()

    # Output and timers

    def _schedule_flush(self) -> None:
        """One write for everything that is queued in this turn of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        transport = self._transport
        while (
            transport is not None
            and not self._paused
            and not self._closed
            and self._session.has_output()
        ):
            transport.writelines(self._session.take_output())
        if self._queue:
            self._start_queued()

    def _handshake_ends(self) -> None:
        _LOG.warning("connection dropped", peer=self._peer, error="no hello in time")
        self.abort()

    def _tick(self) -> None:
        if not self._heard:
            _LOG.info("connection dropped", peer=self._peer, error="silent")
            self.abort()
            return
        self._heard = False
        self._timer = self._loop.call_later(IDLE_CLIENT_S, self._tick)

    def abort(self) -> None:
        """Close at once: nobody waits for what is still running."""
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        self._queue.clear()
        for running in self._running.values():
            running.timer.cancel()
            running.reason = running.reason or Cancelled()
            running.task.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._server.forget(self)


class NodeServer:
    """Serves one node to gateways.

    Args:
        ssl_context: from `identity.node_server_context`; None only on loopback (tests,
            measurements).
        domain: the cluster's domain; a gateway of another one is refused.
    """

    def __init__(
        self,
        node: Node,
        *,
        ssl_context: ssl.SSLContext | None,
        domain: str,
        env: Env,
        metrics: NodeMetrics | None = None,
    ) -> None:
        self.node = node
        self.env = env
        self._ssl_context = ssl_context
        self._domain = domain
        self.metrics = metrics if metrics is not None else NodeMetrics()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._draining = False

    @property
    def ready(self) -> bool:
        """True while requests are taken."""
        return self._server is not None and not self._draining

    @property
    def address(self) -> tuple[str, int]:
        """Where the node listens. Only after `start`."""
        assert self._server is not None
        address = self._server.sockets[0].getsockname()
        return address[0], address[1]

    @property
    def connection_count(self) -> int:
        """Gateways connected."""
        return len(self._connections)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; port 0 takes a free one. Returns the address. Raises OSError, ConfigError."""
        if self._ssl_context is None:
            require_loopback(host)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self),
            host,
            port,
            ssl=self._ssl_context,
            ssl_handshake_timeout=HANDSHAKE_S if self._ssl_context else None,
            backlog=CONNECTIONS_MAX,
        )
        return self.address

    async def drain(self, timeout_s: float = DRAIN_S) -> None:
        """Stop accepting, finish what is under way (for `timeout_s` at most), close. Idempotent."""
        self._draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drain()
        deadline_s = self.env.monotonic_s() + timeout_s
        while self._connections and self.env.monotonic_s() < deadline_s:
            for connection in list(self._connections):
                if connection.idle:
                    connection.close_gracefully()
            await self.env.sleep(_DRAIN_STEP_S)
        await self.close()

    async def close(self) -> None:
        """Stop listening and drop every connection. The node stays open. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Cut every connection; clients may come back."""
        for connection in list(self._connections):
            connection.abort()

    def admit(self, connection: _Connection, transport: asyncio.BaseTransport) -> str:
        """Who the peer is, if it may come in.

        Raises:
            CertificateRefused: not a gateway of this cluster. NodeUnavailable: draining, or too
            many connections.
        """
        try:
            if self._draining or len(self._connections) >= CONNECTIONS_MAX:
                raise NodeUnavailable(node=self.node.identity.node, reason="no connection free")
            peer = "loopback"
            if self._ssl_context is not None:
                der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
                peer = check_gateway_peer(der, domain=self._domain).gateway
        except StorageError:
            self.metrics.refused.inc()
            raise
        self._connections.add(connection)
        self.metrics.connections.set(len(self._connections))
        return peer

    def forget(self, connection: _Connection) -> None:
        """The connection is gone."""
        self._connections.discard(connection)
        self.metrics.connections.set(len(self._connections))


def _address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if peer else "?"
