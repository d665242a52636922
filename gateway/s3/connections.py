"""Connections of the S3 endpoint: what stands between the HTTP library and the request boundary.

Not for deciding anything about a request. `Exchange` takes the place of the library's request,
`SENT` and `SENT_AND_CLOSE` that of its response, because of those nothing else is needed and
making them would cost as much as the whole head of an answer.

Source: aiohttp 3.14, `web.Server` and `web.RequestHandler`; the version is pinned.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from gateway.limits import HEADERS_BYTES_MAX
from gateway.s3.body import RequestBody
from gateway.s3.responses import Reply

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader
    from aiohttp.web_protocol import _RequestFactory as _Factory
    from aiohttp.web_protocol import _RequestHandler as _Answer

logger = logging.getLogger("hexagone.s3")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEADER_COUNT_MAX = 128
# An unread rest of a body up to this is read and forgotten, a longer one costs the connection.
DRAIN_BYTES_MAX = 64 * 1024

RequestPayloadError = web.RequestPayloadError


class Sent(web.StreamResponse):
    """Tells the HTTP library that the answer is out already."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keeps = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        return self._keeps

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class Exchange:
    """One request and what becomes known of it on the way to its line in the access log.

    It takes the place of the HTTP library's request object, of which nothing else is needed;
    `_task`, `_finish` and `_cancel` are what the library's connection asks of one.
    """

    __slots__ = (
        "_task",
        "access_key_id",
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
        "protocol",
        "raw_path",
        "request_id",
        "writer",
    )

    def __init__(
        self,
        message: RawRequestMessage,
        content: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> None:
        self.message = message
        self.content = content
        self.protocol = protocol
        self.writer = writer
        self._task = task
        self.began_s = 0.0
        self.id_bytes = b""
        self.request_id = ""
        self.raw_path = ""
        self.headers: dict[str, str] = {}
        self.operation = "Unknown"
        self.bucket = ""
        self.key = ""
        self.access_key_id = ""
        self.body: RequestBody | None = None
        self.expects_continue = False
        self.is_large = False
        self.bytes_out = 0

    def _finish(self) -> None:
        """The library is done with the request."""

    def _cancel(self, error: BaseException) -> None:
        """The connection is lost: whoever reads the body shall know."""
        self.content.set_exception(error)

    def answer_continue(self) -> None:
        """Let the client send its body: it has been authenticated and its head is in order.

        An empty body is let through as well: clients wait for this answer whenever they asked.
        """
        if self.expects_continue:
            self.expects_continue = False
            if not self.content.total_bytes and self.protocol.transport is not None:
                self.protocol.transport.write(CONTINUE)

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
    """A connection that answers parse errors in S3's way, without an echo of what was sent."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            logger.error("error outside the request boundary", exc_info=exc)
            if self.transport is not None:
                self.transport.abort()
        elif self.transport is not None:
            too_long = isinstance(exc, LineTooLong)
            answer = cast(S3Server, self._manager).answer_unparsed
            self.transport.write(answer(too_long))
        return SENT_AND_CLOSE


class S3Server(web.Server):
    """Makes connections, as many as are allowed."""

    def __init__(
        self,
        answer: Callable[[Exchange], Awaitable[Sent]],
        answer_unparsed: Callable[[bool], bytes],
        *,
        connections_max: int,
        on_refused: Callable[[], None],
        keep_alive_s: float,
        linger_s: float,
    ) -> None:
        """Make a server.

        Args:
            answer: the request boundary.
            answer_unparsed: makes the whole answer to bytes that are not HTTP; True: a line of
                the head was too long.
            on_refused: called for each connection beyond `connections_max`.
        """
        super().__init__(
            cast("_Answer", answer),
            request_factory=cast("_Factory", Exchange),
            access_log=None,
            logger=logger,
            auto_decompress=False,
            keepalive_timeout=keep_alive_s,
            lingering_time=linger_s,
            max_line_size=HEADERS_BYTES_MAX,
            max_field_size=HEADERS_BYTES_MAX // 2,
            max_headers=HEADER_COUNT_MAX,
        )
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


SENT = Sent(keep_alive=True)
SENT_AND_CLOSE = Sent(keep_alive=False)
