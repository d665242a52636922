"""An index that has followed another log than the one the nodes hold is refused, not continued.

It takes more than the tiers promise to survive to come there: a group that an index has applied is
lost with all its shards, and the log went on elsewhere without it.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.commit.header import Applied
from gateway.commit.recovery import LogGap
from storaged.base.ids import ShardId, StripeFamily, StripeId
from tests.support.log_rig import LogRig


async def lose(rig: LogRig, stripe: StripeId) -> None:
    """Take every shard of a stripe from the nodes."""
    for node in rig.nodes.values():
        await node.delete([ShardId(stripe, index) for index in range(rig.geometry.n)])


async def forked(groups: int) -> LogRig:
    """A rig whose index has a group that is lost; elsewhere the log has its number and `groups`
    more, by another gateway.
    """
    rig = LogRig()
    await rig.open()
    await rig.put("a", b"1")
    done = await rig.put("b", b"2")
    await rig.log.close()
    await lose(rig, StripeId(StripeFamily.COMMIT, done.position.epoch, done.position.sequence))
    other = LogRig(nodes=rig.nodes)
    await other.rebuild()
    await other.open(takeover=True)
    assert other.log.position.sequence == done.position.sequence
    for n in range(groups):
        await other.put(f"elsewhere {n}", b"3")
    await other.log.close()
    return rig


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_a_log_that_goes_on_after_another_group_is_refused(groups: int) -> None:
    async def main() -> None:
        rig = await forked(groups)
        mark = Applied.decode(rig.index.applied())
        with pytest.raises(LogGap):
            await rig.open(takeover=True)
        assert Applied.decode(rig.index.applied()) == mark, "nothing was taken over"
        assert rig.get("b") == b"2" and rig.get("elsewhere 0") is None

    asyncio.run(main())
