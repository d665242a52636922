"""Attributes of a shard: what a gateway writes beside each cell, and its keyed tags.

Not for the bytes a node adds around it (`storaged.shardformat`); a node keeps this without looking
inside.

Form, big-endian: "HXS" ‖ format u8 = 1 ‖ index u8 ‖ k u8 ‖ m u8 ‖ 0 u8 ‖ cell_bytes u32 ‖
payload_bytes u32 ‖ common length u16 ‖ common ‖ tag count u16 ‖ tags of 16 bytes each. `common` is
opaque here and the same in all shards of a stripe: the header of a commit stripe, or nothing.

A tag is AES-256-GMAC over 64 KiB of the cell. Its key is bound to the cluster, stripe, geometry,
lengths and `common`, its nonce to index and unit: a shard cannot pass for another one, nor for
another place, and a node cannot forge it.

Invariants: D4 (a stripe id is sealed once, so a nonce is used for one content), D5.
Source: docs/data-layout.md, "Shard attributes"; NIST SP 800-38D (GMAC).
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.data.geometry import tag_count
from gateway.limits import TAG_BYTES, TAG_UNIT_BYTES
from gateway.model.encoding import enc
from gateway.model.layout import Geometry
from storaged.base.errors import Kind, ProtocolError, StorageError
from storaged.base.ids import StripeId
from storaged.base.limits import ATTRIBUTES_BYTES_MAX
from storaged.node import Buffer

MAGIC = b"HXS"
FORMAT = 1

_FIXED = struct.Struct(">3sBBBBBIIH")
_COUNT = struct.Struct(">H")
_NONCE = struct.Struct(">B3xQ")


class ShardHeaderInvalid(ProtocolError):
    """The attributes of a shard are not of a form we know."""

    kind = Kind.CORRUPT


class TagMismatch(StorageError):
    """Bytes of a cell fail their keyed tag."""

    kind = Kind.CORRUPT


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardHeader:
    """Parsed attributes. `tags`: 16 bytes for each tag unit of the cell, in a row."""

    index: int
    geometry: Geometry
    cell_bytes: int
    payload_bytes: int
    common: bytes
    tags: bytes


def tag_key(
    integrity_key: bytes,
    cluster_id: bytes,
    stripe: StripeId,
    geometry: Geometry,
    *,
    cell_bytes: int,
    payload_bytes: int,
    common: bytes,
) -> AESGCM:
    """The key of a stripe's tags."""
    info = enc(
        "shard-tag",
        cluster_id,
        stripe.encode(),
        geometry.k,
        geometry.m,
        cell_bytes,
        payload_bytes,
        sha256(common).digest(),
    )
    return AESGCM(hmac.digest(integrity_key, info, "sha256"))


def tag_cell(key: AESGCM, index: int, cell: memoryview, first_unit: int = 0) -> bytes:
    """Tags of a run of whole tag units of one cell that starts at unit `first_unit`."""
    seal = key.encrypt
    if cell.nbytes <= TAG_UNIT_BYTES:
        return seal(_NONCE.pack(index, first_unit), b"", cell)
    return b"".join(
        [
            seal(_NONCE.pack(index, first_unit + i), b"", cell[start : start + TAG_UNIT_BYTES])
            for i, start in enumerate(range(0, cell.nbytes, TAG_UNIT_BYTES))
        ]
    )


def encode_headers(
    geometry: Geometry,
    *,
    cell_bytes: int,
    payload_bytes: int,
    common: bytes,
    tags: Sequence[tuple[int, bytes]],
) -> list[bytes]:
    """Attributes of shards of one stripe.

    Args:
        tags: (index, tags of its cell) for each shard wanted.

    Returns:
        Attributes in the order of `tags`, at most ATTRIBUTES_BYTES_MAX bytes each.
    """
    head = bytearray(_FIXED.size)
    _FIXED.pack_into(
        head,
        0,
        MAGIC,
        FORMAT,
        0,
        geometry.k,
        geometry.m,
        0,
        cell_bytes,
        payload_bytes,
        len(common),
    )
    count = tag_count(cell_bytes)
    rest = bytes(head[5:]) + common + _COUNT.pack(count)
    start = bytes(head[:4])
    headers = [b"%b%c%b%b" % (start, index, rest, own) for index, own in tags]
    assert all(len(h) <= ATTRIBUTES_BYTES_MAX for h in headers)
    assert all(len(own) == count * TAG_BYTES for _, own in tags)
    return headers


