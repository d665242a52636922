"""A gateway's end of one connection to a node: a socket, its session, and the calls that wait.

Not for connecting again (`storaged.remote`): a link is used until it fails, and then thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from storaged.base.errors import DeadlineExceeded, ProtocolError, StorageError
from storaged.base.limits import DEAD_AFTER_S, PING_AFTER_S
from storaged.identity import CertificateRefused
from storaged.node import NodeIdentity, NodeUnavailable
from storaged.session import Answered, ClientSession, Draining, PeerReady, local_hello
from storaged.sockets import tune_socket

Answer = tuple[bytes, memoryview]  # fields and content of a response


class Link(asyncio.BufferedProtocol):
    """One connection: the session, its socket, and the calls that wait for answers."""

    def __init__(
        self,
        expected: NodeIdentity,
        gateway: str,
        check_peer: Callable[[asyncio.BaseTransport], None],
        room_made: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._expected = expected
        self._check_peer = check_peer
        self._room_made = room_made
        self.session = ClientSession(local_hello((gateway,)))
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.unusable: asyncio.Future[None] = self._loop.create_future()
        self._pending: dict[int, asyncio.Future[Answer]] = {}
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._flush_scheduled = False
        self._failure: StorageError | None = None
        self._heard = False
        self._silent_s = 0.0
        self._ticker: asyncio.TimerHandle | None = None

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        try:
            self._check_peer(transport)
        except StorageError as error:
            self._fail(error)
            return
        tune_socket(transport)
        self._ticker = self._loop.call_later(PING_AFTER_S, self._tick)
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.session.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        if self._failure is not None:
            return
        self._heard = True
        try:
            for event in self.session.received(nbytes):
                match event:
                    case Answered():
                        self._settle(event)
                    case PeerReady():
                        self._greet(event)
                    case Draining():
                        self._become_unusable()
                    case _:
                        raise ProtocolError(reason="not an event of a client")
        except StorageError as error:
            self._fail(error)
            return
        if self.session.has_output():
            self._schedule_flush()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(NodeUnavailable(node=self._expected.node, reason="connection lost"))

    # The node's calls

    @property
    def usable(self) -> bool:
        return self._failure is None and not self.unusable.done()

    async def call(self, fields: bytes, content: memoryview, deadline_s: float) -> Answer:
        """One request and its answer. The session must have room."""
        deadline_ms = max(1, int(deadline_s * 1000))
        request = self.session.request(fields, content, deadline_ms=deadline_ms)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._pending[request] = future
        timer = self._loop.call_later(deadline_s, self._expire, request, deadline_s)
        self._schedule_flush()
        try:
            return await future
        except asyncio.CancelledError:
            self._abandon(request)
            raise
        finally:
            timer.cancel()

    async def finish(self) -> None:
        """Wait for the calls under way, then close."""
        if self._pending:
            await asyncio.wait(list(self._pending.values()))
        if self._transport is not None:
            self._transport.close()
        self._fail(NodeUnavailable(node=self._expected.node, reason="closed"), abort=False)

    def give_up(self) -> None:
        """Close at once: the handshake took too long or was cancelled."""
        self._fail(NodeUnavailable(node=self._expected.node, reason="handshake"))

    def _greet(self, event: PeerReady) -> None:
        expected = (self._expected.country, self._expected.datacenter, self._expected.node)
        if event.hello.names != expected:
            raise CertificateRefused(reason="hello names another node")
        if not self.ready.done():
            self.ready.set_result(None)

    def _settle(self, event: Answered) -> None:
        future = self._pending.pop(event.request, None)
        if future is not None and not future.done():
            if event.damaged:
                future.set_exception(
                    NodeUnavailable(node=self._expected.node, reason="answer damaged on its way")
                )
            else:
                future.set_result((event.fields, event.content))
        self._room_made()

    def _expire(self, request: int, deadline_s: float) -> None:
        future = self._pending.get(request)
        self._abandon(request)
        if future is not None and not future.done():
            future.set_exception(
                DeadlineExceeded(node=self._expected.node, deadline_s=f"{deadline_s:.3f}")
            )

    def _abandon(self, request: int) -> None:
        if self._pending.pop(request, None) is not None and self._failure is None:
            self.session.cancel(request)
            self._schedule_flush()
            self._room_made()

    def _tick(self) -> None:
        """Ask a silent peer for a sign of life; give it up when it stays silent."""
        self._silent_s = 0.0 if self._heard else self._silent_s + PING_AFTER_S
        self._heard = False
        if self._silent_s >= DEAD_AFTER_S:
            self._fail(NodeUnavailable(node=self._expected.node, reason="silent"))
            return
        if self.session.peer is not None:
            self.session.ping()
            self._schedule_flush()
        self._ticker = self._loop.call_later(PING_AFTER_S, self._tick)

    def _become_unusable(self) -> None:
        if not self.unusable.done():
            self.unusable.set_result(None)

    def _fail(self, error: StorageError, *, abort: bool = True) -> None:
        """End this connection; every call that waits fails. Only the first reason counts."""
        if self._failure is not None:
            return
        self._failure = error
        if self._ticker is not None:
            self._ticker.cancel()
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # read here: nobody may be waiting for it
        self._become_unusable()
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                reason = error.fields.get("reason", error.title())
                future.set_exception(NodeUnavailable(node=self._expected.node, reason=reason))
        if abort and self._transport is not None:
            self._transport.abort()

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
            and self._failure is None
            and self.session.has_output()
        ):
            transport.writelines(self.session.take_output())
