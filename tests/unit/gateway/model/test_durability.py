"""The durability model against published and recomputed figures."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.durability import (
    Assumptions,
    durability,
    shard_loss_per_year,
    window_loss_per_year,
)


def test_calibrated_with_backblaze_published_figure() -> None:
    assert f"{window_loss_per_year(20, 17, 0.00405, 6.5):.3e}" == "7.354e-12"


def test_golden_row_of_the_default_layout() -> None:
    assumed = Assumptions()
    figure = durability((2, 2, 2), 4, assumed)
    assert f"{figure.shards:.1e}" == "1.7e-09"
    assert f"{figure.total:.1e}" == "8.0e-06"
    assert figure.margin_after_site == 0
    assert figure.dominant == "a datacenter destroyed"


def test_production_layout_keeps_a_margin_after_a_datacenter() -> None:
    figure = durability((3, 3, 3), 5, Assumptions())
    assert figure.margin_after_site == 1
    assert f"{figure.total:.1e}" == "2.5e-07"


def test_agrees_with_a_monte_carlo_run_at_inflated_rates() -> None:
    assumed = Assumptions(drive_failures_per_year=2.0, repair_hours=240.0)
    rng = random.Random(7)
    lost = sum(_simulate_year(rng, 6, 4, assumed) for _ in range(4000))
    assert abs(lost / 4000 - shard_loss_per_year(6, 4, assumed)) < 0.025


def _simulate_year(rng: random.Random, n: int, k: int, assumed: Assumptions) -> bool:
    hours, missing = 0.0, 0
    while hours < 8766:
        failure = (n - missing) * assumed.drive_failures_per_year / 8766
        repair = missing / assumed.repair_hours
        hours += rng.expovariate(failure + repair)
        if hours >= 8766:
            return False
        missing += 1 if rng.random() < failure / (failure + repair) else -1
        if missing > n - k:
            return True
    return False


@given(st.integers(1, 10), st.integers(1, 6), st.floats(1, 500))
def test_more_parity_or_faster_repair_is_never_worse(k: int, m: int, repair_hours: float) -> None:
    slow = Assumptions(repair_hours=repair_hours * 2)
    fast = Assumptions(repair_hours=repair_hours)
    assert shard_loss_per_year(k + m, k, fast) <= shard_loss_per_year(k + m, k, slow)
    assert shard_loss_per_year(k + m + 1, k, fast) <= shard_loss_per_year(k + m, k, fast)
