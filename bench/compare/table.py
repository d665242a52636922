"""The comparison for people: Markdown, with the targets and where we stand.

`python -m bench.compare.table FILE.json` prints the page of an earlier run.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.compare.plan import TARGETS, Target
from bench.compare.results import (
    OURS,
    Line,
    by_case,
    figure,
    is_grown,
    stored_for_each,
    systems,
    title,
    title_of,
)
from bench.compare.verdicts import every, of_target, others
from bench.report import result_lines

ROUNDS_MIN = 5  # of a table that is published
TOLD_MIN = 50_000  # objects: with fewer, what else changed on the drive is most of the figure


def _rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; bars in a cell do not end it."""
    every_row = [headings, ["---"] * len(headings), *rows]
    cells = ([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in every_row)
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def _cell(line: Line | None, case: str) -> str:
    if line is None:
        return "–"
    if "failed" in line:
        return "failed"
    name = figure(case)
    low, high = line[f"{name}_range"]
    if name == "start_s":
        text = f"**{line[name]:,.1f}** s ({low:,.1f}–{high:,.1f})"
    else:
        unit = " MiB/s" if name == "mib_per_s" else "/s"
        text = f"**{line[name]:,.0f}**{unit} ({low:,.0f}–{high:,.0f})"
        text += f"<br>p99 {line['p99_ms']:,.1f} ms"
    if "healthy_p99_ms" in line:
        text += f", healthy {line['healthy_p99_ms']:,.1f} ms"
    if line.get("errors"):
        text += f"<br>{line['errors']:,.0f} errors"
    if is_grown(case) and line.get("objects"):
        text += f"<br>{line['objects']:,} objects"
    return text


def cases_table(lines: Sequence[Line]) -> str:
    """A row for each case that was run, a column for each system: medians, ranges, p99."""
    cases = by_case(lines)
    names = [line["system"] for line in systems(lines)]
    names += sorted({name for of_case in cases.values() for name in of_case} - {*names})
    return _rows(
        ["Case", *names],
        (
            [title_of(case), *(_cell(of_case.get(name), case) for name in names)]
            for case, of_case in cases.items()
        ),
    )


def targets_table(lines: Sequence[Line], targets: Sequence[Target]) -> str:
    """Every target beside the best peer and beside MinIO, measured or not."""
    rows = [(target, of_target(target, lines)) for target in targets]
    headings = rows[0][1] if rows else ()
    return _rows(
        ["Case", *headings],
        (
            [title(target.trial), *(verdict.text for verdict in found.values())]
            for target, found in rows
        ),
    )


def others_table(lines: Sequence[Line]) -> str:
    """The bounds that are of no case, and what small objects take beside each peer."""
    rows = [[what, verdict.text] for what, verdict in others(lines).items()]
    return _rows(["Also", "Verdict"], [*rows, [SPACE, _space(lines)]])


SPACE = "Bytes on disk per byte stored, 4 KiB, redundancy apart"


def _apart(line: Line) -> float | None:
    """Bytes on disk per byte, over those that the redundancy needs anyway."""
    stored = stored_for_each(line["redundancy"])
    return line["bytes_per_byte"] / stored if "bytes_per_byte" in line and stored else None


def _space(lines: Sequence[Line]) -> str:
    """What small objects take with us and with each peer; no bound, the least first."""
    apart = {line["system"]: value for line in systems(lines) if (value := _apart(line))}
    if OURS not in apart:
        return "not measured"
    ordered = sorted(apart, key=lambda name: apart[name])
    told = (
        f"{'**' * (name == OURS)}{name} {apart[name]:.2f}{'**' * (name == OURS)}"
        for name in ordered
    )
    return f"{', '.join(told)} (no bound)"


def systems_table(lines: Sequence[Line]) -> str:
    """Tier, redundancy, start-up and space of each system; the last column what is not alike."""
    headings = ["System", "Tier", "Redundancy", "Start", "Bytes on disk per byte, 4 KiB"]
    headings += ["Redundancy apart", "Not alike"]
    rows = []
    for line in systems(lines):
        apart = _apart(line)
        rows.append(
            [
                line["system"],
                line["tier"],
                line["redundancy"],
                f"{line['start_s']:.1f} s" if "start_s" in line else "failed",
                f"{line['bytes_per_byte']:.2f}" if "bytes_per_byte" in line else "–",
                f"{apart:.2f}" if apart else "–",
                line.get("notes", ""),
            ]
        )
    return _rows(headings, rows)


def memory_table(lines: Sequence[Line]) -> str:
    """Resident memory and processor time under the mixed load; "" where it was not run."""
    rows = []
    for case, of_case in by_case(lines).items():
        if not case.startswith("mixed-"):
            continue
        for system, line in of_case.items():
            if "failed" in line:
                rows.append([system, title_of(case), *["failed"] * 3])
                continue
            anonymous = f"{line['anonymous_mib']:,.0f}" if "anonymous_mib" in line else "–"
            resident, spent = f"{line['resident_mib']:,.0f}", f"{line['cpu_ms_per_op']:.2f}"
            rows.append([system, title_of(case), resident, anonymous, spent])
    headings = ["System", "Case", "Resident memory, MiB", "of it no file's", "CPU ms a request"]
    return _rows(headings, rows) if rows else ""


def filling_table(lines: Sequence[Line]) -> str:
    """What it took to fill buckets, and where that ended early; "" where none was filled."""
    rows = [
        [
            line["system"],
            f"{line['objects']:,}",
            f"{line['made'] / line['fill_s']:,.0f}" if line["fill_s"] else "–",
            f"{line['fill_bytes'] / line['made']:,.0f}" if line["made"] >= TOLD_MIN else "–",
            {"": "full", "space": "no more space", "time": "out of time"}[line["stopped"]],
        ]
        for line in lines
        if line["case"].startswith("fill-")
    ]
    headings = [
        "Filled with objects of one byte",
        "Objects",
        "PUTs a second",
        "Of the drive, bytes",
        "End",
    ]
    return _rows(headings, rows) if rows else ""


def preface(lines: Sequence[Line], targets: Sequence[Target]) -> str:
    """The machine, how often each was measured, and how many bounds are met."""
    said = []
    for line in lines:
        if line["case"] == "machine":
            said.append(
                f"{line['cores']} cores ({line['processor']}), Linux {line['kernel']}, "
                f"Python {line['python']}."
            )
    rounds = {line["rounds"] for line in lines if "rounds" in line}
    if rounds:
        least = min(rounds)
        few = f" Fewer than the {ROUNDS_MIN} that a published table wants." * (least < ROUNDS_MIN)
        said.append(f"Medians of {least} interleaved rounds, ranges in parentheses.{few}")
    counted = Counter(verdict.word for _, verdict in every(lines, targets))
    words = ("met", "missed", "not measured")
    said.append(f"Bounds: {', '.join(f'{counted[word]} {word}' for word in words)}.")
    return "\n".join(said)


def absences(lines: Sequence[Line]) -> str:
    """Every failure with its reason, then what was not there."""
    failures = [
        f"* {line.get('system', OURS)}, {line['case']}: `{line['failed'][:200]!r}`"
        for line in lines
        if "failed" in line
    ]
    return "\n".join(
        [*failures, *(f"* not found: {line['what']}" for line in lines if line["case"] == "absent")]
    )


def page(lines: Sequence[Line], targets: Sequence[Target]) -> str:
    """All tables of one run."""
    parts = [
        preface(lines, targets),
        systems_table(lines),
        cases_table(lines),
        targets_table(lines, targets),
        others_table(lines),
        memory_table(lines),
        filling_table(lines),
        absences(lines),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> int:
    """0, or 2 where the file is not one of result lines."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare.table", description=__doc__)
    parser.add_argument("file", type=Path)
    try:
        lines = result_lines(parser.parse_args().file)
    except (OSError, ValueError) as wrong:
        print(wrong, file=sys.stderr)
        return 2
    print(page(lines, TARGETS), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