def tagged_shards(
    key: AESGCM,
    geometry: Geometry,
    *,
    cell_bytes: int,
    payload_bytes: int,
    common: bytes,
    cells: Mapping[int, memoryview],
) -> dict[int, tuple[bytes, memoryview]]:
    """Attributes and cell of each shard, ready to be put.

    Args:
        key: of the stripe, made by `tag_key` of the same lengths and `common`.
        cells: whole cells by index.
    """
    headers = encode_headers(
        geometry,
        cell_bytes=cell_bytes,
        payload_bytes=payload_bytes,
        common=common,
        tags=[(index, tag_cell(key, index, cell)) for index, cell in cells.items()],
    )
    return {
        index: (attributes, cell)
        for (index, cell), attributes in zip(cells.items(), headers, strict=True)
    }


def parse_header(attributes: bytes) -> ShardHeader:
    """Parse attributes that came from a node; nothing in them is trusted before a tag is verified.

    Raises:
        ShardHeaderInvalid: not of this form.
    """
    if len(attributes) < _FIXED.size + _COUNT.size:
        raise ShardHeaderInvalid(attributes_bytes=len(attributes))
    magic, form, index, k, m, pad, cell_bytes, payload_bytes, common_bytes = _FIXED.unpack_from(
        attributes
    )
    if magic != MAGIC or form != FORMAT or pad:
        raise ShardHeaderInvalid(magic=magic.hex(), format=form)
    tags_at = _FIXED.size + common_bytes + _COUNT.size
    if tags_at > len(attributes) or not k or index >= k + m:
        raise ShardHeaderInvalid(index=index, k=k, m=m)
    (count,) = _COUNT.unpack_from(attributes, tags_at - _COUNT.size)
    if (
        count != tag_count(cell_bytes)
        or len(attributes) != tags_at + count * TAG_BYTES
        or payload_bytes > k * cell_bytes
    ):
        raise ShardHeaderInvalid(tags=count, cell_bytes=cell_bytes, payload_bytes=payload_bytes)
    return ShardHeader(
        index=index,
        geometry=Geometry(k, m),
        cell_bytes=cell_bytes,
        payload_bytes=payload_bytes,
        common=bytes(attributes[_FIXED.size : tags_at - _COUNT.size]),
        tags=bytes(attributes[tags_at:]),
    )


def check_range(key: AESGCM, header: ShardHeader, offset: int, content: Buffer) -> None:
    """Check whole tag units of a cell against the tags of its header.

    Args:
        key: the stripe's, derived with the lengths and `common` of this header.
        offset: where `content` starts in the cell, a multiple of TAG_UNIT_BYTES; it ends at one
            too, or at the cell's end.

    Raises:
        TagMismatch: the bytes are not those that were tagged at this index and offset.
    """
    view = memoryview(content)
    end = offset + view.nbytes
    assert offset % TAG_UNIT_BYTES == 0
    assert end == header.cell_bytes or end % TAG_UNIT_BYTES == 0, "whole units only"
    if end > header.cell_bytes:
        raise TagMismatch(index=header.index, end=end, cell_bytes=header.cell_bytes)
    first_unit = offset // TAG_UNIT_BYTES
    computed = tag_cell(key, header.index, view, first_unit) if view.nbytes else b""
    stored = header.tags[first_unit * TAG_BYTES : first_unit * TAG_BYTES + len(computed)]
    if not hmac.compare_digest(computed, stored):
        raise TagMismatch(index=header.index, offset=offset)
