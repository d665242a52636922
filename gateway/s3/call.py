"""One authenticated request as an operation sees it, and the checks every head must pass.

Not for sockets, nor for what one operation's parameters mean.

Source: RFC 9112 §3.2; Amazon S3 API Reference, "Common request headers".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from gateway.objects.context import Context
from gateway.s3 import checksums, uri
from gateway.s3.body import UNMEASURED, BodyPromise, RequestBody
from gateway.s3.checksums import ChecksumClaim
from gateway.s3.errors import S3Error
from gateway.s3.responses import Reply
from gateway.s3.sigv4 import Authorized, PayloadMode

DIGITS_MAX = 19  # of a 64-bit length
HOSTS_CACHED_MAX = 256
HEADER_NAMES_CACHED_MAX = 512

# Not x-amz-*, which are all refused when doubled.
_SINGLE_HEADERS = frozenset(
    [
        "authorization",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-type",
        "date",
        "expect",
        "expires",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
        "transfer-encoding",
    ]
)
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)

_SESSION_TOKEN = "x-amz-security-token"
_SESSION_TOKENS = frozenset({_SESSION_TOKEN, "X-Amz-Security-Token"})  # in a query

AWS_CHUNKED = "aws-chunked"
_TRAILER = "x-amz-trailer"
_OF_CHUNKS = frozenset({_TRAILER, "x-amz-decoded-content-length"})
_NOT_IN_CHUNKS = "A trailer and a decoded length need an x-amz-content-sha256 of a body in chunks."

# Operations whose checksum headers speak of an object, not of the body of the request.
_OBJECT_CHECKSUMS = frozenset(
    {"CompleteMultipartUpload", "CopyObject", "CreateMultipartUpload", "UploadPartCopy"}
)
_BODY_HEADERS = frozenset({"content-length", "content-md5", "transfer-encoding"})
_BODILESS_METHODS = frozenset({"GET", "HEAD", "DELETE"})
_NEEDS_LENGTH = frozenset({"PostObject", "PutObject", "UploadPart"})
# S3 refuses bodies in HTTP's own chunks; short ones are taken here, as other servers do.
_MEASURED = frozenset({"PutObject", "UploadPart"})


@dataclass(slots=True, kw_only=True)
class Call:
    """What an operation gets.

    Args:
        headers: by lower-case name; those we interpret are there once.
        query: decoded, by name.
        bucket, key: "" where the target names none.
        origin: scheme and host of this endpoint as the client wrote them.
        regions: accepted in signatures.
    """

    operation: str
    bucket: str
    key: str
    headers: dict[str, str]
    query: dict[str, str]
    body: RequestBody
    context: Context
    origin: str
    regions: Sequence[str] = ()
    raw_path: str = ""


OperationFunction = Callable[[Call], Awaitable[Reply]]


def headers_by_name(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Headers by lower-case name.

    Raises:
        S3Error: InvalidRequest for a doubled header that we interpret.
    """
    headers = dict(pairs)
    if len(headers) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen and (name in _SINGLE_HEADERS or name.startswith("x-amz-")):
                raise S3Error("InvalidRequest", "A header occurs more than once.")
            seen.add(name)
    return headers


@lru_cache(maxsize=HOSTS_CACHED_MAX)
def _is_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None


def check_host(headers: dict[str, str]) -> str:
    """The Host header. Raises S3Error: InvalidRequest without a well-formed one."""
    host = headers.get("host", "")
    if not _is_host(host):
        raise S3Error("InvalidRequest", "The Host header is missing or not valid.")
    return host


def check_no_session(headers: Mapping[str, str], query: Mapping[str, str]) -> None:
    """The caller is no session: whoever shows a session's token with a lasting key means fewer
    rights than the key has, so it is not overlooked. Raises S3Error: InvalidToken.
    """
    if _SESSION_TOKEN in headers or not _SESSION_TOKENS.isdisjoint(query):
        raise S3Error("InvalidToken")


