"""The body of a request: bytes from a connection, decoded content with its promises out of it.

Not for storing. Implements the port `gateway.objects.body.Body`. A client that sends nothing for
long, or far too slowly, is cut; time in which we do not read is not held against it.

Source: RFC 9112 §6; RFC 9110 §10.1.1 (100-continue).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.limits import BODY_FLOOR_BYTES_PER_S, BODY_IDLE_S
from gateway.model.errors import BadDigest, EntityTooLarge, IncompleteBody, RequestTimeout
from gateway.objects.body import Buffer, ExpectedDigest
from gateway.s3 import checksums
from gateway.s3.aws_chunked import ChunkDecoder, Data, End, Trailers
from gateway.s3.checksums import ChecksumAlgorithm, ChecksumClaim
from gateway.s3.errors import S3Error

UNMEASURED = -1  # length of a body that the head does not tell


class Received(Protocol):
    """What is needed of a connection's body: `DirectBody`, or the reader of the HTTP library."""

    @property
    def total_bytes(self) -> int:
        """Bytes that have come."""
        ...

    async def readchunk(self) -> tuple[Buffer, bool]: ...

    def is_eof(self) -> bool: ...

    def at_eof(self) -> bool: ...

    def set_exception(self, exc: BaseException) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyPace:
    """How slow a client may be.

    Args:
        idle_s: longest time without a byte.
        floor_bytes_per_s: least rate, over `window_s` seconds of waiting.
    """

    idle_s: float = BODY_IDLE_S
    floor_bytes_per_s: float = BODY_FLOOR_BYTES_PER_S
    window_s: float = 60.0


@dataclass(slots=True, kw_only=True)  # not frozen: made for every request with a body
class BodyPromise:
    """What the head of a request says about its body.

    Args:
        length: bytes of decoded content, UNMEASURED where the head does not say it.
        md5: Content-MD5, raw, or None.
        sha256: what x-amz-content-sha256 says, raw; None unless the signature covers the content.
    """

    length: int
    md5: bytes | None
    sha256: bytes | None
    checksum: ChecksumClaim | None


