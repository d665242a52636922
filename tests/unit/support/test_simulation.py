"""The simulation: a seed's trace repeats itself, and its judge of histories is not fooled."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sim.history import History, explain, sees, sees_other_than, swaps, writes


def hash_of(seed: int) -> str:
    """The trace of a seed, in a process of its own."""
    command = [sys.executable, "-m", "tests.sim", "--seed", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": "random"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return next(line for line in done.stdout.splitlines() if line.startswith("trace "))


@pytest.mark.parametrize("seed", [3, 18])
def test_the_same_seed_leaves_the_same_trace(seed: int) -> None:
    assert hash_of(seed) == hash_of(seed)


def test_seeds_differ() -> None:
    assert hash_of(4) != hash_of(5)


def test_a_lost_write_is_not_explained() -> None:
    history = History()
    history.end(history.begin("k", "put 1", writes(1)))
    history.end(history.begin("k", "get", sees(None)))
    assert history.unexplained()


def test_a_resurrected_value_is_not_explained() -> None:
    history = History()
    for value in (1, 2):
        history.end(history.begin("k", "put", writes(value)))
    history.end(history.begin("k", "get", sees(1)))
    assert history.unexplained()


def test_an_unknown_write_may_happen_late_or_never_but_stays_once_seen() -> None:
    history = History()
    history.end(history.begin("k", "put 1", writes(1)))
    history.begin("k", "put 2, cut", writes(2))
    history.end(history.begin("k", "get", sees(1)))
    history.end(history.begin("k", "get", sees(2)))
    assert not history.unexplained()
    history.end(history.begin("k", "get", sees(1)))
    assert history.unexplained()


def test_concurrent_calls_are_explained_in_some_order() -> None:
    history = History()
    first, second = history.begin("k", "put 1", writes(1)), history.begin("k", "put 2", writes(2))
    history.end(first)
    history.end(second)
    history.end(history.begin("k", "get", sees(1)))
    assert not history.unexplained()


def test_two_winners_of_one_conditional_create_are_not_explained() -> None:
    history = History()
    both = [
        history.begin("k", f"put-if {v}", swaps(lambda state: state is None, v)) for v in (1, 2)
    ]
    for operation in both:
        history.end(operation)
    assert history.unexplained()
    history.end(both[1], sees_other_than(None))
    assert not history.unexplained()


def test_nothing_at_all_is_explained() -> None:
    assert explain([])
