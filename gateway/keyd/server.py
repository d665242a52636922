"""The key service on its sockets: connections → requests → answers.

Not for what verbs do (`gateway.keyd.service`). Whoever connects by the Unix socket is asked of the
kernel who he is; whoever comes by TCP shows a certificate of a gateway. What is no message, no verb
or too long closes the connection, after an answer that says so; nothing else does.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from struct import Struct
from typing import cast

from gateway.admin.socket_file import bind_socket
from gateway.keyd.refusals import KeydFailed, KeydRefused, encode_refusal
from gateway.keyd.service import KeyService
from gateway.keyd.wire import DONE, REFUSED, Message, Messages, Verb, encode_message
from storaged.base.env import Env
from storaged.base.errors import ProtocolError, StorageError
from storaged.base.log import Log
from storaged.identity import CertificateRefused, check_gateway_peer

CONNECTIONS_MAX = 256
GATEWAY_CONNECTIONS_MAX = 64  # of one gateway, which has use for some 25
IN_FLIGHT_MAX = 1024  # requests that wait for the provider's thread, of all connections
GATEWAY_IN_FLIGHT_MAX = 64  # of one gateway: those of others wait behind no more of them
UNSENT_BYTES_MAX = 128 << 20  # answers that a gateway does not take; more: it is cut off
# Of all connections: messages that have begun, and answers that are not taken; and apart from that,
# requests that wait for the provider. Who could have the process killed would have whole budgets.
HELD_BYTES_MAX = 256 << 20
LARGE_BYTES = 1 << 20  # connections that hold less are none that fill it
HALF_MESSAGE_S = 10.0  # for a message that has begun to end, for a last answer to be taken
SWEEP_S = 30.0

_UCRED = Struct("=iII")
_Admit = Callable[[asyncio.BaseTransport], str]
"""The name of who has connected. Raises: StorageError: he may not."""
_LOG = Log("gateway.keyd")


class KeydServer:
    """Serves one `KeyService`.

    Args:
        users: user ids whose processes may call.
        is_slow: the provider may take long (a device): what needs it waits in a thread of its own,
            and what is warm does not wait for that.
    """

    def __init__(
        self, service: KeyService, env: Env, *, users: Collection[int], is_slow: bool = False
    ) -> None:
        self.service = service
        self._env = env
        self._users = frozenset(users)
        self._is_slow = is_slow
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()
        self._in_flight = self._waiting_bytes = 0
        self._in_flight_of: Counter[str] = Counter()  # by gateway
        self._lane = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._path: Path | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def listen_unix(self, path: Path, group: int | None = None) -> None:
        """Serve on a Unix socket, mode 0600, or 0660 for a group. Raises: as bind_socket."""
        bound = bind_socket(path)
        if group is not None:
            _open_to(path, group)
        loop = asyncio.get_running_loop()
        make = self._factory(_local_peer(self._users))
        self._servers.append(await loop.create_unix_server(make, sock=bound))
        self._path = path
        self._start_sweeping()

    async def listen_tls(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        *,
        domain: str,
        gateways: Collection[str],
    ) -> int:
        """Serve on TCP; the port. Raises: OSError."""
        loop = asyncio.get_running_loop()
        make = self._factory(_remote_peer(domain, frozenset(gateways)))
        server = await loop.create_server(make, host, port, ssl=context)
        self._servers.append(server)
        self._start_sweeping()
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop serving. Idempotent."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.drop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.service.releases.tell()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _factory(self, admit: _Admit) -> Callable[[], _Connection]:
        return lambda: _Connection(self, admit)

    def _start_sweeping(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await self._env.sleep(SWEEP_S)
            await self._env.offload(self.service.releases.tell)  # a line for each tenant
            async with self._lane:  # not beside the provider's thread, which opens keys
                self.service.drop_expired()

    def joined(self, connection: _Connection) -> None:
        """A connection was made. Raises: KeydRefused: there are too many, or too many of one
        gateway, which would have no other one connect.
        """
        own = [one for one in self._connections if one.gateway == connection.gateway]
        if len(self._connections) >= CONNECTIONS_MAX or len(own) >= GATEWAY_CONNECTIONS_MAX:
            raise KeydRefused(reason="too many connections", gateway=connection.gateway)
        self._connections.add(connection)

    def left(self, connection: _Connection) -> None:
        """A connection is gone. Idempotent."""
        self._connections.discard(connection)

    def bound_held(self) -> None:
        """Cut off who holds most for as long as all hold too much."""
        held = {one: one.held_bytes for one in self._connections}
        while held and sum(held.values()) > HELD_BYTES_MAX:
            greatest = max(held, key=lambda one: held[one])
            _LOG.warning("connection closed", reason="it fills the memory", bytes=held[greatest])
            del held[greatest]
            greatest.drop()

    def take(self, connection: _Connection, message: Message) -> None:
        """Answer a request, at once or when the provider has."""
        if not self._is_slow or self.service.is_warm(message.code, message.payload):
            connection.answer(message, self.answered(message, connection.gateway))
            return
        waiting_bytes = self._waiting_bytes + len(message.payload)
        if (
            self._in_flight >= IN_FLIGHT_MAX
            or self._in_flight_of[connection.gateway] >= GATEWAY_IN_FLIGHT_MAX
            or waiting_bytes > HELD_BYTES_MAX
        ):
            busy = KeydFailed(reason="too many requests wait", gateway=connection.gateway)
            connection.answer(message, (REFUSED, encode_refusal(busy)))
            return
        self._in_flight, self._waiting_bytes = self._in_flight + 1, waiting_bytes
        self._in_flight_of[connection.gateway] += 1
        task = asyncio.create_task(self._take_slowly(connection, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_slowly(self, connection: _Connection, message: Message) -> None:
        try:
            async with self._lane:
                found = await self._env.offload(lambda: self.answered(message, connection.gateway))
        finally:
            self._in_flight -= 1
            self._in_flight_of[connection.gateway] -= 1
            self._waiting_bytes -= len(message.payload)
        connection.answer(message, found)

    def answered(self, message: Message, gateway: str) -> tuple[int, bytes]:
        """Code and payload of an answer."""
        try:
            return DONE, self.service.answer(message.code, message.payload, gateway)
        except StorageError as error:
            self.service.refused[type(error).__name__] += 1
            return REFUSED, encode_refusal(error)
        except Exception as error:
            # The request boundary: what is our own mistake must not end the service for all.
            _LOG.error("request failed", error=error, verb=message.code)
            return REFUSED, encode_refusal(KeydFailed(verb=message.code))


class _Connection(asyncio.Protocol):
    """One gateway's connection. It says which cluster it is of before it asks for anything."""

    def __init__(self, server: KeydServer, admit: _Admit) -> None:
        self.gateway = ""  # who it is, once admitted
        self._server = server
        self._admit = admit
        self._messages = Messages(requests=True)
        self._transport: asyncio.Transport | None = None
        self._greeted = False
        self._half: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        try:
            self.gateway = self._admit(transport)
            self._server.joined(self)
        except StorageError as error:
            _LOG.warning("connection refused", error=error)
            self._refuse(0, error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._cancel_half()
        self._server.left(self)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        at, is_one_whole = 0, False
        try:
            for message in self._messages.receive(data):
                at, is_one_whole = message.request_id, True
                if not self._greeted:
                    self._greet(message)
                else:
                    self._server.take(self, message)
        except StorageError as error:
            _LOG.warning("connection closed", error=error)
            self._refuse(at, error)
            return
        held_bytes = self._messages.held_bytes
        if is_one_whole or not held_bytes:
            self._cancel_half()
        if held_bytes:
            self._drop_soon()
        if held_bytes > LARGE_BYTES:
            self._server.bound_held()

    @property
    def held_bytes(self) -> int:
        """Bytes in memory that nothing comes of before the gateway sends, or takes, more."""
        unsent_bytes = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return self._messages.held_bytes + unsent_bytes

    def _greet(self, message: Message) -> None:
        """Raises: StorageError: it is no greeting, or that of another cluster."""
        if message.code != Verb.HELLO:
            raise ProtocolError(reason="a connection begins with a hello", verb=message.code)
        payload = self._server.service.answer(message.code, message.payload)
        self._greeted = True
        self.answer(message, (DONE, payload))

    def answer(self, message: Message, found: tuple[int, bytes]) -> None:
        """Send an answer, if there is still somebody to take it."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(encode_message(found[0], message.request_id, found[1]))
        unsent_bytes = self._transport.get_write_buffer_size()
        if unsent_bytes > UNSENT_BYTES_MAX:
            _LOG.warning("connection closed", reason="answers are not taken")
            self.drop()
        elif unsent_bytes > LARGE_BYTES:
            self._server.bound_held()

    def _refuse(self, request_id: int, error: StorageError) -> None:
        assert self._transport is not None
        self._transport.write(encode_message(REFUSED, request_id, encode_refusal(error)))
        self._transport.close()
        self._drop_soon()  # where the rest is not taken

    def _drop_soon(self) -> None:
        if self._half is None:
            self._half = asyncio.get_running_loop().call_later(HALF_MESSAGE_S, self.drop)

    def _cancel_half(self) -> None:
        if self._half is not None:
            self._half.cancel()
            self._half = None

    def drop(self) -> None:
        """Cut the connection."""
        self._cancel_half()
        self._messages = Messages(requests=True)
        if self._transport is not None:
            self._transport.abort()


def _open_to(path: Path, group: int) -> None:
    """Let a group connect. Raises: OSError."""
    # A sandbox may forbid it where the process has this group already.
    if path.stat().st_gid != group:
        os.chown(path, -1, group)
    path.chmod(0o660)


def _local_peer(users: frozenset[int]) -> _Admit:
    def admit(transport: asyncio.BaseTransport) -> str:
        peer = transport.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, user, _ = _UCRED.unpack(raw)
        if user not in users:
            raise KeydRefused(reason="not a user of the key service", user=user, pid=pid)
        return f"user {user}"

    return admit


def _remote_peer(domain: str, gateways: frozenset[str]) -> _Admit:
    def admit(transport: asyncio.BaseTransport) -> str:
        tls = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if tls is not None else None
        who = check_gateway_peer(shown, domain=domain)
        if who.gateway not in gateways:
            raise CertificateRefused(gateway=who.gateway)
        return who.gateway

    return admit
