"""Two result files of the bench side by side, without judging.

`python -m bench.between [OLD.json NEW.json]`; without files the baseline and the newest
`bench-*.json` of the working folder. Results of any S3 store fit, if their cases have these names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cases import TARGETS
from bench.check import BASELINE
from bench.report import read_lines

# Figures that say something on their own; for the others up or down has no meaning.
USUAL = ("ratio", "ops_per_s", "mib_per_s", "p50_ms", "p99_ms", "us_per_call")
FIGURES = tuple(dict.fromkeys((*USUAL, *(target.figure for target in TARGETS))))


def rows(
    old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]
) -> list[tuple[str, str, str, str, str]]:
    """(case, figure, old, new, change) for every figure both or one of them has."""
    found = []
    for case in dict.fromkeys([*old, *new]):
        for figure in FIGURES:
            a, b = old.get(case, {}).get(figure), new.get(case, {}).get(figure)
            if a is None and b is None:
                continue
            change = f"{(b / a - 1) * 100:+.1f} %" if a and b is not None else ""
            found.append((case, figure, _text(a), _text(b), change))
    return found


def _text(value: Any) -> str:
    return "–" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def main() -> int:
    """0, or 2 where there are no two files."""
    parser = argparse.ArgumentParser(prog="python -m bench.between", description=__doc__)
    parser.add_argument("files", type=Path, nargs="*")
    files: list[Path] = parser.parse_args().files
    if not files:
        newest = sorted(Path().glob("bench-*.json"), key=lambda file: file.stat().st_mtime)
        files = [BASELINE, *newest[-1:]]
    if len(files) != 2 or not all(file.exists() for file in files):
        print(f"two result files are needed; found {[*map(str, files)]}", file=sys.stderr)
        return 2
    table = Table("case", "figure", *(file.name for file in files), "change")
    for row in rows(*(read_lines(file) for file in files)):
        table.add_row(*row)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
