"""Hot paths that keep something: row codec, LMDB index, shards on a local node.

Modules are imported inside, as in `bench.hot_data`. Folders are on the disk that the bench runs on.
"""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

from bench.load import payload
from bench.micro import Prepared, path

BUCKET = bytes(range(16))
ROWS = 20_000


def _record_keys() -> Any:
    from gateway.meta.sealing import RecordKeys, record_cipher

    return RecordKeys(bytes(range(32)), lambda bucket, epoch: record_cipher(bytes(32)))


def _version_value(keys: Any, nonces: Any, row_key: bytes) -> bytes:
    """Row value of a 4 KiB object."""
    from gateway.meta.records import seal_version
    from gateway.model import names, version
    from gateway.model.layout import Packed
    from storaged.base.ids import StripeFamily, StripeId

    uuid = bytes(16)
    made = version.Version(
        version_id=names.VersionId(uuid),
        object_uuid=names.ObjectUuid(uuid),
        sequence=1,
        created_at_ms=1_700_000_000_000,
        content_bytes=4096,
        etag="d41d8cd98f00b204e9800998ecf8427e",
        is_delete_marker=False,
        storage_class="STANDARD",
        headers=(("content-type", "binary/octet-stream"),),
        user_metadata=(),
        tags=(),
        checksum=None,
        wrapped_dek=bytes(105),
        key_epoch=1,
        owner=names.TenantId(uuid),
        seal=version.PartSeal(plain_bytes=4096, salt=bytes(24), commitment=bytes(32)),
    )
    layout = Packed(stripe=StripeId(StripeFamily.COMMIT, 1, 1), offset=4112, sealed_bytes=4112)
    return seal_version(keys, nonces, row_key, made, layout)


def _row_key(number: int) -> bytes:
    from gateway.meta.keyspace import current_row
    from gateway.model.names import BucketId, ObjectKey

    return current_row(BucketId(BUCKET), ObjectKey(b"k-%08d" % number))


@path("row: seal a version")
async def seal_row(folder: Path) -> Prepared:
    from gateway.meta.sealing import NonceSource

    keys, nonces, row_key = _record_keys(), NonceSource(1), _row_key(1)
    _version_value(keys, nonces, row_key)
    return Prepared(call=lambda: _version_value(keys, nonces, row_key))


@path("row: open a version")
async def open_row(folder: Path) -> Prepared:
    from gateway.meta.records import open_version
    from gateway.meta.sealing import NonceSource

    keys, row_key = _record_keys(), _row_key(1)
    value = _version_value(keys, NonceSource(1), row_key)
    open_version(keys, row_key, value)
    return Prepared(call=lambda: open_version(keys, row_key, value))


@path("row: open a page of 1,000 for LIST")
async def open_page(folder: Path) -> Prepared:
    from gateway.meta.kv import Row
    from gateway.meta.records import open_listing_page
    from gateway.meta.sealing import NonceSource

    keys, nonces = _record_keys(), NonceSource(1)
    row_keys = [_row_key(number) for number in range(1000)]
    rows = [Row(row_key, _version_value(keys, nonces, row_key)) for row_key in row_keys]
    open_listing_page(keys, rows)
    return Prepared(call=lambda: open_listing_page(keys, rows), items_per_call=1000)


async def _index(folder: Path) -> Any:
    """An LMDB index with ROWS version rows."""
    from gateway.meta.kv import Batch, Write
    from gateway.meta.lmdb import LmdbIndex
    from gateway.meta.sealing import NonceSource
    from storaged.base.env import RealEnv

    index = LmdbIndex(folder / "index", map_size_bytes=1 << 30, sums_key=bytes(32), env=RealEnv())
    keys, nonces = _record_keys(), NonceSource(1)
    for first in range(0, ROWS, 1000):
        writes = tuple(
            Write(_row_key(number), _version_value(keys, nonces, _row_key(number)))
            for number in range(first, first + 1000)
        )
        request_id = first.to_bytes(16, "big")
        await index.commit(Batch(partition=BUCKET, request_id=request_id, checks=(), writes=writes))
    return index


def _closing(index: Any) -> Any:
    async def close() -> None:
        index.close()

    return close