class RequestBody:
    """One body. `read` until it says b"", then `expected`."""

    __slots__ = (
        "_broken",
        "_counted",
        "_decoder",
        "_ended",
        "_on_first_read",
        "_pace",
        "_pieces",
        "_promise",
        "_received",
        "_remaining",
        "_taken",
        "_trailers",
        "_waited_s",
        "length",
    )

    def __init__(
        self,
        received: Received,
        promise: BodyPromise,
        *,
        decoder: ChunkDecoder | None,
        on_first_read: Callable[[], None],
        broken: type[Exception],
        pace: BodyPace,
    ) -> None:
        """Begin.

        Args:
            decoder: for the streaming payload modes.
            broken: what the connection raises for a body that breaks off or is not well-formed.
            on_first_read: called before the first byte is taken; it answers 100-continue.
        """
        self._received = received
        self._promise = promise
        self.length = promise.length
        self._decoder = decoder
        self._on_first_read: Callable[[], None] | None = on_first_read
        self._broken = broken
        self._pace = pace
        self._pieces: deque[memoryview] = deque()
        self._remaining = promise.length
        self._taken = 0  # bytes taken from the connection
        self._counted = 0  # of them, those before the current window of the floor
        self._waited_s = 0.0
        self._ended = False
        self._trailers: dict[str, str] = {}

    @property
    def content_bytes(self) -> int:
        """Decoded bytes given out so far."""
        return self.length - self._remaining

    @property
    def checksum_algorithm(self) -> str | None:
        """The algorithm of the checksum that the client sends along."""
        claim = self._promise.checksum
        return None if claim is None else claim.algorithm.value

    @property
    def digests(self) -> tuple[str, ...]:
        names = []
        if self._promise.checksum is not None:
            names.append(self._promise.checksum.algorithm.value)
        if self._promise.sha256 is not None and "SHA256" not in names:
            names.append("SHA256")
        return tuple(names)

    async def read(self) -> Buffer:
        if self._decoder is not None:
            return await self._read_decoded(self._decoder)
        if self._ended:
            return b""
        piece = await self._receive()
        if not piece:
            if self._remaining:
                raise IncompleteBody()
            self._ended = True
            return b""
        self._remaining -= len(piece)
        if self._remaining <= 0:
            if self._remaining:
                raise S3Error("InvalidRequest", "The body is longer than announced.")
            self._ended = self._received.at_eof()
        return piece

    async def _read_decoded(self, decoder: ChunkDecoder) -> Buffer:
        while not self._pieces:
            if self._ended:
                return b""
            received = await self._receive()
            if not received:
                decoder.finish()
                self._check_trailer()
                self._ended = True
                return b""
            for event in decoder.feed(received):
                match event:
                    case Data():
                        if len(event.piece):
                            self._pieces.append(event.piece)
                    case Trailers():
                        self._trailers = event.fields
                    case End():
                        pass  # the transport's own end is awaited: nothing may follow
        piece = self._pieces.popleft()
        self._remaining -= len(piece)
        return piece

    def _check_trailer(self) -> None:
        claim = self._promise.checksum
        if claim is not None and claim.in_trailer and claim.algorithm.header not in self._trailers:
            raise S3Error("MalformedTrailerError")

    def expected(self) -> tuple[ExpectedDigest, ...]:
        digests = []
        if self._promise.md5 is not None:
            digests.append(ExpectedDigest("MD5", self._promise.md5, BadDigest))
        if self._promise.sha256 is not None:
            digests.append(ExpectedDigest("SHA256", self._promise.sha256, _sha256_mismatch))
        claim = self._promise.checksum
        if claim is not None:
            digest = claim.expected
            if claim.in_trailer:
                digest = checksums.decode_digest(
                    claim.algorithm, self._trailers[claim.algorithm.header]
                )
            if digest is not None:
                digests.append(ExpectedDigest(claim.algorithm.value, digest, _checksum_mismatch))
        return tuple(digests)

    async def measure(self, bytes_max: int) -> None:
        """Take a body of unknown length into memory, which tells its length.

        Raises:
            S3Error: MissingContentLength for a longer one; and whatever `read` raises.
        """
        pieces = []
        length = 0
        while piece := await self._receive():
            length += len(piece)
            if length > bytes_max:
                raise S3Error("MissingContentLength")
            pieces.append(piece)
        self._received = _Held(b"".join(pieces))
        self._taken = 0
        self.length = self._remaining = length

    async def read_document(self, bytes_max: int) -> bytes:
        """The whole body, checked against all its promises.

        Raises:
            EntityTooLarge, BadDigest, and whatever `read` raises.
        """
        if self.length > bytes_max:
            raise EntityTooLarge(proposed_bytes=self.length, max_bytes=bytes_max)
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        content = b"".join(pieces)
        for expected in self.expected():
            if digest_of(expected.algorithm, content) != expected.digest:
                raise expected.error()
        return content

    @property
    def is_protected(self) -> bool:
        """Some digest covers the body, if only the one that is signed."""
        return self.has_digest or self._promise.sha256 is not None

    @property
    def has_digest(self) -> bool:
        """The body comes with Content-MD5 or a checksum."""
        claim = self._promise.checksum
        has_checksum = claim is not None and (claim.in_trailer or claim.expected is not None)
        return has_checksum or self._promise.md5 is not None

    async def _receive(self) -> Buffer:
        """Bytes from the connection; b"" at its body's end."""
        if self._on_first_read is not None:
            on_first_read, self._on_first_read = self._on_first_read, None
            on_first_read()
        received = self._received
        try:
            if received.total_bytes > self._taken:
                piece = await self._next_piece()
            elif received.is_eof():
                return b""
            else:
                piece = await self._await_piece()
        except (ConnectionError, self._broken) as error:
            raise IncompleteBody() from error
        except TimeoutError as error:
            raise RequestTimeout() from error
        self._taken += len(piece)
        return piece

    async def _next_piece(self) -> Buffer:
        while True:
            piece, at_chunk_end = await self._received.readchunk()
            if piece or not at_chunk_end:
                return piece

    async def _await_piece(self) -> Buffer:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        # A bare timer: an asyncio.timeout costs five times as much, for every small body.
        stall = loop.call_later(self._pace.idle_s, self._received.set_exception, TimeoutError())
        try:
            piece = await self._next_piece()
        finally:
            stall.cancel()
        self._waited_s += loop.time() - began_s
        if self._waited_s > self._pace.window_s:
            in_window = self._taken + len(piece) - self._counted
            if piece and in_window < self._waited_s * self._pace.floor_bytes_per_s:
                raise RequestTimeout()
            self._counted += in_window
            self._waited_s = 0.0
        return piece


class NothingReceived:
    """What follows the head of a request that has no body."""

    total_bytes = 0

    async def readchunk(self) -> tuple[bytes, bool]:
        return b"", False

    def is_eof(self) -> bool:
        return True

    def at_eof(self) -> bool:
        return True

    def set_exception(self, exc: BaseException) -> None:
        """Nobody waits."""


class _Held(NothingReceived):
    """A body that was read already."""

    def __init__(self, content: bytes) -> None:
        self.total_bytes = len(content)
        self._content = content

    async def readchunk(self) -> tuple[bytes, bool]:
        content, self._content = self._content, b""
        return content, False


def no_body() -> RequestBody:
    """A body of no bytes about which nothing is promised; it can be read any number of times."""
    promise = BodyPromise(length=0, md5=None, sha256=None, checksum=None)
    return RequestBody(
        NothingReceived(),
        promise,
        decoder=None,
        on_first_read=lambda: None,
        broken=ConnectionError,
        pace=BodyPace(),
    )


def digest_of(algorithm: str, content: bytes) -> bytes:
    """Raw digest of a short content held in memory."""
    if algorithm == "MD5":
        digest = checksums.new_md5()
    else:
        digest = checksums.new_checksum(ChecksumAlgorithm(algorithm))
    digest.update(content)
    return digest.digest()


def _sha256_mismatch() -> S3Error:
    return S3Error("XAmzContentSHA256Mismatch")


def _checksum_mismatch() -> S3Error:
    return S3Error("BadDigest")
