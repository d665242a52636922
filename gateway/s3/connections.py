"""Connections of the S3 endpoint: what stands between the HTTP library and the request boundary.

Not for deciding anything about a request. `Exchange` takes the place of the library's request, and
`_Connection.start` that of its loop: that one makes a task, a writer and a response for every
request, which together cost as much as all that is done with a small one.

Source: aiohttp 3.14, `web.Server` and `web.RequestHandler`; the version is pinned.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy
from aiohttp.web_protocol import _ErrInfo

from gateway.limits import HEADERS_BYTES_MAX
from gateway.objects.context import Principal
from gateway.s3.body import RequestBody
from gateway.s3.direct_body import DIRECT_FROM_BYTES, DirectBody
from gateway.s3.responses import Reply
from gateway.s3.write_batch import WriteBatch
from storaged.base.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader
    from aiohttp.web_protocol import _RequestHandler as _Answer

logger = logging.getLogger("hexagone.s3")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEADER_COUNT_MAX = 128
# An unread rest of a body up to this is read and forgotten, a longer one costs the connection.
DRAIN_BYTES_MAX = 64 * 1024

RequestPayloadError = web.RequestPayloadError


class _Sent(web.StreamResponse):
    """Tells the HTTP library that the answer is out already."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


_SENT = _Sent()


