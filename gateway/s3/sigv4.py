"""AWS Signature Version 4: who sent this request, and is it unaltered?

Not for long-term secrets: a caller's lookup gives a signing key that is good for one day, region
and service. No
clock: the time is an argument. Nothing here logs or prints a signing key.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)", S3 API Reference.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from gateway.s3.errors import S3Error
from gateway.s3.sigv4_claim import (
    ALGORITHM,
    BAD_CONTENT_SHA256,
    SERVICE,
    SIGV2_REFUSED,
    TERMINATOR,
    Claim,
    header_claim,
    query_claim,
    service_claim,
)
from gateway.s3.uri import canonical_path, canonical_query, split_query

SigningKeyLookup = Callable[[str, str, str, str], bytes | None]
"""(access key id, date YYYYMMDD, region, service) → 32-byte signing key, or None for an unknown
access key.
"""


class PayloadMode(StrEnum):
    """How the body is covered by the signature; the value is what `x-amz-content-sha256` says
    (SIGNED: a digest).
    """

    SIGNED = "SIGNED"
    UNSIGNED = "UNSIGNED-PAYLOAD"
    STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    is_streaming: bool
    """The body is aws-chunked and goes through `aws_chunked.ChunkDecoder`."""

    def __init__(self, value: str) -> None:
        self.is_streaming = value.startswith("STREAMING-")


# Not frozen: a frozen dataclass costs three times as much to make, and these are made per request.
@dataclass(slots=True, kw_only=True)
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


@dataclass(slots=True, kw_only=True)
class Authorized:
    """A request whose signature holds.

    Attributes:
        content_sha256: the 64 lower-case hexadecimal digits the body must have, if the mode is
            SIGNED.
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


ONLY_ONE = (
    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query "
    "string parameter or the Authorization header should be specified"
)
_NOT_SIGNED = "There were headers present in the request which were not signed"
_HOST_NOT_SIGNED = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."

