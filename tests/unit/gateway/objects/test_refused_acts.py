"""Refused acts take tokens, and come back with time."""

from __future__ import annotations

import pytest

from gateway.model.errors import SlowDown
from gateway.objects.refused_acts import BURST, CALLERS_MAX, PER_S, RefusedActs
from tests.support.metered import TurnedEnv


def test_a_burst_is_let_through_and_then_only_the_rate() -> None:
    env = TurnedEnv()
    acts = RefusedActs(env)
    for _ in range(BURST):
        acts.admit("a")
        acts.charge("a")
    with pytest.raises(SlowDown):
        acts.admit("a")
    acts.admit("b")
    env.turn(1.5 / PER_S)
    acts.admit("a")
    acts.charge("a")
    with pytest.raises(SlowDown):
        acts.admit("a")
    env.turn(2 * BURST / PER_S)
    for _ in range(BURST):
        acts.admit("a")
        acts.charge("a")
    with pytest.raises(SlowDown):
        acts.admit("a")


def test_the_table_is_bounded() -> None:
    acts = RefusedActs(TurnedEnv())
    for number in range(CALLERS_MAX + 10):
        acts.charge(str(number))
    assert len(acts._spent) == CALLERS_MAX
