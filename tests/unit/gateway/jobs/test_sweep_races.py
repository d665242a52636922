"""The sweep against repair on one shard: what repair names, or is about to, is not deleted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.commit.change import Change, StripeChange
from gateway.commit.forming import CLUSTER_PARTITION
from gateway.meta.kv import Batch, OutcomeUnknown
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeId
from storaged.node import ShardMissing
from tests.support.log_rig import LogRig
from tests.unit.gateway.jobs.test_audit_repair import Jobs, rounds, run


async def copy_elsewhere(rig: LogRig, stripe: StripeId) -> tuple[ShardId, int]:
    """Put shard 0 of a stripe on another node as well, as a repair that has not committed does."""
    row = rig.log.stripe_row(stripe)
    assert row is not None
    shard = ShardId(stripe, 0)
    node = rig.nodes[row.nodes[0]]
    info = await node.stat(shard)
    got = await node.get(shard, offset=0, length=info.content_bytes)
    number = row.nodes[1]
    await rig.nodes[number].put(shard, info.attributes, got.content, fence=None, retain_until_ms=0)
    return shard, number


async def move(rig: LogRig, shard: ShardId, number: int) -> None:
    batch = Batch(
        partition=CLUSTER_PARTITION,
        request_id=rig.env.random_bytes(16),
        checks=(),
        writes=(),
    )
    moved = StripeChange(stripe=shard.stripe, moved=((shard.index, number),))
    await rig.log.commit_change(Change(batch=batch, stripes=(moved,)))


def test_a_shard_that_is_named_while_the_sweep_looks_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(rig: LogRig) -> None:
        place = (await rig.put("a", b"", body=b"x")).places[0]
        jobs = Jobs(rig)
        await rounds(jobs.audit)
        shard, number = await copy_elsewhere(rig, place.stripe)

        named: list[int] = []

        async def repair_commits(_: object, asked: int, *__: object) -> None:
            if asked == number and not named:  # the rows of this page have been read
                named.append(number)
                await move(rig, shard, number)

        monkeypatch.setattr(jobs.audit, "_find_missing", repair_commits)
        await rounds(jobs.audit)
        assert named
        await rig.nodes[number].stat(shard)

    run(scenario)


def test_repair_puts_nothing_while_the_sweep_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard that repair puts and names while its delete is on its way would be gone (D1)."""

    async def scenario(rig: LogRig) -> None:
        place = (await rig.put("a", b"", body=b"x")).places[0]
        jobs = Jobs(rig)
        await rounds(jobs.audit)
        shard, number = await copy_elsewhere(rig, place.stripe)
        node, swept = rig.nodes[number], [shard]
        delete = node.delete

        async def delete_at_leisure(shards: Sequence[ShardId]) -> tuple[StorageError | None, ...]:
            if shard not in shards:
                return await delete(shards)
            swept.remove(shard)
            jobs.queue.report(place.stripe, 0, "test")
            puts = {n: other.puts for n, other in rig.nodes.items()}
            for _ in range(3):
                await jobs.repair.step()
            assert {n: other.puts for n, other in rig.nodes.items()} == puts
            return await delete(shards)

        monkeypatch.setattr(node, "delete", delete_at_leisure)
        await rounds(jobs.audit)
        assert not swept and not jobs.queue.held
        await rounds(jobs.repair)
        assert not jobs.queue.waiting, "repair goes on once the sweep is done"
        row = rig.log.stripe_row(place.stripe)
        assert row is not None
        for index, holder in enumerate(row.nodes):
            await rig.nodes[holder].verify(ShardId(place.stripe, index))

    run(scenario)


def test_a_stripe_under_repair_is_not_swept_and_one_being_swept_not_repaired() -> None:
    async def scenario(rig: LogRig) -> None:
        place = (await rig.put("a", b"", body=b"x")).places[0]
        jobs = Jobs(rig)
        await rounds(jobs.audit)
        shard, number = await copy_elsewhere(rig, place.stripe)
        jobs.queue.held.add(place.stripe)
        await rounds(jobs.audit)
        await rig.nodes[number].stat(shard)
        jobs.queue.report(place.stripe, 0, "test")
        puts = {n: node.puts for n, node in rig.nodes.items()}
        for _ in range(3):
            await jobs.repair.step()
        assert {n: node.puts for n, node in rig.nodes.items()} == puts
        jobs.queue.held.clear()
        jobs.queue.waiting.clear()
        await rounds(jobs.audit)
        with pytest.raises(ShardMissing):
            await rig.nodes[number].stat(shard)

    run(scenario)


def test_repair_asks_until_its_commit_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(rig: LogRig) -> None:
        place = (await rig.put("a", b"", body=b"x")).places[0]
        row = rig.log.stripe_row(place.stripe)
        assert row is not None
        jobs = Jobs(rig)
        await rig.nodes[row.nodes[0]].delete([ShardId(place.stripe, 0)])
        jobs.queue.report(place.stripe, 0, "test")
        commit, unknown = rig.log.commit_change, [1, 1]

        async def unsure(change: Change) -> object:
            assert place.stripe in jobs.queue.held
            if unknown:
                unknown.pop()
                raise OutcomeUnknown()
            return await commit(change)

        monkeypatch.setattr(rig.log, "commit_change", unsure)
        await rounds(jobs.repair, 2)
        assert not unknown and not jobs.queue.waiting and not jobs.queue.held

    run(scenario)


def test_a_gateway_that_was_taken_over_and_does_not_know_it_sweeps_nothing() -> None:
    """What the other gateway has repaired is named by the other's index only."""

    async def scenario(rig: LogRig) -> None:
        place = (await rig.put("a", b"", body=b"x")).places[0]
        stale = Jobs(rig)
        await rounds(stale.audit, 2)

        other = LogRig(nodes=rig.nodes)
        await other.rebuild()
        await other.open(takeover=True)
        shard, number = await copy_elsewhere(rig, place.stripe)
        await move(other, shard, number)

        await rounds(stale.audit, 2)
        await rig.nodes[number].verify(shard)
        await other.log.close()

    run(scenario)