# Headers that decide who asks and what is signed; a second one leaves open which of the two counts.
_ONCE = frozenset({"authorization", "host", "x-amz-date", "x-amz-content-sha256", "date"})
_QUERY_V4 = frozenset({b"X-Amz-Algorithm", b"X-Amz-Credential", b"X-Amz-Signature"})
_QUERY_V2 = frozenset({b"AWSAccessKeyId", b"Signature"})
_DIGEST = re.compile("[0-9a-f]{64}")
KEYED_MAX = 1024  # signing keys in use at once
SIGNED_NAMES_CACHED_MAX = 1024
SIGNED_NAMES_CHARACTERS_MAX = 1024  # a longer list is not cached: clients choose it
_EMPTY_SHA256 = sha256(b"").hexdigest()
# Values that need no look at their letters; nearly all requests have one of them.
_KNOWN_VALUES: dict[str, tuple[PayloadMode, str | None]] = {
    **{mode.value: (mode, None) for mode in PayloadMode if mode is not PayloadMode.SIGNED},
    _EMPTY_SHA256: (PayloadMode.SIGNED, _EMPTY_SHA256),
}


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
        S3Error: with S3's code for every way of being wrong (AccessDenied, SignatureDoesNotMatch,
            …).
    """
    fields = join_headers(head.headers)
    pairs: list[tuple[bytes, bytes]] = []
    in_query = in_query_v2 = False
    if head.raw_query:
        pairs = split_query(head.raw_query)
        names = {name for name, _ in pairs}
        in_query = not _QUERY_V4.isdisjoint(names)
        in_query_v2 = not _QUERY_V2.isdisjoint(names)
    authorization = fields.get("authorization")
    if (authorization is not None) + in_query + in_query_v2 > 1:
        raise S3Error("InvalidArgument", ONLY_ONE)
    if in_query_v2:
        raise S3Error("InvalidRequest", SIGV2_REFUSED)
    if in_query:
        claim = query_claim(pairs, fields, regions=regions, now_ms=now_ms)
        pairs = [pair for pair in pairs if pair[0] != b"X-Amz-Signature"]
    elif authorization is not None:
        claim = header_claim(authorization, fields, regions=regions, now_ms=now_ms)
    else:
        return None
    mode, digest = payload_mode_of(claim.content_sha256)
    canonical_headers = _canonical_headers(claim, fields)
    key = signing_key(claim.access_key_id, claim.date, claim.region, claim.service)
    if key is None:
        raise S3Error("InvalidAccessKeyId", extra={"AWSAccessKeyId": claim.access_key_id})
    _check_signature(head, claim, canonical_headers, pairs, key)
    return Authorized(
        access_key_id=claim.access_key_id,
        region=claim.region,
        payload_mode=mode,
        content_sha256=digest,
        seed_signature=claim.signature,
        signing_key=key,
        scope=claim.scope,
        amz_date=claim.amz_date,
        presigned=claim.presigned,
    )


def authorize_body(
    head: RequestHead,
    body: bytes,
    *,
    service: str,
    now_ms: int,
    regions: Sequence[str],
    signing_key: SigningKeyLookup,
) -> None:
    """Verify a request to another service than S3, in its headers and with its body.

    Raises:
        S3Error: as `authorize`; AccessDenied for a request without credentials.
    """
    fields = join_headers(head.headers)
    authorization = fields.get("authorization")
    if authorization is None:
        raise S3Error("AccessDenied")
    digest = sha256(body).hexdigest()
    if fields.get("x-amz-content-sha256", digest) != digest:
        raise S3Error("InvalidArgument", BAD_CONTENT_SHA256)
    claim = service_claim(
        authorization, fields, digest, service=service, regions=regions, now_ms=now_ms
    )
    canonical_headers = _canonical_headers(claim, fields)
    key = signing_key(claim.access_key_id, claim.date, claim.region, claim.service)
    if key is None:
        raise S3Error("InvalidAccessKeyId", extra={"AWSAccessKeyId": claim.access_key_id})
    pairs = split_query(head.raw_query) if head.raw_query else []
    _check_signature(head, claim, canonical_headers, pairs, key)


def unsigned(head: RequestHead) -> Authorized:
    """What stands for the authorization of an anonymous request: nothing of it is signed.

    Raises:
        S3Error: AccessDenied for a body that claims to carry signatures, InvalidArgument.
    """
    stated = join_headers(head.headers).get("x-amz-content-sha256", PayloadMode.UNSIGNED.value)
    mode, digest = payload_mode_of(stated)
    if mode in (PayloadMode.STREAMING_SIGNED, PayloadMode.STREAMING_SIGNED_TRAILER):
        raise S3Error("AccessDenied")
    return Authorized(
        access_key_id="",
        region="",
        payload_mode=mode,
        content_sha256=digest,
        seed_signature="",
        signing_key=b"",
        scope="",
        amz_date="",
        presigned=False,
    )


def payload_mode_of(content_sha256: str) -> tuple[PayloadMode, str | None]:
    """(mode, body digest if signed) of an `x-amz-content-sha256` value.

    Raises:
        S3Error: InvalidArgument.
    """
    known = _KNOWN_VALUES.get(content_sha256)
    if known is not None:
        return known
    digest = content_sha256.lower()
    if _DIGEST.fullmatch(digest) is not None:
        return PayloadMode.SIGNED, digest
    extra = {"ArgumentName": "x-amz-content-sha256", "ArgumentValue": content_sha256}
    raise S3Error("InvalidArgument", BAD_CONTENT_SHA256, extra=extra)


def join_headers(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Values as they are signed: trimmed, runs of blanks made one space, repeated headers joined by
    commas.
    """
    joined = dict(headers)
    if len(joined) == len(headers):
        text = "\n".join(joined.values())
        # As nearly every client sends them: each once, and nothing to trim.
        runs = "  " in text or "\t" in text or " \n" in text or "\n " in text
        if not runs and text == text.strip(" "):
            return joined
    joined = {}
    for name, value in headers:
        if "  " in value or "\t" in value:
            value = " ".join([word for word in value.replace("\t", " ").split(" ") if word])
        else:
            value = value.strip(" ")
        if name in joined:
            if name == "authorization":
                raise S3Error("InvalidArgument", ONLY_ONE)
            if name in _ONCE:
                raise S3Error("InvalidRequest", f"The header {name} may be sent only once.")
            value = f"{joined[name]},{value}"
        joined[name] = value
    return joined


class _SignedNames(NamedTuple):
    """A SignedHeaders list, ready to print the values of its headers."""

    names: frozenset[str]
    lines: str  # one `name:%s` per header
    values_of: Callable[[dict[str, str]], object]


