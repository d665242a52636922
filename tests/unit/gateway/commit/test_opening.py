"""Opening a log while nodes are in trouble: it waits for them, and goes on by itself."""

from __future__ import annotations

import asyncio

from gateway.model.layout import Geometry, Tier
from tests.support.log_rig import LogRig
from tests.unit.gateway.jobs.test_audit_repair import Jobs, rounds


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


def test_a_checkpoint_is_found_where_repair_has_moved_it() -> None:
    async def main() -> None:
        rig = LogRig()
        await rig.open()
        for node in rig.site("lyon"):
            node.down = True
        for name in range(8):
            await rig.put(f"k{name}", b"text", body=b"body")
        checkpointer = rig.checkpointer()
        for _ in range(2):
            await checkpointer.take()
        await rig.put("last", b"text")
        for node in rig.nodes.values():
            node.down = False
        await rig.health.probe()
        await rig.log.change_tier(Tier.FULL)
        jobs = Jobs(rig, floor=checkpointer.floor_sequence)
        await rounds(jobs.repair, 3)
        await rounds(jobs.audit, 3)
        await rounds(jobs.free, 2)
        await rig.log.close()
        # What is left of the old places goes with another datacenter.
        for node in rig.site("paris"):
            node.down = True
        await rig.rebuild()
        assert [rig.get(f"k{name}") is not None for name in range(8)] == [True] * 8
        assert rig.get("last") == b"text"

    asyncio.run(asyncio.wait_for(main(), 20))
