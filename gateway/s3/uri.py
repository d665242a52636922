"""Percent-escapes as S3 reads and writes them.

Not for routing. Decoding is strict and happens once; `+` is a plus in a path and a space in a
query; a decoded `..` or `//` is an ordinary part of a key.

Source: AWS SigV4 documentation, "UriEncode"; RFC 3986 §2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote_from_bytes

from gateway.s3.errors import S3Error

QUERY_FIELDS_MAX = (
    1000  # S3's surface knows about 60 names; the rest is somebody's mistake or an attack
)

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_BYTE_OF_ESCAPE = {b"%02x" % byte: bytes((byte,)) for byte in range(256)}
_CANONICAL_PATH = re.compile(r"[A-Za-z0-9\-._~/]*")


def decode_escapes(text: str) -> bytes:
    """Bytes of percent-encoded text, decoded once.

    Raises:
        S3Error: InvalidURI, for an escape that is not two hexadecimal digits.
    """
    raw = text.encode("utf-8", "surrogateescape")
    if "%" not in text:
        return raw
    if _BAD_ESCAPE.search(raw) is not None:
        raise S3Error("InvalidURI")
    return _ESCAPE.sub(_decoded, raw)


def _decoded(match: re.Match[bytes]) -> bytes:
    return _BYTE_OF_ESCAPE[match[1].lower()]


def encode_path(decoded: bytes) -> str:
    """SigV4's UriEncode of a path: everything but unreserved characters and `/`."""
    return quote_from_bytes(decoded, safe="/~")


def encode_component(decoded: bytes) -> str:
    """SigV4's UriEncode of a query name or value: `/` is escaped too."""
    return quote_from_bytes(decoded, safe="~")


def canonical_path(raw_path: str) -> str:
    """The path as SigV4 signs it for S3: decoded once and encoded again, nothing normalised."""
    if _CANONICAL_PATH.fullmatch(raw_path) is not None:
        return raw_path or "/"
    return encode_path(decode_escapes(raw_path))


def split_query(raw_query: str) -> list[tuple[bytes, bytes]]:
    """Decoded (name, value) pairs in the order sent; a name without `=` has the value b"".

    Raises:
        S3Error: InvalidURI for a bad escape, InvalidArgument for more than `QUERY_FIELDS_MAX`
            fields.
    """
    if not raw_query:
        return []
    fields = raw_query.split("&")
    if len(fields) > QUERY_FIELDS_MAX:
        raise S3Error("InvalidArgument", "The request has too many query parameters.")
    pairs = []
    for item in fields:
        if item:
            name, _, value = item.replace("+", " ").partition("=")
            pairs.append((decode_escapes(name), decode_escapes(value)))
    return pairs


def query_fields(raw_query: str) -> list[tuple[str, str]]:
    """`split_query` as text.

    Raises:
        S3Error: as `split_query`; InvalidURI also for bytes that are not UTF-8.
    """
    try:
        return [(name.decode(), value.decode()) for name, value in split_query(raw_query)]
    except UnicodeDecodeError:
        raise S3Error("InvalidURI") from None


def canonical_query(pairs: Iterable[tuple[bytes, bytes]]) -> str:
    """The query as SigV4 signs it: every decoded (name, value) encoded, sorted by code point."""
    encoded = [(encode_component(name), encode_component(value)) for name, value in pairs]
    encoded.sort()
    return "&".join([f"{name}={value}" for name, value in encoded])
