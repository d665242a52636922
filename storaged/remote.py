"""`RemoteNode`: the Node port over TCP and mutual TLS 1.3, one multiplexed connection per node.

Not for retries or hedging: a call that cannot be answered fails with `NodeUnavailable` or
`DeadlineExceeded`, and the caller, who knows other nodes, decides. A put that failed so may or
may not be stored; repeating it is harmless.

The connection is kept by a task of its own, with a back-off. While a node is known to be away
calls fail at once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from cryptography.x509 import load_der_x509_certificate

from storaged import verbs
from storaged.base.env import Env
from storaged.base.errors import DeadlineExceeded, ProtocolError, StorageError
from storaged.base.ids import LogId, ShardId
from storaged.base.limits import (
    ATTRIBUTES_BYTES_MAX,
    CALL_DEADLINE_S,
    CALLS_WAITING_MAX,
    CONTENT_BYTES_MAX,
    DELETE_BATCH_MAX,
    HANDSHAKE_S,
    LIST_LIMIT_MAX,
    RECONNECT_FIRST_S,
    RECONNECT_MAX_S,
    SHORT_CALL_DEADLINE_S,
    VERIFY_DEADLINE_S,
)
from storaged.identity import check_node_peer
from storaged.link import Answer, Link
from storaged.node import (
    Buffer,
    Fence,
    NodeBusy,
    NodeIdentity,
    NodeStatus,
    NodeUnavailable,
    Promise,
    RangeOutside,
    ShardInfo,
    ShardPage,
    ShardRange,
    ShardTooLarge,
)
from storaged.renewal import life_of
from storaged.sockets import require_loopback

_EMPTY = memoryview(b"")


class RemoteNode:
    """A storage node at the other end of a connection.

    Args:
        identity: who the node must be, by its certificate and its hello.
        ssl_context: from `identity.node_client_context`; None only on loopback (tests,
            measurements).
        domain: the cluster's domain, the host part of every URI in its certificates.
        gateway: how this side names itself, for logs.
    """

    def __init__(
        self,
        identity: NodeIdentity,
        address: tuple[str, int],
        *,
        ssl_context: ssl.SSLContext | None,
        domain: str,
        gateway: str,
        env: Env,
        call_deadline_s: float = CALL_DEADLINE_S,
    ) -> None:
        if ssl_context is None:
            require_loopback(address[0])
        self._identity = identity
        self._address = address
        self._ssl_context = ssl_context
        self._domain = domain
        self._gateway = gateway
        self._env = env
        self._call_deadline_s = call_deadline_s
        self._short_deadline_s = min(SHORT_CALL_DEADLINE_S, call_deadline_s)
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.certificate_sha256: str | None = None  # of the last node that was who it should be
        self._away: StorageError | None = None  # why the last attempt to connect failed
        self._closed = False

    @property
    def identity(self) -> NodeIdentity:
        return self._identity

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """What connections are made with: a certificate that is loaded into it holds for those to
        come.
        """
        return self._ssl_context

    async def certificate_life(self) -> tuple[int, int]:
        """When the certificate begins and ends that the node shows to new connections, UTC in ms.

        Raises: OSError, TimeoutError, CertificateRefused.
        """
        assert self._ssl_context is not None
        async with asyncio.timeout(HANDSHAKE_S):
            _, writer = await asyncio.open_connection(*self._address, ssl=self._ssl_context)
        try:
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
        check_node_peer(der, domain=self._domain, expected=self._identity)
        return life_of(load_der_x509_certificate(der))

    @property
    def connected(self) -> bool:
        """True while requests can be sent."""
        return self._link is not None and self._link.usable

    # The port

    async def put(
        self,
        shard: ShardId,
        attributes: bytes,
        content: Buffer,
        *,
        fence: Fence | None,
        retain_until_ms: int,
    ) -> None:
        """Store one shard; see the port."""
        view = memoryview(content)
        if len(attributes) > ATTRIBUTES_BYTES_MAX or view.nbytes > CONTENT_BYTES_MAX:
            raise ShardTooLarge(shard=shard, attributes=len(attributes), content=view.nbytes)
        if view.ndim != 1 or view.itemsize != 1:
            view = view.cast("B")
        fields = verbs.encode_put(shard, attributes, fence=fence, retain_until_ms=retain_until_ms)
        answer, _ = await self._call(fields, view, self._call_deadline_s)
        verbs.decode_done(answer)

    async def get(self, shard: ShardId, *, offset: int, length: int) -> ShardRange:
        """Read a range of content; see the port."""
        fields = verbs.encode_get(shard, offset=offset, length=length)
        answer, content = await self._call(fields, _EMPTY, self._call_deadline_s)
        attributes, content_bytes = verbs.decode_range(answer)
        if len(content) != length:
            raise ProtocolError(reason="range of another length", length=len(content))
        return ShardRange(attributes=attributes, content_bytes=content_bytes, content=content)

    async def stat(self, shard: ShardId) -> ShardInfo:
        """Describe one shard; see the port."""
        answer, _ = await self._call(verbs.encode_stat(shard), _EMPTY, self._short_deadline_s)
        return verbs.decode_shard_info(answer)

    async def delete(self, shards: Sequence[ShardId]) -> tuple[StorageError | None, ...]:
        """Delete shards; see the port."""
        if len(shards) > DELETE_BATCH_MAX:
            raise RangeOutside(shards=len(shards), shards_max=DELETE_BATCH_MAX)
        fields, content = verbs.encode_delete(shards)
        answer, outcomes = await self._call(fields, memoryview(content), self._call_deadline_s)
        decoded = verbs.decode_outcomes(answer, outcomes)
        if len(decoded) != len(shards):
            raise ProtocolError(reason="outcomes", outcomes=len(decoded), shards=len(shards))
        return decoded

    async def list(self, start: ShardId, end: ShardId | None, *, limit: int) -> ShardPage:
        """Shards in id order; see the port."""
        if not 1 <= limit <= LIST_LIMIT_MAX:
            raise RangeOutside(limit=limit, limit_max=LIST_LIMIT_MAX)
        fields = verbs.encode_list(start, end, limit=limit)
        answer, content = await self._call(fields, _EMPTY, self._call_deadline_s)
        return verbs.decode_page(answer, content)

    async def verify(self, shard: ShardId) -> ShardInfo:
        """Check one shard; see the port."""
        answer, _ = await self._call(verbs.encode_verify(shard), _EMPTY, VERIFY_DEADLINE_S)
        return verbs.decode_shard_info(answer)

    async def status(self) -> NodeStatus:
        """Health and space; see the port."""
        answer, corrupt = await self._call(verbs.encode_status(), _EMPTY, self._short_deadline_s)
        status = verbs.decode_node_status(answer, corrupt)
        # Who runs the node is said by its certificate only: an answer has no place for it.
        said = replace(status.identity, operator=self._identity.operator)
        if said != self._identity:
            raise ProtocolError(reason="status of another node", node=status.identity.node)
        return replace(status, identity=said)

    async def fence(self, log: LogId, epoch: int, instance: bytes) -> Promise:
        """Promise an epoch of a log to one instance; see the port."""
        fields = verbs.encode_fence(log, epoch, instance)
        answer, _ = await self._call(fields, _EMPTY, self._call_deadline_s)
        return verbs.decode_promise(answer)

    async def close(self) -> None:
        """Wait for calls under way (their deadlines bound it), then close the connection.

        Idempotent.
        """
        self._closed = True
        link, self._link = self._link, None
        if link is not None:
            await link.finish()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        self._wake()

    # Connection

    async def _call(self, fields: bytes, content: memoryview, deadline_s: float) -> Answer:
        link = self._link
        if link is None or not link.usable or not link.session.has_room():
            started_s = self._env.monotonic_s()
            link = await self._wait_for_link(deadline_s)
            deadline_s -= self._env.monotonic_s() - started_s
        answer = await link.call(fields, content, deadline_s)
        verbs.raise_failure(answer[0])
        return answer

    async def _wait_for_link(self, deadline_s: float) -> Link:
        """The connection, once it is there and has room.

        Raises:
            NodeUnavailable: closed, or the last attempt to connect failed. NodeBusy: too many wait.
            DeadlineExceeded.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    self._check_reachable()
                    link = self._link
                    if link is not None and link.usable and link.session.has_room():
                        return link
                    if len(self._waiters) >= CALLS_WAITING_MAX:
                        raise NodeBusy(node=self._identity.node, waiting=len(self._waiters))
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    try:
                        await waiter
                    except asyncio.CancelledError:
                        if waiter in self._waiters:
                            self._waiters.remove(waiter)
                        else:
                            self._room_made()  # the place that woke this call goes to the next
                        raise
        except TimeoutError as error:
            raise DeadlineExceeded(
                node=self._identity.node, deadline_s=f"{deadline_s:.3f}"
            ) from error

    def _check_reachable(self) -> None:
        if self._closed:
            raise NodeUnavailable(node=self._identity.node, reason="closed")
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())
        if self._away is not None:
            raise NodeUnavailable(
                node=self._identity.node,
                reason=self._away.fields.get("reason", self._away.title()),
            )

    def _wake(self) -> None:
        """Let the calls that wait look again, one per free place, all when the node is away."""
        link = self._link
        if link is None or not link.usable:
            count = len(self._waiters) if self._away is not None or self._closed else 0
        else:
            assert link.session.peer is not None
            count = link.session.peer.requests_max - link.session.under_way_count
        while self._waiters and count > 0:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def _room_made(self) -> None:
        if self._waiters:
            self._wake()

    async def _keep(self) -> None:
        """Hold a connection: connect, wait until it is lost, back off, again."""
        delay_s = RECONNECT_FIRST_S
        while not self._closed:
            try:
                link = await self._connect()
            except (OSError, StorageError) as error:  # TLS errors and time-outs are OSErrors
                reason = str(error) or type(error).__name__
                self._away = NodeUnavailable(node=self._identity.node, reason=reason)
            else:
                self._link, self._away = link, None
                connected_s = self._env.monotonic_s()
                self._wake()
                await asyncio.wait([link.unusable])
                self._link = None
                if self._env.monotonic_s() - connected_s > RECONNECT_MAX_S:
                    delay_s = RECONNECT_FIRST_S
                    continue
            self._wake()
            jitter = 0.5 + self._env.random_bytes(1)[0] / 512
            await self._env.sleep(delay_s * jitter)
            delay_s = min(2 * delay_s, RECONNECT_MAX_S)

    async def _connect(self) -> Link:
        """Raises OSError, TimeoutError, CertificateRefused, ProtocolError, NodeUnavailable."""
        loop = asyncio.get_running_loop()
        host, tcp_port = self._address
        link: Link | None = None
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                _, link = await loop.create_connection(
                    lambda: Link(self._identity, self._gateway, self._check_peer, self._room_made),
                    host,
                    tcp_port,
                    ssl=self._ssl_context,
                    ssl_handshake_timeout=HANDSHAKE_S if self._ssl_context else None,
                )
                await link.ready
                return link
        except BaseException:
            if link is not None:
                link.give_up()
            raise

    def _check_peer(self, transport: asyncio.BaseTransport) -> None:
        if self._ssl_context is None:
            return
        ssl_object = transport.get_extra_info("ssl_object")
        der = ssl_object.getpeercert(binary_form=True)
        check_node_peer(der, domain=self._domain, expected=self._identity)
        self.certificate_sha256 = sha256(der).hexdigest()
