"""When jobs have their turn: what nobody waits for comes after the first answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from storaged.base.jobs import PAUSE_MAX_S, PAUSE_TIMES, Progress, Scheduler, give_way

T = TypeVar("T")


class HandClock:
    """An `Env` whose time goes on when the test says so; nothing else of it is asked for."""

    def __init__(self) -> None:
        self.s = 100.0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return int(self.s * 1000)

    def monotonic_s(self) -> float:
        return self.s

    def random_bytes(self, length: int) -> bytes:
        return bytes(length)

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        until_s = self.s + delay_s
        while self.s < until_s:
            await asyncio.sleep(0)

    async def offload(self, function: Callable[[], T]) -> T:
        return function()

    async def on_to(self, s: float) -> None:
        self.s = s
        for _ in range(20):
            await asyncio.sleep(0)


class CountedJob:
    """A job that counts its steps."""

    name = "count"

    def __init__(self) -> None:
        self.steps = 0

    async def step(self) -> float:
        self.steps += 1
        return 1000.0

    def progress(self) -> Progress:
        return Progress(done=self.steps, total=0, unit="steps")


def run(scenario: Callable[[Scheduler, HandClock, CountedJob], Awaitable[None]]) -> None:
    async def main() -> None:
        clock, job = HandClock(), CountedJob()
        scheduler = Scheduler(clock)
        scheduler.add(job, begins_after_s=10.0)
        scheduler.start()
        await clock.on_to(100.0)
        await scenario(scheduler, clock, job)
        await scheduler.close()

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_job_that_may_wait_begins_when_its_time_has_come() -> None:
    async def scenario(scheduler: Scheduler, clock: HandClock, job: CountedJob) -> None:
        assert job.steps == 0 and scheduler.status()[0].state == "waiting"
        await clock.on_to(109.9)
        assert job.steps == 0
        await clock.on_to(110.0)
        assert job.steps == 1

    run(scenario)


def test_whoever_asks_for_a_round_need_not_wait() -> None:
    async def scenario(scheduler: Scheduler, clock: HandClock, job: CountedJob) -> None:
        await scheduler.run_round("count")
        assert job.steps == 1 and clock.s == 100.0

    run(scenario)


def test_a_job_that_is_woken_begins_at_once() -> None:
    async def scenario(scheduler: Scheduler, clock: HandClock, job: CountedJob) -> None:
        scheduler.wake("count")
        await clock.on_to(100.0)
        assert job.steps == 1

    run(scenario)


def test_a_pause_follows_the_helping_and_has_a_bound() -> None:
    async def main() -> None:
        clock = HandClock()
        for took_s in (0.0, 0.002, 5.0):
            began_s = clock.s
            clock.s += took_s
            pausing = asyncio.ensure_future(give_way(clock, began_s))
            await asyncio.sleep(0)
            await clock.on_to(clock.s + 10)
            await pausing
        nothing, short, long = clock.slept
        assert nothing == 0.0 and long == PAUSE_MAX_S
        assert abs(short - PAUSE_TIMES * 0.002) < 1e-9

    asyncio.run(main())
