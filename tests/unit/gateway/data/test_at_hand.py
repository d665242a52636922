"""Bodies of which most cells are in the memory of this process."""

from __future__ import annotations

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
