"""Both directions of a connection, for either end: bytes → whole messages, messages → slices.

Not for what messages mean (`storaged.session`), nor for sockets.

Credits: a message's whole content is charged to the sender's window before its first slice goes
out, and released when the receiver is done with it. So contents interleave freely and none can
wait for another to end.

Source: docs/wire.md.
"""

from __future__ import annotations

from collections import deque

from storaged.base.errors import ProtocolError
from storaged.base.limits import (
    WIRE_DIRECT_BYTES,
    WIRE_OUTPUT_BYTES,
    WIRE_REQUESTS_MAX,
    WIRE_SCRATCH_BYTES,
    WIRE_SLICE_BYTES,
)
from storaged.node import Buffer
from storaged.wire import (
    HEADER_BYTES,
    Header,
    MessageType,
    checksum,
    decode_header,
    encode_credit,
    encode_message,
)

Message = tuple[Header, bytes, memoryview, bool]  # header, fields, content, damaged

_JOIN_BYTES_MAX = 16 * 1024  # content up to this is copied behind its header: one write, not two
_EMPTY = memoryview(b"")


class _Assembly:
    """A request or response whose content is arriving."""

    __slots__ = ("content", "damaged", "fields", "header", "held_bytes", "view")

    def __init__(self, header: Header, fields: bytes) -> None:
        self.header = header
        self.fields = fields
        self.content = bytearray(header.total_bytes)
        self.view = memoryview(self.content)
        self.held_bytes = 0
        self.damaged = False


