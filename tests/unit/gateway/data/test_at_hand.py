"""Bodies of which most cells are in the memory of this process."""

from __future__ import annotations

from typing import Any

from storaged.base.ids import ShardId
from storaged.node import ShardCorrupt, ShardRange
from tests.support.bodies import LARGE, get, put
from tests.support.cluster import memory_cluster, run_virtual


def test_only_cells_that_are_not_at_hand_are_waited_for() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        stored = await put(cluster, LARGE)
        for node in cluster.nodes.values():
            node.try_get = node.node.try_get  # type: ignore[attr-defined]
        away = stored.stripe_rows[0].nodes[1]
        cluster.nodes[away].try_get = lambda *_, **__: None  # type: ignore[attr-defined]
        assert await get(cluster, stored, 0, len(LARGE)) == LARGE
        data_cells = sum(away in row.nodes[: row.geometry.k] for row in stored.stripe_rows)
        gets = {number: node.gets for number, node in cluster.nodes.items() if node.gets}
        assert gets == {away: data_cells}

    run_virtual(main())


def test_rot_that_only_a_tag_of_a_frame_sees_is_told_apart_decoded_around_and_reported() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        stored = await put(cluster, LARGE)
        row, asked = stored.stripe_rows[1], []
        rotten = ShardId(row.stripe, 2)
        for node in cluster.nodes.values():

            def try_get(shard: ShardId, *, node: Any = node.node, **wanted: Any) -> Any:
                asked.append(wanted["checked"])
                found = node.try_get(shard, **wanted)
                if shard != rotten:
                    return found
                wrong = bytearray(found)
                wrong[len(wrong) // 2] ^= 4
                return memoryview(wrong)

            node.try_get = try_get  # type: ignore[attr-defined]
        place = cluster.nodes[row.nodes[2]]
        plain_get = place.get

        async def checked_get(shard: ShardId, *, offset: int, length: int) -> ShardRange:
            if shard == rotten:
                raise ShardCorrupt(shard=shard)
            return await plain_get(shard, offset=offset, length=length)

        place.get = checked_get  # type: ignore[method-assign]
        assert await get(cluster, stored, 0, len(LARGE)) == LARGE
        assert {(stripe, index) for stripe, index, _ in cluster.damage} == {(row.stripe, 2)}
        assert not all(asked), "pages of whole cells are checked by nobody but the tags"

    run_virtual(main())
