"""aws-chunked bodies: bytes in, events out.

Not for sockets. Data is handed out as it arrives, before its chunk's signature can be known; the
caller makes nothing durable or visible before `End`. Data events are slices of what was fed: use
them before the buffer is reused.

Source: AWS, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple
    Chunks", and
"… Including Trailing Headers".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.s3.sigv4 import Authorized, PayloadMode


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


class ChunkDecoder:
    """One body. `feed` until `End`, then `finish`."""

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
        """
        raise NotImplementedError

    def feed(self, received: bytes | bytearray | memoryview) -> list[Event]:
        """Decode what was received, any cut.

        Raises:
            S3Error: SignatureDoesNotMatch, IncompleteBody, InvalidRequest, MalformedTrailerError,
                InvalidChunkSizeError.
        """
        raise NotImplementedError

    def finish(self) -> None:
        """The transport has no more bytes.

        Raises:
            S3Error: IncompleteBody if `End` has not been reached.
        """
        raise NotImplementedError
