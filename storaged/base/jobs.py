"""Background jobs: one small port, one scheduler. Long work is done in steps, can be paused, and
says how far it is.

Not for what a job does. A job that fails is tried again later with a longer pause; it never takes
the process down.

A step should take well under a second and leave everything consistent: between two steps the
process may die.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from storaged.base.env import Env

logger = logging.getLogger(__name__)

# What nobody waits for begins so long after its process: the first answers come first.
BEGINS_AFTER_S = 10.0
# A pause is so many times as long as the helping before it: a quarter of a processor at most.
PAUSE_TIMES, PAUSE_MAX_S = 3.0, 0.1
BACK_OFF_FIRST_S = 1.0
BACK_OFF_MAX_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is. `total` 0: not known. `detail` is one line for people. `waiting`: what is
    in the job's queue, if it has one.
    """

    done: int
    total: int
    unit: str
    detail: str = ""
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """What `status` shows of one job."""

    name: str
    state: str  # running, waiting, paused, failing
    rounds: int
    failures: int
    last_error: str
    progress: Progress


class Job(Protocol):
    """Something that is done in steps."""

    @property
    def name(self) -> str:
        """One word, the field's own: scrub, repair, free, compact, sweep, checkpoint."""
        ...

    async def step(self) -> float:
        """Do a little.

        Returns: seconds until the next step; 0 goes on at once (other jobs and requests run in
            between).
        """
        ...

    def progress(self) -> Progress:
        """How far the round under way, or the last one, is."""
        ...


async def give_way(env: Env, began_s: float) -> None:
    """Pause after a helping of work that nobody waits for.

    Beside requests a helping takes longer, for it waits for the interpreter, and so the pause is
    longer as well.

    Args:
        began_s: when the helping began, by the monotonic clock.
    """
    await env.sleep(min(PAUSE_TIMES * (env.monotonic_s() - began_s), PAUSE_MAX_S))


class _Slot:
    def __init__(self, job: Job, begins_after_s: float) -> None:
        self.job = job
        self.begins_after_s = begins_after_s
        self.wake = asyncio.Event()
        self.state = "waiting"
        self.paused = False
        self.rounds = 0
        self.failures = 0
        self.last_error = ""
        self.step_lock = asyncio.Lock()


class Scheduler:
    """Runs each job in a task of its own, one step at a time."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._slots: dict[str, _Slot] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, job: Job, *, begins_after_s: float = 0.0) -> None:
        """Add a job.

        Args:
            begins_after_s: its first step comes so long after `start`, unless it is woken or asked
                for a round before.
        """
        assert job.name not in self._slots
        self._slots[job.name] = _Slot(job, begins_after_s)

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(slot), name=f"job-{name}")
            for name, slot in self._slots.items()
        ]

    async def _run(self, slot: _Slot) -> None:
        back_off_s = BACK_OFF_FIRST_S
        if slot.begins_after_s:
            await self._wait(slot, slot.begins_after_s)
        while True:
            delay_s = 0.0
            if slot.paused:
                slot.state = "paused"
                await slot.wake.wait()
            else:
                slot.state = "running"
                try:
                    async with slot.step_lock:
                        delay_s = await slot.job.step()
                    back_off_s = BACK_OFF_FIRST_S
                    slot.rounds += delay_s > 0
                except Exception as error:
                    # The boundary of all jobs: whatever went wrong is logged, shown, and tried
                    # again later.
                    logger.exception("job %s failed", slot.job.name)
                    slot.failures += 1
                    slot.last_error = f"{type(error).__name__}: {error}"[:500]
                    slot.state = "failing"
                    delay_s = back_off_s
                    back_off_s = min(2 * back_off_s, BACK_OFF_MAX_S)
                else:
                    if delay_s:
                        slot.state = "waiting"
            await self._wait(slot, delay_s)

    async def _wait(self, slot: _Slot, delay_s: float) -> None:
        slot.wake.clear()
        if not delay_s:
            await self._env.sleep(0)
            return
        sleeping = asyncio.ensure_future(self._env.sleep(delay_s))
        waking = asyncio.ensure_future(slot.wake.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()

    def wake(self, name: str) -> None:
        """Let a waiting job go on at once. Unknown names are ignored: the job may be switched
        off.
        """
        slot = self._slots.get(name)
        if slot is not None:
            slot.wake.set()

    def pause(self, name: str) -> None:
        """Stop a job after the step under way. Raises KeyError for an unknown name."""
        self._slots[name].paused = True

    def resume(self, name: str) -> None:
        """Undo `pause`. Raises KeyError for an unknown name."""
        self._slots[name].paused = False
        self._slots[name].wake.set()

    async def run_round(self, name: str) -> None:
        """Run steps of one job until it wants to wait: what `jobs run` does. Raises what the step
        raises.
        """
        slot = self._slots[name]
        while True:
            async with slot.step_lock:
                delay_s = await slot.job.step()
            if delay_s:
                slot.rounds += 1
                return

    def status(self) -> list[JobStatus]:
        """All jobs, in the order they were added."""
        return [
            JobStatus(
                name=name,
                # A paused job that sleeps does not know it yet.
                state="paused" if slot.paused and slot.state != "running" else slot.state,
                rounds=slot.rounds,
                failures=slot.failures,
                last_error=slot.last_error,
                progress=slot.job.progress(),
            )
            for name, slot in self._slots.items()
        ]

    async def close(self) -> None:
        """Cancel all jobs between or inside steps. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
