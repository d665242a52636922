"""The S3 endpoint: connections, the order in which a request is checked, and its answer.

Not for syntax, which is in its sibling modules, nor for what operations mean. The order is: form
of the request,
limits, signature, route, promises of the body; only then is 100-continue answered and a byte of
the body read. One
boundary turns every error into an answer. An answer that cannot be completed ends with an aborted
connection, so
no client takes it for whole.

Source: RFC 9112; Amazon S3 API Reference, "Error responses".
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from gateway.limits import HEADERS_BYTES_MAX, SMALL_BODY_BYTES_MAX
from gateway.metrics import S3Metrics
from gateway.objects.context import Context, Principal, Services
from gateway.s3 import call as calls
from gateway.s3 import routes, sigv4
from gateway.s3.access_log import AccessLog, AccessRecord, LineSink
from gateway.s3.aws_chunked import ChunkDecoder
from gateway.s3.body import BodyPace, RequestBody
from gateway.s3.call import Call
from gateway.s3.errors import S3Error, s3_code_for
from gateway.s3.operations.table import OPERATIONS, OperationFunction
from gateway.s3.responses import BODILESS, Reply, encode_head, error_reply
from storaged.base.errors import StorageError

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader
    from aiohttp.web_protocol import _RequestFactory as _Factory
    from aiohttp.web_protocol import _RequestHandler as _Answer

logger = logging.getLogger("hexagone.s3")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
DRAIN_BYTES_MAX = (
    64 * 1024
)  # an unread rest up to this is read and forgotten, a longer one costs the connection
JOIN_BYTES_MAX = 64 * 1024  # head and body up to this go out in one write
SEND_BUFFER_BYTES = 1 << 20  # unsent bytes of one answer before its source is asked to wait
HEADER_COUNT_MAX = 128
ANSWER_S = 60.0  # time for a request beside that of its body
SLOWEST_BODY_BYTES_PER_S = (
    16 * 1024
)  # deadline of a body; the floor of its pace is lower and cuts by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendConfig:
    """How the endpoint behaves.

    Args:
        regions: accepted in signatures; the first one is the endpoint's own.
        base_domains: `<bucket>.<base domain>` is virtual-host style.
        requests_max: requests answered at once; beyond: SlowDown.
        large_bodies_max: of them, those with a body that does not ride in a commit stripe.
        connections_max: beyond, a connection is closed at once.
        keep_alive_s: idle time of a connection, and longest time for the head of a request.
        linger_s: how long an unread body is read and forgotten before the connection is closed.
        access_log: gets whole lines, now and then; None: no access log.
    """

    regions: tuple[str, ...]
    base_domains: tuple[str, ...] = ()
    requests_max: int = 1024
    large_bodies_max: int = 256
    connections_max: int = 4096
    keep_alive_s: float = 75.0
    linger_s: float = 2.0
    pace: BodyPace = field(default_factory=BodyPace)
    access_log: LineSink | None = None


class _Sent(web.StreamResponse):
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
    """A connection whose parse errors are answered in S3's way, without an echo of what was
    sent."""

    __slots__ = ("frontend",)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        frontend = cast(_Server, self._manager).frontend
        if status >= 500:
            logger.error("error outside the request boundary", exc_info=exc)
            if self.transport is not None:
                self.transport.abort()
        elif self.transport is not None:
            self.transport.write(frontend.parse_failure(exc))
        return _CLOSE


class _Server(web.Server):
    """Makes connections, as many as are allowed."""

    def __init__(self, frontend: S3Frontend) -> None:
        config = frontend.config
        super().__init__(
            cast("_Answer", frontend.answer),
            request_factory=cast("_Factory", Exchange),
            access_log=None,
            logger=logger,
            auto_decompress=False,
            keepalive_timeout=config.keep_alive_s,
            lingering_time=config.linger_s,
            max_line_size=HEADERS_BYTES_MAX,
            max_field_size=HEADERS_BYTES_MAX // 2,
            max_headers=HEADER_COUNT_MAX,
        )
        self.frontend = frontend

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self.frontend.config.connections_max:
            self.frontend.metrics.connections_refused += 1
            transport.abort()


class S3Frontend:
    """The S3 endpoint of one process. `start`, then `stop`."""

    def __init__(
        self,
        services: Services,
        config: FrontendConfig,
        metrics: S3Metrics,
        operations: Mapping[str, OperationFunction] = OPERATIONS,
    ) -> None:
        """Make an endpoint.

        Args:
            operations: by S3's names; another table is for tests.
        """
        self.config = config
        self.metrics = metrics
        self._services = services
        self._env = services.env
        self._operations = operations
        self._host_id = base64.b64encode(self._env.random_bytes(24)).decode()
        self._in_flight = 0
        self._large_bodies = 0
        self._server: _Server | None = None
        self._listeners: list[asyncio.Server] = []
        self._access_log: AccessLog | None = None

    async def start(
        self,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None = None,
        *,
        reuse_port: bool = False,
    ) -> int:
        """Listen; returns the port. May be called for several addresses."""
        loop = asyncio.get_running_loop()
        if self._server is None:
            self._server = _Server(self)
            if self.config.access_log is not None:
                self._access_log = AccessLog(self.config.access_log, loop)
        listener = await loop.create_server(
            self._server, host, port, ssl=ssl_context, backlog=1024, reuse_port=reuse_port or None
        )
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    async def serve(self, host: str, port: int, ssl_context: ssl.SSLContext | None = None) -> None:
        """Listen until cancelled."""
        await self.start(host, port, ssl_context)
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    async def stop(self, drain_s: float = 10.0) -> None:
        """Accept no more, let requests end for a while, then close everything."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(drain_s)
        if self._access_log is not None:
            self._access_log.flush()

    def parse_failure(self, error: BaseException | None) -> bytes:
        """Head and body of the answer to bytes that are not HTTP."""
        code = "RequestHeaderSectionTooLarge" if isinstance(error, LineTooLong) else "BadRequest"
        request_id = self._env.random_bytes(8).hex().upper()
        reply = error_reply(
            s3_code_for(S3Error(code)),
            resource="/",
            request_id=request_id,
            host_id=self._host_id,
            is_head=False,
        )
        self.metrics.operation("Unknown").count(
            latency_s=0.0, bytes_in=0, bytes_out=len(reply.body), code=code
        )
        return self._head(reply, request_id, keep_alive=False, is_http_10=False) + reply.body

    def _head(self, reply: Reply, request_id: str, *, keep_alive: bool, is_http_10: bool) -> bytes:
        return encode_head(
            reply,
            request_id=request_id,
            host_id=self._host_id,
            now_s=self._env.now_ms() // 1000,
            keep_alive=keep_alive,
            is_http_10=is_http_10,
        )

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """The request boundary."""
        exchange.began_s = self._env.monotonic_s()
        exchange.id_bytes = self._env.random_bytes(16)
        exchange.request_id = exchange.id_bytes[:8].hex().upper()
        self._in_flight += 1
        self.metrics.in_flight = self._in_flight
        try:
            try:
                reply = await self._fulfil(exchange)
            except StorageError as error:
                reply = self._failure(exchange, error)
            except Exception:
                logger.exception("request %s failed", exchange.request_id)
                reply = self._failure(exchange, S3Error("InternalError"))
            try:
                keeps = await self._send(exchange, reply)
            except ConnectionError:
                reply.code = "ClientGone"
                keeps = False
            finally:
                if reply.pieces is not None:
                    await _aclose(reply.pieces)
        finally:
            self._in_flight -= 1
            self.metrics.in_flight = self._in_flight
            if exchange.is_large:
                self._large_bodies -= 1
        self._record(exchange, reply)
        return _KEEP if keeps else _CLOSE

    async def _fulfil(self, exchange: Exchange) -> Reply:
        message = exchange.message
        exchange.raw_path, _, raw_query = message.path.partition("?")
        pairs = [(name.lower(), value) for name, value in message.headers.items()]
        headers = exchange.headers = calls.headers_by_name(pairs)
        host = calls.check_host(headers)
        exchange.expects_continue = self._check_expect(headers, message.version)
        if not message.path.startswith("/"):
            raise S3Error("InvalidURI")
        if self._in_flight > self.config.requests_max:
            raise S3Error("SlowDown")
        head = sigv4.RequestHead(
            method=message.method, raw_path=exchange.raw_path, raw_query=raw_query, headers=pairs
        )
        authorized, principal = self._authorize(head)
        exchange.access_key_id = principal.access_key_id
        bucket, key = routes.split_target(host, exchange.raw_path, self.config.base_domains)
        exchange.bucket, exchange.key = bucket or "", key or ""
        query = calls.query_by_name(raw_query)
        level = routes.level_of(bucket, key)
        found = routes.route(message.method, level, query.keys(), headers.keys())
        exchange.operation = found.operation.value
        operation = self._operations.get(exchange.operation)
        if operation is None or not found.implemented:
            raise S3Error("NotImplemented")
        body = self._body(exchange, authorized)
        secure = exchange.protocol.ssl_context is not None
        call = Call(
            operation=exchange.operation,
            bucket=exchange.bucket,
            key=exchange.key,
            headers=headers,
            query=query,
            body=body,
            context=Context(
                services=self._services,
                principal=principal,
                request_id=exchange.id_bytes,
                deadline_s=exchange.began_s + ANSWER_S + body.length / SLOWEST_BODY_BYTES_PER_S,
            ),
            origin=f"{'https' if secure else 'http'}://{host}",
        )
        reply = await operation(call)
        if reply.pieces is not None:
            reply.first = await anext(reply.pieces, b"")  # its failure is still an ordinary error
        return reply

    def _check_expect(self, headers: Mapping[str, str], version: tuple[int, int]) -> bool:
        expect = headers.get("expect")
        if expect is None:
            return False
        if expect.lower() != "100-continue":
            raise S3Error("InvalidRequest", "The Expect header is not supported.")
        return version >= (1, 1)

    def _authorize(self, head: sigv4.RequestHead) -> tuple[sigv4.Authorized, Principal]:
        found: list[Principal] = []

        def signing_key(access_key_id: str, date: str, region: str, service: str) -> bytes | None:
            known = self._services.credentials.signing_key(access_key_id, date, region, service)
            if known is None:
                return None
            found.append(known[0])
            return known[1]

        authorized = sigv4.authorize(
            head,
            now_ms=self._env.now_ms(),
            regions=self.config.regions,
            signing_key=signing_key,
        )
        if authorized is None or not found:
            raise S3Error("AccessDenied")
        return authorized, found[-1]

    def _body(self, exchange: Exchange, authorized: sigv4.Authorized) -> RequestBody:
        promise = calls.promise_of(exchange.headers, authorized, exchange.operation)
        if promise.length > SMALL_BODY_BYTES_MAX:
            if self._large_bodies >= self.config.large_bodies_max:
                raise S3Error("SlowDown")
            self._large_bodies += 1
            exchange.is_large = True
        decoder = None
        if authorized.payload_mode.is_streaming:
            decoder = ChunkDecoder(
                mode=authorized.payload_mode,
                seed=authorized,
                decoded_bytes=promise.length,
                trailer_names=calls.trailer_names(exchange.headers),
            )
        exchange.body = RequestBody(
            exchange.content,
            promise,
            decoder=decoder,
            on_first_read=exchange.answer_continue,
            pace=self.config.pace,
        )
        return exchange.body

    def _failure(self, exchange: Exchange, error: StorageError) -> Reply:
        return error_reply(
            s3_code_for(error),
            resource=exchange.raw_path,
            request_id=exchange.request_id,
            host_id=self._host_id,
            is_head=exchange.message.method == "HEAD",
        )

    async def _send(self, exchange: Exchange, reply: Reply) -> bool:
        """Write the answer; returns whether the connection can be used again."""
        keeps = exchange.keeps_connection(reply)
        is_empty = exchange.message.method == "HEAD" or reply.status in BODILESS
        head = self._head(
            reply,
            exchange.request_id,
            keep_alive=keeps,
            is_http_10=exchange.message.version < (1, 1),
        )
        writer = exchange.writer
        if is_empty:
            await writer.write(head)
        elif reply.pieces is None:
            exchange.bytes_out = len(reply.body)
            if exchange.bytes_out <= JOIN_BYTES_MAX:
                await writer.write(head + reply.body)
            else:
                await writer.write(head)
                await writer.write(reply.body)
        elif not await self._send_pieces(exchange, reply, head):
            return False
        if not keeps and exchange.has_nothing_to_come():
            exchange.protocol.force_close()
        return keeps

    async def _send_pieces(self, exchange: Exchange, reply: Reply, head: bytes) -> bool:
        """Send what `pieces` gives; False and an aborted connection if it is not all there.

        Raises:
            ConnectionError: the client has gone.
        """
        assert reply.pieces is not None and reply.length is not None
        writer, transport = exchange.writer, exchange.protocol.transport
        if transport is None:
            raise ConnectionResetError
        loop = asyncio.get_running_loop()
        if reply.length > SEND_BUFFER_BYTES:
            transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)
        piece = reply.first
        if len(piece) <= JOIN_BYTES_MAX:
            exchange.bytes_out = len(piece)
            await writer.write(b"".join((head, piece)))
            piece = b""
        else:
            await writer.write(head)
        try:
            while exchange.bytes_out < reply.length:
                if not piece:
                    piece = await anext(reply.pieces, b"")
                    if not piece:
                        break
                exchange.bytes_out += len(piece)
                stall = loop.call_later(self.config.pace.idle_s, transport.abort)
                try:
                    await writer.write(piece)
                finally:
                    stall.cancel()
                piece = b""
        except ConnectionError:
            raise
        except Exception:
            logger.exception("answer to request %s cannot be completed", exchange.request_id)
        else:
            if exchange.bytes_out == reply.length:
                return True
            logger.error("answer to request %s has another length", exchange.request_id)
        self.metrics.aborted_answers += 1
        reply.code = "Aborted"
        transport.abort()
        return False

    def _record(self, exchange: Exchange, reply: Reply) -> None:
        latency_s = self._env.monotonic_s() - exchange.began_s
        bytes_in = 0 if exchange.body is None else exchange.body.content_bytes
        self.metrics.operation(exchange.operation).count(
            latency_s=latency_s, bytes_in=bytes_in, bytes_out=exchange.bytes_out, code=reply.code
        )
        if self._access_log is None:
            return
        peer = exchange.protocol.peername
        self._access_log.add(
            AccessRecord(
                at_ms=self._env.now_ms(),
                request_id=exchange.request_id,
                remote=peer[0] if isinstance(peer, tuple) else "",
                access_key_id=exchange.access_key_id,
                operation=exchange.operation,
                method=exchange.message.method,
                bucket=exchange.bucket,
                key=exchange.key,
                status=reply.status,
                code=reply.code,
                bytes_in=bytes_in,
                bytes_out=exchange.bytes_out,
                latency_s=latency_s,
                user_agent=exchange.headers.get("user-agent", ""),
            )
        )


async def _aclose(pieces: AsyncIterator[memoryview | bytes]) -> None:
    """Let a generator release what it holds, also when it was not read to its end."""
    if isinstance(pieces, AsyncGenerator):
        await pieces.aclose()


_KEEP = _Sent(keep_alive=True)
_CLOSE = _Sent(keep_alive=False)
