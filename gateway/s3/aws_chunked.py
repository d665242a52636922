"""aws-chunked bodies: bytes in, events out.

Not for sockets. Data is handed out as it arrives, before its chunk's signature can be known; the
caller makes nothing durable or visible before `End`. Data events are slices of what was fed: use
them before the buffer is reused. A chunk may be as long as the whole body (some clients send one),
because nothing of it is kept here.

Source: AWS, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple
Chunks (Chunked Upload)", and "… Including Trailing Headers".
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import sha256

from gateway.s3.errors import S3Error
from gateway.s3.sigv4 import Authorized, PayloadMode, chain_signature

LINE_MAX_BYTES = 1024  # a chunk header needs 98, a trailer line about 110
TRAILERS_MAX = 16

_EMPTY_SHA256 = sha256().hexdigest()
_SIGNED_HEADER = re.compile(rb"([0-9A-Fa-f]{1,16});chunk-signature=([0-9a-f]{64})\r")
_PLAIN_HEADER = re.compile(rb"([0-9A-Fa-f]{1,16})\r")
_TRAILER_SIGNATURE = "x-amz-trailer-signature"
_TRAILER_MODES = frozenset(
    {PayloadMode.STREAMING_SIGNED_TRAILER, PayloadMode.STREAMING_UNSIGNED_TRAILER}
)


@dataclass(frozen=True, slots=True)
class Data:
    """Some decoded bytes, a slice of the buffer that was fed."""

    piece: memoryview


@dataclass(frozen=True, slots=True)
class Trailers:
    """Trailing headers by lower-case name; all of them were announced in x-amz-trailer."""

    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class End:
    """The body is complete and every signature held."""


Event = Data | Trailers | End


class _State(Enum):
    HEADER = auto()
    DATA = auto()
    DATA_END = auto()  # the line end after a chunk's data
    TRAILERS = auto()
    LAST_LINE = auto()  # the empty line after the last chunk, where there are no trailers
    DONE = auto()
    FAILED = auto()


class ChunkDecoder:
    """One body. `feed` until `End`, then `finish`."""

    __slots__ = (
        "_announced",
        "_blank_seen",
        "_chunk_left",
        "_chunk_signature",
        "_decoded_left",
        "_digest",
        "_has_trailers",
        "_line",
        "_sealed",
        "_seed",
        "_signature",
        "_state",
        "_trailers",
    )

    def __init__(
        self,
        *,
        mode: PayloadMode,
        seed: Authorized | None,
        decoded_bytes: int,
        trailer_names: Sequence[str] = (),
    ) -> None:
        """Begin a body.

        Args:
            mode: one of the streaming modes.
            seed: the verified head, needed by the signed modes.
            decoded_bytes: x-amz-decoded-content-length.
            trailer_names: lower-case names announced in x-amz-trailer.

        Raises:
            S3Error: MalformedTrailerError, for more than TRAILERS_MAX names.
        """
        assert mode.is_streaming
        assert mode is PayloadMode.STREAMING_UNSIGNED_TRAILER or seed is not None
        if len(trailer_names) > TRAILERS_MAX:
            raise S3Error("MalformedTrailerError")
        self._seed = None if mode is PayloadMode.STREAMING_UNSIGNED_TRAILER else seed
        self._signature = "" if seed is None else seed.seed_signature
        self._has_trailers = mode in _TRAILER_MODES
        self._announced = frozenset(trailer_names)
        self._decoded_left = decoded_bytes
        self._state = _State.HEADER
        self._line = b""
        self._chunk_left = 0
        self._chunk_signature = ""
        self._digest = sha256()
        self._trailers: dict[str, str] = {}
        self._blank_seen = False
        self._sealed = False  # the trailers' signature has been seen, and it holds

    def feed(self, received: bytes | bytearray | memoryview) -> list[Event]:
        """Decode what was received, any cut.

        Raises:
            S3Error: SignatureDoesNotMatch, IncompleteBody (more or fewer bytes than announced),
                InvalidRequest (no chunk header, bytes after the end), MalformedTrailerError. The
                decoder is of no use after that.
        """
        view = memoryview(received).cast("B")
        events: list[Event] = []
        at = 0
        before, self._state = self._state, _State.FAILED
        state = before
        while at < len(view):
            if state is _State.DATA:
                piece = view[at : at + self._chunk_left]
                at += len(piece)
                state = self._take_data(piece)
                events.append(Data(piece))
            elif state is _State.DONE or state is _State.FAILED:
                raise S3Error("InvalidRequest", "The body continues after its last chunk.")
            else:
                line, at = self._take_line(view, at)
                if line is not None:
                    state = self._take(state, line, events)
        self._state = state
        return events

    def finish(self) -> None:
        """The transport has no more bytes.

        Raises:
            S3Error: IncompleteBody if `End` has not been reached.
        """
        if self._state is not _State.DONE:
            raise S3Error("IncompleteBody")

    def _take_line(self, view: memoryview, at: int) -> tuple[bytes | None, int]:
        """(line without its line feed or None if it goes on, offset behind what was taken)."""
        window = bytes(view[at : at + LINE_MAX_BYTES - len(self._line)])
        end = window.find(b"\n")
        if end >= 0:
            line, self._line = self._line + window[:end], b""
            return line, at + end + 1
        self._line += window
        if len(self._line) >= LINE_MAX_BYTES:
            raise S3Error("InvalidRequest", "A line of the chunked body is too long.")
        return None, at + len(window)

    def _take(self, state: _State, line: bytes, events: list[Event]) -> _State:
        if state is _State.HEADER:
            return self._take_header(line)
        if state is _State.TRAILERS:
            return self._take_trailer(line, events)
        if line != b"\r":
            raise S3Error("InvalidRequest", "A chunk is longer than its header says.")
        if state is _State.DATA_END:
            return _State.HEADER
        events.append(End())
        return _State.DONE

    def _take_header(self, line: bytes) -> _State:
        pattern = _PLAIN_HEADER if self._seed is None else _SIGNED_HEADER
        match = pattern.fullmatch(line)
        if match is None:
            raise S3Error("InvalidRequest", "The chunk header is malformed.")
        chunk_bytes = int(match[1], 16)
        if chunk_bytes > self._decoded_left or (chunk_bytes == 0 and self._decoded_left):
            raise S3Error("IncompleteBody")
        self._decoded_left -= chunk_bytes
        if self._seed is not None:
            self._chunk_signature = match[2].decode()
        if chunk_bytes:
            self._chunk_left = chunk_bytes
            return _State.DATA
        self._check_chunk(_EMPTY_SHA256)
        return _State.TRAILERS if self._has_trailers else _State.LAST_LINE

    def _take_data(self, piece: memoryview) -> _State:
        self._chunk_left -= len(piece)
        if self._seed is not None:
            self._digest.update(piece)
        if self._chunk_left:
            return _State.DATA
        if self._seed is not None:
            self._check_chunk(self._digest.hexdigest())
            self._digest = sha256()
        return _State.DATA_END

    def _check_chunk(self, content_sha256: str) -> None:
        seed = self._seed
        if seed is None:
            return
        text = (
            f"AWS4-HMAC-SHA256-PAYLOAD\n{seed.amz_date}\n{seed.scope}\n{self._signature}\n"
            f"{_EMPTY_SHA256}\n{content_sha256}"
        )
        self._check_link(seed, text, self._chunk_signature)

    def _check_link(self, seed: Authorized, text: str, provided: str) -> None:
        expected = chain_signature(seed.signing_key, text)
        if not hmac.compare_digest(expected.encode(), provided.encode()):
            raise S3Error("SignatureDoesNotMatch")
        self._signature = expected

    def _take_trailer(self, line: bytes, events: list[Event]) -> _State:
        if line in (b"\r", b""):
            return self._take_blank(events)
        name, colon, value = line.decode("latin-1").partition(":")
        name, value = name.strip(" ").lower(), value.strip(" \r")
        if not colon or self._sealed:
            raise S3Error("MalformedTrailerError")
        if name == _TRAILER_SIGNATURE and self._seed is not None:
            fields = "".join([f"{key}:{text}\n" for key, text in self._trailers.items()])
            text = (
                f"AWS4-HMAC-SHA256-TRAILER\n{self._seed.amz_date}\n{self._seed.scope}\n"
                f"{self._signature}\n{sha256(fields.encode('latin-1')).hexdigest()}"
            )
            self._check_link(self._seed, text, value)
            self._sealed = True
            return _State.TRAILERS
        if name not in self._announced or name in self._trailers:
            raise S3Error("MalformedTrailerError")
        self._trailers[name] = value
        return _State.TRAILERS

    def _take_blank(self, events: list[Event]) -> _State:
        if self._seed is not None and not self._sealed:
            # Some clients put an empty line between the trailers and their signature.
            if self._blank_seen:
                raise S3Error("MalformedTrailerError")
            self._blank_seen = True
            return _State.TRAILERS
        if self._trailers.keys() != self._announced:
            raise S3Error("MalformedTrailerError")
        events.append(Trailers(self._trailers))
        events.append(End())
        return _State.DONE
