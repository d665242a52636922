"""Clocks that are set do not end locks: B-17."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.compose import Gateway
from gateway.jobs.lock_clock import LockClockKeeper, written_time
from gateway.model.attributes import Attributes
from gateway.model.errors import AccessDenied
from gateway.objects.buckets import create_bucket
from gateway.objects.delete import delete_object
from gateway.objects.lock_clock import DAY_MS, LockClock, lock_now_ms
from gateway.objects.locks import (
    COMPLIANCE,
    DefaultRetention,
    Retention,
    get_retention,
    put_lock_configuration,
    put_retention,
)
from gateway.objects.put import put_object
from gateway.objects.values import Metadata, PutOptions
from tests.support.cluster import TestEnv
from tests.support.gateway import BytesBody, memory_gateway
from tests.support.gateway import Gateway as MemoryGateway
from tests.support.seized import opened

YEARS_MS = 3652 * DAY_MS
NOW_MS = 1_900_000_000_000
AWAY_MS = 90 * DAY_MS


class Clocks(TestEnv):
    """A wall clock and a monotonic one that are set apart."""

    def __init__(self) -> None:
        super().__init__()
        self.wall_ms = NOW_MS
        self.mono_s = 1000.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.mono_s


@pytest.mark.proves("B-17", "LCK-03")
@pytest.mark.parametrize("jump_ms", [YEARS_MS, -YEARS_MS, 1])
def test_a_clock_that_is_set_while_it_runs_changes_nothing(jump_ms: int) -> None:
    env = Clocks()
    clock = LockClock(env, written_ms=0, away_max_ms=AWAY_MS)
    env.wall_ms += jump_ms
    assert clock.now_ms() == NOW_MS
    env.mono_s += 60
    assert clock.now_ms() == NOW_MS + 60_000


@pytest.mark.proves("B-17", "LCK-03")
def test_at_a_start_no_clock_is_believed_that_is_too_far_ahead_or_behind() -> None:
    def started(wall_ms: int, written_ms: int) -> tuple[int, int]:
        env = Clocks()
        env.wall_ms = wall_ms
        clock = LockClock(env, written_ms=written_ms, away_max_ms=AWAY_MS)
        return clock.now_ms(), clock.held_back_ms

    assert started(NOW_MS, 0) == (NOW_MS, 0)  # the first start of all
    assert started(NOW_MS + AWAY_MS, NOW_MS) == (NOW_MS + AWAY_MS, 0)
    assert started(NOW_MS + YEARS_MS, NOW_MS) == (NOW_MS, YEARS_MS)
    assert started(NOW_MS - YEARS_MS, NOW_MS) == (NOW_MS, 0)


def run(test: Callable[[MemoryGateway, LockClock], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            services = gateway.services
            services.lock_clock = LockClock(services.env, written_ms=0, away_max_ms=AWAY_MS)
            ctx = gateway.ctx()
            await create_bucket(ctx, "locked", None, object_lock=True)
            await test(gateway, services.lock_clock)

    asyncio.run(main())


@pytest.mark.proves("B-17", "LCK-03", "LCK-02")
def test_no_path_takes_a_locked_version_away_when_the_wall_clock_is_set() -> None:
    async def check(gateway: MemoryGateway, clock: LockClock) -> None:
        until_ms = clock.now_ms() + 30 * DAY_MS
        locked = Attributes(retention_mode=COMPLIANCE, retain_until_ms=until_ms)
        options = PutOptions(metadata=Metadata(attributes=locked))
        head = await put_object(gateway.ctx(), "locked", "k", BytesBody(b"worm"), options)
        env = gateway.services.env
        true_now = env.now_ms
        for jump_ms in (YEARS_MS, -YEARS_MS):
            env.now_ms = lambda jump_ms=jump_ms: true_now() + jump_ms  # type: ignore[method-assign, misc]
            with pytest.raises(AccessDenied):
                await delete_object(gateway.ctx(), "locked", "k", version_id=head.version_id)
            shorter = Retention(COMPLIANCE, until_ms - DAY_MS)
            with pytest.raises(AccessDenied):
                await put_retention(
                    gateway.ctx(), "locked", "k", None, shorter, bypass_governance=True
                )
        assert lock_now_ms(gateway.services) < until_ms
        assert await gateway.get("k", bucket="locked") == b"worm"

    run(check)


@pytest.mark.proves("B-17", "LCK-03")
def test_a_default_retention_does_not_begin_in_the_past() -> None:
    """A clock that is set back would else give new versions locks that have ended."""

    async def check(gateway: MemoryGateway, clock: LockClock) -> None:
        default = DefaultRetention(COMPLIANCE, 30, 0)
        await put_lock_configuration(gateway.ctx(), "locked", default)
        env = gateway.services.env
        true_now = env.now_ms
        env.now_ms = lambda: true_now() - YEARS_MS  # type: ignore[method-assign]
        await put_object(gateway.ctx(), "locked", "k", BytesBody(b"worm"), PutOptions())
        held = get_retention(gateway.ctx(), "locked", "k", None)
        assert held.until_ms >= clock.now_ms() + 29 * DAY_MS

    run(check)


@pytest.mark.proves("B-17", "LCK-03")
def test_the_time_for_locks_outlives_the_gateway(tmp_path: Path) -> None:
    written: list[int] = []

    async def first(gateway: Gateway) -> None:
        await gateway.lock_clock.step()
        written.append(written_time(gateway.log, gateway.core.records))
        assert abs(written[0] - gateway.core.env.now_ms()) < 60_000
        ahead = LockClock(gateway.core.env, written_ms=written[0] + YEARS_MS, away_max_ms=AWAY_MS)
        await LockClockKeeper(gateway.services, ahead).step()

    async def again(gateway: Gateway) -> None:
        clock = gateway.services.lock_clock
        assert clock is not None and clock.now_ms() >= written[0] + YEARS_MS
        assert clock.held_back_ms == 0
        behind = standing_at(gateway, written[0] - YEARS_MS)
        await LockClockKeeper(gateway.services, behind).step()

    async def held_back(gateway: Gateway) -> None:
        clock = gateway.services.lock_clock
        assert clock is not None and clock.held_back_ms > YEARS_MS // 2
        assert clock.now_ms() < written[0] - YEARS_MS // 2
        assert "locks lag" in gateway.lock_clock.progress().detail

    for look in (first, again, held_back):
        asyncio.run(opened(tmp_path, look))


def standing_at(gateway: Gateway, at_ms: int) -> LockClock:
    """A clock that stands at a time long ago."""
    clock = LockClock(gateway.core.env, written_ms=0, away_max_ms=AWAY_MS)
    clock._base_ms = at_ms
    return clock
