"""The fields that several kinds of record have: ETags, texts, checksums, and where bytes are.

Not for whole records. Readers raise what is in MALFORMED; the record codecs turn that into
RowCorrupt.

Source: docs/data-layout.md, "Records".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from gateway.model.layout import Layout, Packed, Striped
from gateway.model.names import ObjectUuid
from gateway.model.version import CHECKSUM_ALGORITHMS, CHECKSUM_TYPES
from storaged.base.ids import InvalidId, StripeId

# Cluster part of versions and parts: layout kind, plain bytes, retain-until, object uuid; then the
# layout.
_BYTES = Struct(">BQQ16s")
_STRIPED = Struct(">16sQQQ")  # first stripe, count, stripe bytes, sealed bytes
_PACKED = Struct(">16sQQ")  # stripe, offset, sealed bytes
_NO_LAYOUT, _IS_STRIPED, _IS_PACKED = 0, 1, 2
# One byte after the layout of a version, its mark: code of the storage class, IS_MARKER added for a
# delete marker. It is left out where it is 0, as in every row written before there were marks.
IS_MARKER = 0x80
_MARK_AT = {
    _NO_LAYOUT: _BYTES.size,
    _IS_STRIPED: _BYTES.size + _STRIPED.size,
    _IS_PACKED: _BYTES.size + _PACKED.size,
}

CHECKSUM_CODES = {
    (algorithm, kind): 1 + 2 * number + offset
    for number, algorithm in enumerate(CHECKSUM_ALGORITHMS)
    for offset, kind in enumerate(CHECKSUM_TYPES)
}
CHECKSUM_NAMES: list[tuple[str, str]] = [("", ""), *CHECKSUM_CODES]  # by code; 0 = none
MALFORMED = (StructError, ValueError, IndexError, KeyError, TypeError, InvalidId)


# Versions written together share a commit stripe, so its id is decoded once: 0.1 µs instead of 1.4.
stripe_id = lru_cache(maxsize=4096)(StripeId.decode)


class StoredBytes(NamedTuple):
    """The cluster part of a version or part row: what reclaim, repair and compaction need, without
    a tenant key. `mark`: of a version, see `measured`.
    """

    layout: Layout | None
    plain_bytes: int
    retain_until_ms: int
    object_uuid: ObjectUuid
    mark: int = 0


def canonical_json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def pack_etag(etag: str) -> tuple[bytes, int]:
    """MD5 and part count (0: no suffix) of an ETag; part count −1 for a text of another form."""
    digest, dash, number = etag.partition("-")
    if len(digest) == 32:
        try:
            packed = bytes.fromhex(digest)
            parts = int(number) if dash else 0
        except ValueError:
            return bytes(16), -1
        if 0 <= parts <= 0xFFFF and etag == etag_text(packed, parts):
            return packed, parts
    return bytes(16), -1


def etag_text(digest: bytes, parts: int) -> str:
    return f"{digest.hex()}-{parts}" if parts else digest.hex()


def pack_texts(texts: list[str]) -> bytes:
    packed = "\0".join(texts).encode("utf-8", "surrogateescape")
    if texts and packed.count(0) != len(texts) - 1:
        raise ValueError("a text of a record must not hold NUL")
    return packed


def unpack_texts(packed: bytes, expected: int) -> list[str]:
    if not expected:
        if packed:
            raise ValueError("texts that nobody counts")
        return []
    texts = packed.decode("utf-8", "surrogateescape").split("\0")
    if len(texts) != expected:
        raise ValueError("texts and their count differ")
    return texts


def pack_bytes(
    layout: Layout | None,
    plain_bytes: int,
    retain_until_ms: int,
    object_uuid: bytes,
    mark: int = 0,
) -> bytes:
    packed_mark = bytes((mark,)) if mark else b""
    if isinstance(layout, Packed):
        head = _BYTES.pack(_IS_PACKED, plain_bytes, retain_until_ms, object_uuid)
        place = _PACKED.pack(layout.stripe.encode(), layout.offset, layout.sealed_bytes)
        return head + place + packed_mark
    if layout is None:
        return _BYTES.pack(_NO_LAYOUT, plain_bytes, retain_until_ms, object_uuid) + packed_mark
    head = _BYTES.pack(_IS_STRIPED, plain_bytes, retain_until_ms, object_uuid)
    place = _STRIPED.pack(
        layout.first.encode(), layout.stripe_count, layout.stripe_bytes, layout.sealed_bytes
    )
    return head + place + packed_mark


def measured(cluster: bytes) -> tuple[bool, int, int]:
    """Whether a cluster part has a layout, its plain bytes, and its mark."""
    kind, plain_bytes = cluster[0], int.from_bytes(cluster[1:9], "big")
    at = _MARK_AT[kind]
    return kind != _NO_LAYOUT, plain_bytes, cluster[at] if len(cluster) > at else 0


def unpack_bytes(cluster: bytes) -> StoredBytes:
    kind, plain_bytes, retain_until_ms, object_uuid = _BYTES.unpack_from(cluster)
    layout: Layout | None = None
    if kind == _IS_PACKED:
        stripe, offset, sealed_bytes = _PACKED.unpack_from(cluster, _BYTES.size)
        layout = Packed(stripe=stripe_id(stripe), offset=offset, sealed_bytes=sealed_bytes)
    elif kind == _IS_STRIPED:
        first, stripe_count, stripe_bytes, sealed_bytes = _STRIPED.unpack_from(cluster, _BYTES.size)
        layout = Striped(
            first=stripe_id(first),
            stripe_count=stripe_count,
            stripe_bytes=stripe_bytes,
            sealed_bytes=sealed_bytes,
        )
    elif kind != _NO_LAYOUT:
        raise ValueError("no such kind of layout")
    at = _MARK_AT[kind]
    mark = cluster[at] if len(cluster) > at else 0
    return StoredBytes(layout, plain_bytes, retain_until_ms, object_uuid, mark)
