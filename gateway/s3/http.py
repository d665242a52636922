"""The S3 endpoint: connections, the order in which a request is checked, and its answer.

Not for syntax, which is in its sibling modules, nor for what operations mean. The order is: form
of the request, limits, signature, route, promises of the body; only then is 100-continue answered
and a byte of the body read. One boundary turns every error into an answer. An answer that cannot
be completed ends with an aborted connection, so no client takes it for whole.

Source: RFC 9112; Amazon S3 API Reference, "Error responses".
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import Mapping
from contextlib import suppress

from gateway.limits import SMALL_BODY_BYTES_MAX
from gateway.metrics import S3Metrics
from gateway.objects import access
from gateway.objects.context import Context, Principal, RequestFacts, Services
from gateway.objects.warming import warm_bucket
from gateway.s3 import (
    answered,
    authentication,
    cors,
    journaling,
    limits_on_requests,
    routes,
    sigv4,
    tokens,
    website,
)
from gateway.s3 import call as calls
from gateway.s3.access_log import AccessLog
from gateway.s3.aws_chunked import ChunkDecoder
from gateway.s3.body import UNMEASURED, RequestBody, no_body
from gateway.s3.call import Call, OperationFunction
from gateway.s3.connections import Exchange, RequestPayloadError, S3Server
from gateway.s3.errors import S3Error, s3_code_for
from gateway.s3.frontend_config import FrontendConfig
from gateway.s3.operations.table import OPERATIONS
from gateway.s3.responses import Reply, encode_head, error_reply
from gateway.s3.sending import send_answer
from storaged.base.errors import StorageError

__all__ = ["FrontendConfig", "S3Frontend"]

logger = logging.getLogger("hexagone.s3")

CUT_S = 1.0  # what did not end while draining is cancelled, and may take so long to end
ANSWER_S = 60.0  # time for a request beside that of its body
# Deadline of a body; the floor of its pace is lower and cuts by itself.
SLOWEST_BODY_BYTES_PER_S = 16 * 1024

_NO_BODY = no_body()


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
        self._demand = services.demand  # counts the requests in flight
        self._large_bodies = 0
        self._stopping = False
        self._idle = asyncio.Event()  # set when the last request ends while stopping
        self._server: S3Server | None = None
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
            config = self.config
            self._server = S3Server(
                self.answer,
                self.answer_unparsed,
                connections_max=config.connections_max,
                on_refused=self._count_refused,
                keep_alive_s=config.keep_alive_s,
                linger_s=config.linger_s,
            )
            if self.config.access_log is not None:
                self._access_log = AccessLog(self.config.access_log, loop)
        listener = await loop.create_server(
            self._server, host, port, ssl=ssl_context, backlog=1024, reuse_port=reuse_port or None
        )
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    async def stop(self, drain_s: float = 10.0) -> None:
        """Accept no more, let requests end for a while, then close everything."""
        self._stopping = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._demand.under_way:
            # aiohttp's own shutdown throws away what a body has still to send: it comes after.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), drain_s)
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(min(drain_s, CUT_S))
        if self._access_log is not None:
            self._access_log.flush()

    def _count_refused(self) -> None:
        self.metrics.connections_refused += 1

    def answer_unparsed(self, line_too_long: bool) -> bytes:
        """Head and body of the answer to bytes that are not HTTP."""
        code = "RequestHeaderSectionTooLarge" if line_too_long else "BadRequest"
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

    async def answer(self, exchange: Exchange) -> bool:
        """The request boundary; says whether the connection can be used again."""
        exchange.began_s = self._env.monotonic_s()
        exchange.id_bytes = self._env.random_bytes(16)
        exchange.request_id = exchange.id_bytes[:8].hex().upper()
        self._demand.begin(exchange.began_s)
        self.metrics.in_flight = self._demand.under_way
        try:
            try:
                reply = await self._fulfil(exchange)
                if reply.key:
                    exchange.key = reply.key
                    exchange.tell_signer(reply.signer)
                if reply.pieces is not None:  # a failure of the first is still an ordinary error
                    reply.first = await anext(reply.pieces, b"")
            except StorageError as error:
                reply = self._failure(exchange, error)
            except Exception:
                logger.exception("request %s failed", exchange.request_id)
                reply = self._failure(exchange, S3Error("InternalError"))
            if cors.ORIGIN in exchange.headers:
                self._tell_page(exchange, reply)
            try:
                keeps = await self._send(exchange, reply)
            except ConnectionError:
                reply.code = "ClientGone"
                keeps = False
            finally:
                if reply.pieces is not None:
                    await reply.pieces.aclose()
        finally:
            self._demand.end()
            self.metrics.in_flight = self._demand.under_way
            if self._stopping and not self._demand.under_way:
                self._idle.set()
            if exchange.is_large:
                self._large_bodies -= 1
        answered.tell(
            exchange,
            reply,
            services=self._services,
            metrics=self.metrics,
            host_id=self._host_id,
            access_log=self._access_log,
        )
        return keeps

    def _tell_page(self, exchange: Exchange, reply: Reply) -> None:
        """Let the page that sent the request read the answer, if the bucket has a rule for it."""
        method = exchange.message.method
        if method == "OPTIONS":
            return
        try:
            bucket: str | None = exchange.bucket
            if not bucket:
                host = exchange.headers.get("host", "")
                bucket = routes.split_target(host, exchange.raw_path, self.config.base_domains)[0]
            if bucket:
                reply.headers += cors.actual_headers(
                    self._services, bucket, method, exchange.headers
                )
        except StorageError:
            pass  # the target is what is wrong with the request, or the rules cannot be read

    async def _fulfil(self, exchange: Exchange) -> Reply:
        message = exchange.message
        exchange.raw_path, _, raw_query = message.path.partition("?")
        pairs = [(name.lower(), value) for name, value in message.headers.items()]
        headers = exchange.headers = calls.headers_by_name(pairs)
        host = calls.check_host(headers)
        exchange.expects_continue = calls.expects_continue(headers, message.version)
        if not message.path.startswith("/"):
            raise S3Error("InvalidURI")
        if self._demand.under_way > self.config.requests_max:
            raise S3Error("SlowDown")
        limits_on_requests.admit_source(self._services, exchange)
        if self.config.website_domains and self._is_website(exchange, host):
            if (journal := self._services.journal) is not None:
                await journaling.before(journal, self._services, exchange)
            call = self._call(exchange, host, {}, None, _NO_BODY, is_presigned=False)
            return await website.serve(call, message.method)
        head = sigv4.RequestHead(
            method=message.method, raw_path=exchange.raw_path, raw_query=raw_query, headers=pairs
        )
        if message.method == "POST" and message.path == "/" and tokens.is_asked(headers):
            exchange.operation = tokens.OPERATION
            body = self._body(exchange, sigv4.unsigned(head))
            call = self._call(exchange, host, {}, None, body, is_presigned=False)
            reply = await tokens.answer(call, head, exchange.request_id, exchange.tell_signer)
            if await journaling.may_issue(self._services, exchange, reply):
                return reply
            return tokens.unavailable(exchange.request_id)
        asked = head, host, self._services, self.config, self._env.now_ms()
        try:
            authorized, principal = authentication.identify(*asked)
        except authentication.SigningKeyWanted as wanted:
            authorized, principal = await authentication.identify_after(wanted, *asked)
        exchange.tell_signer(principal)
        limits_on_requests.admit_caller(self._services, principal)
        query = calls.query_by_name(raw_query)
        if principal is None or principal.issued_at_ms is None:
            calls.check_no_session(headers, query)
        operation = self._operation(exchange, host, query, is_anonymous=principal is None)
        keys = self._services.bucket_keys
        if keys.is_remote and keys.warm_names.get(exchange.bucket, 0.0) <= exchange.began_s:
            await warm_bucket(self._services, exchange.bucket)
        body = self._body(exchange, authorized)
        if body.length == UNMEASURED:
            await body.measure(SMALL_BODY_BYTES_MAX)
        if (journal := self._services.journal) is not None:
            await journaling.before(journal, self._services, exchange)
        return await operation(
            self._call(exchange, host, query, principal, body, is_presigned=authorized.presigned)
        )

    def _is_website(self, exchange: Exchange, host: str) -> bool:
        """Whether a request is for a page; the exchange learns which."""
        domains = self.config.website_domains
        if routes.bucket_of_host(host, domains) is None:
            return False
        bucket, key = routes.split_target(host, exchange.raw_path, domains)
        exchange.bucket, exchange.key = bucket or "", key or ""
        exchange.operation = website.OPERATION
        return True

    def _call(
        self,
        exchange: Exchange,
        host: str,
        query: dict[str, str],
        principal: Principal | None,
        body: RequestBody,
        *,
        is_presigned: bool,
    ) -> Call:
        secure, headers = exchange.protocol.ssl_context is not None, exchange.headers
        return Call(
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
                facts=RequestFacts(
                    headers,
                    query,
                    exchange.peer,
                    secure,
                    is_presigned,
                    tls_version=exchange.tls_version() if secure else "",
                ),
            ),
            origin=f"{'https' if secure else 'http'}://{host}",
            regions=self.config.regions,
            raw_path=exchange.raw_path,
        )

    def _operation(
        self, exchange: Exchange, host: str, query: Mapping[str, str], *, is_anonymous: bool
    ) -> OperationFunction:
        """The function that answers; the exchange learns what it is about."""
        bucket, key = routes.split_target(host, exchange.raw_path, self.config.base_domains)
        exchange.bucket, exchange.key = bucket or "", key or ""
        level = routes.level_of(bucket, key)
        method = exchange.message.method
        if is_anonymous:
            content_type = exchange.headers.get("content-type", "")
            if not routes.proves_itself(method, level, query.keys(), content_type):
                access.admit_anonymous(self._services, exchange.bucket)
        exchange.operation = routes.route(method, level, query.keys(), exchange.headers.keys()).name
        operation = self._operations.get(exchange.operation)
        if operation is None:
            raise S3Error("NotImplemented")
        return operation

    def _body(self, exchange: Exchange, authorized: sigv4.Authorized) -> RequestBody:
        mode = authorized.payload_mode
        if calls.has_no_body(exchange.message.method, exchange.headers, mode):
            return _NO_BODY
        authorized = calls.framed(exchange.headers, authorized)
        mode = authorized.payload_mode
        promise = calls.promise_of(exchange.headers, authorized, exchange.operation)
        if promise.length > SMALL_BODY_BYTES_MAX:
            if self._large_bodies >= self.config.large_bodies_max:
                raise S3Error("SlowDown")
            self._large_bodies += 1
            exchange.is_large = True
            exchange.receive_directly()
        decoder = None
        if mode.is_streaming:
            decoder = ChunkDecoder(
                mode=mode,
                seed=authorized,
                decoded_bytes=promise.length,
                trailer_names=calls.trailer_names(exchange.headers),
            )
        exchange.body = RequestBody(
            exchange.content,
            promise,
            decoder=decoder,
            on_first_read=exchange.answer_continue,
            broken=RequestPayloadError,
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
        keeps = exchange.keeps_connection(reply) and not self._stopping
        try:
            head = self._head(
                reply,
                exchange.request_id,
                keep_alive=keeps,
                is_http_10=exchange.message.version < (1, 1),
            )
            await send_answer(exchange, reply, head, stall_s=self.config.pace.idle_s)
        except ConnectionError:
            raise
        except Exception:
            logger.exception("answer to request %s cannot be completed", exchange.request_id)
            self.metrics.aborted_answers += 1
            reply.code = "Aborted"
            exchange.abort()
            return False
        if not keeps and exchange.has_nothing_to_come():
            exchange.batch.flush()
            exchange.protocol.force_close()
        return keeps
