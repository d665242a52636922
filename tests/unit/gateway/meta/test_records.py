"""Row values: round trips, every flipped bit, swapped rows, unique nonces, what each key opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from gateway.meta import keyspace as ks
from gateway.meta import part_records, records, sealing, stripes, uploads
from gateway.meta.annotations import open_annotation, seal_annotation
from gateway.meta.kv import Row, RowCorrupt, revision_of
from gateway.model.attributes import NO_ATTRIBUTES, Attributes, Encryption, Grant
from gateway.model.layout import Packed
from gateway.model.names import BucketId, ObjectKey, ObjectUuid
from gateway.model.version import (
    CHECKSUM_ALGORITHMS,
    CHECKSUM_TYPES,
    STORAGE_CLASSES,
    Checksum,
    PartRun,
    PartSeal,
)
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import StripeFamily, StripeId
from tests.support.sample_rows import (
    ANNOTATION_ROW,
    BUCKET,
    KEY,
    KEYS,
    NONCES,
    OTHER,
    PACKED,
    PART,
    PART_ROW,
    ROW,
    STRIPE,
    STRIPE_ROW,
    STRIPED,
    UPLOAD,
    UPLOAD_ROW,
    VERSION,
    bucket_cipher,
    seal,
)


class KeyDisabled(StorageError):
    """The tenant's key is disabled."""

    kind = Kind.DENIED


def no_cipher(bucket: BucketId, epoch: int) -> AESGCM:
    raise KeyDisabled()


def listed(keys: sealing.RecordKeys, row_key: bytes, value: bytes) -> records.ListingEntry:
    return records.open_listing_page(keys, (Row(row_key, value),))[0]


TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.just("\udc80"), max_size=8
)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
ETAGS = st.one_of(
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.builds(
        lambda raw, n: f"{raw.hex()}-{n}",
        st.binary(min_size=16, max_size=16),
        st.integers(1, 99999),
    ),
    st.sampled_from(
        ["", "x", "-", "ab" * 16 + "-0", "ab" * 16 + "-01", "AB" * 16, "ab" * 16 + "-"]
    ),
    TEXT,
)
CHECKSUMS = st.none() | st.builds(
    Checksum,
    algorithm=st.sampled_from(CHECKSUM_ALGORITHMS),
    type=st.sampled_from(CHECKSUM_TYPES),
    value=TEXT,
)
U64 = st.integers(0, (1 << 64) - 1)
ATTRIBUTES = st.just(NO_ATTRIBUTES) | st.builds(
    Attributes,
    null_sequence=U64,
    noncurrent_since_ms=U64,
    owner_id=TEXT,
    acl=st.lists(st.builds(Grant, kind=TEXT, grantee=TEXT, permission=TEXT), max_size=2).map(tuple),
    retention_mode=st.sampled_from(["", "GOVERNANCE", "COMPLIANCE"]),
    retain_until_ms=U64,
    legal_hold=st.booleans(),
    encryption=st.none()
    | st.builds(Encryption, kind=TEXT, key_id=TEXT, bucket_key=st.booleans(), context=TEXT),
    replication=TEXT,
)
RUNS = st.lists(
    st.builds(PartRun, first=st.integers(1, 9999), count=st.integers(1, 9999), plain_bytes=U64),
    min_size=1,
    max_size=4,
).map(tuple)


