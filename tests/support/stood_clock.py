"""A clock that tests move."""

from __future__ import annotations

from typing import Any


class StoodClock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000
        self.monotonic = 1000.0

    def drive(self, env: Any) -> None:
        """Have an environment go by it."""
        env.now_ms = lambda: self.now
        env.monotonic_s = lambda: self.monotonic

    def pass_s(self, seconds: int) -> None:
        self.now += seconds * 1000
        self.monotonic += seconds
