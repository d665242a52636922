"""The bench of the key service: what its figures say of rounds whose difference is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import cast

import pytest

from bench import key_service
from bench.cases import SPECIAL, TARGETS
from bench.cluster import Cluster
from bench.drive import CaseFailed
from bench.key_service import AGAIN, HELD, OTHERS_MAX, WITH, Round, Turn, cost_line, median_interval
from bench.special import RUNS


def made(seed: int, *, cost: float, count: int = 24) -> list[Turn]:
    """Turns on a machine that slows down and trembles; the key service takes `cost` of a round."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        pace = 5000.0 * (1 - 0.4 * number / count)  # as no average over time would survive
        rounds = {}
        for name, part in ((WITH, 1 - cost), (HELD, 1.0), (AGAIN, 1.0)):
            ops = pace * part * chance.gauss(1, 0.03)
            rounds[name] = Round(ops_per_s=ops, cpu_us=1e6 / ops)
        found.append(Turn(rounds=rounds, others=0.0))
    return found


@pytest.mark.parametrize("cost", [0.0, 0.08])
def test_the_interval_holds_the_true_cost_as_often_as_it_says(cost: float) -> None:
    held, width = 0, 0.0
    for seed in range(200):
        line = cost_line("keyd-get-4k", made(seed, cost=cost), 24)
        low, high = line["ops_cost_between"]
        held += low <= 100 * cost <= high
        assert low <= line["ops_cost_percent"] <= high
        width += high - low
    assert held >= 180
    assert width / 200 < 6


def test_a_cost_beyond_the_noise_shows_and_the_control_stays() -> None:
    line = cost_line("keyd-get-4k", made(1, cost=0.10), 24)
    assert line["ops_cost_between"][0] > 5
    assert line["cpu_cost_between"][0] > 5
    low, high = line["control_ops_between"]
    assert low < 0 < high


def test_the_interval_is_of_order_statistics() -> None:
    # Of 24 values the 7th and the 18th: at both ends together 2.3 % of all medians lie outside,
    # with the 8th and the 17th it would be 6.4 %.
    found = median_interval([float(n) for n in range(1, 25)])
    assert (found.low, found.median, found.high) == (7.0, 12.5, 18.0)
    few = median_interval([3.0, 1.0, 2.0])
    assert (few.low, few.median, few.high) == (1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match="no rounds"):
        median_interval([])


def test_turns_in_which_others_took_the_machine_are_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, bad = made(3, cost=0.0, count=1)[0], Turn(rounds={}, others=OTHERS_MAX + 0.01)
    orders: list[Sequence[str]] = []
    busy = iter([True, False, False, True, True, False] * 4)

    def turn(clusters: object, order: Sequence[str], operation: str, serial: int) -> Turn:
        orders.append(order)
        return bad if next(busy, True) else good

    monkeypatch.setattr(key_service, "_turn", turn)
    monkeypatch.setattr(key_service, "_round", lambda *_: good.rounds[HELD])
    clusters = dict.fromkeys((WITH, HELD, AGAIN), cast(Cluster, None))
    found, tried = key_service.turns(clusters, "get", 6)
    assert (found, tried) == ([good] * 6, 12)
    # Each order is as frequent as the others among the turns that count.
    assert len({tuple(orders[at]) for at in (1, 2, 5, 7, 8, 11)}) == 6
    assert cost_line("keyd-get-4k", found, tried)["turns_left_out"] == 6
    busy = iter([])
    with pytest.raises(CaseFailed, match="other programs took the machine in 18 of 18"):
        key_service.turns(clusters, "get", 6)


def test_the_targets_are_of_cases_that_the_run_gives() -> None:
    assert "keyd" in RUNS
    targets = [target for target in TARGETS if target.case in SPECIAL["keyd"]]
    assert [(target.figure, target.bound, target.is_floor) for target in targets] == [
        ("ops_cost_percent", 3.0, False),
        ("ops_cost_percent", 3.0, False),
    ]