@given(
    st.data(), ETAGS, PAIRS, PAIRS, PAIRS, CHECKSUMS, U64, st.sampled_from(["one", "many", "none"])
)
def test_any_version_comes_back(
    data: st.DataObject,
    etag: str,
    headers: tuple[tuple[str, str], ...],
    metadata: tuple[tuple[str, str], ...],
    tags: tuple[tuple[str, str], ...],
    checksum: Checksum | None,
    content_bytes: int,
    parts: str,
) -> None:
    seal_of_part = PartSeal(plain_bytes=content_bytes, salt=b"s" * 24, commitment=b"m" * 32)
    version = replace(
        VERSION,
        etag=etag,
        headers=headers,
        user_metadata=metadata,
        tags=tags,
        checksum=checksum,
        content_bytes=content_bytes,
        is_delete_marker=parts == "none",
        storage_class=data.draw(st.sampled_from(STORAGE_CLASSES)),
        wrapped_dek=data.draw(st.binary(max_size=120)),
        seal=seal_of_part if parts == "one" else None,
        part_runs=data.draw(RUNS) if parts == "many" else (),
        attributes=data.draw(ATTRIBUTES),
    )
    retained_ms = version.attributes.retain_until_ms
    layout = data.draw(st.sampled_from([PACKED, STRIPED])) if parts == "one" else None
    value = seal(version, layout)
    assert records.open_version(KEYS, ROW, value) == (
        version,
        layout,
        retained_ms,
        revision_of(value),
    )
    entry = listed(KEYS, ROW, value)
    assert entry == (
        ROW[ks.HEAD_BYTES :].decode(),
        etag,
        content_bytes,
        version.created_at_ms,
        version.storage_class,
        checksum.algorithm if checksum else "",
        checksum.type if checksum else "",
        version.is_delete_marker,
        version.attributes.owner_id,
    )
    stored = records.open_stored_bytes(KEYS, ROW, value)
    assert stored[:4] == (layout, content_bytes, retained_ms, version.object_uuid)
    assert STORAGE_CLASSES[stored.mark & 0x7F] == version.storage_class
    assert (stored.mark & 0x80 != 0) == version.is_delete_marker
    is_plain = parts == "one" and version.attributes is NO_ATTRIBUTES
    assert records.open_plain_bytes(KEYS, ROW, value) == (stored if is_plain else None)


def test_a_listing_takes_no_owner_from_what_clients_say() -> None:
    claimed = (("owner_id", '{"owner_id":"eve"}'), ("acl", '"owner_id":"eve"'))
    for attributes, owner in (
        (NO_ATTRIBUTES, ""),
        (Attributes(legal_hold=True), ""),
        (Attributes(owner_id='a"}é\\', legal_hold=True, replication="x"), 'a"}é\\'),
    ):
        version = replace(VERSION, user_metadata=claimed, tags=claimed, attributes=attributes)
        assert listed(KEYS, ROW, seal(version)).owner_id == owner


@given(ETAGS, CHECKSUMS, st.integers(1, 10_000))
def test_any_part_comes_back(etag: str, checksum: Checksum | None, number: int) -> None:
    part = replace(PART, etag=etag, checksum=checksum, number=number)
    row_key = ks.part_row(BUCKET, ObjectUuid(b"\x22" * 16), number)
    value = part_records.seal_part(KEYS, NONCES, row_key, part, STRIPED, key_epoch=3)
    assert part_records.open_part(KEYS, row_key, value) == (part, STRIPED, revision_of(value), 3)


@given(ETAGS, CHECKSUMS, st.binary(min_size=1, max_size=512))
def test_any_annotation_comes_back(etag: str, checksum: Checksum | None, name: bytes) -> None:
    held = replace(PART, etag=etag, checksum=checksum, number=0)
    row_key = ks.annotation_row(BUCKET, UPLOAD.object_uuid, name)
    value = seal_annotation(KEYS, NONCES, row_key, held, STRIPED, key_epoch=3)
    assert open_annotation(KEYS, row_key, value) == (name, (held, STRIPED, revision_of(value), 3))
    assert records.open_stored_bytes(KEYS, row_key, value).layout == STRIPED


def test_uploads_stripes_and_documents_come_back() -> None:
    value = uploads.seal_upload(KEYS, NONCES, UPLOAD_ROW, UPLOAD)
    assert uploads.open_upload(KEYS, UPLOAD_ROW, value) == (UPLOAD, revision_of(value))
    row_key = ks.stripe_row(STRIPE)
    assert stripes.open_stripe(KEYS, row_key, stripes.seal_stripe(KEYS, NONCES, STRIPE_ROW)) == (
        STRIPE_ROW
    )
    document = {"b": [1, "é"], "a": None}
    row_key = ks.cluster_row("setting")
    sealed = records.seal_document(KEYS, NONCES, row_key, document)
    assert records.open_document(KEYS, row_key, sealed) == document


