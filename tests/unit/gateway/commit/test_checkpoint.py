"""Checkpoints that are taken while the index changes: a rebuild from them equals the index."""

from __future__ import annotations

import asyncio

import pytest

from gateway.commit import checkpoint
from gateway.meta import keyspace
from gateway.meta.kv import Batch, Write
from gateway.meta.memory import MemoryStore
from gateway.meta.stripes import open_stripe
from gateway.meta.verification import SumsMismatch
from storaged.base.ids import ShardId, StripeFamily, StripeId
from tests.support.log_rig import LogRig


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_BYTES", 600)


def rows_of(rig: LogRig, up_to: int) -> dict[bytes, object]:
    """Objects' rows, and stripe rows of the log up to a sequence, without their revisions."""
    assert isinstance(rig.index, MemoryStore)
    rows: dict[bytes, object] = {}
    for key, value in rig.index.scan(b"\x00", b"\xff", limit=10_000):
        if key[:1] == keyspace.CURRENT:
            rows[key] = value
        if key[:1] == keyspace.STRIPE:
            row = open_stripe(rig.records, key, value)
            if row.stripe.counter <= up_to:
                rows[key] = (row.nodes, row.live_bytes)
    return rows


def run_with_rebuild(rig: LogRig, changes_of: object) -> None:
    async def main() -> None:
        await rig.open()
        checkpointer = rig.checkpointer()
        # A large row between stripe rows and the checkpoint's own, so that they share no segment.
        between = Write(keyspace.TENANT + bytes(16) + b"tenant", rig.value(bytes(600)))
        await rig.log.commit(
            Batch(partition=bytes(16), request_id=bytes(16), checks=(), writes=(between,))
        )
        for name in range(30):
            await rig.put(f"k{name:02}", bytes(50), body=b"body")
        await checkpointer.take()
        for turn in range(4):
            taking = asyncio.create_task(checkpointer.take())
            await changes_of(rig, turn)  # type: ignore[operator]
            await taking
        await checkpointer.take()
        up_to = rig.log.position.sequence
        before = rows_of(rig, up_to)
        await rig.log.close()
        await rig.rebuild()
        assert rows_of(rig, up_to) == before

    asyncio.run(asyncio.wait_for(main(), 20))


def test_rows_that_change_while_their_segment_is_split_are_copied_again() -> None:
    async def changes(rig: LogRig, turn: int) -> None:
        for name in range(30):
            await rig.put(f"k{name:02}{turn}", b"%d" % turn)
            await rig.log.commit_change(rig.change(f"k{(name * 7) % 30:02}", None))

    run_with_rebuild(LogRig(), changes)


@pytest.mark.parametrize("count", range(1, 9))
def test_the_row_of_a_group_itself_is_copied_again(count: int) -> None:
    """The range of new commit stripes may be touched by nothing else."""

    async def changes(rig: LogRig, turn: int) -> None:
        for name in range(count):
            await rig.put(f"k{name:02}", b"%d" % turn, body=b"other body")

    run_with_rebuild(LogRig(), changes)


async def without_the_log_up_to(rig: LogRig, floor: int) -> None:
    """Delete from the nodes what job `free` may delete."""
    for node in rig.nodes.values():
        page = await node.list(ShardId(StripeId(StripeFamily.COMMIT, 0, 0), 0), None, limit=1000)
        assert page.next is None
        await node.delete([i.shard for i in page.shards if i.shard.stripe.counter <= floor])


def test_two_checkpoints_asked_for_at_once_follow_each_other() -> None:
    """The job and an operator: neither may think that the other's segments are clean."""

    async def main() -> None:
        rig = LogRig()
        await rig.open()
        checkpointer = rig.checkpointer()
        for name in range(30):
            await rig.put(f"k{name:02}", bytes(50))
        await checkpointer.take()
        await rig.put("k07", b"changed")
        await rig.log.commit_change(rig.change("k08", None))
        first = asyncio.create_task(checkpointer.take())
        await asyncio.sleep(0)
        await rig.put("k09", b"changed as well")
        await asyncio.gather(first, checkpointer.take())
        await without_the_log_up_to(rig, checkpointer.floor_sequence)
        await rig.log.close()
        await rig.rebuild()
        assert rig.get("k07") == b"changed" and rig.get("k09") == b"changed as well"
        assert rig.get("k08") is None

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("delay_s", [0.004, 0.012, 0.02, 0.028, 0.036])
def test_a_checkpoint_that_was_cancelled_leaves_no_stale_segment(delay_s: float) -> None:
    async def main() -> None:
        rig = LogRig()
        await rig.open()
        checkpointer = rig.checkpointer()
        for name in range(30):
            await rig.put(f"k{name:02}", bytes(50))
        await checkpointer.take()
        await rig.put("k07", b"changed")
        await rig.log.commit_change(rig.change("k08", None))
        for node in rig.nodes.values():
            node.delay_s = 0.004
        taking = asyncio.create_task(checkpointer.take())
        await asyncio.sleep(delay_s)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        for node in rig.nodes.values():
            node.delay_s = 0
        await rig.put("k25", b"later")
        await checkpointer.take()
        await checkpointer.take()
        await without_the_log_up_to(rig, checkpointer.floor_sequence)
        await rig.log.close()
        await rig.rebuild()
        assert rig.get("k07") == b"changed" and rig.get("k25") == b"later"
        assert rig.get("k08") is None

    asyncio.run(asyncio.wait_for(main(), 20))


def test_an_index_that_has_lost_a_row_is_not_checkpointed() -> None:
    """Two checkpoints later the log that still knows the row would be freed."""

    async def main() -> None:
        rig = LogRig()
        await rig.open()
        checkpointer = rig.checkpointer()
        await rig.put("kept", b"1")
        await rig.put("rotten", b"2")
        assert isinstance(rig.index, MemoryStore)
        del rig.index._values[rig.row_key("rotten")]
        rig.index._keys.remove(rig.row_key("rotten"))
        with pytest.raises(SumsMismatch):
            await checkpointer.take()
        assert checkpointer.newest is None
        await rig.log.close()
        await rig.rebuild()
        assert rig.get("rotten") == b"2"

    asyncio.run(asyncio.wait_for(main(), 20))


def test_the_log_since_the_last_checkpoint_counts_across_restarts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        rig = LogRig()
        await rig.open()
        await rig.put("a", b"1")
        await rig.log.close()
        await rig.open()
        monkeypatch.setattr(checkpoint, "GROUPS_BETWEEN", rig.log.position.sequence)
        checkpointer = rig.checkpointer()
        await checkpointer.step()
        assert checkpointer.newest is not None
        await rig.log.close()

    asyncio.run(asyncio.wait_for(main(), 20))
