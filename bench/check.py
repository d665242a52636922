"""`make bench-check`: what has moved since the checked-in baseline?

`python -m bench.check [RESULT.json] [--short] [--json FILE] [--baseline FILE] [--tolerance 0.2]
[--write]`. Without a result file it measures the baseline's cases itself; `--short` takes only the
quick ones, a second each. Ratios are compared, never absolute figures: those move from machine to
machine, the ratios less. Time alone never makes it fail: a slow hour is no mistake. A case that
failed or could not be measured does: an absent measurement is no pass.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cases import QUICK, TARGETS
from bench.cluster import ROOT
from bench.report import read_lines, verdict

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.2
MEASURE_S = 3600.0
RESULT = ROOT / ".cache" / "bench-check.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One comparison, for people; `is_bad` makes the check fail."""

    what: str
    before: str
    after: str
    word: str
    is_bad: bool


def compare_ratios(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]], tolerance: float
) -> list[Finding]:
    """Every case that has a ratio in the baseline.

    Args:
        tolerance: a ratio that moved by at most this share of the baseline's has held.
    """
    found = []
    for case, line in before.items():
        if "ratio" not in line:
            continue
        measured = after.get(case, {}).get("ratio")
        if measured is None:
            word = after.get(case, {}).get("failed", "not measured")
            found.append(
                Finding(what=case, before=f"{line['ratio']:.3f}", after="", word=word, is_bad=True)
            )
            continue
        change = measured / line["ratio"] - 1.0
        moved = "slower" if change < -tolerance else "faster" if change > tolerance else "held"
        found.append(
            Finding(
                what=case,
                before=f"{line['ratio']:.3f}",
                after=f"{measured:.3f}",
                word=f"{moved} ({change * 100:+.0f} %)",
                is_bad=False,
            )
        )
    return found


def compare_targets(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]
) -> list[Finding]:
    """Targets of cases that were run; only one that was not measured is bad."""
    found = []
    for target in TARGETS:
        now, figure = verdict(target, after)
        if now in ("not run", "scaled"):
            continue
        then, old = verdict(target, before)
        found.append(
            Finding(
                what=f"{target.what} {target.sign} {target.bound:g}",
                before="" if old is None else f"{old:g}",
                after="" if figure is None else f"{figure:g}",
                word="lost" if now == "missed" and then == "met" else now,
                is_bad=now == "absent",
            )
        )
    return found


def measure(cases: list[str], result: Path, *, is_short: bool) -> None:
    """Run these cases into a result file."""
    words = [sys.executable, "-m", "bench", "--no-micro", "--json", str(result)]
    words += ["--quick"] if is_short else []
    for case in cases:
        words += ["--case", case]
    subprocess.run(words, cwd=ROOT, timeout=MEASURE_S, check=False, stdout=subprocess.DEVNULL)


def to_measure(before: dict[str, dict[str, Any]], *, is_short: bool) -> list[str]:
    """Cases of the baseline that have a ratio; the short form keeps the quick ones."""
    with_ratio = [case for case, line in before.items() if "ratio" in line]
    return [case for case in with_ratio if case in QUICK] if is_short else with_ratio


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench.check", description=__doc__)
    made.add_argument("result", type=Path, nargs="?")
    made.add_argument("--baseline", type=Path, default=BASELINE)
    made.add_argument("--tolerance", type=float, default=TOLERANCE)
    made.add_argument("--short", action="store_true", help="the quick cases, a second each")
    made.add_argument("--json", type=Path, default=RESULT, help="where what is measured goes")
    made.add_argument("--write", action="store_true", help="make the result the baseline")
    return made


def main() -> int:
    """0: measured, whatever moved; 1: a case failed; 2: nothing to compare with."""
    made = parser()
    given = made.parse_args()
    if given.write:
        if given.result is None:
            made.error("--write needs a result file")
        lines = read_lines(given.result)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines.values())
        given.baseline.write_text(text, "utf-8")
        return 0
    if not given.baseline.exists():
        print(f"{given.baseline} does not exist; write it with --write", file=sys.stderr)
        return 2
    before = read_lines(given.baseline)
    if given.result is None:
        cases = to_measure(before, is_short=given.short)
        before = {case: before[case] for case in cases}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        measure(cases, given.json, is_short=given.short)
        print(given.json.read_text("utf-8"), end="")
    after = read_lines(given.result or given.json)
    findings = compare_ratios(before, after, given.tolerance) + compare_targets(before, after)
    table = Table("what", "baseline", "measured", "verdict", title="bench check")
    for item in findings:
        table.add_row(item.what, item.before, item.after, item.word)
    Console().print(table)
    return 1 if any(item.is_bad for item in findings) or not findings else 0


if __name__ == "__main__":
    sys.exit(main())
