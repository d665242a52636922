"""A large body, received into memory of our own without the HTTP library's parser between.

The parser makes a `bytes` of each read and a second one of what of it is body; here the socket is
read straight into the buffer from which the body is sealed. Only for bodies whose head says their
length: not one byte beyond it is taken, so the next request is the parser's again.

Not for deciding what a body is (`gateway.s3.body`). Source: RFC 9112 § 6.2.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from gateway.limits import FRAME_BYTES
from gateway.objects.body import Buffer
from storaged.base.spare import SpareBuffers

if TYPE_CHECKING:
    from aiohttp.streams import StreamReader

DIRECT_FROM_BYTES = 1024 * 1024  # below it a new parser costs more than the copies
PIECE_BYTES = 8 * FRAME_BYTES
UNREAD_BYTES_MAX = PIECE_BYTES  # of one body; whoever sends more than is read has to wait
PIECES_KEPT_MAX = 64  # of all bodies

_pieces = SpareBuffers(PIECES_KEPT_MAX, PIECE_BYTES)
_EMPTY = memoryview(b"")


class Connection(Protocol):
    """What is needed of the connection that a body comes by."""

    transport: asyncio.Transport | None

    @property
    def is_held_back(self) -> bool:
        """The parser has more than it has given out."""
        ...

    def forget_body(self) -> None:
        """Expect the head of a request next."""
        ...

    def connection_lost(self, exc: BaseException | None) -> None: ...

    def eof_received(self) -> bool | None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class DirectBody(asyncio.BufferedProtocol):
    """One body: what the parser has of it already, then what the socket gives.

    Takes the connection's place at its transport from the first read that finds nothing until the
    last byte. Pieces end where a frame of the content does, unless the client sends in dribs: so
    frames are sealed where they lie.
    """

    def __init__(self, connection: Connection, content: StreamReader, length: int) -> None:
        self._connection = connection
        self._content = content
        self._length = length
        self._is_direct = False
        self._received = 0  # bytes of the body that have come
        self._given = 0  # of them, those that `readchunk` has returned
        self._view = _EMPTY  # memory that is being filled …
        self._filled = 0  # … up to here …
        self._at = 0  # … and given out up to there
        self._full: deque[memoryview] = deque()  # filled before it, and not given out
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None

    # As the library's reader

    @property
    def total_bytes(self) -> int:
        """Bytes that have come, without those of a frame that is not whole yet."""
        return self._given + self._ripe() if self._is_direct else self._content.total_bytes

    def is_eof(self) -> bool:
        """The last byte has come."""
        return self._received == self._length if self._is_direct else self._content.is_eof()

    def at_eof(self) -> bool:
        """The last byte has been given out."""
        return self._given == self._length if self._is_direct else self._content.at_eof()

    def exception(self) -> BaseException | None:
        """Why no more can be read."""
        return self._content.exception()

    def set_exception(self, exc: BaseException) -> None:
        """Let nobody read any more."""
        self._content.set_exception(exc)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc)

    async def readany(self) -> Buffer:
        """The next bytes, b"" at the end."""
        return (await self.readchunk())[0]

    async def readchunk(self) -> tuple[Buffer, bool]:
        """The next bytes, b"" at the end; they stay as they are while somebody holds them. And
        False.

        Raises: what `set_exception` was told.
        """
        content = self._content
        if not self._is_direct and (content.total_bytes > self._given or not self._begin()):
            piece, _ = await content.readchunk()
            self._given += len(piece)
            return piece, False
        if (error := content.exception()) is not None:
            raise error
        ripe = self._ripe()
        if not ripe and self._given < self._length:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
            ripe = self._ripe() or self._received - self._given
        return self._give(ripe), False

    def _ripe(self) -> int:
        """Bytes up to the last end of a frame, or of the body."""
        ripe = self._received - self._given
        if self._received < self._length:
            ripe = max(0, ripe - self._received % FRAME_BYTES)
        return ripe

    def _give(self, count: int) -> memoryview:
        if self._full:
            piece = self._full.popleft()
        else:
            piece = self._view[self._at : self._at + count]
            self._at += count
        self._given += len(piece)
        if self._is_paused and self._received - self._given < UNREAD_BYTES_MAX:
            self._is_paused = False
            if self._connection.transport is not None:
                self._connection.transport.resume_reading()
        return piece

    # As a protocol

    def _begin(self) -> bool:
        """Take the connection's place, if the parser holds nothing of the body."""
        connection, content = self._connection, self._content
        transport = connection.transport
        if content.is_eof() or content.exception() is not None:
            return False
        if transport is None or transport.is_closing() or connection.is_held_back:
            return False
        self._is_direct = True
        self._received = self._given
        transport.pause_reading()  # how a transport reads is settled when it begins to
        transport.set_protocol(self)
        transport.resume_reading()
        return True

    def _end(self) -> None:
        """Give the connection its place back."""
        connection = self._connection
        self._is_paused = False
        connection.forget_body()
        transport = connection.transport
        if transport is not None:
            transport.pause_reading()
            # A protocol of the library is an asyncio.BaseProtocol by what it does, not by its type.
            transport.set_protocol(connection)  # type: ignore[arg-type]
            transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go; ends where a frame does, or the body."""
        if self._filled == len(self._view):
            length = PIECE_BYTES - self._received % FRAME_BYTES
            self._view = _pieces.take(min(length, self._length - self._received))
            self._filled = self._at = 0
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        self._filled += nbytes
        self._received += nbytes
        if self._filled == len(self._view):
            if self._at < self._filled:
                self._full.append(self._view[self._at :])
            self._view, self._filled, self._at = _EMPTY, 0, 0
        if self._received == self._length:
            self._end()
        elif self._received - self._given >= UNREAD_BYTES_MAX and not self._is_paused:
            self._is_paused = True
            if self._connection.transport is not None:
                self._connection.transport.pause_reading()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
