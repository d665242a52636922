"""Following the log when links are missing: stop, or go on and say what goes; and the last group is
complete before the index has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.commit import checkpoint
from gateway.commit.change import Committed
from gateway.commit.header import Applied
from gateway.commit.opening import rebuild_index
from gateway.commit.recovery import LogGap, LogUndecided
from gateway.meta import keyspace
from gateway.meta.memory import MemoryStore
from gateway.meta.stripes import scan_stripes
from gateway.model.layout import Tier
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.memory import MemoryNode
from tests.support.log_rig import LogRig
from tests.unit.gateway.jobs.test_audit_repair import Jobs, rounds

Scenario = Callable[[LogRig], Awaitable[None]]


def run(scenario: Scenario) -> None:
    async def main() -> None:
        rig = LogRig()
        await rig.open()
        await scenario(rig)

    asyncio.run(main())


async def lose(rig: LogRig, stripe: StripeId, *, keep: int = 0) -> None:
    """Take shards of a stripe from the nodes until `keep` are left."""
    found = [
        (node, info.shard)
        for node in rig.nodes.values()
        for info in (await node.list(ShardId(stripe, 0), ShardId(stripe, 15), limit=10)).shards
    ]
    for node, shard in found[keep:]:
        await node.delete([shard])


def stripe_of(done: Committed) -> StripeId:
    return StripeId(StripeFamily.COMMIT, done.position.epoch, done.position.sequence)


async def rebuilt(rig: LogRig, *, accept_loss: bool) -> list[str]:
    rig.index = MemoryStore(bytes(32))
    parts = rig.parts()
    await rig.health.probe()
    return (await rebuild_index(parts, accept_loss=accept_loss))[1]


async def goes_on(rig: LogRig) -> None:
    """A gateway serves on what was rebuilt, and what it writes is found again."""
    await rig.open(takeover=True)
    await rig.put("goes on", b"yes")
    assert rig.get("goes on") == b"yes"
    await rig.log.close()


@pytest.mark.parametrize("keep", [0, 3])
def test_links_that_are_missing_stop_a_rebuild_or_are_listed(keep: int) -> None:
    async def scenario(rig: LogRig) -> None:
        done = [await rig.put(f"k{n}", b"%d" % n) for n in range(8)]
        await rig.log.close()
        for lost in (2, 3, 5):
            await lose(rig, stripe_of(done[lost]), keep=keep)
        with pytest.raises(LogGap):
            await rebuilt(rig, accept_loss=False)
        lost_text = " ".join(await rebuilt(rig, accept_loss=True))
        here = [n for n in range(8) if rig.get(f"k{n}") == b"%d" % n]
        assert here == [0, 1, 4, 6, 7]
        for n in (2, 3, 5):
            assert str(done[n].position.sequence) in lost_text
        assert rig.index.verify_sums() == []
        await goes_on(rig)

    run(scenario)


def test_a_last_group_that_nobody_can_decide_is_given_up_only_when_told() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.put("a", b"1")
        done = await rig.put("b", b"2")
        last = stripe_of(done)
        await rig.log.close()
        await lose(rig, last, keep=3)
        # Nodes of two datacenters have come back empty: what they held is not known, however often
        # somebody has asked.
        for number in (1, 2):
            rig.nodes[number].node = MemoryNode(rig.nodes[number].identity)
        for _ in range(2):
            with pytest.raises(LogUndecided):
                await rebuilt(rig, accept_loss=False)
        lost = await rebuilt(rig, accept_loss=True)
        assert rig.get("a") == b"1" and rig.get("b") is None
        assert str(last) in " ".join(lost)
        await goes_on(rig)

    run(scenario)


def test_without_any_checkpoint_the_first_groups_may_be_given_up() -> None:
    async def scenario(rig: LogRig) -> None:
        done = [await rig.put(f"k{n}", b"%d" % n) for n in range(6)]
        await rig.log.close()
        for sequence in range(1, done[2].position.sequence + 1):
            await lose(rig, StripeId(StripeFamily.COMMIT, done[0].position.epoch, sequence))
        with pytest.raises(LogGap):
            await rebuilt(rig, accept_loss=False)
        lost = await rebuilt(rig, accept_loss=True)
        assert [rig.get(f"k{n}") for n in range(6)] == [None, None, None, b"3", b"4", b"5"]
        assert lost
        await goes_on(rig)

    run(scenario)


def test_segments_that_cannot_be_read_are_given_up_and_the_rest_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_BYTES", 600)

    async def scenario(rig: LogRig) -> None:
        for n in range(40):
            await rig.put(f"k{n:02}", bytes(40))
        checkpointer = rig.checkpointer()
        for turn in range(3):
            await checkpointer.take()
            await rig.put(f"turn{turn}", b"x")
        await rig.log.close()
        for sequence in range(1, checkpointer.floor_sequence + 1):
            await lose(rig, StripeId(StripeFamily.COMMIT, rig.log.epoch, sequence))
        assert checkpointer.newest is not None and checkpointer.previous is not None
        earlier = {segment.row.stripe for segment in checkpointer.previous.segments}
        gone = next(
            segment.row.stripe
            for segment in checkpointer.newest.segments
            if segment.start[:1] == keyspace.CURRENT and segment.row.stripe in earlier
        )
        await lose(rig, gone)
        with pytest.raises(LogGap):
            await rebuilt(rig, accept_loss=False)
        lost = await rebuilt(rig, accept_loss=True)
        here = sum(rig.get(f"k{n:02}") is not None for n in range(40))
        assert 20 < here < 40 and rig.get("turn2") == b"x"
        assert str(gone) in " ".join(lost)
        await goes_on(rig)

    run(scenario)


def test_a_group_that_was_left_void_does_not_take_the_place_of_one_that_is_lost() -> None:
    """Epoch 1 leaves a group behind; epoch 2 takes its number and commits another after it. When
    the group of epoch 2 is lost, the one that was left behind is still no part of the log.
    """

    async def scenario(rig: LogRig) -> None:
        await rig.put("a", b"1")
        for number in (1, 2):
            rig.nodes[number].freeze()
        asyncio.ensure_future(rig.put("void", b"no"))  # noqa: RUF006
        await asyncio.sleep(0.2)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for node in rig.nodes.values():
            node.mend()
        for number in (3, 6):
            rig.nodes[number].down = True
        await rig.open()
        number_of_both = rig.log.position.sequence
        epoch = rig.log.epoch
        assert rig.get("void") is None
        await rig.put("b", b"2")
        await rig.log.close()
        for number in (3, 6):
            rig.nodes[number].down = False
        await lose(rig, StripeId(StripeFamily.COMMIT, epoch, number_of_both), keep=3)
        with pytest.raises(LogGap):
            await rebuilt(rig, accept_loss=False)
        await rebuilt(rig, accept_loss=True)
        assert rig.get("a") == b"1" and rig.get("b") == b"2"
        assert rig.get("void") is None

    run(scenario)


def test_the_last_group_is_complete_before_the_index_has_it() -> None:
    """Else the next start would take it for committed, though one more lost node undoes it."""

    async def scenario(rig: LogRig) -> None:
        await rig.put("a", b"1")
        old = MemoryStore(bytes(32))
        await old.apply((), rig.log.position.encode())
        done = await rig.put("b", b"2")
        last = stripe_of(done)
        await rig.log.close()
        await lose(rig, last, keep=4)
        rig.index = old
        for node in rig.nodes.values():
            node.fail_puts = 1_000
        opening = asyncio.ensure_future(rig.open())
        await asyncio.wait({opening}, timeout=1.5)
        opening.cancel()
        outcome = (await asyncio.gather(opening, return_exceptions=True))[0]
        assert isinstance(outcome, asyncio.CancelledError | StorageError)
        mark = Applied.decode(rig.index.applied())
        assert mark.sequence < done.position.sequence
        for node in rig.nodes.values():
            node.mend()
        await rig.open()
        row = rig.log.stripe_row(last)
        assert rig.get("b") == b"2" and row is not None and row.tier is Tier.FULL
        await rig.log.close()

    run(scenario)


@pytest.mark.parametrize("site", ["paris", "lyon", "marseille"])
@pytest.mark.parametrize("with_checkpoints", [False, True])
def test_a_rebuild_with_one_wiped_datacenter_brings_all_back_and_is_repaired(
    site: str, with_checkpoints: bool
) -> None:
    async def scenario(rig: LogRig) -> None:
        checkpointer = rig.checkpointer()
        for n in range(6):
            await rig.put(f"k{n}", b"%d" % n, body=b"body %d" % n)
        if with_checkpoints:
            await checkpointer.take()
            await rig.put("k0", b"changed")
            await checkpointer.take()
        await rig.log.commit_change(rig.change("k1", None))
        await rig.put("last", b"x")
        await rig.log.close()
        for number, node in rig.nodes.items():
            if node.identity.datacenter == site:
                rig.nodes[number].node = MemoryNode(node.identity)
        assert await rig.rebuild() == []
        assert rig.get("k1") is None and rig.get("last") == b"x" and rig.get("k5") is not None
        await rig.open(takeover=True)
        jobs = Jobs(rig)
        for _ in range(3):
            await rounds(jobs.audit)
            await rounds(jobs.repair)
        assert not jobs.queue.waiting and not jobs.queue.unrecoverable
        for stored in scan_stripes(rig.log, rig.records, None, limit=1000):
            assert stored.row.tier is Tier.FULL or sum(map(bool, stored.row.nodes)) == 6
        await rig.log.close()
        for node in rig.site("lyon"):
            node.down = True
        assert await rig.rebuild() == []
        assert rig.get("k1") is None and rig.get("last") == b"x"

    run(scenario)
