"""What clients did to each key, and whether one order of it explains what they saw.

A key is a register whose values are numbers of unique bodies, None where there is no object. An
operation whose outcome is unknown may have happened at any time after its call, or never. `explain`
searches for an order that respects real time (Wing and Gong's search, with a memory of the places
it has been): the answer None is proof that something was lost, resurrected or torn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Value = int | None
Steps = Callable[[Value], Iterable[Value]]
"""The states an operation can lead to from a state; none: it cannot have happened there."""

SEARCH_MAX = 400_000


@dataclass(slots=True, eq=False)
class Operation:
    """One call on one key.

    Args:
        steps: its effect. returned: moment of the answer; infinite while, or for ever when, the
            outcome is not known. required: it is known to have happened.
    """

    what: str
    steps: Steps
    called: int
    returned: float = math.inf
    required: bool = False

    def __str__(self) -> str:
        end = "…" if self.returned == math.inf else str(int(self.returned))
        return f"{self.what} [{self.called}, {end}]"


def writes(*values: Value) -> Steps:
    """It leaves one of these values."""
    return lambda state: values


def sees(*values: Value) -> Steps:
    """It found one of these values, and left it."""
    return lambda state: (state,) if state in values else ()


def sees_other_than(*values: Value) -> Steps:
    """It found none of these values."""
    return lambda state: () if state in values else (state,)


def swaps(expected: Callable[[Value], bool], value: Value) -> Steps:
    """It found what it expected and left another value."""
    return lambda state: (value,) if expected(state) else ()


@dataclass(slots=True)
class History:
    """All operations of a run, by key. Moments are numbers of their own, not times."""

    by_key: dict[str, list[Operation]] = field(default_factory=dict)
    moment: int = 0

    def begin(self, key: str, what: str, steps: Steps) -> Operation:
        """A call begins; it may happen from here on."""
        self.moment += 1
        operation = Operation(what, steps, self.moment)
        self.by_key.setdefault(key, []).append(operation)
        return operation

    def end(self, operation: Operation, steps: Steps | None = None, what: str = "") -> None:
        """The call was answered: it has happened, with the effect that the answer tells."""
        self.moment += 1
        operation.returned, operation.required = self.moment, True
        operation.steps = steps or operation.steps
        operation.what += what

    def void(self, key: str, operation: Operation) -> None:
        """The call did nothing and saw nothing."""
        self.by_key[key].remove(operation)

    def unexplained(self) -> list[str]:
        """Keys of which no order explains what was seen, with all that was done to them."""
        return [
            f"{key}:\n    " + "\n    ".join(str(one) for one in operations)
            for key, operations in sorted(self.by_key.items())
            if not explain(operations)
        ]


def explain(operations: list[Operation]) -> bool:
    """Whether one order of the operations explains them, from a key that was not there."""
    ordered = sorted(operations, key=lambda one: one.called)
    required = sum(1 << at for at, one in enumerate(ordered) if one.required)
    seen: set[tuple[int, Value]] = set()
    stack: list[tuple[int, Value]] = [(0, None)]
    while stack:
        happened, state = stack.pop()
        if happened & required == required:
            return True
        if (happened, state) in seen or len(seen) > SEARCH_MAX:
            continue
        seen.add((happened, state))
        open_until = math.inf
        for at, one in enumerate(ordered):
            if happened >> at & 1:
                continue
            if one.called > open_until:
                break
            stack += [(happened | 1 << at, after) for after in one.steps(state)]
            open_until = min(open_until, one.returned)
    return len(seen) > SEARCH_MAX
