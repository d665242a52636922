"""Row keys: order, ranges, seeking past common prefixes, and parsing back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.meta import keyspace as ks
from gateway.meta.kv import ROW_KEY_BYTES_MAX, RowCorrupt
from gateway.model.names import BucketId, BucketName, ObjectKey, ObjectUuid, TenantId, UploadId
from storaged.base.ids import StripeFamily, StripeId

BUCKET = BucketId(b"\x11" * 16)
KEYS = st.binary(min_size=1, max_size=12).filter(lambda raw: 0 not in raw).map(ObjectKey)
PREFIXES = st.binary(max_size=4).filter(lambda raw: 0 not in raw)
UUIDS = st.binary(min_size=16, max_size=16)


@given(KEYS, KEYS, st.integers(0, ks.SEQUENCE_MAX), st.integers(0, ks.SEQUENCE_MAX), UUIDS)
def test_rows_sort_as_their_keys_and_parse_back(
    a: ObjectKey, b: ObjectKey, first: int, second: int, uuid: bytes
) -> None:
    assert (a < b) == (ks.current_row(BUCKET, a) < ks.current_row(BUCKET, b))
    assert ks.parse_current(ks.current_row(BUCKET, a)) == (BUCKET, a)
    older, newer = ks.noncurrent_row(BUCKET, a, first), ks.noncurrent_row(BUCKET, b, second)
    assert (older < newer) == ((a, -first) < (b, -second))
    assert ks.parse_noncurrent(older) == (BUCKET, a, first)
    upload = UploadId(uuid)
    assert ks.parse_upload(ks.upload_row(BUCKET, a, upload)) == (BUCKET, a, upload)
    start, end = ks.noncurrent_range(BUCKET, a)
    assert (start <= newer < end) == (a == b)


@given(KEYS, PREFIXES)
def test_prefix_ranges_hold_exactly_the_keys_with_the_prefix(key: ObjectKey, prefix: bytes) -> None:
    inside = key.startswith(prefix)
    start, end = ks.object_prefix_range(BUCKET, prefix)
    assert (start <= ks.current_row(BUCKET, key) < end) == inside
    start, end = ks.upload_prefix_range(BUCKET, prefix)
    assert (start <= ks.upload_row(BUCKET, key, UploadId(bytes(16))) < end) == inside
    start, end = ks.noncurrent_prefix_range(BUCKET, prefix)
    assert (start <= ks.noncurrent_row(BUCKET, key, 1) < end) == inside


@given(UUIDS, UUIDS, st.binary(min_size=1, max_size=512), st.binary(max_size=4))
def test_annotations_of_a_version_are_a_range(
    uuid: bytes, other: bytes, name: bytes, prefix: bytes
) -> None:
    row = ks.annotation_row(BUCKET, ObjectUuid(uuid), name)
    assert ks.parse_annotation(row) == (BUCKET, uuid, name)
    assert len(row) <= ROW_KEY_BYTES_MAX
    start, end = ks.annotation_range(BUCKET, ObjectUuid(other), prefix)
    assert (start <= row < end) == (uuid == other and name.startswith(prefix))
    with pytest.raises(RowCorrupt):
        ks.parse_annotation(row[:33])


@given(KEYS, KEYS, UUIDS)
def test_seeking_lands_on_the_next_key(key: ObjectKey, mark: ObjectKey, uuid: bytes) -> None:
    row = ks.current_row(BUCKET, key)
    assert (row >= ks.after_object(BUCKET, mark)) == (key > mark)
    beyond = key > mark and not key.startswith(mark)
    assert (row >= ks.after_common_prefix(BUCKET, mark)) == beyond
    upload = ks.upload_row(BUCKET, key, UploadId(uuid))
    assert (upload >= ks.after_upload_prefix(BUCKET, mark)) == beyond
    assert (upload >= ks.after_uploads_of(BUCKET, mark)) == (key > mark)


def test_successor_carries_over_ff() -> None:
    assert ks.successor(b"a\xff\xff") == b"b"
    assert ks.object_prefix_range(BucketId(b"\x01" + b"\xff" * 15), b"\xff")[1] == b"O\x02"
    with pytest.raises(AssertionError):
        ks.successor(b"\xff")


def test_parts_stripes_and_bucket_rows() -> None:
    uuid = ObjectUuid(b"\x22" * 16)
    start, end = ks.part_range(BUCKET, uuid)
    for number in (1, 255, 256, 10_000, 65_535):
        row = ks.part_row(BUCKET, uuid, number)
        assert start <= row < end
        assert ks.parse_part(row) == (BUCKET, uuid, number)
    stripe = StripeId(StripeFamily.PACK, 7, 9)
    start, end = ks.stripe_range()
    assert start <= ks.stripe_row(stripe) < end
    assert ks.parse_stripe(ks.stripe_row(stripe)) == stripe
    start, end = ks.bucket_key_range(BUCKET)
    assert start <= ks.bucket_key_row(BUCKET, 0xFFFFFFFF) < end
    tenant = TenantId(b"\x33" * 16)
    start, end = ks.tenant_bucket_range(tenant, "ab")
    assert start <= ks.tenant_bucket_row(tenant, BucketName("abc")) < end
    assert not start <= ks.tenant_bucket_row(tenant, BucketName("aac")) < end


def test_families_are_all_different() -> None:
    families = [
        value for name, value in vars(ks).items() if name.isupper() and isinstance(value, bytes)
    ]
    single = [family for family in families if len(family) == 1]
    assert len(single) == len(set(single)) >= 13


def test_longest_rows_fit_the_port() -> None:
    key = ObjectKey(b"k" * 1024)
    assert len(ks.upload_row(BUCKET, key, UploadId(bytes(16)))) <= ROW_KEY_BYTES_MAX
    assert len(ks.noncurrent_row(BUCKET, key, 0)) <= ROW_KEY_BYTES_MAX


@pytest.mark.parametrize("parse", [ks.parse_current, ks.parse_noncurrent, ks.parse_upload])
@pytest.mark.parametrize("raw", [b"", b"O", b"P" * 60, b"O" + bytes(16), b"N" * 60, b"U" * 60])
def test_rows_of_other_families_are_refused(parse: object, raw: bytes) -> None:
    with pytest.raises(RowCorrupt):
        parse(raw)  # type: ignore[operator]


@pytest.mark.parametrize("raw", [b"", b"S" + bytes(16), b"S" + bytes(33), b"S" + bytes(32)])
def test_bad_stripe_and_part_rows_are_refused(raw: bytes) -> None:
    with pytest.raises(RowCorrupt):
        ks.parse_stripe(raw)
    with pytest.raises(RowCorrupt):
        ks.parse_part(b"P" + raw[1:])


def test_partition_of_short_keys_is_the_clusters() -> None:
    assert ks.partition_of(b"O" + BUCKET + b"k") == BUCKET
    assert ks.partition_of(b"Oab") == ks.CLUSTER_PARTITION