class Exchange:
    """One request and what becomes known of it on the way to its line in the access log.

    `_finish` and `_cancel` are what the library's connection asks of a request.
    """

    __slots__ = (
        "access_key_id",
        "batch",
        "began_s",
        "body",
        "bucket",
        "bytes_out",
        "content",
        "expects_continue",
        "headers",
        "id_bytes",
        "is_large",
        "key",
        "message",
        "operation",
        "owner_id",
        "peer",
        "protocol",
        "raw_path",
        "request_id",
        "tenant",
    )

    def __init__(
        self,
        message: RawRequestMessage,
        content: StreamReader,
        protocol: _Connection,
        batch: WriteBatch,
    ) -> None:
        self.batch = batch
        self.message = message
        self.content: StreamReader | DirectBody = content
        self.protocol = protocol
        peer = protocol.peername
        self.peer: str = peer[0] if isinstance(peer, tuple) else ""
        self.began_s = 0.0
        self.id_bytes = b""
        self.request_id = ""
        self.raw_path = ""
        self.headers: dict[str, str] = {}
        self.operation = "Unknown"
        self.bucket = ""
        self.key = ""
        self.access_key_id = ""
        self.owner_id = ""
        self.tenant = b""
        self.body: RequestBody | None = None
        self.expects_continue = False
        self.is_large = False
        self.bytes_out = 0

    def tls_version(self) -> str:
        """Version of TLS that the connection speaks, such as "1.3"; "" for none."""
        transport = self.protocol.transport
        tls = None if transport is None else transport.get_extra_info("ssl_object")
        return "" if tls is None else str(tls.version() or "").removeprefix("TLSv")

    def _finish(self) -> None:
        """The library is done with the request."""

    def _cancel(self, error: BaseException) -> None:
        """The connection is lost: whoever reads the body shall know."""
        self.content.set_exception(error)

    def tell_signer(self, principal: Principal | None) -> None:
        """Learn who asks, for the logs; None: nobody has signed."""
        if principal is not None:
            self.access_key_id = principal.access_key_id
            self.owner_id = principal.owner_id
            self.tenant = principal.tenant

    def receive_directly(self) -> None:
        """Receive the body past the parser from now on, if it is long and its head says how long.

        Not where documents or forms are parsed: they want `bytes`.
        """
        message, length = self.message, self.headers.get("content-length", "")
        if message.method != "PUT" or message.chunked or message.upgrade or not length.isdecimal():
            return
        if int(length) >= DIRECT_FROM_BYTES and not isinstance(self.content, DirectBody):
            self.content = DirectBody(self.protocol, self.content, int(length))

    def answer_continue(self) -> None:
        """Let the client send its body: it has been authenticated and its head is in order.

        An empty body is let through as well: clients wait for this answer whenever they asked.
        """
        if self.expects_continue:
            self.expects_continue = False
            if not self.content.total_bytes and self.protocol.transport is not None:
                self.write(CONTINUE)

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Hand bytes to the transport. Raises ConnectionResetError: the client has gone."""
        transport = self._open_transport()
        self.batch.flush()
        transport.write(piece)

    def write_soon(self, piece: bytes) -> None:
        """Hand a whole answer to the transport together with those of other requests.

        Raises ConnectionResetError: the client has gone.
        """
        self.batch.add(self._open_transport(), piece)

    def _open_transport(self) -> asyncio.Transport:
        transport = self.protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        return transport

    async def wait_for_client(self, stall_s: float) -> None:
        """Wait while too much is unsent; a client that takes nothing for `stall_s` is cut.

        Raises:
            ConnectionError: the client has gone.
        """
        protocol = self.protocol
        if protocol.writing_paused and protocol.transport is not None:
            loop = asyncio.get_running_loop()
            stall = loop.call_later(stall_s, protocol.transport.abort)
            try:
                await protocol._drain_helper()
            finally:
                stall.cancel()
            if protocol.transport is None:
                raise ConnectionResetError

    def abort(self) -> None:
        """Break the connection, so that no client takes a part of an answer for the whole."""
        if self.protocol.transport is not None:
            self.protocol.transport.abort()

    def has_nothing_to_come(self) -> bool:
        """The rest of the body is not worth waiting for: it stalled, or was never asked for."""
        return self.expects_continue or self.content.exception() is not None

    def keeps_connection(self, reply: Reply) -> bool:
        """The next request can be found on this connection."""
        if self.message.should_close or reply.close_connection:
            return False
        if self.expects_continue:
            return False  # the client may send the body all the same, or not at all
        if self.content.is_eof():
            return True
        try:
            rest = int(self.headers.get("content-length", "")) - self.content.total_bytes
        except ValueError:
            return False
        return rest <= DRAIN_BYTES_MAX


class _Connection(web.RequestHandler):
    """A connection whose requests are answered in one task, each before the next is looked at.

    Parse errors are answered in S3's way, without an echo of what was sent.
    """

    __slots__ = ()

    async def start(self) -> None:
        """Answer requests until the connection is to be closed."""
        loop, server = self._loop, cast(S3Server, self._manager)
        burst = 0  # requests answered without a wait between them
        try:
            while not self._force_close:
                if not self._messages and burst >= self._msg_queue_resume_size:
                    # The parser counts a body that ended late as one more request in the queue,
                    # and then holds the others back without a sign: it is asked for them.
                    burst = 0
                    self.data_received(b"")
                if not self._messages:
                    burst = 0
                    self._waiter = loop.create_future()
                    try:
                        await self._waiter
                    finally:
                        self._waiter = None
                burst += 1
                self._keepalive = await self._answer_next(server)
                if not self._keepalive or self._close:
                    break
                self._next_keepalive_close_time = loop.time() + self._keepalive_timeout
                if self._keepalive_handle is None:
                    self._keepalive_handle = loop.call_at(
                        self._next_keepalive_close_time, self._process_keepalive
                    )
        finally:
            server.batch.flush()
            self.force_close()

    async def _answer_next(self, server: S3Server) -> bool:
        """Answer the oldest request; returns whether another may follow."""
        message, content = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        server.requests_count += 1
        if isinstance(message, _ErrInfo):
            if self.transport is not None:
                too_long = isinstance(message.exc, LineTooLong)
                server.batch.flush()
                self.transport.write(server.answer_unparsed(too_long))
            return False
        exchange = Exchange(message, content, self, server.batch)
        self._request_in_progress = True
        self._current_request = cast(web.BaseRequest, exchange)
        try:
            keeps = await server.answer(exchange)
        finally:
            self._current_request = None
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        if self._upgraded:  # somebody asked for another protocol; what follows is HTTP all the same
            await self.finish_response(cast(web.BaseRequest, exchange), _SENT, None)
        if not exchange.content.is_eof():
            server.batch.flush()  # what is forgotten may end in a close
            await self._forget(exchange.content)
        return keeps

    @property
    def is_held_back(self) -> bool:
        """The parser has more than it has given out."""
        return self._reading_paused or self._buffer_paused

    def forget_body(self) -> None:
        """Expect the head of a request next: the parser has not seen the end of the last body."""
        self._parser = HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )

    def resume_reading(self, resume_parser: bool = True) -> None:
        # The library calls this at every read of a body, and it costs as much as the read.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    async def _forget(self, content: StreamReader | DirectBody) -> None:
        """Read the rest of a body for a while, so that the client sees the answer before an end."""
        if self._lingering_time and not self._force_close:
            try:
                async with asyncio.timeout(self._lingering_time):
                    while not content.is_eof():
                        await content.readany()
            except TimeoutError:
                pass
            except (RequestPayloadError, ConnectionError):
                self.force_close()
        if not content.is_eof() and not self._force_close:
            self.close()


class S3Server(web.Server):
    """Makes connections, as many as are allowed."""

    def __init__(
        self,
        answer: Callable[[Exchange], Awaitable[bool]],
        answer_unparsed: Callable[[bool], bytes],
        *,
        connections_max: int,
        on_refused: Callable[[], None],
        keep_alive_s: float,
        linger_s: float,
    ) -> None:
        """Make a server.

        Args:
            answer: the request boundary; says whether the connection can be used again.
            answer_unparsed: makes the whole answer to bytes that are not HTTP; True: a line of
                the head was too long.
            on_refused: called for each connection beyond `connections_max`.

        Raises:
            ConfigError: requests would be read by the parser in Python, which has let pass what
                others see as two requests (CVE-2025-53643).
        """
        if HttpRequestParser is HttpRequestParserPy:
            raise ConfigError(key="AIOHTTP_NO_EXTENSIONS", reason="only the parser in C is trusted")
        super().__init__(
            cast("_Answer", answer),
            access_log=None,
            logger=logger,
            auto_decompress=False,
            keepalive_timeout=keep_alive_s,
            lingering_time=linger_s,
            max_line_size=HEADERS_BYTES_MAX,
            max_field_size=HEADERS_BYTES_MAX // 2,
            max_headers=HEADER_COUNT_MAX,
        )
        self.batch = WriteBatch(self._loop)
        self.answer = answer
        self.answer_unparsed = answer_unparsed
        self._connections_max = connections_max
        self._on_refused = on_refused

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self._connections_max:
            self._on_refused()
            transport.abort()