def query_by_name(raw_query: str) -> dict[str, str]:
    """The query, each name once. Raises S3Error: InvalidArgument, InvalidURI."""
    if not raw_query:
        return {}
    pairs = uri.query_fields(raw_query)
    query = dict(pairs)
    if len(query) != len(pairs):
        raise S3Error("InvalidArgument", "A query parameter occurs more than once.")
    return query


def content_bytes(headers: dict[str, str], mode: PayloadMode, operation: str) -> int:
    """Decoded bytes of the body, by the head; UNMEASURED: its end will tell.

    Raises:
        S3Error: MissingContentLength, InvalidArgument.
    """
    if mode.is_streaming:
        stated = headers.get("x-amz-decoded-content-length")
        if stated is None:
            raise S3Error("MissingContentLength")
    else:
        if "transfer-encoding" in headers:
            if operation in _MEASURED:
                return UNMEASURED
            raise S3Error("MissingContentLength")
        stated = headers.get("content-length")
        if stated is None:
            if operation in _NEEDS_LENGTH:
                raise S3Error("MissingContentLength")
            return 0
    if not stated.isascii() or not stated.isdigit() or len(stated) > DIGITS_MAX:
        raise S3Error("InvalidArgument", "The length of the body is not a number.")
    return int(stated)


def trailer_names(headers: dict[str, str]) -> tuple[str, ...]:
    """Lower-case names announced in x-amz-trailer."""
    stated = headers.get(_TRAILER, "")
    return tuple(name.strip().lower() for name in stated.split(",") if name.strip())


def _speaks_of_checksums(headers: dict[str, str]) -> bool:
    return _TRAILER in headers or "checksum" in " ".join(headers)


def framed(headers: Mapping[str, str], authorized: Authorized) -> Authorized:
    """The authorization with the payload mode that the head means.

    Who signs in another way than by headers of Version 4 has no x-amz-content-sha256 to say that
    the body comes in chunks: there it is said by what newer SDKs send beside them. To store the
    chunks as they come would be to store something else than the client has.

    Raises:
        S3Error: InvalidRequest (a trailer is announced, and the body is not in chunks).
    """
    mode = authorized.payload_mode
    if mode.is_streaming or _OF_CHUNKS.isdisjoint(headers):
        return authorized
    codings = headers.get("content-encoding", "").lower().split(",")
    in_chunks = AWS_CHUNKED in [coding.strip() for coding in codings]
    if in_chunks and mode is PayloadMode.UNSIGNED:
        return replace(authorized, payload_mode=PayloadMode.STREAMING_UNSIGNED_TRAILER)
    if in_chunks or _TRAILER in headers:
        raise S3Error("InvalidRequest", _NOT_IN_CHUNKS)
    return authorized


def has_no_body(method: str, headers: dict[str, str], mode: PayloadMode) -> bool:
    """Nothing follows the head, and nobody asks whether that was promised."""
    return (
        method in _BODILESS_METHODS and _BODY_HEADERS.isdisjoint(headers) and not mode.is_streaming
    )


def promise_of(headers: dict[str, str], authorized: Authorized, operation: str) -> BodyPromise:
    """What the head says about the body.

    Raises:
        S3Error: InvalidDigest, InvalidRequest, MissingContentLength, InvalidArgument.
    """
    length = content_bytes(headers, authorized.payload_mode, operation)
    md5 = headers.get("content-md5")
    claim: ChecksumClaim | None = None
    if operation not in _OBJECT_CHECKSUMS and _speaks_of_checksums(headers):
        claim = checksums.claim_of(headers, trailer_names(headers))
    sha256 = authorized.content_sha256
    return BodyPromise(
        length=length,
        md5=None if md5 is None else checksums.decode_content_md5(md5),
        sha256=None if sha256 is None else bytes.fromhex(sha256),
        checksum=claim,
    )


def expects_continue(headers: Mapping[str, str], version: tuple[int, int]) -> bool:
    """The client waits for 100-continue. Any other expectation is overlooked, as S3 does."""
    expect = headers.get("expect")
    return expect is not None and expect.lower() == "100-continue" and version >= (1, 1)
