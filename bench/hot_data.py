"""Hot paths of the data plane: cipher, erasure code, tags, digests. Modules are imported inside.

What is imported at the top would turn an absent module into a failure of the whole bench.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from bench.load import payload
from bench.micro import Prepared, path

MIB = 1024 * 1024
DEK, SALT, CONTEXT = bytes(range(32)), bytes(24), b"bench body context"


@path("MD5 of 4 KiB")
async def md5_small(folder: Path) -> Prepared:
    body = payload(4096)
    return Prepared(call=lambda: hashlib.md5(body, usedforsecurity=False), bytes_per_call=4096)


@path("MD5 of 1 MiB")
async def md5_large(folder: Path) -> Prepared:
    body = payload(MIB)
    return Prepared(call=lambda: hashlib.md5(body, usedforsecurity=False), bytes_per_call=MIB)


@path("derive the keys of a part")
async def derive(folder: Path) -> Prepared:
    from gateway.data.cipher import PartKeys

    return Prepared(call=lambda: PartKeys.derive(DEK, SALT, CONTEXT))


def _sealing(body_bytes: int) -> Prepared:
    from gateway.data.cipher import PartKeys, seal_frames_into
    from gateway.data.geometry import sealed_bytes

    keys = PartKeys.derive(DEK, SALT, CONTEXT)
    plain = memoryview(payload(body_bytes))
    out = memoryview(bytearray(sealed_bytes(body_bytes)))
    return Prepared(
        call=lambda: seal_frames_into(keys, 0, plain, True, out), bytes_per_call=body_bytes
    )


@path("seal 4 KiB")
async def seal_small(folder: Path) -> Prepared:
    return _sealing(4096)


@path("seal 1 MiB")
async def seal_large(folder: Path) -> Prepared:
    return _sealing(MIB)


def _opening(body_bytes: int) -> Prepared:
    from gateway.data.cipher import PartKeys, open_frames, seal_frames_into
    from gateway.data.geometry import frame_count, sealed_bytes

    keys = PartKeys.derive(DEK, SALT, CONTEXT)
    sealed = bytearray(sealed_bytes(body_bytes))
    seal_frames_into(keys, 0, memoryview(payload(body_bytes)), True, memoryview(sealed))
    last, out = frame_count(body_bytes) - 1, bytearray(body_bytes)
    return Prepared(call=lambda: open_frames(keys, 0, sealed, last, out), bytes_per_call=body_bytes)


@path("open 4 KiB")
async def open_small(folder: Path) -> Prepared:
    return _opening(4096)


@path("open 1 MiB")
async def open_large(folder: Path) -> Prepared:
    return _opening(MIB)


def _encoding(cell_bytes: int) -> Prepared:
    from gateway.data.erasure import Codec
    from gateway.model.layout import Geometry

    codec = Codec(Geometry(4, 2))
    cells = memoryview(bytearray(payload(MIB) * 6))[: 6 * cell_bytes]
    return Prepared(
        call=lambda: codec.encode_into(cells, cell_bytes), bytes_per_call=4 * cell_bytes
    )


@path("encode 4+2, cells of 1 KiB")
async def encode_small(folder: Path) -> Prepared:
    return _encoding(1024)


@path("encode 4+2, cells of 1 MiB")
async def encode_large(folder: Path) -> Prepared:
    return _encoding(MIB)


def _decoding(lost: tuple[int, ...], cell_bytes: int) -> Prepared:
    from gateway.data.erasure import Codec
    from gateway.model.layout import Geometry

    codec = Codec(Geometry(4, 2))
    cells = memoryview(bytearray(payload(MIB) * 6))[: 6 * cell_bytes]
    codec.encode_into(cells, cell_bytes)
    present = {
        index: cells[index * cell_bytes : (index + 1) * cell_bytes]
        for index in range(6)
        if index not in lost
    }
    return Prepared(
        call=lambda: codec.reconstruct(present, lost, cell_bytes), bytes_per_call=4 * cell_bytes
    )


@path("decode 4+2, one data cell of 1 MiB lost")
async def decode_one(folder: Path) -> Prepared:
    return _decoding((1,), MIB)


@path("decode 4+2, two data cells of 1 MiB lost")
async def decode_two(folder: Path) -> Prepared:
    return _decoding((0, 3), MIB)


@path("decode 4+2, two data cells of 64 KiB lost")
async def decode_range(folder: Path) -> Prepared:
    return _decoding((0, 3), 65_536)


def _tagging(cell_bytes: int) -> Prepared:
    from gateway.data.shard_header import tag_key, tagged_shards
    from gateway.model.layout import Geometry
    from storaged.base.ids import StripeFamily, StripeId

    geometry, common = Geometry(4, 2), bytes(120)
    lengths = {"cell_bytes": cell_bytes, "payload_bytes": 4 * cell_bytes}
    stripe = StripeId(StripeFamily.COMMIT, 1, 17)
    whole = memoryview(bytearray(payload(MIB) * 6))
    cells = {index: whole[index * cell_bytes : (index + 1) * cell_bytes] for index in range(6)}

    def call() -> object:
        key = tag_key(DEK, bytes(16), stripe, geometry, **lengths, common=common)
        return tagged_shards(key, geometry, **lengths, common=common, cells=cells)

    call()
    return Prepared(call=call, bytes_per_call=6 * cell_bytes)


@path("tags and headers of six shards of 1 KiB")
async def tag_small(folder: Path) -> Prepared:
    return _tagging(1024)


@path("tags and headers of six shards of 1 MiB")
async def tag_large(folder: Path) -> Prepared:
    return _tagging(MIB)


@path("a hop to a thread and back")
async def hop(folder: Path) -> Prepared:
    from storaged.base.env import RealEnv

    env = RealEnv(threads_max=1)

    async def call() -> None:
        await env.offload(lambda: None)

    async def close() -> None:
        await asyncio.sleep(0)
        env.close()

    return Prepared(call=call, close=close)
