"""How often somebody may do something on the admin port.

Not for S3 (`gateway.objects.throttle`). Requirement: A-06.
"""

from __future__ import annotations

from collections import OrderedDict

from storaged.base.env import Env

ACTORS_MAX = 1024  # whose rates are remembered; who is forgotten begins anew


class Rates:
    """Token buckets by name, in a bounded table."""

    def __init__(self, env: Env, *, per_s: float, at_once: int) -> None:
        self._env = env
        self._per_s = per_s
        self._at_once = at_once
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> bool:
        """One more; False: not now."""
        now_s = self._env.monotonic_s()
        left, at_s = self._held.pop(name, (float(self._at_once), now_s))
        left = min(float(self._at_once), left + (now_s - at_s) * self._per_s)
        taken = left >= 1
        self._held[name] = (left - 1 if taken else left, now_s)
        if len(self._held) > ACTORS_MAX:
            self._held.popitem(last=False)
        return taken
