"""Holds whoever asks for acts that are refused to a rate: each is in the journal, durably, before
anybody knows whether it may be done.

Not for other limits (`gateway.objects.throttle`). Acts that are done cost nothing here. A refused
one takes a token of whoever has asked, an access key or, without one, an address; who has none
left is told to slow down before anything is recorded. The table forgets whoever has not been seen
for longest.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway.model.errors import SlowDown
from storaged.base.env import Env

CALLERS_MAX = 10_000  # about 200 bytes each
BURST = 100
PER_S = 10.0


class RefusedActs:
    """Tokens by caller."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # (tokens, as of)

    def admit(self, caller: str) -> None:
        """Somebody asks for an act. Raises: SlowDown."""
        if caller in self._spent and self._spent_by(caller) > BURST - 1:
            raise SlowDown()

    def charge(self, caller: str) -> None:
        """An act of somebody was refused."""
        self._spent[caller] = (self._spent_by(caller) + 1.0, self._env.monotonic_s())
        self._spent.move_to_end(caller)
        if len(self._spent) > CALLERS_MAX:
            self._spent.popitem(last=False)

    def _spent_by(self, caller: str) -> float:
        spent, at_s = self._spent.get(caller, (0.0, 0.0))
        return max(0.0, spent - (self._env.monotonic_s() - at_s) * PER_S)
