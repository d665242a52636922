"""How far the clocks of nodes are from this gateway's, and whose are too far.

Not for safety: no shard, lock or epoch depends on a clock (docs/architecture.md). Clocks that agree
are wanted so that times in journals and logs of several machines can be put side by side.

A node's time is held against the middle of the time that its answer took. Half of that time is what
the comparison may be wrong by, so an answer that took long says little.

Requirement: L-05.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

CLOCK_SKEW_LIMIT_S = 5.0  # deploy/prometheus has the same number
# So many answers in a row have to agree before a clock counts as off, or as right again: one odd
# answer is no news, and a node that says another time each second does not fill the journal.
ANSWERS_AGREE = 10


@dataclass(frozen=True, slots=True)
class Skew:
    """How far a node's clock is ahead of ours (below 0: behind), and what that may be wrong by."""

    offset_s: float
    error_s: float

    @property
    def sure_s(self) -> float:
        """As much of the offset as the error does not explain, in whole milliseconds."""
        sure_s = round(max(abs(self.offset_s) - self.error_s, 0.0), 3)
        return sure_s if self.offset_s > 0 else 0.0 - sure_s

    @property
    def is_off(self) -> bool | None:
        """Whether it is above the limit; None where the error leaves that open."""
        if abs(self.sure_s) > CLOCK_SKEW_LIMIT_S:
            return True
        return None if abs(self.offset_s) + self.error_s > CLOCK_SKEW_LIMIT_S else False


def measured_skew(at_ms: int, *, sent_ms: int, received_ms: int, took_s: float) -> Skew:
    """From what a node said the time is, and when we asked and heard.

    Args:
        sent_ms, received_ms: our wall clock.
        took_s: the same by the monotonic clock; where our own wall clock was set meanwhile, the
            larger of both is taken.
    """
    error_s = max(abs(received_ms - sent_ms) / 1000, took_s) / 2
    return Skew((at_ms - (sent_ms + received_ms) / 2) / 1000, error_s)


ClockTurn = Callable[[int, bool, float], None]
"""Called with (node number, whether its clock is off now, skew in seconds)."""


class NodeClocks:
    """What was seen of the clocks of nodes."""

    def __init__(self) -> None:
        self._skews: dict[int, float] = {}
        self._off: set[int] = set()
        self._against: dict[int, int] = {}  # answers in a row that say otherwise than `_off`
        self._on_turn: ClockTurn | None = None

    def watch(self, on_turn: ClockTurn) -> None:
        """Be told of each clock that goes off or is right again, and now of those that are off."""
        self._on_turn = on_turn
        for number, skew_s in self.off().items():
            on_turn(number, True, skew_s)

    def saw(self, number: int, skew: Skew | None) -> None:
        """A node said what time it is. None: it does not answer, or says no time; that it was off
        is remembered until it says otherwise.
        """
        if skew is None:
            self._skews.pop(number, None)
            return
        self._skews[number] = skew.sure_s
        was_off = number in self._off
        if skew.is_off is None:
            return
        if skew.is_off is was_off:
            self._against.pop(number, None)
            return
        self._against[number] = self._against.get(number, 0) + 1
        if self._against[number] < ANSWERS_AGREE:
            return
        del self._against[number]
        self._off ^= {number}
        if self._on_turn is not None:
            self._on_turn(number, not was_off, skew.sure_s)

    def skew_s(self, number: int) -> float | None:
        """How far a node's clock is ahead of ours (below 0: behind); None: nothing is known."""
        return self._skews.get(number)

    def off(self) -> Mapping[int, float]:
        """Nodes that answer and whose clock is off, each with its skew."""
        return {number: self._skews[number] for number in sorted(self._off & self._skews.keys())}
