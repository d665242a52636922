"""What is asked of this gateway by others than its own jobs, so that a job can give way.

Not a limit, and not for refusing anybody (`gateway.objects.throttle`).
"""

from __future__ import annotations

from math import inf

LULL_S = 1.0  # after the last request so long without one: nobody asks any more


class Demand:
    """Requests under way, and when the latest one came.

    Attributes:
        under_way: requests that are being answered.
    """

    __slots__ = ("_latest_s", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self._latest_s = -inf

    def begin(self, now_s: float) -> None:
        """A request has come; `end` follows. `now_s`: on the monotonic clock."""
        self.under_way += 1
        self._latest_s = now_s

    def end(self) -> None:
        """A request was answered."""
        self.under_way -= 1

    def is_there(self, now_s: float) -> bool:
        """Whether somebody waits for an answer, or has a moment ago and is likely to ask again."""
        return self.under_way > 0 or now_s - self._latest_s < LULL_S

    def __repr__(self) -> str:
        return f"Demand({self.under_way} under way)"
