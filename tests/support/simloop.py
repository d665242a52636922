"""`SimLoop`: an asyncio event loop in virtual time, with the order of things drawn from a seed.

Not for one component in real time: `TurnEnv` does that. The selector never blocks: where nothing is
ready the clock jumps to the next timer, so an hour of sleeps takes a millisecond, and "no timer
left" is a deadlock, reported. What is ready in one turn runs in a shuffled order. Tasks and futures
are numbered, so that sets of them iterate alike in every run: same seed, same trace.

Threads, sockets and other processes are outside; `run_in_executor` runs in place after a delay.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

START_S = 1000.0
WALL_START_MS = 1_700_000_000_000
DELAY_MAX_S = 0.002

OWNER: ContextVar[str] = ContextVar("owner", default="")
"""Which simulated process a task belongs to; tasks inherit it from the one that makes them."""


class Deadlock(Exception):
    """Nothing is ready and no timer is left: the simulation would wait for ever."""


class _SimTask(asyncio.Task[Any]):
    """A task that knows its process and has a number for a hash."""

    def __init__(self, coro: Any, *, loop: SimLoop, owner: str, **more: Any) -> None:
        self.number = loop.next_number()
        self.owner = owner
        super().__init__(coro, loop=loop, **more)

    def __hash__(self) -> int:
        return self.number


class _SimFuture(asyncio.Future[Any]):
    """A future with a number for a hash."""

    def __init__(self, *, loop: SimLoop) -> None:
        self.number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class _Selector(selectors.SelectSelector):
    """Never blocks and never looks at a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = START_S
        self.turn: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Deadlock
        self.now_s += max(0.0, timeout)
        self.turn()
        return []


class SimLoop(asyncio.SelectorEventLoop):
    """See the module.

    Args:
        shuffle: draw the order of what is ready in one turn; False: in the order it was made ready.
    """

    _ready: Any

    def __init__(self, rng: Random, *, shuffle: bool = True) -> None:
        self._numbers = 0
        self._selector_in_time = _Selector()
        super().__init__(self._selector_in_time)
        self._rng = Random(rng.random())
        if shuffle:
            self._selector_in_time.turn = self._shuffle
        self._clock_resolution = 1e-9
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._selector_in_time.now_s

    def next_number(self) -> int:
        """Numbers of tasks and futures, in the order they are made."""
        self._numbers += 1
        return self._numbers

    def create_future(self) -> asyncio.Future[Any]:
        return _SimFuture(loop=self)

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        return self.create_task(self._run_later(func, *args))

    async def _run_later(self, func: Callable[..., T], *args: Any) -> T:
        await asyncio.sleep(self._rng.random() * DELAY_MAX_S)
        return func(*args)

    def _shuffle(self) -> None:
        if len(self._ready) > 1:
            self._rng.shuffle(self._ready)

    def tasks_of(self, owner: str) -> list[asyncio.Task[Any]]:
        """Tasks of a process that have not ended, in the order they were made."""
        tasks = [task for task in asyncio.all_tasks(self) if isinstance(task, _SimTask)]
        return [*sorted((t for t in tasks if t.owner == owner), key=hash)]

    async def kill(self, owner: str) -> None:
        """End a process: cancel its tasks until none is left."""
        while tasks := self.tasks_of(owner):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def spawn(self, owner: str, main: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task as part of a process."""
        context = Context()
        context.run(OWNER.set, owner)
        return self.create_task(main, context=context)


def _make_task(
    loop: asyncio.AbstractEventLoop, coro: Any, *, context: Context | None = None, **more: Any
) -> asyncio.Task[Any]:
    assert isinstance(loop, SimLoop)
    owner = OWNER.get() if context is None else context.get(OWNER, "")
    return _SimTask(coro, loop=loop, owner=owner, context=context, **more)


def run_simulated(main: Coroutine[Any, Any, T], seed: int, *, shuffle: bool = True) -> T:
    """Run a coroutine on a loop of its own. Raises Deadlock where it could never end."""
    with asyncio.Runner(loop_factory=lambda: SimLoop(Random(seed), shuffle=shuffle)) as runner:
        return runner.run(main)


class SimEnv:
    """The Env port of a simulation: virtual time, seeded entropy, a wall clock that may jump."""

    def __init__(self, rng: Random) -> None:
        self._rng = Random(rng.random())
        self._delays = Random(rng.random())
        self.wall_offset_ms = 0

    def now_ms(self) -> int:
        return WALL_START_MS + self.wall_offset_ms + int(self.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    def random_bytes(self, length: int) -> bytes:
        return self._rng.randbytes(length)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)

    async def offload(self, function: Callable[[], T]) -> T:
        await asyncio.sleep(self._delays.random() * DELAY_MAX_S)
        return function()

    def jump(self, by_ms: int) -> None:
        """Move the wall clock; the monotonic one goes on."""
        self.wall_offset_ms += by_ms
