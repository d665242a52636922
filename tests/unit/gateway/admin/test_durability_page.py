"""The tables of docs/durability.md are what the code computes."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.model.durability import Assumptions, durability

PAGE = Path(__file__).resolve().parents[4] / "docs" / "durability.md"
LAYOUT = re.compile(r"\| (\d+)\+(\d+) \| ([\d+]+) \| (.*) \|$", re.MULTILINE)

CHANGES = {
    "none": Assumptions(),
    "4 % of drives fail in a year": Assumptions(drive_failures_per_year=0.04),
    "repair takes 156 h (6.5 days)": Assumptions(repair_hours=156),
    "a lost datacenter's shards exist again after 24 h": Assumptions(site_restore_hours=24),
    "no datacenter is ever lost": Assumptions(site_losses_per_year=0),
}


def test_the_table_of_layouts() -> None:
    rows = LAYOUT.findall(PAGE.read_text(encoding="utf-8"))
    assert ("5", "4", "3+3+3") in {row[:3] for row in rows} and len(rows) >= 7
    for k, m, shards, figures in rows:
        held = [int(count) for count in shards.split("+")]
        assert sum(held) == int(k) + int(m)
        found = durability(held, int(k), Assumptions())
        computed = (
            f"{sum(held) / int(k):.2f} | {found.margin_after_site} | {found.shards:.1e} | "
            f"{found.one_site:.1e} | {found.two_sites:.1e} | {found.total:.1e} | {found.nines:.1f}"
        )
        assert figures == computed, f"{k}+{m} on {shards}"


def test_the_table_of_assumptions() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for change, assumed in CHANGES.items():
        computed = " | ".join(
            f"{found.total:.1e} ({found.nines:.1f})"
            for found in (durability((2, 2, 2), 4, assumed), durability((3, 3, 3), 5, assumed))
        )
        assert f"| {change} | {computed} |" in text, change
