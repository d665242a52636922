"""Checkpoints that are taken while the index changes: a rebuild from them equals the index."""

from __future__ import annotations

import asyncio

import pytest

from gateway.commit import checkpoint
from gateway.meta import keyspace
from gateway.meta.kv import Batch, Write
from gateway.meta.memory import MemoryStore
from gateway.meta.stripes import open_stripe
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
