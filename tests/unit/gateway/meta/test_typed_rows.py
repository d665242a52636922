"""Typed reads and batch builders over the memory store: the stories of buckets, uploads,
accounts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import pytest

from gateway.meta import accounts, bucket_key_rows, buckets, stripes, uploads, versions
from gateway.meta import keyspace as ks
from gateway.meta.kv import Batch, BatchConflict, Check, Exists, RowCorrupt, Write
from gateway.meta.memory import MemoryStore
from gateway.meta.records import open_listing_page
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.bucket import Bucket, Versioning
from gateway.model.layout import Geometry, StripeRow, Tier
from gateway.model.names import BucketId, BucketName, ObjectKey, TenantId
from storaged.base.ids import StripeFamily, StripeId
from tests.support.sample_rows import (
    PACKED,
    PART,
    UPLOAD,
    VERSION,
    bucket_cipher,
)

KEYS = RecordKeys(b"c" * 32, bucket_cipher)
NONCES = NonceSource(9)
TENANT = TenantId(b"\x23" * 16)
KEY = ObjectKey(b"key")
_ids = count(1)


def request_id() -> bytes:
    return next(_ids).to_bytes(16, "big")


def bucket(name: str, *, number: int = 1) -> Bucket:
    return Bucket(
        bucket_id=BucketId(bytes((number,)) * 16),
        name=BucketName(name),
        tenant=TENANT,
        created_at_ms=5,
        location="fr",
        versioning=Versioning.OFF,
        object_lock=False,
        geometry_class="default",
        key_epoch=1,
    )


def commit(store: MemoryStore, batch: Batch) -> None:
    asyncio.run(store.commit(batch))


def create(store: MemoryStore, made: Bucket) -> None:
    commit(store, buckets.create_batch(KEYS, NONCES, made, b"wrapped", request_id()))


def write(
    store: MemoryStore, partition: bytes, writes: Sequence[Write], *checks: Check | Exists
) -> None:
    commit(
        store,
        Batch(partition=partition, request_id=request_id(), checks=checks, writes=tuple(writes)),
    )


def put(store: MemoryStore, made: Bucket, key: ObjectKey = KEY) -> None:
    row = versions.set_current(KEYS, NONCES, made.bucket_id, key, VERSION, PACKED)
    write(store, made.bucket_id, [row], buckets.bucket_open(made.bucket_id))


def test_a_bucket_is_found_listed_and_changed() -> None:
    store, made = MemoryStore(), bucket("abc")
    assert buckets.find_bucket(store, KEYS, made.name) is None
    create(store, made)
    stored = buckets.find_bucket(store, KEYS, made.name)
    assert stored is not None and stored.bucket == made
    held = bucket_key_rows.read_bucket_key(store, KEYS, made.bucket_id, 1)
    assert (held.tenant, held.wrapped, held.about.epoch) == (TENANT, b"wrapped", 1)
    with pytest.raises(RowCorrupt):
        bucket_key_rows.read_bucket_key(store, KEYS, made.bucket_id, 2)
    with pytest.raises(BatchConflict):
        create(store, bucket("abc", number=2))
    changed = replace(made, versioning=Versioning.ENABLED)
    commit(store, buckets.update_batch(KEYS, NONCES, stored, changed, request_id()))
    with pytest.raises(BatchConflict):
        commit(store, buckets.update_batch(KEYS, NONCES, stored, changed, request_id()))
    assert buckets.scan_buckets(store, KEYS, None, limit=9)[0].bucket == changed
    assert buckets.scan_buckets(store, KEYS, made.bucket_id, limit=9) == []


def test_buckets_are_listed_by_tenant_in_name_order() -> None:
    store = MemoryStore()
    names = ["ab1", "ab2", "b-1", "b.1", "zzz"]
    for number, name in enumerate(reversed(names), start=1):
        create(store, bucket(name, number=number))
    create(store, replace(bucket("abx", number=99), tenant=TenantId(b"\x24" * 16)))
    listed = [entry.name for entry in buckets.list_buckets(store, KEYS, TENANT, limit=99)]
    assert listed == names
    page = buckets.list_buckets(store, KEYS, TENANT, after="ab2", limit=2)
    assert [entry.name for entry in page] == ["b-1", "b.1"]
    page = buckets.list_buckets(store, KEYS, TENANT, prefix="ab", after="ab1", limit=9)
    assert [(entry.name, entry.created_at_ms, entry.location) for entry in page] == [
        ("ab2", 5, "fr")
    ]


def test_deleting_an_empty_bucket_leaves_no_row() -> None:
    store, made = MemoryStore(), bucket("abc")
    create(store, made)
    stored = buckets.find_bucket(store, KEYS, made.name)
    assert stored is not None
    commit(store, buckets.close_batch(KEYS, NONCES, stored, request_id()))
    assert buckets.find_bucket(store, KEYS, made.name) is None
    with pytest.raises(BatchConflict):
        put(store, made)
    with pytest.raises(BatchConflict):
        create(store, bucket("abc", number=2))
    closed = buckets.find_closed_bucket(store, KEYS, made.name)
    assert closed is not None and buckets.scan_closed_buckets(store, KEYS, limit=9) == [closed]
    assert buckets.is_empty(store, made.bucket_id)
    finish = buckets.delete_batch(store, closed, request_id())
    late = buckets.reopen_batch(KEYS, NONCES, closed, request_id())
    commit(store, finish)
    with pytest.raises(BatchConflict):
        commit(store, late)  # a second healer comes too late and does no harm
    assert store.scan(b"", b"\xff", limit=99) == []
    create(store, bucket("abc", number=2))


def test_deleting_a_bucket_that_holds_something_reopens_it() -> None:
    store, made = MemoryStore(), bucket("abc")
    create(store, made)
    put(store, made)
    stored = buckets.find_bucket(store, KEYS, made.name)
    assert stored is not None
    commit(store, buckets.close_batch(KEYS, NONCES, stored, request_id()))
    assert not buckets.is_empty(store, made.bucket_id)
    closed = buckets.find_closed_bucket(store, KEYS, made.name)
    assert closed is not None
    commit(store, buckets.reopen_batch(KEYS, NONCES, closed, request_id()))
    put(store, made)
    again = buckets.find_bucket(store, KEYS, made.name)
    assert again is not None and again.bucket == made
    assert buckets.find_closed_bucket(store, KEYS, made.name) is None


def test_uploads_alone_make_a_bucket_not_empty() -> None:
    store, made = MemoryStore(), bucket("abc")
    create(store, made)
    write(store, made.bucket_id, [uploads.set_upload(KEYS, NONCES, made.bucket_id, UPLOAD)])
    assert not buckets.is_empty(store, made.bucket_id)


def test_current_versions_are_read_listed_and_dropped() -> None:
    store, made = MemoryStore(), bucket("abc")
    create(store, made)
    assert versions.read_current(store, KEYS, made.bucket_id, KEY) is None
    for key in (b"a/1", b"a/2", b"b"):
        put(store, made, ObjectKey(key))
    stored = versions.read_current(store, KEYS, made.bucket_id, ObjectKey(b"b"))
    assert stored is not None and stored.version == VERSION and stored.layout == PACKED
    start, end = ks.object_prefix_range(made.bucket_id, b"a/")
    page = open_listing_page(KEYS, store.scan(start, end, limit=9))
    assert [(entry.key, entry.content_bytes) for entry in page] == [("a/1", 4096), ("a/2", 4096)]
    gone = versions.drop_current(made.bucket_id, ObjectKey(b"b"))
    check = versions.current_unchanged(made.bucket_id, ObjectKey(b"b"), stored)
    write(store, made.bucket_id, [gone], check)
    with pytest.raises(BatchConflict):
        write(store, made.bucket_id, [gone], check)
    write(
        store, made.bucket_id, [], versions.current_unchanged(made.bucket_id, ObjectKey(b"b"), None)
    )


def test_uploads_and_their_parts() -> None:
    store, made = MemoryStore(), bucket("abc")
    bucket_id, uuid = made.bucket_id, UPLOAD.object_uuid
    write(store, bucket_id, [uploads.set_upload(KEYS, NONCES, bucket_id, UPLOAD)])
    stored = uploads.read_upload(store, KEYS, bucket_id, UPLOAD.key, UPLOAD.upload_id)
    assert stored is not None and stored.upload == UPLOAD
    start, end = ks.upload_prefix_range(bucket_id, b"")
    assert uploads.scan_uploads(store, KEYS, start, end, limit=9) == [stored]
    for number in (1, 2, 300):
        part = replace(PART, number=number)
        row = uploads.set_part(KEYS, NONCES, bucket_id, UPLOAD, part, PACKED)
        write(store, bucket_id, [row], uploads.upload_unchanged(bucket_id, stored))
    found = uploads.read_parts(store, KEYS, bucket_id, uuid, [2, 7])
    assert found[1] is None and found[0] is not None and found[0].part.number == 2
    numbers = [
        held.part.number
        for held in uploads.scan_parts(store, KEYS, bucket_id, uuid, after=1, limit=9)
    ]
    assert numbers == [2, 300]
    write(
        store,
        bucket_id,
        [uploads.drop_part(bucket_id, uuid, 2), uploads.drop_upload(bucket_id, UPLOAD)],
        uploads.part_unchanged(bucket_id, uuid, 2, found[0]),
        uploads.part_unchanged(bucket_id, uuid, 7, None),
    )
    assert uploads.read_upload(store, KEYS, bucket_id, UPLOAD.key, UPLOAD.upload_id) is None
    with pytest.raises(BatchConflict):
        write(store, bucket_id, [], uploads.upload_unchanged(bucket_id, stored))


def test_stripes_are_read_and_scanned() -> None:
    store = MemoryStore()
    rows = [
        StripeRow(
            stripe=StripeId(StripeFamily.DATA, 1, number),
            geometry=Geometry(2, 1),
            cell_bytes=8,
            payload_bytes=16,
            nodes=(1, 2, 3),
            tier=Tier.NODE,
            live_bytes=16,
        )
        for number in range(3)
    ]
    write(store, bytes(16), [stripes.set_stripe(KEYS, NONCES, row) for row in rows])
    held = stripes.read_stripe(store, KEYS, rows[1].stripe)
    assert held is not None and held.row == rows[1]
    assert [s.row for s in stripes.scan_stripes(store, KEYS, None, limit=9)] == rows
    assert [s.row for s in stripes.scan_stripes(store, KEYS, rows[0].stripe, limit=9)] == rows[1:]
    write(store, bytes(16), [stripes.drop_stripe(rows[1].stripe)])
    assert stripes.read_stripe(store, KEYS, rows[1].stripe) is None


@pytest.mark.proves("K-14")
def test_accounts_come_back_and_hide_their_secrets() -> None:
    store = MemoryStore()
    tenant = accounts.Tenant(tenant_id=TENANT, name="town", owner_id="ab" * 32, created_at_ms=1)
    access_key = accounts.AccessKey(
        access_key_id="HEXA123",
        secret="very secret",
        tenant=TENANT,
        user="root",
        created_at_ms=1,
        enabled=True,
    )
    write(
        store,
        bytes(16),
        [
            accounts.set_tenant(KEYS, NONCES, tenant),
            accounts.set_access_key(KEYS, NONCES, access_key),
        ],
    )
    stored = accounts.read_tenant(store, KEYS, TENANT)
    assert stored is not None and stored.tenant == tenant
    assert accounts.scan_tenants(store, KEYS, None, limit=9) == [stored]
    assert accounts.scan_tenants(store, KEYS, TENANT, limit=9) == []
    found = accounts.read_access_key(store, KEYS, "HEXA123")
    assert found is not None and found.access_key == access_key
    assert "very secret" not in repr(found)
    assert all(b"very secret" not in row.value for row in store.scan(b"", b"\xff", limit=9))
    write(store, bytes(16), [accounts.drop_access_key("HEXA123")])
    assert accounts.read_access_key(store, KEYS, "HEXA123") is None
    assert accounts.read_tenant(store, KEYS, TenantId(bytes(16))) is None
