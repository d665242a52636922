"""The free job spares what a read under way may still need."""

from __future__ import annotations

from gateway.commit.change import StripeChange
from gateway.commit.free import Freer
from gateway.objects.open_reads import OpenReads
from storaged.base.ids import ShardId, StripeId
from tests.support.log_rig import LogRig
from tests.unit.gateway.jobs.test_audit_repair import rounds, run


def freer_of(rig: LogRig, reads: OpenReads) -> Freer:
    return Freer(
        log=rig.log,
        store=rig.store,
        records=rig.records,
        oldest_read_s=reads.oldest_s,
        env=rig.env,
        floor_sequence=lambda: 10**9,
    )


async def emptied(rig: LogRig, name: str) -> StripeId:
    """A stripe that has just lost its last name."""
    place = (await rig.put(name, b"", body=b"body")).places[0]
    release = StripeChange(stripe=place.stripe, live_delta=-place.sealed_bytes)
    await rig.log.commit_change(rig.change(name, None, stripes=(release,)))
    return place.stripe


async def is_whole(rig: LogRig, stripe: StripeId) -> bool:
    """Whether its row and all its shards are there."""
    row = rig.log.stripe_row(stripe)
    if row is None:
        return False
    for index, number in enumerate(row.nodes):
        await rig.nodes[number].verify(ShardId(stripe, index))
    return True


def test_a_stripe_stays_while_a_read_from_before_is_under_way() -> None:
    async def scenario(rig: LogRig) -> None:
        reads = OpenReads()
        freer = freer_of(rig, reads)
        await rounds(freer)
        ticket = reads.begin(rig.env.monotonic_s())
        first = await emptied(rig, "first")
        second = await emptied(rig, "second")
        await rounds(freer, 3)
        assert await is_whole(rig, first) and await is_whole(rig, second)
        reads.end(ticket)
        reads.begin(rig.env.monotonic_s())
        await rounds(freer, 3)
        assert rig.log.stripe_row(first) is None, "a later read has never seen its row"
        assert rig.log.stripe_row(second) is None

    run(scenario)


def test_the_oldest_of_several_reads_counts() -> None:
    async def scenario(rig: LogRig) -> None:
        reads = OpenReads()
        freer = freer_of(rig, reads)
        await rounds(freer)
        old = reads.begin(rig.env.monotonic_s())
        stripe = await emptied(rig, "one")
        young = reads.begin(rig.env.monotonic_s())
        reads.end(young)
        await rounds(freer, 2)
        assert await is_whole(rig, stripe)
        reads.end(old)
        await rounds(freer, 2)
        assert rig.log.stripe_row(stripe) is None

    run(scenario)
