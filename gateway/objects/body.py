"""The body of a request as use cases see it: decoded content of a known length, and what was
promised about it.

Not for sockets or chunk syntax: `gateway.s3.http` implements the port. Tests use
`tests.support.gateway.BytesBody`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from storaged.base.errors import StorageError

Buffer = bytes | bytearray | memoryview


class ExpectedDigest(NamedTuple):
    """A digest that the client stated; `error` makes what is raised when the content has another
    one.

    `algorithm` is one of `gateway.model.checksums.DIGEST_BYTES`; `digest` raw, big-endian for CRCs
    and xxHashes.
    """

    algorithm: str
    digest: bytes
    error: Callable[[], StorageError]


class Body(Protocol):
    """Content that is read once, from the first byte to the last."""

    @property
    def length(self) -> int:
        """Bytes of decoded content, known before the first read. Of a form it may be too many:
        it is exact when the last piece has been read, and then not 0 unless it was so before.
        """
        ...

    @property
    def digests(self) -> tuple[str, ...]:
        """Algorithms that `expected` will speak of, or that the object shall keep. MD5 is always
        computed.
        """
        ...

    async def read(self) -> Buffer:
        """The next bytes, b"" at the end. The caller must not change them; they stay as they are
        until it drops them.

        Raises:
            StorageError: truncated, stalled, wrongly signed; always before the end is reported.

        Idempotent: no. Durable when: nothing is. Cancelled: the body cannot be read any further.
        Concurrent: one reader.
        """
        ...

    def expected(self) -> tuple[ExpectedDigest, ...]:
        """What the content must have, from headers and trailers. Valid once `read` has said b""."""
        ...
