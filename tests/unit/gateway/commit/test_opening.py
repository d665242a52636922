"""Opening a log while nodes are in trouble: it waits for them, and goes on by itself."""

from __future__ import annotations

import asyncio

from gateway.model.layout import Geometry
from tests.support.log_rig import LogRig


def test_a_start_that_found_a_full_node_goes_on_when_there_is_room() -> None:
    async def main() -> None:
        rig = LogRig(geometry=Geometry(2, 1), per_site=1)
        await rig.open()
        await rig.put("a", b"1")
        await rig.log.close()
        rig.nodes[2].fail_puts = 1_000_000
        opening = asyncio.create_task(rig.open())
        while not rig.nodes[2].puts or rig.health.usable() == frozenset(rig.nodes):
            await asyncio.sleep(0.01)
        rig.nodes[2].mend()
        await opening
        await rig.put("b", b"2")
        assert (rig.get("a"), rig.get("b")) == (b"1", b"2")
        await rig.log.close()

    asyncio.run(asyncio.wait_for(main(), 20))
