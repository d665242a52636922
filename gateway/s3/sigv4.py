"""AWS Signature Version 4: who sent this request, and is it unaltered?

Not for long-term secrets: a caller's lookup gives a signing key that is good for one day, region and service. No
clock: the time is an argument. Nothing here logs or prints a signing key.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)", S3 API Reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

SKEW_MAX_S = 900
EXPIRES_MAX_S = 604_800

SigningKeyLookup = Callable[[str, str, str, str], bytes | None]
"""(access key id, date YYYYMMDD, region, service) → 32-byte signing key, or None for an unknown access key."""


class PayloadMode(StrEnum):
    """How the body is covered by the signature; the value is what `x-amz-content-sha256` says (SIGNED: a digest)."""

    SIGNED = "SIGNED"
    UNSIGNED = "UNSIGNED-PAYLOAD"
    STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    @property
    def is_streaming(self) -> bool:
        """The body is aws-chunked and goes through `aws_chunked.ChunkDecoder`."""
        return self.value.startswith("STREAMING-")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """A request before its body, exactly as received.

    Attributes:
        raw_path: path as sent, escapes intact, beginning with `/`.
        raw_query: what follows `?`, as sent; "" without one.
        headers: (lower-case name, value) in the order received, duplicates included.
    """

    method: str
    raw_path: str
    raw_query: str
    headers: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorized:
    """A request whose signature holds.

    Attributes:
        content_sha256: the 64 lower-case hexadecimal digits the body must have, if the mode is SIGNED.
        seed_signature: signature of the head; first link of the chunk chain.
        signing_key: 32 bytes; needed for the chunk chain only; never printed.
        scope: date/region/service/aws4_request.
        amz_date: YYYYMMDD'T'HHMMSS'Z' of the request.
        presigned: the credentials were in the query.
    """

    access_key_id: str
    region: str
    payload_mode: PayloadMode
    content_sha256: str | None
    seed_signature: str
    signing_key: bytes = field(repr=False)
    scope: str
    amz_date: str
    presigned: bool


def authorize(
    head: RequestHead, *, now_ms: int, regions: Sequence[str], signing_key: SigningKeyLookup
) -> Authorized | None:
    """Verify the credentials of a request; None if it has none (anonymous).

    Args:
        head: the request as received; nothing of it may have been decoded or normalised.
        now_ms: wall clock, milliseconds since the epoch.
        regions: the regions this endpoint answers for; the first one is named in errors.
        signing_key: gives the day's key of an access key id.

    Raises:
        S3Error: with S3's code for every way of being wrong (AccessDenied, SignatureDoesNotMatch, …).
    """
    raise NotImplementedError


def payload_mode_of(content_sha256: str) -> tuple[PayloadMode, str | None]:
    """(mode, body digest if signed) of an `x-amz-content-sha256` value.

    Raises:
        S3Error: InvalidArgument.
    """
    raise NotImplementedError


def derive_signing_key(secret: str, *, date: str, region: str, service: str = "s3") -> bytes:
    """The 32-byte key of one day (YYYYMMDD), region and service."""
    raise NotImplementedError


def sign_request(
    head: RequestHead,
    *,
    access_key_id: str,
    secret: str,
    now_ms: int,
    region: str,
    content_sha256: str = PayloadMode.UNSIGNED,
) -> list[tuple[str, str]]:
    """Headers of the head plus x-amz-date, x-amz-content-sha256 and authorization; all of them signed."""
    raise NotImplementedError


def presign_url(
    head: RequestHead, *, access_key_id: str, secret: str, now_ms: int, region: str, expires_s: int
) -> str:
    """Path and query (`/bucket/key?X-Amz-…`) good for `expires_s` seconds; the headers of the head are signed."""
    raise NotImplementedError
