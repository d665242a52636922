"""One connection of the node protocol as a machine: bytes in, events out; answers in, bytes out.

Handshake, multiplexing, slices, credits, cancellation, ping. Not for sockets, clocks or retries:
those are `storaged.remote` and `storaged.server`.

The owner of a session reads into `buffer()` and calls `received(count)`, which returns events or
raises `ProtocolError`; after that the connection is to be closed. It sends what `take_output`
returns.

Credits: a message's whole content is charged to the sender's window before its first slice goes
out, and released when the receiver is done with it. So contents interleave freely and none can
wait for another to end.

Source: docs/wire.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from storaged.base.errors import ProtocolError
from storaged.base.limits import (
    DEADLINE_S_MAX,
    WIRE_FIELDS_BYTES_MAX,
    WIRE_REQUESTS_MAX,
    WIRE_SLICE_BYTES,
    WIRE_WINDOW_BYTES,
)
from storaged.multiplex import Inbox, Outbox, Releases
from storaged.node import Buffer
from storaged.wire import (
    FEATURES,
    VERSION,
    VERSION_MIN,
    Cancelled,
    Header,
    Hello,
    MessageType,
    decode_credit,
    decode_hello,
    encode_error,
    encode_hello,
)

REQUEST_ID_MAX = (1 << 32) - 1
_JOIN_BYTES_MAX = (
    16 * 1024
)  # content up to this is copied behind its header: one write instead of two
CANCELLED_FIELDS = encode_error(Cancelled())
_EMPTY = memoryview(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerReady:
    """The peer's hello; requests may flow."""

    hello: Hello


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A whole request has arrived. `damaged`: its bytes fail their checksum.

    Answer so, do not act.
    """

    request: int
    fields: bytes
    content: memoryview
    deadline_ms: int
    damaged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCancelled:
    """The client waits no longer for a request under way; it still gets an answer."""

    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A whole response has arrived. `damaged`: its bytes fail their checksum."""

    request: int
    fields: bytes
    content: memoryview
    damaged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining:
    """The server takes no further requests on this connection."""


Event = PeerReady | Requested | RequestCancelled | Answered | Draining


def local_hello(names: tuple[str, ...], *, requests_max: int = WIRE_REQUESTS_MAX) -> Hello:
    """What this code says of itself. `names`: country, datacenter, node; or a gateway id."""
    return Hello(
        version_max=VERSION,
        version_min=VERSION_MIN,
        features=FEATURES,
        requests_max=requests_max,
        window_bytes=WIRE_WINDOW_BYTES,
        slice_bytes=WIRE_SLICE_BYTES,
        names=names,
    )


def _feed(session: ClientSession | ServerSession, raw: Buffer) -> list[Event]:
    """Copy `raw` through the session's buffer: for tests and in-memory pipes."""
    events: list[Event] = []
    view = memoryview(raw)
    while len(view):
        target = session.buffer()
        count = min(len(target), len(view))
        target[:count] = view[:count]
        view = view[count:]
        events.extend(session.received(count))
    return events


class ClientSession:
    """The gateway's end of a connection."""

    def __init__(self, hello: Hello) -> None:
        self._inbox = Inbox(MessageType.RESPONSE, window_bytes=hello.window_bytes)
        self._outbox = Outbox()
        self._releases = Releases(self._inbox, self._outbox, window_bytes=hello.window_bytes)
        self._under_way: set[int] = set()
        self._next_request = 1
        self._pings = 0
        self.peer: Hello | None = None
        self.draining = False
        self._outbox.send(MessageType.HELLO, 0, encode_hello(hello))

    def buffer(self) -> memoryview:
        """Where the next received bytes go."""
        return self._inbox.buffer()

    def received(self, count: int) -> list[Event]:
        """`count` bytes have come into `buffer()`. Raises ProtocolError."""
        events: list[Event] = []
        for header, fields, content, damaged in self._inbox.received(count):
            event = self._event(header, fields, content, damaged)
            if event is not None:
                events.append(event)
        return events

    def receive(self, raw: Buffer) -> list[Event]:
        """Feed bytes by copying them. Raises ProtocolError."""
        return _feed(self, raw)

    def has_room(self) -> bool:
        """True when one more request may be made."""
        return (
            self.peer is not None
            and not self.draining
            and len(self._under_way) < self.peer.requests_max
        )

    @property
    def under_way_count(self) -> int:
        """Requests without an answer, cancelled ones included."""
        return len(self._under_way)

    def request(self, fields: bytes, content: memoryview, *, deadline_ms: int) -> int:
        """Queue a request; returns its id.

        `content` is kept until it has been sent or is cancelled.
        """
        assert self.has_room(), "the caller waits until has_room()"
        request = self._next_request
        while request in self._under_way:
            request = request % REQUEST_ID_MAX + 1
        self._next_request = request % REQUEST_ID_MAX + 1
        self._under_way.add(request)
        self._outbox.send(MessageType.REQUEST, request, fields, content, deadline_ms=deadline_ms)
        return request

    def cancel(self, request: int) -> None:
        """Nobody waits for this request.

        Its answer still comes as an event, unless it never went out.
        """
        if request not in self._under_way:
            return
        if self._outbox.withdraw(request):
            self._outbox.send(MessageType.CANCEL, request, b"")
        else:
            self._under_way.discard(request)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._pings += 1
        self._outbox.send(MessageType.PING, 0, self._pings.to_bytes(8, "big"))

    def has_output(self) -> bool:
        return self._outbox.has_output()

    def take_output(self) -> list[Buffer]:
        """Buffers to write, in order."""
        return self._outbox.take_output()

    def _event(
        self, header: Header, fields: bytes, content: memoryview, damaged: bool
    ) -> Event | None:
        kind = header.type
        if self.peer is None:
            if kind != MessageType.HELLO:
                raise ProtocolError(reason="message before hello", type=kind)
            self.peer = decode_hello(fields)
            self._outbox.set_limits(
                window_bytes=self.peer.window_bytes, slice_bytes=self.peer.slice_bytes
            )
            return PeerReady(hello=self.peer)
        if kind == MessageType.RESPONSE:
            if header.request not in self._under_way:
                raise ProtocolError(reason="answer to no request", request=header.request)
            self._under_way.discard(header.request)
            if len(content):
                self._releases.release(len(content))
            return Answered(request=header.request, fields=fields, content=content, damaged=damaged)
        if kind == MessageType.CREDIT:
            self._outbox.credit(decode_credit(fields))
        elif kind == MessageType.GOAWAY:
            self.draining = True
            return Draining()
        elif kind == MessageType.PING:
            self._outbox.send(MessageType.PONG, 0, fields)
        elif kind != MessageType.PONG:
            raise ProtocolError(reason="not a message of a server", type=kind)
        return None