Reader = Callable[[bytes, bytes], object]
CASES: dict[str, tuple[bytes, Callable[[], bytes], Reader]] = {
    "version": (ROW, seal, lambda k, v: records.open_version(KEYS, k, v)),
    "plain": (ROW, seal, lambda k, v: records.open_plain_bytes(KEYS, k, v)),
    "multipart": (
        ROW,
        lambda: seal(
            replace(VERSION, seal=None, part_runs=(PartRun(first=1, count=2, plain_bytes=2048),)),
            None,
        ),
        lambda k, v: records.open_version(KEYS, k, v),
    ),
    "part": (
        PART_ROW,
        lambda: part_records.seal_part(KEYS, NONCES, PART_ROW, PART, PACKED, key_epoch=3),
        lambda k, v: part_records.open_part(KEYS, k, v),
    ),
    "annotation": (
        ANNOTATION_ROW,
        lambda: seal_annotation(KEYS, NONCES, ANNOTATION_ROW, PART, PACKED, key_epoch=3),
        lambda k, v: open_annotation(KEYS, k, v),
    ),
    "upload": (
        UPLOAD_ROW,
        lambda: uploads.seal_upload(KEYS, NONCES, UPLOAD_ROW, UPLOAD),
        lambda k, v: uploads.open_upload(KEYS, k, v),
    ),
    "stripe": (
        ks.stripe_row(STRIPE),
        lambda: stripes.seal_stripe(KEYS, NONCES, STRIPE_ROW),
        lambda k, v: stripes.open_stripe(KEYS, k, v),
    ),
    "document": (
        ks.cluster_row("setting"),
        lambda: records.seal_document(KEYS, NONCES, ks.cluster_row("setting"), {"a": 1}),
        lambda k, v: records.open_document(KEYS, k, v),
    ),
}


