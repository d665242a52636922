"""What time it is for locks: object lock must not end because somebody sets a clock.

While a gateway runs, time for locks goes on as the monotonic clock does, whatever the wall clock is
set to. Across restarts it never goes back behind the last time that was written down, and does not
believe a wall clock that is further ahead of that than a gateway is ever off: then it goes on from
there, so that locks last longer, until the operator says how long it was off.

Not for dates that clients are told, nor for signatures: those follow the wall clock.

Source: docs/security.md, "Clocks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storaged.base.env import Env

if TYPE_CHECKING:
    from gateway.objects.context import Services

DAY_MS = 86_400_000


class LockClock:
    """Time for locks.

    Args:
        written_ms: the last time for locks that was written down; 0 = none ever was.
        away_max_ms: how far ahead of that the wall clock is believed at the start.

    Attributes:
        held_back_ms: by how much the wall clock was ahead of what was believed at the start.
    """

    def __init__(self, env: Env, *, written_ms: int, away_max_ms: int) -> None:
        wall_ms = env.now_ms()
        self._env = env
        self._began_s = env.monotonic_s()
        self.held_back_ms = 0
        self._base_ms = max(wall_ms, written_ms)
        if written_ms and wall_ms > written_ms + away_max_ms:
            self._base_ms = written_ms
            self.held_back_ms = wall_ms - written_ms

    def now_ms(self) -> int:
        """Milliseconds since the UTC epoch, as locks see them; never less than before."""
        return self._base_ms + int((self._env.monotonic_s() - self._began_s) * 1000)


def lock_now_ms(services: Services) -> int:
    """The time at which locks are judged."""
    clock = services.lock_clock
    return services.env.now_ms() if clock is None else clock.now_ms()
