"""Reads in place whose bytes the reader authenticates himself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from storaged.node import ShardCorrupt
from tests.unit.storaged.test_local_damage import flip, only_volume, opened, put, raises, shard


def test_bytes_are_as_the_drive_gives_them_and_get_says_what_is_wrong(tmp_path: Path) -> None:
    content = Random(7).randbytes(1_048_832)

    async def story() -> None:
        async with opened(tmp_path) as node:
            await put(node, 1, content)
            await node.get(shard(1), offset=0, length=len(content))  # in the page cache from here
            flip(only_volume(tmp_path), content[:64], 500_000)
            got = node.try_get(shard(1), offset=70_001, length=900_000, checked=False)
            assert got is not None
            differ = [i for i, byte in enumerate(got) if byte != content[70_001 + i]]
            assert differ == [500_000 - 70_001]
            await raises(ShardCorrupt, node.get(shard(1), offset=70_001, length=900_000))

    asyncio.run(story())
