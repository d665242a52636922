"""Record codec: versions, parts and documents to row values and back.

Not for row keys (`gateway.meta.keyspace`) nor for the seal itself (`gateway.meta.sealing`); uploads
and stripes are in the modules of their families. Hot records are packed
structs, cold ones canonical JSON. Whatever a row fails by (length, seal, structure), its reader
sees RowCorrupt.

Inside the seal, hot tenant parts start with what LIST prints at fixed offsets, so a page of a
listing costs one AES-GCM open and one unpack per row. All texts of a record are one UTF-8 string
with NUL between them; their number is in the fixed part. Bytes of a header that are no UTF-8 are
kept (surrogateescape).

Formats change by a marker of their own in `gateway.meta.sealing`, with a function from the older
form to this one.

Invariants: D5. Source: docs/data-layout.md, "Records".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from struct import Struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from gateway.meta.documents import open_document, seal_document
from gateway.meta.keyspace import HEAD_BYTES
from gateway.meta.kv import Row, RowCorrupt
from gateway.meta.record_fields import (
    CHECKSUM_CODES,
    CHECKSUM_NAMES,
    IS_MARKER,
    MALFORMED,
    StoredBytes,
    canonical_json,
    etag_text,
    pack_bytes,
    pack_etag,
    pack_texts,
    unpack_bytes,
    unpack_texts,
)
from gateway.meta.sealing import (
    HEADER_BYTES,
    MARKER,
    TENANT_AAD,
    NonceSource,
    RecordKeys,
    UnknownRowMarker,
    key_epoch_of,
    open_cluster,
    open_tenant,
    record_cipher,
    replace_cluster_part,
    seal_row,
)
from gateway.model.attributes import NO_ATTRIBUTES, attributes_of, document_of
from gateway.model.layout import Layout
from gateway.model.names import ObjectUuid
from gateway.model.version import STORAGE_CLASSES, Checksum, PartRun, PartSeal, Version

__all__ = [
    "ListingEntry",
    "NonceSource",
    "RecordKeys",
    "StoredBytes",
    "StoredVersion",
    "UnknownRowMarker",
    "move_layout",
    "open_document",
    "open_listing_page",
    "open_plain_bytes",
    "open_stored_bytes",
    "open_version",
    "record_cipher",
    "replace_cluster_part",
    "seal_document",
    "seal_version",
]

# Tenant part of a version. What LIST prints: flags, content bytes, created, etag, etag parts,
# class, checksum.
_LISTING = Struct(">BQQ16sHBB")
# The same and the rest: version id, sequence, owner, bytes of the wrapped DEK, counts of headers,
# metadata, tags, runs.
_VERSION = Struct(">BQQ16sHBB16sQ16sHHHHH")
_SEAL = Struct(">24s32s")
_RUN = Struct(">HHQ")
_DELETE_MARKER, _HAS_SEAL, _OPAQUE_ETAG, _HAS_ATTRIBUTES = 1, 2, 4, 8

_OWNER = b'"owner_id":"'  # in the attributes, the last text of a record
_decode_json = json.JSONDecoder().raw_decode
_STORAGE_CLASS_CODES = {name: code for code, name in enumerate(STORAGE_CLASSES)}


class ListingEntry(NamedTuple):
    """What LIST prints of a current version. `checksum_algorithm` and `checksum_type` are "" when
    it has none, and so is `owner_id` for the bucket's owner. A tuple, because a page has a thousand
    of them.
    """

    key: str
    etag: str
    content_bytes: int
    created_at_ms: int
    storage_class: str
    checksum_algorithm: str = ""
    checksum_type: str = ""
    is_delete_marker: bool = False
    owner_id: str = ""


_listing_entry = partial(tuple.__new__, ListingEntry)  # without a Python call per row


class StoredVersion(NamedTuple):
    """A version row. `layout` is None for a delete marker and for a multipart object (its part rows
    have them).
    """

    version: Version
    layout: Layout | None
    retain_until_ms: int
    revision: bytes


def seal_version(
    keys: RecordKeys,
    nonces: NonceSource,
    row_key: bytes,
    version: Version,
    layout: Layout | None,
) -> bytes:
    """Row value of a version at a fresh revision; `layout` None for delete markers and multipart
    objects.
    """
    seal, runs, checksum = version.seal, version.part_runs, version.checksum
    flags = _DELETE_MARKER if version.is_delete_marker else 0
    texts: list[str] = []
    etag, etag_parts = pack_etag(version.etag)
    if etag_parts < 0:
        flags |= _OPAQUE_ETAG
        etag_parts = 0
        texts.append(version.etag)
    code = 0
    if checksum is not None:
        code = CHECKSUM_CODES[checksum.algorithm, checksum.type]
        texts.append(checksum.value)
    for pairs in (version.headers, version.user_metadata, version.tags):
        for pair in pairs:
            texts += pair
    attributes = version.attributes
    if attributes is not NO_ATTRIBUTES:
        flags |= _HAS_ATTRIBUTES
        texts.append(canonical_json(document_of(attributes)).decode("ascii"))
    sealed = b""
    if seal is not None:
        assert seal.plain_bytes == version.content_bytes and layout is not None and not runs
        flags |= _HAS_SEAL
        sealed = _SEAL.pack(seal.salt, seal.commitment)
    else:
        assert layout is None, "a layout belongs to the row of its part"
    fixed = _VERSION.pack(
        flags,
        version.content_bytes,
        version.created_at_ms,
        etag,
        etag_parts,
        _STORAGE_CLASS_CODES[version.storage_class],
        code,
        version.version_id,
        version.sequence,
        version.owner,
        len(version.wrapped_dek),
        len(version.headers),
        len(version.user_metadata),
        len(version.tags),
        len(runs),
    )
    packed_runs = b"".join([_RUN.pack(r.first, r.count, r.plain_bytes) for r in runs])
    tenant = b"".join((fixed, version.wrapped_dek, sealed, packed_runs, pack_texts(texts)))
    cluster = _cluster_part(version, layout)
    return seal_row(keys, nonces, row_key, cluster, tenant=tenant, key_epoch=version.key_epoch)


def _cluster_part(version: Version, layout: Layout | None) -> bytes:
    mark = _STORAGE_CLASS_CODES[version.storage_class]
    if version.is_delete_marker:
        mark |= IS_MARKER
    retain_until_ms = version.attributes.retain_until_ms
    return pack_bytes(layout, version.content_bytes, retain_until_ms, version.object_uuid, mark)


def open_version(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredVersion:
    """A whole version row. Raises: RowCorrupt."""
    cluster = open_cluster(keys, row_key, value)
    tenant = open_tenant(keys, row_key, value)
    try:
        layout, _, retain_until_ms, object_uuid, _ = unpack_bytes(cluster)
        version = _unpack_version(tenant, object_uuid, key_epoch_of(value))
    except MALFORMED as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error
    return StoredVersion(version, layout, retain_until_ms, value[1:13])


def _unpack_version(tenant: bytes, object_uuid: ObjectUuid, key_epoch: int) -> Version:
    (
        flags,
        content_bytes,
        created_at_ms,
        etag,
        etag_parts,
        storage_class,
        code,
        version_id,
        sequence,
        owner,
        dek_bytes,
        header_count,
        metadata_count,
        tag_count,
        run_count,
    ) = _VERSION.unpack_from(tenant)
    at = _VERSION.size + dek_bytes
    wrapped_dek = tenant[_VERSION.size : at]
    seal = None
    if flags & _HAS_SEAL:
        salt, commitment = _SEAL.unpack_from(tenant, at)
        at += _SEAL.size
        seal = PartSeal(plain_bytes=content_bytes, salt=salt, commitment=commitment)
    runs = _unpack_runs(tenant, at, run_count) if run_count else ()
    at += run_count * _RUN.size
    opaque, has_checksum = bool(flags & _OPAQUE_ETAG), bool(code)
    pair_count = header_count + metadata_count + tag_count
    has_attributes = bool(flags & _HAS_ATTRIBUTES)
    held = unpack_texts(tenant[at:], opaque + has_checksum + 2 * pair_count + has_attributes)
    attributes = attributes_of(json.loads(held.pop())) if has_attributes else NO_ATTRIBUTES
    texts = iter(held)
    printed_etag = next(texts) if opaque else etag_text(etag, etag_parts)
    checksum = None
    if has_checksum:
        algorithm, kind = CHECKSUM_NAMES[code]
        checksum = Checksum(algorithm=algorithm, type=kind, value=next(texts))
    pairs = tuple(zip(texts, texts, strict=True)) if pair_count else ()
    last = header_count + metadata_count
    return Version(
        version_id=version_id,
        object_uuid=object_uuid,
        sequence=sequence,
        created_at_ms=created_at_ms,
        content_bytes=content_bytes,
        etag=printed_etag,
        is_delete_marker=bool(flags & _DELETE_MARKER),
        storage_class=STORAGE_CLASSES[storage_class],
        headers=pairs[:header_count],
        user_metadata=pairs[header_count:last],
        tags=pairs[last:],
        checksum=checksum,
        wrapped_dek=wrapped_dek,
        key_epoch=key_epoch,
        owner=owner,
        seal=seal,
        part_runs=runs,
        attributes=attributes,
    )


def _unpack_runs(tenant: bytes, at: int, run_count: int) -> tuple[PartRun, ...]:
    """Sizes of `run_count` runs of parts, which start at byte `at`."""
    return tuple(
        PartRun(first=first, count=count, plain_bytes=plain_bytes)
        for first, count, plain_bytes in _RUN.iter_unpack(tenant[at : at + run_count * _RUN.size])
    )


def open_listing_page(keys: RecordKeys, rows: Sequence[Row]) -> list[ListingEntry]:
    """What LIST prints of current rows; opens tenant parts only. The checks of `open_tenant` stand
    here again because a call per row would cost a third of the time.

    Raises: RowCorrupt.
    """
    entries: list[ListingEntry] = []
    append, entry_of, classes = entries.append, _listing_entry, STORAGE_CLASSES
    cipher_of, unpack = keys.bucket, _LISTING.unpack_from
    partition = lengths = b""  # of the row before: its neighbours have the same, nearly always
    cipher, end = keys.cluster, 0
    row_key = b""
    try:
        for row_key, value in rows:
            if value[0] != MARKER:
                raise UnknownRowMarker(row_key=row_key[:64].hex(), marker=value[0])
            if value[25:33] != lengths or row_key[1:17] != partition:
                partition, lengths = row_key[1:17], value[25:33]
                cipher = cipher_of(partition, key_epoch_of(value))
                end = HEADER_BYTES + int.from_bytes(lengths[4:], "big")
            tenant = cipher.decrypt(value[13:25], value[end:], TENANT_AAD + row_key)
            flags, content_bytes, created_at_ms, etag, etag_parts, number, code = unpack(tenant)
            if flags & _OPAQUE_ETAG:
                text = _unpack_version(tenant, ObjectUuid(b""), 0).etag
            else:
                text = f"{etag.hex()}-{etag_parts}" if etag_parts else etag.hex()
            (algorithm, kind), is_marker = CHECKSUM_NAMES[code], flags & _DELETE_MARKER != 0
            owner_id = _owner_in(tenant) if flags & _HAS_ATTRIBUTES else ""
            found = (
                row_key[HEAD_BYTES:].decode(),
                text,
                content_bytes,
                created_at_ms,
                classes[number],
                algorithm,
                kind,
                is_marker,
                owner_id,
            )
            append(entry_of(found))
    except (InvalidTag, *MALFORMED) as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="tenant") from error
    return entries


def _owner_in(tenant: bytes) -> str:
    """Canonical id of a version's owner, without reading the rest of its attributes: as JSON they
    hold no NUL, and a quote inside a value is escaped.
    """
    at = tenant.rfind(_OWNER)
    if at < 0 or at < tenant.rfind(b"\0"):
        return ""
    owner_id: str = _decode_json(tenant[at + len(_OWNER) - 1 :].decode("ascii"))[0]
    return owner_id


def open_stored_bytes(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredBytes:
    """The cluster part of a version or part row. Needs no tenant key. Raises: RowCorrupt."""
    try:
        return unpack_bytes(open_cluster(keys, row_key, value))
    except MALFORMED as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error


def open_plain_bytes(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredBytes | None:
    """The cluster part of a version of one part without attributes: all it takes to release it.

    Both parts are opened and checked, as `open_version` does. None: the version is none of these.

    Raises: RowCorrupt.
    """
    cluster = open_cluster(keys, row_key, value)
    tenant = open_tenant(keys, row_key, value)
    try:
        if tenant[0] & (_HAS_SEAL | _HAS_ATTRIBUTES) != _HAS_SEAL:
            return None
        return unpack_bytes(cluster)
    except MALFORMED as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error


def move_layout(
    keys: RecordKeys, nonces: NonceSource, row_key: bytes, value: bytes, layout: Layout
) -> bytes:
    """The version or part row with its bytes elsewhere: what compaction commits. Needs no tenant
    key.

    Raises: RowCorrupt.
    """
    held = open_stored_bytes(keys, row_key, value)
    assert held.layout is not None and held.layout.sealed_bytes == layout.sealed_bytes
    cluster = pack_bytes(
        layout, held.plain_bytes, held.retain_until_ms, held.object_uuid, held.mark
    )
    return replace_cluster_part(keys, nonces, row_key, value, cluster)
