"""The simulation loop itself: virtual time, seeded order, deadlocks seen, processes killed."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

from tests.support.simloop import Deadlock, SimEnv, SimLoop, run_simulated


async def race(log: list[str]) -> float:
    env = SimEnv(Random(3))

    async def walker(name: str) -> None:
        for step in range(5):
            await (env.sleep(3600 * 0.25) if step % 2 else asyncio.sleep(0))
            log.append(f"{name}{step}")

    began_s = env.monotonic_s()
    await asyncio.gather(*(walker(name) for name in "abcdef"))
    return env.monotonic_s() - began_s


def trace_of(seed: int, *, shuffle: bool = True) -> str:
    log: list[str] = []
    run_simulated(race(log), seed, shuffle=shuffle)
    return " ".join(log)


def test_hours_take_no_time() -> None:
    began_s = time.monotonic()
    assert run_simulated(race([]), 1) == pytest.approx(1800)
    assert time.monotonic() - began_s < 1


def test_order_comes_from_the_seed() -> None:
    assert trace_of(1) == trace_of(1)
    assert len({trace_of(seed) for seed in range(5)}) > 1
    assert trace_of(1, shuffle=False) == trace_of(2, shuffle=False)


def test_no_timer_left_is_a_deadlock() -> None:
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run_simulated(stuck(), 1)


def test_tasks_and_futures_hash_by_number() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        tasks = {asyncio.ensure_future(asyncio.sleep(0.01 * n)) for n in range(20)}
        futures = {loop.create_future() for _ in range(5)}
        done, _ = await asyncio.wait(tasks)
        return [hash(one) for one in (*tasks, *futures, *done)]

    assert run_simulated(main(), 1) == run_simulated(main(), 1)


def test_killing_a_process_ends_its_tasks_and_those_they_made() -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        log: list[str] = []

        async def child(name: str) -> None:
            try:
                await asyncio.sleep(10)
                log.append(f"{name} lived")
            finally:
                await asyncio.sleep(0)
                log.append(f"{name} ended")

        async def parent(name: str) -> None:
            asyncio.get_running_loop().create_task(child(name))
            await asyncio.sleep(20)

        loop.spawn("first", parent("first"))
        loop.spawn("second", parent("second"))
        await asyncio.sleep(1)
        await loop.kill("first")
        assert loop.tasks_of("first") == []
        await asyncio.sleep(30)
        return log

    assert run_simulated(main(), 1) == ["first ended", "second lived", "second ended"]


def test_executor_and_offload_run_in_place_and_later() -> None:
    async def main() -> tuple[str, int, float]:
        env = SimEnv(Random(1))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        word = await loop.run_in_executor(None, lambda: "done")
        return word, await env.offload(lambda: 7), loop.time() - began_s

    word, number, took_s = run_simulated(main(), 1)
    assert (word, number) == ("done", 7)
    assert 0 < took_s < 0.1


def test_the_wall_clock_jumps_and_the_other_does_not() -> None:
    async def main() -> tuple[int, float]:
        env = SimEnv(Random(1))
        wall_ms, now_s = env.now_ms(), env.monotonic_s()
        env.jump(-3_600_000)
        return env.now_ms() - wall_ms, env.monotonic_s() - now_s

    assert run_simulated(main(), 1) == (-3_600_000, 0.0)