@path("index: get one row of 20,000")
async def index_get(folder: Path) -> Prepared:
    index, row_key = await _index(folder), _row_key(ROWS // 2)
    if index.read([row_key])[0] is None:
        raise TypeError("the row is not there")
    return Prepared(call=lambda: index.read([row_key]), close=_closing(index))


@path("index: scan 1,000 rows")
async def index_scan(folder: Path) -> Prepared:
    index, start, end = await _index(folder), _row_key(5000), _row_key(9000)
    if len(index.scan(start, end, limit=1000)) != 1000:
        raise TypeError("the rows are not there")
    return Prepared(
        call=lambda: index.scan(start, end, limit=1000),
        items_per_call=1000,
        close=_closing(index),
    )


async def _committing(folder: Path, at_once: int) -> Prepared:
    from gateway.meta.kv import Batch, Write
    from gateway.meta.sealing import NonceSource

    index, serial = await _index(folder), count(1 << 64)
    keys, nonces, row_key = _record_keys(), NonceSource(2), _row_key(1)
    value = _version_value(keys, nonces, row_key)

    def batch() -> Any:
        number = next(serial)
        fresh = value[:1] + nonces.next() + value[13:]
        return Batch(
            partition=BUCKET,
            request_id=number.to_bytes(16, "big"),
            checks=(),
            writes=(Write(_row_key(number % 100_000), fresh),),
        )

    async def call() -> None:
        await asyncio.gather(*(index.commit(batch()) for _ in range(at_once)))

    return Prepared(call=call, items_per_call=at_once, close=_closing(index))


@path("index: one commit, synced")
async def index_commit(folder: Path) -> Prepared:
    return await _committing(folder, 1)


@path("index: 64 commits at once, synced")
async def index_commits(folder: Path) -> Prepared:
    return await _committing(folder, 64)


async def _node(folder: Path) -> Any:
    from storaged.base.env import RealEnv
    from storaged.base.ids import datacenter_id, node_id
    from storaged.local import open_local_node
    from storaged.node import NodeIdentity

    identity = NodeIdentity(
        node=node_id("paris-1"), datacenter=datacenter_id("paris"), country="fr"
    )
    drive = folder / "drive"
    drive.mkdir()
    return await open_local_node(drive, identity, RealEnv(), reserve_bytes=0)


def _shard_id(number: int) -> Any:
    from storaged.base.ids import ShardId, StripeFamily, StripeId

    return ShardId(StripeId(StripeFamily.DATA, 1, number), 0)


async def _putting(folder: Path, content_bytes: int, at_once: int) -> Prepared:
    node, serial, content = await _node(folder), count(1), payload(content_bytes)

    async def put() -> None:
        await node.put(_shard_id(next(serial)), bytes(400), content, fence=None, retain_until_ms=0)

    async def call() -> None:
        await asyncio.gather(*(put() for _ in range(at_once)))

    return Prepared(
        call=call,
        bytes_per_call=content_bytes * at_once,
        items_per_call=at_once,
        close=node.close,
    )


@path("node: put a shard of 64 KiB, synced")
async def put_one(folder: Path) -> Prepared:
    return await _putting(folder, 65_536, 1)


@path("node: 16 puts of 4 KiB at once, synced")
async def put_many(folder: Path) -> Prepared:
    return await _putting(folder, 4096, 16)


@path("node: 4 puts of 1 MiB at once, synced")
async def put_large(folder: Path) -> Prepared:
    return await _putting(folder, 1024 * 1024, 4)


async def _getting(folder: Path, content_bytes: int) -> Prepared:
    node, shard = await _node(folder), _shard_id(1)
    await node.put(shard, bytes(400), payload(content_bytes), fence=None, retain_until_ms=0)

    async def call() -> None:
        await node.get(shard, offset=0, length=content_bytes)

    await call()
    return Prepared(call=call, bytes_per_call=content_bytes, close=node.close)


@path("node: get 4 KiB of a shard")
async def get_small(folder: Path) -> Prepared:
    return await _getting(folder, 4096)


@path("node: get 1 MiB of a shard")
async def get_large(folder: Path) -> Prepared:
    return await _getting(folder, 1024 * 1024)
