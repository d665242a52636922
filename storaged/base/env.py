"""Clock, entropy and threads: the only door to what a simulation must own.

Every other module receives an `Env`; the linter forbids `time.time`, `os.urandom` and friends
elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Env(Protocol):
    """What a component may take from the outside world."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since the UTC epoch. Never used for safety."""
        ...

    def monotonic_s(self) -> float:
        """Monotonic clock, seconds. The only clock for deadlines."""
        ...

    def random_bytes(self, length: int) -> bytes:
        """Cryptographically strong bytes (in a simulation: from the seed)."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait; cancelled like any await."""
        ...

    async def offload(self, function: Callable[[], T]) -> T:
        """Run a blocking function outside the event loop. Cancelled: the function still runs to its
        end.
        """
        ...


class RealEnv:
    """The machine's own clock, entropy and a thread pool."""

    def __init__(self, threads_max: int = 8) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads_max, thread_name_prefix="offload")

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    monotonic_s = staticmethod(time.monotonic)  # no call of ours in between: asked all the time

    def random_bytes(self, length: int) -> bytes:
        return os.urandom(length)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)

    async def offload(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def close(self) -> None:
        self._pool.shutdown(wait=True)
