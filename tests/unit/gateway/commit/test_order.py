"""A group is applied after the one before it, however long that takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.commit.header import Applied
from gateway.meta.kv import Batch
from tests.support.log_rig import LogRig


def test_a_stored_group_waits_until_its_predecessor_is_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        rig = LogRig()
        await rig.open()
        apply, may_go, began = rig.index.apply, asyncio.Event(), []

        async def apply_when_told(group: Sequence[Batch], applied: bytes) -> None:
            began.append(Applied.decode(applied).sequence)
            await may_go.wait()
            await apply(group, applied)

        monkeypatch.setattr(rig.index, "apply", apply_when_told)
        first = asyncio.ensure_future(rig.put("a", b"1"))
        while not began:
            await asyncio.sleep(0)
        puts = sum(node.puts for node in rig.nodes.values())
        second = asyncio.ensure_future(rig.put("b", b"2"))
        while sum(node.puts for node in rig.nodes.values()) < puts + rig.geometry.n:
            await asyncio.sleep(0.001)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(began) == 1 and not first.done() and not second.done()
        may_go.set()
        positions = [(await done).position.sequence for done in (first, second)]
        assert began == positions
        await rig.log.close()

    asyncio.run(asyncio.wait_for(main(), 20))
