"""The committer over memory nodes: order, checks, tiers, epochs, fencing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gateway.commit.change import LogUnavailable, StripeChange
from gateway.commit.fencing import FenceNotReached, TakeoverNotConfirmed
from gateway.commit.forming import ChangeTooLarge
from gateway.commit.opening import IndexEmpty
from gateway.limits import COMMIT_S, GROUP_BATCHES_MAX
from gateway.meta.kv import BatchConflict, OutcomeUnknown
from gateway.meta.memory import MemoryStore
from gateway.model.layout import Tier
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeFamily, StripeId
from tests.support.log_rig import LogRig, MemoryHistory

Scenario = Callable[[LogRig], Awaitable[None]]


def run(scenario: Scenario, **rig: object) -> None:
    async def main() -> None:
        await scenario(LogRig(**rig))  # type: ignore[arg-type]

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_committed_change_is_read_back_and_its_body_lies_where_the_row_says() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        done = await rig.put("a", b"text", body=b"body of a")
        text = rig.get("a")
        assert text is not None and text.startswith(b"text@")
        (place,) = done.places
        row = rig.log.stripe_row(place.stripe)
        assert row is not None and row.tier is Tier.FULL and all(row.nodes)
        body = await rig.store.read(row, place.offset, place.sealed_bytes)
        assert bytes(body) == b"body of a"
        await rig.log.close()

    run(scenario)


def test_concurrent_changes_share_groups_and_all_commit() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        await asyncio.gather(*(rig.put(f"k{n}", b"v%d" % n, body=bytes(100)) for n in range(200)))
        assert all(rig.get(f"k{n}") is not None for n in range(200))
        assert rig.log.status().groups < 50
        await rig.log.close()

    run(scenario)


def test_one_of_many_conditional_creates_wins() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        outcomes = await asyncio.gather(
            *(rig.put("lock", b"%d" % n, expected=None) for n in range(16)), return_exceptions=True
        )
        lost = [outcome for outcome in outcomes if isinstance(outcome, BatchConflict)]
        assert len(lost) == 15
        await rig.log.close()

    run(scenario)


def test_a_refusal_that_rests_on_an_unapplied_group_waits_for_it() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        for node in rig.nodes.values():
            node.delay_s = 0.1
        first = asyncio.create_task(rig.put("a", b"1", expected=None))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(rig.put("a", b"2", expected=None))
        with pytest.raises(BatchConflict):
            await second
        assert rig.get("a") == b"1", "the winner was applied before the loser heard of it"
        await first
        await rig.log.close()

    run(scenario)


def test_a_repeated_request_id_commits_once() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        change = rig.change("a", b"1", expected=None)
        await asyncio.gather(rig.log.commit_change(change), rig.log.commit_change(change))
        await rig.log.commit_change(change)
        assert rig.log.status().changes == 1
        await rig.log.close()

    run(scenario)


def test_a_change_that_is_too_large_is_refused_alone() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        with pytest.raises(ChangeTooLarge):
            await rig.put("a", b"", body=bytes(9 * 1024 * 1024))
        await rig.put("b", b"fine")
        assert rig.get("a") is None and rig.get("b") == b"fine"
        await rig.log.close()

    run(scenario)


def test_restart_follows_what_the_index_has_not_seen() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        await rig.put("a", b"1")
        old_index = rig.index
        await rig.log.close()
        # An index that lost everything but knows that the epochs were its own.
        rig.index = MemoryStore(bytes(32))
        await rig.open()
        assert rig.get("a") == b"1"
        assert old_index.partition_sums().keys() == rig.index.partition_sums().keys()
        await rig.log.close()

    run(scenario)


def test_losing_a_datacenter_goes_on_at_node_tier_and_back_at_full() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        await rig.put("a", b"1")
        for node in rig.site("lyon"):
            node.down = True
        done = await rig.put("b", b"2", body=b"x")
        row = rig.log.stripe_row(done.places[0].stripe)
        assert rig.log.tier is Tier.NODE and row is not None and row.tier is Tier.NODE
        for node in rig.site("lyon"):
            node.down = False
        await rig.health.probe()
        await rig.log.change_tier(Tier.FULL)
        done = await rig.put("c", b"3", body=b"x")
        row = rig.log.stripe_row(done.places[0].stripe)
        assert rig.log.tier is Tier.FULL and row is not None and row.tier is Tier.FULL
        await rig.log.close()
        await rig.rebuild()
        assert rig.get("a") == b"1"
        assert rig.get("b") is not None and rig.get("c") is not None

    run(scenario)


def test_reduced_margin_can_be_refused() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        for node in rig.site("lyon"):
            node.down = True
        putting = asyncio.create_task(rig.put("a", b"1"))
        await asyncio.sleep(0.5)
        assert not putting.done() and rig.get("a") is None
        for node in rig.site("lyon"):
            node.down = False
        await rig.health.probe()
        await putting
        assert rig.get("a") == b"1"
        await rig.log.close()

    run(scenario, tier_floor=Tier.FULL)


def test_what_policy_refuses_is_refused_at_once_when_nodes_are_known_to_be_away() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        for node in rig.site("lyon"):
            node.down = True
        first = asyncio.create_task(rig.put("first", b"1"))  # finds out that they are away
        await asyncio.sleep(0)
        while not rig.log._pipeline.unapplied:
            await asyncio.sleep(0)
        beside = asyncio.create_task(rig.put("beside", b"0"))  # of a group that is never stored
        while rig.log._callers.held is None:
            await asyncio.sleep(0.01)
        began_s = rig.env.monotonic_s()
        with pytest.raises(LogUnavailable, match="policy"):
            await rig.put("second", b"2")
        with pytest.raises(LogUnavailable, match="policy"):
            rig.log.check_reach()
        with pytest.raises(LogUnavailable):
            await beside
        assert rig.env.monotonic_s() - began_s < COMMIT_S / 20
        for node in rig.site("lyon"):
            node.down = False
        await rig.health.probe()
        await first
        await rig.put("third", b"3")
        assert rig.get("second") is None and rig.get("third") == b"3"
        await rig.log.close()

    run(scenario, tier_floor=Tier.FULL)


def test_changes_that_queued_before_the_nodes_were_known_to_be_away_do_not_wait() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        for node in rig.site("lyon"):
            node.down = True
        tasks = [asyncio.create_task(rig.put(f"k{n}", b"1")) for n in range(GROUP_BATCHES_MAX + 3)]
        queued = tasks[GROUP_BATCHES_MAX:]
        await asyncio.wait(queued, timeout=COMMIT_S / 2)
        assert [type(task.exception()) for task in queued] == [LogUnavailable] * 3
        assert not tasks[0].done(), "its group may still be committed"
        for node in rig.site("lyon"):
            node.down = False
        await rig.health.probe()
        await asyncio.gather(*tasks[:GROUP_BATCHES_MAX])
        await rig.log.close()

    run(scenario, tier_floor=Tier.FULL)


def test_two_gateways_never_both_commit() -> None:
    async def scenario(rig: LogRig) -> None:
        first = await rig.open()
        await rig.put("a", b"1")
        other = LogRig(nodes=rig.nodes)
        with pytest.raises(IndexEmpty):
            await other.open()
        await other.rebuild()
        with pytest.raises(TakeoverNotConfirmed):
            other.history = MemoryHistory()
            await other.open()
        await other.open(takeover=True)
        with pytest.raises((OutcomeUnknown, LogUnavailable)):
            await first.commit_change(rig.change("stale", b"no"))
        with pytest.raises(LogUnavailable):
            await first.commit_change(rig.change("stale", b"no"))
        await other.put("b", b"2")
        assert other.get("a") == b"1" and other.get("stale") is None
        await other.log.close()
        await other.rebuild()
        assert other.get("stale") is None and other.get("b") == b"2"

    run(scenario)


def test_no_epoch_without_a_majority_of_nodes() -> None:
    async def scenario(rig: LogRig) -> None:
        for number in (1, 2, 3):
            rig.nodes[number].down = True
        with pytest.raises(StorageError) as caught:
            await rig.open()
        assert isinstance(caught.value, FenceNotReached) or "tier" in str(caught.value).lower()

    run(scenario)


def test_a_group_below_its_tier_is_void_and_never_comes_back() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        await rig.put("a", b"1")
        # At most two shards of the next group arrive; then this gateway is gone.
        for number in (1, 2, 3, 4, 5):
            rig.nodes[number].down = True
        doomed = asyncio.create_task(rig.put("doomed", b"never"))
        await asyncio.sleep(0.1)
        doomed.cancel()
        rig.log._die(LogUnavailable(reason="test"), rig.log._forming)
        for node in rig.nodes.values():
            node.down = False
        await rig.open()
        assert rig.get("doomed") is None
        await rig.put("b", b"2")
        await rig.log.close()
        await rig.rebuild()
        assert rig.get("doomed") is None and rig.get("b") == b"2" and rig.get("a") == b"1"

    run(scenario)


def test_stripe_changes_are_taken_in_order_and_a_named_stripe_is_not_dropped() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        done = await rig.put("a", b"1", body=b"xyz")
        stripe = done.places[0].stripe
        drop = StripeChange(stripe=stripe, drop=True)
        with pytest.raises(StorageError, match="named again"):
            await rig.log.commit_change(rig.change("z", b"", stripes=(drop,)))
        await rig.log.commit_change(
            rig.change("a", None, stripes=(StripeChange(stripe=stripe, live_delta=-3),))
        )
        await rig.log.commit_change(rig.change("z", b"", stripes=(drop,)))
        assert rig.log.stripe_row(stripe) is None
        await rig.log.close()

    run(scenario)


def test_a_checkpoint_makes_the_log_before_its_floor_unnecessary() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        checkpointer = rig.checkpointer()
        for n in range(60):
            await rig.put(f"k{n}", b"v%d" % n)
        await checkpointer.take()
        await rig.put("k1", b"changed")
        await rig.log.commit_change(rig.change("k2", None))
        await checkpointer.take()
        floor = checkpointer.floor_sequence
        assert floor > 50
        await rig.put("after", b"x")
        await rig.log.close()
        first = StripeId(StripeFamily.COMMIT, 0, 0)
        for node in rig.nodes.values():
            page = await node.list(ShardId(first, 0), None, limit=1000)
            old = [i.shard for i in page.shards if i.shard.stripe.counter <= floor]
            await node.delete(old)
        assert await rig.rebuild() == []
        assert rig.get("k1") == b"changed" and rig.get("k2") is None
        assert rig.get("after") == b"x" and rig.get("k59") == b"v59"
        assert rig.index.verify_sums() == []
        await rig.open(takeover=True)
        await rig.put("more", b"y")
        await rig.log.close()

    run(scenario)


def test_ids_of_a_caller_that_has_gone_are_given_back_when_its_change_is_decided() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.open()
        for node in rig.nodes.values():
            node.delay_s = 0.1
        first = rig.log.new_stripe_ids(2)
        change = replace(rig.change("a", b"1"), reserved=first)
        putting = asyncio.create_task(rig.log.commit_change(change))
        await asyncio.sleep(0.02)
        putting.cancel()
        await asyncio.sleep(0.02)
        assert rig.log.reservations.in_flight(first), "its change may still be committed"
        await rig.put("b", b"2")
        assert rig.get("a") == b"1" and not rig.log.reservations.in_flight(first)
        await rig.log.close()

    run(scenario)
