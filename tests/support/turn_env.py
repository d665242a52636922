"""`TurnEnv`: an `Env` whose waits are turns of the event loop, drawn from a seed.

For tests of one component; whole clusters run on the simulation loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TypeVar

T = TypeVar("T")


class TurnEnv:
    """Sleeps and offloads end after a few turns; offloaded functions run in place."""

    def __init__(self, rng: Random, *, turns_max: int = 6) -> None:
        self._rng = rng
        self._turns_max = turns_max
        self.wall_ms = 1_000_000

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.wall_ms / 1000

    def random_bytes(self, length: int) -> bytes:
        return self._rng.randbytes(length)

    async def sleep(self, delay_s: float) -> None:
        for _ in range(self._rng.randint(1, self._turns_max * 4)):
            await asyncio.sleep(0)

    async def offload(self, function: Callable[[], T]) -> T:
        for _ in range(self._rng.randint(0, self._turns_max)):
            await asyncio.sleep(0)
        result = function()
        for _ in range(self._rng.randint(0, self._turns_max)):
            await asyncio.sleep(0)
        return result
