"""`make bench-check`: is anything slower than the checked-in baseline, is a met target lost?

`python -m bench.check [RESULT.json] [--baseline FILE] [--tolerance 0.2] [--write]`. Without
a result file it measures the baseline's cases itself. Ratios are compared, never absolute figures:
those move from machine to machine, the ratios less. A case that the baseline has and the result
lacks is a failure: an absent measurement is no pass.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cases import TARGETS
from bench.cluster import ROOT
from bench.report import read_lines, verdict

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.2
MEASURE_S = 3600.0


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
        tolerance: share of the baseline's ratio that may be lost.
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
        is_slower = measured < line["ratio"] * (1.0 - tolerance)
        found.append(
            Finding(
                what=case,
                before=f"{line['ratio']:.3f}",
                after=f"{measured:.3f}",
                word="slower" if is_slower else "held",
                is_bad=is_slower,
            )
        )
    return found


def compare_targets(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]
) -> list[Finding]:
    """Targets of cases that were run: lost is bad, missed as before is said."""
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
                word=now,
                is_bad=now == "absent" or (now == "missed" and then == "met"),
            )
        )
    return found


def measure(cases: list[str]) -> Path:
    """Run these cases; the result file, in the system's folder for such files."""
    result = Path(tempfile.mkdtemp(prefix="hexagone-bench-check-")) / "result.json"
    words = [sys.executable, "-m", "bench", "--no-micro", "--json", str(result)]
    for case in cases:
        words += ["--case", case]
    subprocess.run(words, cwd=ROOT, timeout=MEASURE_S, check=False, stdout=subprocess.DEVNULL)
    return result


def main() -> int:
    """0: all held; 1: slower, lost or not measured; 2: nothing to compare with."""
    parser = argparse.ArgumentParser(prog="python -m bench.check", description=__doc__)
    parser.add_argument("result", type=Path, nargs="?")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    parser.add_argument("--write", action="store_true", help="make the result the baseline")
    given = parser.parse_args()
    if given.write:
        if given.result is None:
            parser.error("--write needs a result file")
        lines = read_lines(given.result)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines.values())
        given.baseline.write_text(text, "utf-8")
        return 0
    if not given.baseline.exists():
        print(f"{given.baseline} does not exist; write it with --write", file=sys.stderr)
        return 2
    before = read_lines(given.baseline)
    with_ratio = [case for case, line in before.items() if "ratio" in line]
    after = read_lines(given.result or measure(with_ratio))
    findings = compare_ratios(before, after, given.tolerance) + compare_targets(before, after)
    table = Table("what", "baseline", "measured", "verdict", title="bench check")
    for item in findings:
        table.add_row(item.what, item.before, item.after, item.word)
    Console().print(table)
    return 1 if any(item.is_bad for item in findings) or not findings else 0


if __name__ == "__main__":
    sys.exit(main())
