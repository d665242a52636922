"""Rotation of keys: a row put under another epoch, and a whole rotation through log and index.

Modules are imported inside, as in `bench.hot_data`. The gateway is a real one: six nodes of this
process that sync to disk, an LMDB index.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bench.micro import Prepared, path

VERSIONS = 4000
AT_ONCE = 200
BUCKET_NAME = "keys"


class _Body:
    """100 bytes."""

    length = 100
    digests: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._pieces = [bytes(100), b""]

    async def read(self) -> bytes:
        return self._pieces.pop(0)

    def expected(self) -> tuple[Any, ...]:
        return ()


async def _filled(folder: Path) -> tuple[Any, Any]:
    """A gateway with VERSIONS small objects in a bucket, and the bucket's id."""
    from gateway.compose import open_gateway
    from gateway.objects.bootstrap import read_root
    from gateway.objects.buckets import create_bucket
    from gateway.objects.context import Context, Principal
    from gateway.objects.put import put_object
    from gateway.objects.values import PutOptions
    from gateway.up import UpOptions, lay_out
    from storaged.base.env import RealEnv

    env = RealEnv()
    options = UpOptions(folder=folder, port=9000, processes=False, tls=False)
    gateway = await open_gateway(lay_out(options, env), env)
    root = read_root(gateway.log, gateway.core.records)
    if root is None:
        raise TypeError("a fresh cluster has a root user")
    principal = Principal(tenant=root.tenant, access_key_id=root.access_key_id, owner_id="owner")
    ctx = Context(gateway.services, principal, bytes(16), 1e12)
    await create_bucket(ctx, BUCKET_NAME, None)
    for first in range(0, VERSIONS, AT_ONCE):
        await asyncio.gather(
            *(
                put_object(ctx, BUCKET_NAME, f"key/{number:08}", _Body(), PutOptions())
                for number in range(first, first + AT_ONCE)
            )
        )
    opened = gateway.services.buckets.find(BUCKET_NAME)
    if opened is None:
        raise TypeError("the bucket is there")
    return gateway, opened.bucket.bucket_id


@path("keys: put versions' rows under another epoch")
async def rewrap(folder: Path) -> Prepared:
    from gateway.meta import keyspace
    from gateway.objects.key_rotation import rotate_bucket_key
    from gateway.objects.rewrapping import RowsUnderWay

    gateway, bucket = await _filled(folder)
    await rotate_bucket_key(gateway.services, bucket, 0)
    rows = gateway.log.scan(*keyspace.family_range(keyspace.CURRENT, bucket), limit=1000)

    def call() -> None:
        under_way = RowsUnderWay(gateway.services, bucket, 2)
        under_way.open(rows)
        for run in under_way.runs:
            under_way.seal(run, run.resealed())

    return Prepared(call=call, items_per_call=len(rows), close=gateway.close)


@path("keys: rotate a bucket of 4,000 versions: log, index, nodes")
async def rotate(folder: Path) -> Prepared:
    from gateway.objects.key_rotation import rotate_bucket_key

    gateway, bucket = await _filled(folder)

    async def call() -> None:
        await rotate_bucket_key(gateway.services, bucket, 0)
        while await gateway.rotation.step() == 0.0:
            pass

    return Prepared(call=call, items_per_call=VERSIONS, close=gateway.close)