class ServerSession:
    """The node's end of a connection."""

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._inbox = Inbox(MessageType.REQUEST, window_bytes=hello.window_bytes)
        self._outbox = Outbox()
        self._releases = Releases(self._inbox, self._outbox, window_bytes=hello.window_bytes)
        self._under_way: dict[int, int] = {}  # request → content bytes to release at its end
        self.peer: Hello | None = None

    def buffer(self) -> memoryview:
        """Where the next received bytes go."""
        return self._inbox.buffer()

    def received(self, count: int) -> list[Event]:
        """`count` bytes have come into `buffer()`. Raises ProtocolError."""
        events: list[Event] = []
        for header, fields, content, damaged in self._inbox.received(count):
            event = self._event(header, fields, content, damaged)
            if event is not None:
                events.append(event)
        return events

    def receive(self, raw: Buffer) -> list[Event]:
        """Feed bytes by copying them. Raises ProtocolError."""
        return _feed(self, raw)

    def respond(self, request: int, fields: bytes, content: memoryview = _EMPTY) -> None:
        """Answer a request under way; `content` is kept until it has been sent."""
        assert len(fields) <= WIRE_FIELDS_BYTES_MAX
        content_bytes = self._under_way.pop(request)
        if content_bytes:
            self._releases.release(content_bytes)
        self._outbox.send(MessageType.RESPONSE, request, fields, content)

    def drain(self) -> None:
        """Ask the client for no further requests."""
        self._outbox.send(MessageType.GOAWAY, 0, b"")

    @property
    def under_way_count(self) -> int:
        """Requests without an answer."""
        return len(self._under_way)

    @property
    def pending_bytes(self) -> int:
        """Content of answers not yet handed out."""
        return self._outbox.pending_bytes

    def has_output(self) -> bool:
        return self._outbox.has_output()

    def take_output(self) -> list[Buffer]:
        """Buffers to write, in order."""
        return self._outbox.take_output()

    def _event(
        self, header: Header, fields: bytes, content: memoryview, damaged: bool
    ) -> Event | None:
        kind = header.type
        if self.peer is None:
            if kind != MessageType.HELLO:
                raise ProtocolError(reason="message before hello", type=kind)
            self.peer = decode_hello(fields)
            self._outbox.send(MessageType.HELLO, 0, encode_hello(self._hello))
            self._outbox.set_limits(
                window_bytes=self.peer.window_bytes, slice_bytes=self.peer.slice_bytes
            )
            return PeerReady(hello=self.peer)
        if kind == MessageType.REQUEST:
            return self._requested(header, fields, content, damaged)
        if kind == MessageType.CANCEL:
            return self._cancelled(header.request)
        if kind == MessageType.CREDIT:
            self._outbox.credit(decode_credit(fields))
        elif kind == MessageType.PING:
            self._outbox.send(MessageType.PONG, 0, fields)
        elif kind != MessageType.PONG:
            raise ProtocolError(reason="not a message of a client", type=kind)
        return None

    def _requested(
        self, header: Header, fields: bytes, content: memoryview, damaged: bool
    ) -> Requested:
        if header.request in self._under_way:
            raise ProtocolError(reason="request id twice", request=header.request)
        if len(self._under_way) >= self._hello.requests_max:
            raise ProtocolError(reason="too many requests", requests=len(self._under_way))
        self._under_way[header.request] = header.total_bytes
        return Requested(
            request=header.request,
            fields=fields,
            content=content,
            deadline_ms=min(header.deadline_ms, int(DEADLINE_S_MAX * 1000)),
            damaged=damaged,
        )

    def _cancelled(self, request: int) -> RequestCancelled | None:
        if request in self._under_way:
            return RequestCancelled(request=request)
        if self._inbox.is_arriving(request):
            # Its content will not be completed: it never became a request, and is answered here.
            self._under_way[request] = self._inbox.forget(request)
            self.respond(request, CANCELLED_FIELDS)
        return None
