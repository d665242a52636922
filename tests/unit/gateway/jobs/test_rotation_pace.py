"""A rotation gives way to those who ask something of the gateway, and moves everything all the
same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.commit.change import Change
from gateway.jobs import rotation_pace
from gateway.jobs.rotation import KeyRotation
from gateway.meta import rotations
from gateway.objects.demand import LULL_S, Demand
from gateway.objects.rewrapping import DekRun
from storaged.base.env import RealEnv
from tests.support.gateway import Gateway, memory_gateway
from tests.support.rotations import epochs_of_rows, forget_all, rotate, to_the_end

pytestmark = pytest.mark.proves("K-10", "C6")

KEYS = 40
PAGE_S = 2**-8  # what a page is taken to last
REST_S = rotation_pace.SHARED_PAGE_S - PAGE_S  # after it


class CountedSleeps(RealEnv):
    """Time stands still but for sleeps, which are over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []
        self.now_s = 100.0

    def monotonic_s(self) -> float:  # type: ignore[override]
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        await asyncio.sleep(0)


def idle_or_shared(*, under_way: int) -> Any:
    """Services of which nothing is there but time and demand."""
    demand = Demand()
    for _ in range(under_way):
        demand.begin(0.0)
    return SimpleNamespace(env=CountedSleeps(), demand=demand)


@pytest.mark.parametrize(
    ("rows_per_s", "idle", "shared"),
    [
        (0, rotation_pace.PAGE_ROWS, rotation_pace.SHARED_ROWS),
        (2000, 100, rotation_pace.SHARED_ROWS),
        (400, rotation_pace.PAGE_ROWS_MIN, 400),
        (1, rotation_pace.PAGE_ROWS_MIN, rotation_pace.PAGE_ROWS_MIN),
        (10**9, rotation_pace.PAGE_ROWS, rotation_pace.SHARED_ROWS),
    ],
)
def test_changes_are_small_where_the_gateway_is_shared(
    rows_per_s: int, idle: int, shared: int
) -> None:
    assert rotation_pace.page_rows(idle_or_shared(under_way=0), rows_per_s) == idle
    assert rotation_pace.page_rows(idle_or_shared(under_way=1), rows_per_s) == shared
    assert rotation_pace.call_rows(idle_or_shared(under_way=1)) == rotation_pace.TURN_ROWS


@pytest.mark.parametrize(
    ("under_way", "spent_s", "written", "rows_per_s", "rests"),
    [
        (0, 0.25, 100, 0, []),  # nobody waits, and nothing limits it
        (0, 0.25, 100, 100, [0.75]),
        (0, 2.0, 100, 100, []),  # slower than the limit by itself
        (1, 2**-7, 100, 0, [rotation_pace.SHARED_PAGE_S - 2**-7]),
        (1, 2**-7, 0, 0, [rotation_pace.REST_MIN_S]),  # rows were only looked at
        (1, 2.0, 100, 0, [rotation_pace.REST_MIN_S]),
        (1, 0.25, 100, 50, [1.75]),  # the limit asks for more
        (1, 2.0, 100, 100, [rotation_pace.REST_MIN_S]),
    ],
)
def test_pages_are_so_far_apart_where_the_gateway_is_shared(
    under_way: int, spent_s: float, written: int, rows_per_s: int, rests: list[float]
) -> None:
    services = idle_or_shared(under_way=under_way)
    asyncio.run(rotation_pace.rest(services, 100.0 - spent_s, written, rows_per_s))
    assert services.env.slept == rests


def test_the_loop_is_left_for_a_moment_where_it_is_shared() -> None:
    for under_way, pause_s in ((0, 0), (1, rotation_pace.PAUSE_S)):
        services = idle_or_shared(under_way=under_way)
        asyncio.run(rotation_pace.turn(services))
        assert services.env.slept == [pause_s]


def over_keys(test: Callable[[Gateway, CountedSleeps], Awaitable[None]]) -> None:
    """Run a test over KEYS objects whose bucket's key was rotated."""

    async def main() -> None:
        env = CountedSleeps()
        async with memory_gateway(env=env) as gateway:
            for at in range(KEYS):
                await gateway.put(f"k{at:02}", f"one {at}".encode())
            await rotate(gateway)
            await test(gateway, env)
        env.close()

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("is_remote", [False, True])
def test_everything_moves_in_small_pieces_beside_requests_and_at_once_after_them(
    is_remote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation_pace, "SHARED_ROWS", 8)
    monkeypatch.setattr(rotation_pace, "TURN_ROWS", 4)
    resealed, sizes = DekRun.resealed, list[int]()

    def counted(run: DekRun) -> list[bytes | None]:
        sizes.append(len(run.records))
        return resealed(run)

    monkeypatch.setattr(DekRun, "resealed", counted)

    async def test(gateway: Gateway, env: CountedSleeps) -> None:
        services = gateway.services
        services.bucket_keys.is_remote = is_remote
        changed: list[int] = []
        commit_change = gateway.log.commit_change

        async def watched(change: Change) -> object:
            env.now_s += PAGE_S
            changed.append(len(change.batch.writes) - 1)  # one is the rotation's own
            return await commit_change(change)

        monkeypatch.setattr(gateway.log, "commit_change", watched)
        services.demand.begin(env.now_s)
        job = KeyRotation(services)
        while epochs_of_rows(gateway)[2] < KEYS // 2:
            await job.step()
            assert job._ahead is None, "no page is made while another is written"
        assert max(changed) <= 8 and max(sizes) <= 4
        assert env.slept.count(REST_S) >= KEYS // 2 // 8 - 1
        assert rotation_pace.PAUSE_S in env.slept
        # They have gone: what is left is written in one change.
        services.demand.end()
        env.now_s += LULL_S
        env.slept.clear()
        await to_the_end(gateway, job)
        assert epochs_of_rows(gateway) == {2: KEYS}
        assert max(changed) == KEYS - KEYS // 2 - 4
        assert not {rotation_pace.PAUSE_S, REST_S} & set(env.slept)
        report = rotations.scan_reports(gateway.log, services.records, limit=1)[0]
        assert (report.outcome, report.done, report.total) == ("complete", KEYS, KEYS)
        forget_all(gateway)
        for at in range(KEYS):
            assert await gateway.get(f"k{at:02}") == f"one {at}".encode()

    over_keys(test)