class Inbox:
    """Bytes in, whole messages out.

    Small messages are cut out of one scratch buffer; the rest of a large slice is received
    straight into the content it belongs to. Memory: the scratch buffer and at most the granted
    window.
    """

    def __init__(self, opening: MessageType, *, window_bytes: int) -> None:
        self._opening = opening
        self._window_bytes = window_bytes
        self._charged_bytes = 0
        self._scratch = bytearray(WIRE_SCRATCH_BYTES)
        self._scratch_view = memoryview(self._scratch)
        self._start = 0
        self._end = 0
        self._assemblies: dict[int, _Assembly] = {}
        self._slice: _Assembly | None = None  # whose content is arriving
        self._slice_header: Header | None = None
        self._slice_rest = 0
        self._slice_crc = 0
        self._direct = False

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        assembly = self._slice
        self._direct = assembly is not None and self._slice_rest > WIRE_DIRECT_BYTES
        if self._direct and assembly is not None:
            return assembly.view[assembly.held_bytes : assembly.held_bytes + self._slice_rest]
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start > WIRE_SCRATCH_BYTES // 2:
            rest = self._end - self._start
            self._scratch_view[:rest] = self._scratch_view[self._start : self._end]
            self._start, self._end = 0, rest
        return self._scratch_view[self._end :]

    def received(self, count: int) -> list[Message]:
        """`count` bytes are in `buffer()`: whole messages (header, fields, content, damaged).

        Raises:
            ProtocolError: the connection cannot go on.
        """
        messages: list[Message] = []
        if self._direct:
            self._advance_slice(count, messages)
            return messages
        self._end += count
        while True:
            if self._slice is not None:
                self._copy_slice(messages)
                if self._slice is not None:
                    return messages
            if self._end - self._start < HEADER_BYTES:
                return messages
            header = decode_header(self._scratch, self._start)
            if self._end - self._start < HEADER_BYTES + header.fields_bytes:
                return messages
            at = self._start + HEADER_BYTES
            fields = bytes(self._scratch_view[at : at + header.fields_bytes])
            self._start = at + header.fields_bytes
            self._open_message(header, fields, messages)

    def forget(self, request: int) -> int:
        """Drop a half-arrived request; returns the bytes it was charged, 0 when there is none."""
        assembly = self._assemblies.pop(request, None)
        return assembly.header.total_bytes if assembly else 0

    def is_arriving(self, request: int) -> bool:
        """True while content of this request or response is awaited."""
        return request in self._assemblies

    def released(self, released_bytes: int) -> None:
        """Credit for this much content has been returned to the peer."""
        self._charged_bytes -= released_bytes
        assert self._charged_bytes >= 0

    def _open_message(
        self,
        header: Header,
        fields: bytes,
        messages: list[Message],
    ) -> None:
        if header.type == MessageType.CONTENT:
            self._continue_content(header, fields)
            return
        if header.type != self._opening:
            if header.total_bytes:
                raise ProtocolError(reason="content in a message without any", type=header.type)
            if header.payload_crc != checksum(fields):
                raise ProtocolError(reason="fields checksum", type=header.type)
            messages.append((header, fields, _EMPTY, False))
            return
        if header.request in self._assemblies:
            raise ProtocolError(reason="request id twice", request=header.request)
        if len(self._assemblies) >= WIRE_REQUESTS_MAX:
            raise ProtocolError(reason="too many contents at once")
        self._charged_bytes += header.total_bytes
        if self._charged_bytes > self._window_bytes:
            raise ProtocolError(reason="content over the window", charged=self._charged_bytes)
        here = header.content_bytes
        if here == header.total_bytes and self._end - self._start >= here:
            raw = bytes(self._scratch_view[self._start : self._start + here])
            self._start += here
            damaged = header.payload_crc != checksum(raw, checksum(fields))
            messages.append((header, fields, memoryview(raw) if here else _EMPTY, damaged))
            return
        if not here:
            raise ProtocolError(reason="first slice is empty", request=header.request)
        assembly = _Assembly(header, fields)
        self._assemblies[header.request] = assembly
        self._begin_slice(assembly, header, checksum(fields))

    def _continue_content(self, header: Header, fields: bytes) -> None:
        assembly = self._assemblies.get(header.request)
        if assembly is None:
            raise ProtocolError(reason="content of no request", request=header.request)
        rest = assembly.header.total_bytes - assembly.held_bytes
        if (
            header.total_bytes != assembly.header.total_bytes
            or not 0 < header.content_bytes <= rest
            or fields
        ):
            raise ProtocolError(reason="slice", request=header.request, rest=rest)
        self._begin_slice(assembly, header, checksum(fields))

    def _begin_slice(self, assembly: _Assembly, header: Header, crc: int) -> None:
        self._slice, self._slice_header = assembly, header
        self._slice_rest, self._slice_crc = header.content_bytes, crc

    def _copy_slice(self, messages: list[Message]) -> None:
        """Move what the scratch buffer holds of the current slice into its content."""
        assembly = self._slice
        assert assembly is not None
        count = min(self._slice_rest, self._end - self._start)
        if count:
            held = assembly.held_bytes
            assembly.view[held : held + count] = self._scratch_view[
                self._start : self._start + count
            ]
            self._start += count
            self._advance_slice(count, messages)

    def _advance_slice(self, count: int, messages: list[Message]) -> None:
        assembly, header = self._slice, self._slice_header
        assert assembly is not None and header is not None and count <= self._slice_rest
        assembly.held_bytes += count
        self._slice_rest -= count
        if self._slice_rest:
            return
        self._slice = self._slice_header = None
        end = assembly.held_bytes
        if header.payload_crc != checksum(
            assembly.view[end - header.content_bytes : end], self._slice_crc
        ):
            assembly.damaged = True
        if end == assembly.header.total_bytes:
            del self._assemblies[assembly.header.request]
            messages.append((assembly.header, assembly.fields, assembly.view, assembly.damaged))


class _Stream:
    """Content on its way out."""

    __slots__ = ("deadline_ms", "fields", "request", "sent_bytes", "type", "view")

    def __init__(
        self, type: MessageType, request: int, fields: bytes, view: memoryview, deadline_ms: int
    ) -> None:
        self.type = type
        self.request = request
        self.fields = fields
        self.view = view
        self.deadline_ms = deadline_ms
        self.sent_bytes = 0


