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


async def crash() -> None:
    """Everything under way ends where it is."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def test_a_rebuild_follows_what_was_adopted_not_what_was_left_void() -> None:
    """Gateway 1 leaves a group on nodes 3–6; gateway 2 cannot see enough of it, and leaves its
    first record on 1 and 2; gateway 3 cannot see enough of that, adopts the group and commits on.
    """

    async def main() -> None:
        rig = LogRig()
        await rig.open()
        await rig.put("a", b"1")
        for number in (1, 2):
            rig.nodes[number].freeze()
        asyncio.ensure_future(rig.put("c", b"3"))  # noqa: RUF006
        await asyncio.sleep(0.2)
        await crash()
        for node in rig.nodes.values():
            node.mend()

        for number in (3, 6):
            rig.nodes[number].down = True
        for number in (4, 5):
            rig.nodes[number].fail_puts = 1_000_000
        asyncio.ensure_future(rig.open())  # noqa: RUF006
        await asyncio.sleep(0.5)
        await crash()
        for node in rig.nodes.values():
            node.mend()

        rig.nodes[1].down = True
        await rig.open()
        assert rig.get("c") == b"3", "the group of the first gateway was adopted"
        await rig.put("d", b"4")
        await rig.log.close()

        rig.nodes[1].down = False
        await rig.rebuild()
        assert [rig.get(name) for name in "acd"] == [b"1", b"3", b"4"]

    asyncio.run(main())
