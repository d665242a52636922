"""Rotations beside a budget that is spent: who has none left waits, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.data.envelope import KeyBudgetSpent
from gateway.jobs import rotation_page
from gateway.jobs.rotation_page import Rewrites
from gateway.meta.kv import Row
from gateway.model.names import BucketId
from gateway.objects import buckets
from gateway.objects.context import Services
from tests.support.gateway import memory_gateway
from tests.support.rotations import bucket_of, epochs_of_rows, rotate, to_the_end

pytestmark = pytest.mark.proves("B-08", "K-10")


def test_a_rotation_whose_budget_is_spent_waits_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a budget of reseals that one tenant has used up: see docs/key-service.md."""

    async def scene() -> None:
        async with memory_gateway() as gateway:
            await buckets.create_bucket(gateway.ctx(), "other", "fr")
            names = sorted(
                ("bucket", "other"), key=lambda name: bucket_of(gateway, name).bucket_id.hex()
            )
            for name in names:
                await gateway.put("key", b"x", bucket=name)
                await rotate(gateway, name)
            spent, reseal = bucket_of(gateway, names[0]).bucket_id, rotation_page.rewritten

            async def rewritten(
                services: Services, bucket: BucketId, epoch: int, old: Sequence[Row]
            ) -> Rewrites:
                if bucket == spent:
                    raise KeyBudgetSpent(budget="reseals", of="tenant", again_s=3000)
                return await reseal(services, bucket, epoch, old)

            monkeypatch.setattr(rotation_page, "rewritten", rewritten)
            await to_the_end(gateway)
            found = [set(epochs_of_rows(gateway, name)) for name in names]
            assert found == [{1}, {2}]

    asyncio.run(scene())