def flipped(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


@pytest.mark.proves("B-06")
@pytest.mark.parametrize("case", CASES)
def test_every_flipped_bit_and_every_cut_is_seen(case: str) -> None:
    row_key, make, read = CASES[case]
    value = make()
    read(row_key, value)
    for bit in range(8 * len(value)):
        with pytest.raises(RowCorrupt):
            read(row_key, flipped(value, bit))
    for bit in range(8 * len(row_key)):
        with pytest.raises(RowCorrupt):
            read(flipped(row_key, bit), value)
    for length in range(len(value)):
        with pytest.raises(RowCorrupt):
            read(row_key, value[:length])
    with pytest.raises(RowCorrupt):
        read(row_key, value + b"\x00")


def test_listing_sees_every_flip_in_what_it_reads() -> None:
    value = seal()
    cluster_end = 33 + int.from_bytes(value[29:33], "big")
    for byte in (0, *range(13, 33), *range(cluster_end, len(value))):
        for bit in range(8 * byte, 8 * byte + 8):
            with pytest.raises(RowCorrupt):
                listed(KEYS, ROW, flipped(value, bit))
    for length in range(len(value)):
        with pytest.raises(RowCorrupt):
            listed(KEYS, ROW, value[:length])


@pytest.mark.proves("CRY-06", "B-06")
def test_swapped_rows_are_seen() -> None:
    for other in (
        ks.current_row(BUCKET, ObjectKey(b"other")),
        ks.current_row(OTHER, KEY),
        ks.noncurrent_row(BUCKET, KEY, 7),
    ):
        for read in (
            records.open_version,
            listed,
            records.open_stored_bytes,
            records.open_plain_bytes,
        ):
            with pytest.raises(RowCorrupt):
                read(KEYS, other, seal())  # type: ignore[operator]


@pytest.mark.proves("CRY-06")
def test_parts_of_two_generations_do_not_mix() -> None:
    older, newer = seal(), seal(replace(VERSION, sequence=8))
    end = 33 + int.from_bytes(older[29:33], "big")
    for mixed in (
        older[:end] + newer[end:],
        older[:13] + newer[13:25] + older[25:end] + newer[end:],
        newer[:33] + older[33:],
    ):
        with pytest.raises(RowCorrupt):
            records.open_version(KEYS, ROW, mixed)


def test_moving_the_bytes_needs_no_tenant_key_and_keeps_the_tenant_part() -> None:
    locked = sealing.RecordKeys(b"c" * 32, no_cipher)
    value = seal()
    elsewhere = Packed(stripe=StripeId(StripeFamily.PACK, 1, 2), offset=5, sealed_bytes=4112)
    moved = records.move_layout(locked, NONCES, ROW, value, elsewhere)
    assert revision_of(moved) != revision_of(value)
    assert records.open_version(KEYS, ROW, moved)[:3] == (VERSION, elsewhere, 0)
    assert records.open_stored_bytes(locked, ROW, moved).layout == elsewhere
    with pytest.raises(KeyDisabled):
        records.open_version(locked, ROW, moved)
    with pytest.raises(RowCorrupt):
        records.move_layout(locked, NONCES, ROW, flipped(value, 300), elsewhere)


@pytest.mark.proves("K-04", "I1")
def test_another_cluster_or_bucket_key_opens_nothing() -> None:
    other_cluster = sealing.RecordKeys(b"d" * 32, bucket_cipher)
    with pytest.raises(RowCorrupt):
        records.open_version(other_cluster, ROW, seal())
    other_bucket = sealing.RecordKeys(b"c" * 32, lambda b, e: bucket_cipher(b, e + 1))
    with pytest.raises(RowCorrupt):
        records.open_version(other_bucket, ROW, seal())


@pytest.mark.proves("K-19")
def test_unknown_marker_is_refused_by_name() -> None:
    value = b"\x02" + seal()[1:]
    for read in (records.open_version, listed, records.open_stored_bytes):
        with pytest.raises(sealing.UnknownRowMarker):
            read(KEYS, ROW, value)  # type: ignore[operator]


def test_nul_in_a_text_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="NUL"):
        seal(replace(VERSION, headers=(("a", "b\0c"),)))


def test_well_sealed_nonsense_is_corrupt() -> None:
    """A row that opens and has the wrong structure: a bug or a newer format, never a crash."""
    for cluster, tenant in ((b"", b""), (b"\x09" * 33, b"\x01" * 200), (b"\x02" * 40, b"")):
        value = sealing.seal_row(KEYS, NONCES, ROW, cluster, tenant=tenant, key_epoch=3)
        for read in (records.open_version, records.open_stored_bytes):
            with pytest.raises(RowCorrupt):
                read(KEYS, ROW, value)  # type: ignore[operator]
        if len(tenant) < 37:
            with pytest.raises(RowCorrupt):
                listed(KEYS, ROW, value)
        value = sealing.seal_row(KEYS, NONCES, PART_ROW, cluster, tenant=tenant, key_epoch=3)
        with pytest.raises(RowCorrupt):
            part_records.open_part(KEYS, PART_ROW, value)
        value = sealing.seal_row(KEYS, NONCES, UPLOAD_ROW, cluster, tenant=tenant, key_epoch=3)
        with pytest.raises(RowCorrupt):
            uploads.open_upload(KEYS, UPLOAD_ROW, value)
    row_key = ks.stripe_row(STRIPE)
    for cluster in (b"", b"[]", b"\x04\x02" + bytes(60)):
        value = sealing.seal_row(KEYS, NONCES, row_key, cluster, tenant=None, key_epoch=0)
        with pytest.raises(RowCorrupt):
            stripes.open_stripe(KEYS, row_key, value)
        with pytest.raises(RowCorrupt):
            records.open_document(KEYS, row_key, value)