@lru_cache(maxsize=SIGNED_NAMES_CACHED_MAX)
def _signed_names(signed_headers: str) -> _SignedNames:
    names = signed_headers.split(";")
    lines = "".join([f"{name.replace('%', '%%')}:%s\n" for name in names])
    return _SignedNames(frozenset(names), lines, itemgetter(*names))


def _canonical_headers(claim: Claim, fields: dict[str, str]) -> str:
    """The signed headers, one per line, after the check that nothing that matters is left
    unsigned.
    """
    is_short = len(claim.signed_headers) <= SIGNED_NAMES_CHARACTERS_MAX
    signed = (_signed_names if is_short else _signed_names.__wrapped__)(claim.signed_headers)
    if "host" not in signed.names:
        raise S3Error("AccessDenied", _HOST_NOT_SIGNED)
    unsigned = [name for name in fields.keys() - signed.names if name.startswith("x-amz-")]
    if unsigned:
        extra = {"HeadersNotSigned": ", ".join(sorted(unsigned))}
        raise S3Error("AccessDenied", _NOT_SIGNED, extra=extra)
    try:
        return signed.lines % signed.values_of(fields)
    except KeyError:
        # A signed header that is not there any more; an empty line would let it be removed
        # unnoticed.
        extra = {"AWSAccessKeyId": claim.access_key_id}
        raise S3Error("SignatureDoesNotMatch", extra=extra) from None


def _check_signature(
    head: RequestHead,
    claim: Claim,
    canonical_headers: str,
    pairs: list[tuple[bytes, bytes]],
    key: bytes,
) -> None:
    rest = f"{canonical_headers}\n{claim.signed_headers}\n{claim.content_sha256}"
    query = canonical_query(pairs) if pairs else ""
    canonical = f"{head.method}\n{canonical_path(head.raw_path)}\n{query}\n{rest}"
    text = string_to_sign(claim.amz_date, claim.scope, canonical)
    provided = claim.signature.encode("utf-8", "surrogateescape")
    if hmac.compare_digest(_signature(key, text), provided):
        return
    # Some signers (botocore among them) sign the path and the query as they send them, without
    # encoding them again. That names the same key: what is compared decodes to the same bytes
    # either way.
    as_sent = f"{head.method}\n{head.raw_path}\n{_query_as_sent(head.raw_query)}\n{rest}"
    if as_sent != canonical and hmac.compare_digest(
        _signature(key, string_to_sign(claim.amz_date, claim.scope, as_sent)), provided
    ):
        return
    raise S3Error(
        "SignatureDoesNotMatch",
        extra={
            "AWSAccessKeyId": claim.access_key_id,
            "StringToSign": text,
            "SignatureProvided": claim.signature,
            "CanonicalRequest": canonical,
        },
    )


def _query_as_sent(raw_query: str) -> str:
    fields = [item.partition("=") for item in raw_query.split("&") if item]
    return "&".join(
        sorted(f"{name}={value}" for name, _, value in fields if name != "X-Amz-Signature")
    )


def string_to_sign(amz_date: str, scope: str, canonical_request: str) -> str:
    """What the signing key signs: the digest of the canonical request, bound to time and scope."""
    digest = sha256(canonical_request.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{ALGORITHM}\n{amz_date}\n{scope}\n{digest}"


@lru_cache(maxsize=KEYED_MAX)
def _keyed(key: bytes) -> HMAC:
    """To be copied: setting a key up costs more than the digest of a short text."""
    return HMAC(key, SHA256())


def _signature(key: bytes, text: str) -> bytes:
    return chain_signature(key, text).encode()


def chain_signature(key: bytes, text: str) -> str:
    """One link of the chain of an aws-chunked body, 64 hexadecimal digits."""
    code = _keyed(key).copy()
    code.update(text.encode())
    return code.finalize().hex()


def derive_signing_key(secret: str, *, date: str, region: str, service: str = SERVICE) -> bytes:
    """The 32-byte key of one day (YYYYMMDD), region and service."""
    key = f"AWS4{secret}".encode()
    for step in (date, region, service, TERMINATOR):
        key = hmac.digest(key, step.encode(), "sha256")
    return key
