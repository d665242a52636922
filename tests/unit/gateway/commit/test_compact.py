"""Compaction of what is left: one bad stripe does not stop it, and a pack is not packed again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.commit.compact import Compacter
from gateway.data.stripes import StripeCorrupt
from gateway.meta.stripes import scan_stripes
from gateway.model.bucket import Versioning
from gateway.model.layout import StripeRow
from gateway.objects.delete import delete_object
from gateway.objects.values import GetOptions
from gateway.objects.versioning import set_versioning
from storaged.base.ids import StripeFamily
from tests.support.gateway import BUCKET, Gateway, memory_gateway
from tests.support.log_rig import keys_of

Scenario = Callable[[Gateway], Awaitable[None]]


def run(scenario: Scenario) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await scenario(gateway)

    asyncio.run(asyncio.wait_for(main(), 30))


def compacter_of(gateway: Gateway) -> Compacter:
    services = gateway.services
    return Compacter(
        log=gateway.log,
        store=services.stripes,
        keys=keys_of(b"root"),
        records=services.records,
        nonces=services.nonces,
        env=services.env,
        floor_sequence=lambda: 10**9,
    )


async def a_round(compacter: Compacter) -> None:
    while not await compacter.step():
        pass


def named_stripes(gateway: Gateway, family: StripeFamily) -> list[StripeRow]:
    rows = scan_stripes(gateway.log, gateway.services.records, None, limit=10_000)
    return [r.row for r in rows if r.row.stripe.family is family and r.row.live_bytes]


def test_a_stripe_that_cannot_be_read_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(gateway: Gateway) -> None:
        for n in range(6):
            await gateway.put(f"k{n}", b"%d" % n * 100)
        bad = named_stripes(gateway, StripeFamily.COMMIT)[2]
        store = gateway.services.stripes
        read = store.read

        async def refusing(row: StripeRow, *more: int, verified: bool = False) -> memoryview:
            if row.stripe == bad.stripe:
                raise StripeCorrupt(stripe=row.stripe)
            return await read(row, *more, verified=verified)

        monkeypatch.setattr(store, "read", refusing)
        await a_round(compacter_of(gateway))
        left = named_stripes(gateway, StripeFamily.COMMIT)
        assert [row.stripe for row in left] == [bad.stripe]
        assert await gateway.get("k5") == b"5" * 100

    run(scenario)


def test_what_has_been_packed_is_not_packed_again_and_again() -> None:
    async def scenario(gateway: Gateway) -> None:
        for n in range(3):
            await gateway.put(f"k{n}", b"%d" % n * 100)
        compacter = compacter_of(gateway)
        await a_round(compacter)
        before = gateway.log.position.sequence
        (packed,) = named_stripes(gateway, StripeFamily.PACK)
        for _ in range(3):
            await a_round(compacter)
        assert gateway.log.position.sequence == before
        assert [row.stripe for row in named_stripes(gateway, StripeFamily.PACK)] == [packed.stripe]

    run(scenario)


def test_small_packs_are_put_together() -> None:
    async def scenario(gateway: Gateway) -> None:
        compacter = compacter_of(gateway)
        for n in range(3):
            await gateway.put(f"k{n}", b"%d" % n * 100)
            await a_round(compacter)
        assert len(named_stripes(gateway, StripeFamily.PACK)) == 1
        assert [await gateway.get(f"k{n}") for n in range(3)] == [b"%d" % n * 100 for n in range(3)]

    run(scenario)


def test_versions_that_have_moved_to_another_row_are_packed_with_the_others() -> None:
    """A stripe names the row that a version had; it may be noncurrent since, or current again."""

    async def scenario(gateway: Gateway) -> None:
        await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
        older = [(await gateway.put("k", b"%d" % n * 100)).version_id for n in range(3)]
        await a_round(compacter_of(gateway))
        assert not named_stripes(gateway, StripeFamily.COMMIT)
        await delete_object(gateway.ctx(), BUCKET, "k", version_id=older[2])
        await gateway.put("more", b"m" * 100)
        await a_round(compacter_of(gateway))
        assert not named_stripes(gateway, StripeFamily.COMMIT)
        assert len(named_stripes(gateway, StripeFamily.PACK)) == 1
        for n in range(2):
            options = GetOptions(version_id=older[n])
            assert await gateway.get("k", options) == b"%d" % n * 100

    run(scenario)
