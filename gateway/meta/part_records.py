"""Record codec of parts: those of uploads in progress and of multipart objects, in the same rows.
Annotations have the same fields.

Not for row keys, nor for what makes parts an object. Whatever a row fails by, its reader sees
RowCorrupt.

Source: docs/data-layout.md, "Records".
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from gateway.meta import keyspace
from gateway.meta.kv import RowCorrupt, revision_of
from gateway.meta.record_fields import (
    CHECKSUM_CODES,
    CHECKSUM_NAMES,
    MALFORMED,
    pack_bytes,
    pack_etag,
    pack_texts,
    unpack_bytes,
    unpack_texts,
)
from gateway.meta.sealing import (
    NonceSource,
    RecordKeys,
    key_epoch_of,
    open_cluster,
    open_tenant,
    seal_row,
)
from gateway.model.layout import Layout
from gateway.model.version import Checksum, Part, PartSeal

# Tenant part of a part: flags, created, etag, checksum, salt, commitment, plain bytes; then the
# texts.
_PART = Struct(">BQ16sB24s32sQ")

_OPAQUE_ETAG = 4


class StoredPart(NamedTuple):
    """A part row."""

    part: Part
    layout: Layout
    revision: bytes
    key_epoch: int


def seal_part(
    keys: RecordKeys,
    nonces: NonceSource,
    row_key: bytes,
    part: Part,
    layout: Layout,
    *,
    key_epoch: int,
    retain_until_ms: int = 0,
) -> bytes:
    """Row value of a part at a fresh revision."""
    _, uuid, number = keyspace.parse_part(row_key)
    assert number == part.number
    cluster = pack_bytes(layout, part.plain_bytes, retain_until_ms, uuid)
    tenant = pack_part(part)
    return seal_row(keys, nonces, row_key, cluster, tenant=tenant, key_epoch=key_epoch)


def pack_part(part: Part) -> bytes:
    """Tenant part of a row: what a part says beside its number and its place."""
    checksum, texts, flags = part.checksum, [], 0
    etag, etag_parts = pack_etag(part.etag)
    if etag_parts:
        flags |= _OPAQUE_ETAG
        texts.append(part.etag)
    code = 0
    if checksum is not None:
        code = CHECKSUM_CODES[checksum.algorithm, checksum.type]
        texts.append(checksum.value)
    seal = part.seal
    return _PART.pack(
        flags, part.created_at_ms, etag, code, seal.salt, seal.commitment, seal.plain_bytes
    ) + pack_texts(texts)


def open_part(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredPart:
    """A whole part row. Raises: RowCorrupt."""
    return open_numbered(keys, row_key, value, keyspace.parse_part(row_key)[2])


def open_numbered(keys: RecordKeys, row_key: bytes, value: bytes, number: int) -> StoredPart:
    """A whole row with the fields of a part. Raises: RowCorrupt."""
    cluster = open_cluster(keys, row_key, value)
    tenant = open_tenant(keys, row_key, value)
    try:
        layout = unpack_bytes(cluster).layout
        if layout is None:
            raise ValueError("a part has bytes")
        part = _unpack_part(tenant, number)
    except MALFORMED as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error
    return StoredPart(part, layout, revision_of(value), key_epoch_of(value))


def _unpack_part(tenant: bytes, number: int) -> Part:
    flags, created_at_ms, etag, code, salt, commitment, plain_bytes = _PART.unpack_from(tenant)
    opaque, has_checksum = bool(flags & _OPAQUE_ETAG), bool(code)
    texts = unpack_texts(tenant[_PART.size :], opaque + has_checksum)
    checksum = None
    if has_checksum:
        algorithm, kind = CHECKSUM_NAMES[code]
        checksum = Checksum(algorithm=algorithm, type=kind, value=texts[opaque])
    return Part(
        number=number,
        seal=PartSeal(plain_bytes=plain_bytes, salt=salt, commitment=commitment),
        etag=texts[0] if opaque else etag.hex(),
        checksum=checksum,
        created_at_ms=created_at_ms,
    )