class Outbox:
    """Messages out, as buffers for the transport.

    Small ones first, large contents slice by slice in turn.
    """

    def __init__(self) -> None:
        self._window_bytes = 0
        self._window_max = 0
        self._slice_bytes = WIRE_SLICE_BYTES
        self._ready: deque[Buffer] = deque()
        self._waiting: deque[_Stream] = deque()  # for credit, in order
        self._streams: deque[_Stream] = deque()  # started, one slice each in turn
        self.pending_bytes = 0  # content not yet handed out

    def set_limits(self, *, window_bytes: int, slice_bytes: int) -> None:
        """The peer's hello has come."""
        self._window_bytes = self._window_max = window_bytes
        self._slice_bytes = slice_bytes
        self._start_waiting()

    def send(
        self,
        type: MessageType,
        request: int,
        fields: bytes,
        content: memoryview = _EMPTY,
        *,
        deadline_ms: int = 0,
    ) -> None:
        """Queue a message. Without content it needs no credit."""
        if not len(content):
            self._ready.append(encode_message(type, request, fields, deadline_ms=deadline_ms))
            return
        self.pending_bytes += len(content)
        self._waiting.append(_Stream(type, request, fields, content, deadline_ms))
        self._start_waiting()

    def credit(self, released_bytes: int) -> None:
        """The peer has released content. Raises ProtocolError when it was never sent."""
        self._window_bytes += released_bytes
        if self._window_bytes > self._window_max:
            raise ProtocolError(reason="credit over the window", released=released_bytes)
        self._start_waiting()

    def withdraw(self, request: int) -> bool:
        """Send no further slice of this content. False: no byte of it had been sent."""
        for queue in (self._waiting, self._streams):
            for stream in queue:
                if stream.request == request:
                    queue.remove(stream)
                    self.pending_bytes -= len(stream.view) - stream.sent_bytes
                    if stream.sent_bytes == 0 and queue is self._streams:
                        self._window_bytes += len(stream.view)
                        self._start_waiting()
                    return stream.sent_bytes > 0
        return True

    def has_output(self) -> bool:
        """True when `take_output` would return something."""
        return bool(self._ready or self._streams)

    def take_output(self, limit_bytes: int = WIRE_OUTPUT_BYTES) -> list[Buffer]:
        """Buffers to write, in order: about `limit_bytes`, over it by one slice at most."""
        buffers: list[Buffer] = []
        taken = 0
        ready, streams = self._ready, self._streams
        while ready and taken < limit_bytes:
            buffer = ready.popleft()
            taken += len(buffer)
            buffers.append(buffer)
        while streams:
            taken += self._take_slice(streams.popleft(), buffers)
            if taken >= limit_bytes:
                break
        return buffers

    def _take_slice(self, stream: _Stream, buffers: list[Buffer]) -> int:
        first = stream.sent_bytes == 0
        part = stream.view[stream.sent_bytes : stream.sent_bytes + self._slice_bytes]
        head = encode_message(
            stream.type if first else MessageType.CONTENT,
            stream.request,
            stream.fields if first else b"",
            part,
            total_bytes=len(stream.view),
            deadline_ms=stream.deadline_ms if first else 0,
        )
        count = len(part)
        if count <= _JOIN_BYTES_MAX:
            buffers.append(b"".join((head, part)))
        else:
            buffers.append(head)
            buffers.append(part)
        stream.sent_bytes += count
        self.pending_bytes -= count
        if stream.sent_bytes < len(stream.view):
            self._streams.append(stream)
        return len(head) + count

    def _start_waiting(self) -> None:
        waiting = self._waiting
        while waiting and len(waiting[0].view) <= self._window_bytes:
            stream = waiting.popleft()
            self._window_bytes -= len(stream.view)
            if len(stream.view) <= _JOIN_BYTES_MAX:
                # Small contents join the small messages: they never wait behind a large one's
                # slices.
                buffers: list[Buffer] = []
                self._take_slice(stream, buffers)
                self._ready.extend(buffers)
            else:
                self._streams.append(stream)


class Releases:
    """Content released and not yet credited: one CREDIT message for every quarter of the window."""

    __slots__ = ("_held_bytes", "_inbox", "_outbox", "_step_bytes")

    def __init__(self, inbox: Inbox, outbox: Outbox, *, window_bytes: int) -> None:
        self._step_bytes = window_bytes // 4
        self._inbox = inbox
        self._outbox = outbox
        self._held_bytes = 0

    def release(self, content_bytes: int) -> None:
        self._held_bytes += content_bytes
        if self._held_bytes >= self._step_bytes:
            self._inbox.released(self._held_bytes)
            self._outbox.send(MessageType.CREDIT, 0, encode_credit(self._held_bytes))
            self._held_bytes = 0
