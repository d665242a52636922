"""`make bench`: microbenchmarks, cases against the ceiling, special cases; JSON lines, then tables.

`python -m bench [--case NAME]… [--quick | --full] [--json FILE] [--no-micro] [--folder DIR]`.
Lines of JSON go to standard output as they come, tables to standard error at the end. The exit
status is 1 when a case failed or a part of the store was absent, never for a missed target:
`make bench-check` judges.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from rich.console import Console

from bench import micro, report, special
from bench.cases import SPECIAL, Case, chosen
from bench.cluster import Cluster, ClusterFailed, scratch
from bench.drive import (
    FULL_PACE,
    QUICK_PACE,
    CaseFailed,
    Driver,
    ceiling_server,
    make_bucket,
)

Line = dict[str, Any]
FAILURES = (CaseFailed, ClusterFailed, TimeoutExpired, OSError)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    made.add_argument("--case", action="append", default=[], help="a case, micro, or a special run")
    made.add_argument("--quick", action="store_true", help="one short round; special cases scaled")
    made.add_argument("--full", action="store_true", help="the whole matrix")
    made.add_argument("--no-micro", action="store_true", help="no microbenchmarks")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the lines there as well")
    made.add_argument("--folder", type=Path, help="where clusters keep their data while they run")
    return made


def run_cases(cases: list[Case], folder: Path, *, is_quick: bool) -> Iterator[Line]:
    """All cases on one cluster; a case that fails gives a line with `failed`."""
    cluster = Cluster(folder / "cases")
    cluster.start()
    try:
        with ceiling_server() as port:
            endpoint = cluster.endpoint()
            make_bucket(endpoint, "bench")
            pace = QUICK_PACE if is_quick else FULL_PACE
            driver = Driver(endpoint=endpoint, ceiling_port=port, pace=pace, tier=cluster.tier)
            for case in cases:
                try:
                    yield driver.run(case)
                except FAILURES as failure:
                    yield {"case": case.name, "failed": str(failure)}
    finally:
        cluster.stop()


def run_special(name: str, folder: Path, *, is_quick: bool) -> Iterator[Line]:
    """One special run; what it could not measure gives a line with `failed`."""
    seen = set()
    try:
        for line in special.RUNS[name](folder, is_quick=is_quick):
            seen.add(line["case"])
            yield line
    except FAILURES as failure:
        for case in SPECIAL[name]:
            if case not in seen:
                yield {"case": case, "failed": str(failure)}


def wanted_specials(names: list[str], *, is_quick: bool) -> list[str]:
    """Special runs among these names (of runs or of their lines); all when none is named."""
    if not names:
        return [] if is_quick else list(SPECIAL)
    return [run for run, lines in SPECIAL.items() if {run, *lines} & set(names)]


def all_lines(given: argparse.Namespace, folder: Path) -> Iterator[Line]:
    """Every line of this run, in order."""
    names: list[str] = given.case
    specials = wanted_specials(names, is_quick=given.quick)
    taken = {"micro", *SPECIAL, *(line for lines in SPECIAL.values() for line in lines)}
    plain = [name for name in names if name not in taken]
    cases = []
    if plain or not names:
        cases = chosen(plain, is_full=given.full, is_quick=given.quick)
    yield report.machine()
    if "micro" in names or (not names and not given.no_micro):
        yield from micro.run_all(is_quick=given.quick, folder=folder)
    if cases:
        try:
            yield from run_cases(cases, folder, is_quick=given.quick)
        except FAILURES as failure:
            yield {"case": "cluster", "failed": str(failure)}
    for name in specials:
        yield from run_special(name, folder, is_quick=given.quick)


def publish(lines: Iterable[Line], sink: Path | None) -> dict[str, Line]:
    """Print lines as they come; keep them by case."""
    kept: dict[str, Line] = {}
    if sink is not None:
        sink.write_text("", "utf-8")
    for line in lines:
        kept[line["case"]] = line
        text = json.dumps(line, ensure_ascii=False)
        print(text, flush=True)
        if sink is not None:
            with sink.open("a", encoding="utf-8") as output:
                output.write(text + "\n")
    return kept


def main() -> int:
    """Run what was asked for.

    Returns:
        0, or 1 when something failed or was absent.
    """
    given = parser().parse_args()
    folder = scratch(given.folder)
    try:
        kept = publish(all_lines(given, folder), given.json)
    except ValueError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.show(kept, Console(stderr=True))
    bad = [line for line in kept.values() if "failed" in line or "absent" in line]
    for line in bad:
        print(f"{line['case']}: {line.get('failed') or line['absent']}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
