"""A gateway in memory for the lifecycle job, with a clock that the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.jobs.lifecycle import LifecycleKeeper
from gateway.model.bucket import Versioning
from gateway.model.lifecycle import DAY_MS, Filter, Rule
from gateway.objects import versioning
from gateway.objects.lifecycle import put_lifecycle
from gateway.objects.versioning import VersionsOptions
from tests.support.cluster import TestEnv
from tests.support.gateway import BUCKET, Gateway, memory_gateway


class Clock(TestEnv):
    """Days go by when the test says so; nobody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.days = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + round(self.days * DAY_MS)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(0)


def run(scene: Callable[[Gateway, Clock], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = Clock()
        async with memory_gateway(env=clock) as gateway:
            await scene(gateway, clock)

    asyncio.run(main())


async def one_pass(gateway: Gateway) -> str:
    """What a whole pass says of itself."""
    keeper = LifecycleKeeper(gateway.services)
    while not await keeper.step():
        pass
    return keeper.progress().detail


def rule(**fields: Any) -> Rule:
    given_fields = {"rule_id": "rule", "is_enabled": True, "filter": Filter(), **fields}
    return Rule(**given_fields)


async def ruled(gateway: Gateway, *rules: Rule, bucket: str = BUCKET) -> None:
    await put_lifecycle(gateway.ctx(), bucket, rules, None)


async def versioned(gateway: Gateway, state: Versioning = Versioning.ENABLED) -> None:
    await versioning.set_versioning(gateway.ctx(), BUCKET, state)


async def keys(gateway: Gateway, bucket: str = BUCKET) -> list[tuple[str, bool, bool]]:
    """(key, is latest, is a delete marker) of all versions."""
    page = await versioning.list_versions(gateway.ctx(), bucket, VersionsOptions())
    return [(one.key, one.is_latest, one.version.is_delete_marker) for one in page.versions]
