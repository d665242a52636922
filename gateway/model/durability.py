"""How likely a stripe is lost within a year: arithmetic, with its assumptions in the open. Pure.

Not an observation: the margin histogram in `status` is one. Drives fail independently and repairs
take exponential time, so the figure is a model; correlated failures, bugs and operators make
anything above eleven nines an illusion, and it is never shown as more.

Shards: a birth-death chain over the number of missing shards, absorbed at m + 1; the mean time to
absorption follows the exact recurrence. Sites: each datacenter is destroyed at a rate, and its
shards are missing until they are restored elsewhere; what is left must then not lose more.

Source: docs/durability.md; checked against Backblaze's published 17+3 figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

HOURS_PER_YEAR = 8766.0
NINES_SHOWN_MAX = 11.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What the figure rests on.

    Args:
        drive_failures_per_year: annual failure rate of one node's drive, 0.0157 = Backblaze 2024.
        repair_hours: time to bring lost shards back.
        site_losses_per_year: datacenters destroyed, per datacenter and year.
        site_restore_hours: time until a lost datacenter's shards exist again.
    """

    drive_failures_per_year: float = 0.0157
    repair_hours: float = 24.0
    site_losses_per_year: float = 1e-3
    site_restore_hours: float = 336.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """Annual probability that one stripe is lost, by cause, and what is left after a datacenter."""

    shards: float
    one_site: float
    two_sites: float
    margin_after_site: int

    @property
    def total(self) -> float:
        return min(1.0, self.shards + self.one_site + self.two_sites)

    @property
    def nines(self) -> float:
        """Nines of the total, at most NINES_SHOWN_MAX."""
        return NINES_SHOWN_MAX if self.total <= 0 else min(NINES_SHOWN_MAX, -math.log10(self.total))

    @property
    def dominant(self) -> str:
        """The cause that the figure comes from."""
        causes = {
            "drives failing faster than they are repaired": self.shards,
            "a datacenter destroyed": self.one_site,
            "two datacenters destroyed": self.two_sites,
        }
        return max(causes, key=lambda cause: causes[cause])


def shard_loss_per_year(n: int, k: int, assumed: Assumptions) -> float:
    """Annual probability that more than n − k shards are missing at once, drives alone."""
    failure_rate = assumed.drive_failures_per_year / HOURS_PER_YEAR
    repair_rate = 1 / assumed.repair_hours
    hours = step_hours = 0.0
    for missing in range(n - k + 1):
        step_hours = (1 + missing * repair_rate * step_hours) / ((n - missing) * failure_rate)
        hours += step_hours
    return -math.expm1(-HOURS_PER_YEAR / hours)


def durability(shards_per_site: Sequence[int], k: int, assumed: Assumptions) -> Durability:
    """The model for one stripe.

    Args:
        shards_per_site: shards in each datacenter, for example (2, 2, 2).
        k: data shards.
    """
    n = sum(shards_per_site)
    failure_rate = assumed.drive_failures_per_year / HOURS_PER_YEAR
    # A shard of the other sites is missing at the moment of the loss, or fails before it is over.
    missing = failure_rate * assumed.repair_hours - math.expm1(
        -failure_rate * assumed.site_restore_hours
    )

    def loses(left: int) -> float:
        if left < k:
            return 1.0
        return sum(
            math.comb(left, gone) * missing**gone * (1 - missing) ** (left - gone)
            for gone in range(left - k + 1, left + 1)
        )

    rate = assumed.site_losses_per_year
    one_site = sum(rate * loses(n - held) for held in shards_per_site)
    window_years = assumed.site_restore_hours / HOURS_PER_YEAR
    two_sites = sum(
        2 * rate**2 * window_years
        for at, first in enumerate(shards_per_site)
        for second in shards_per_site[at + 1 :]
        if n - first - second < k
    )
    return Durability(
        shards=shard_loss_per_year(n, k, assumed),
        one_site=one_site,
        two_sites=two_sites,
        margin_after_site=n - max(shards_per_site) - k,
    )


def window_loss_per_year(n: int, k: int, failures_per_year: float, repair_days: float) -> float:
    """Backblaze's formula: more than n − k of n drives fail within one repair window, over a year.

    For calibration; `shard_loss_per_year` is the more pessimistic and the one that is shown.
    """
    fails = -math.expm1(-failures_per_year * repair_days / 365)
    window = sum(
        math.comb(n, gone) * fails**gone * (1 - fails) ** (n - gone)
        for gone in range(n - k + 1, n + 1)
    )
    return -math.expm1(365 / repair_days * math.log1p(-window))
