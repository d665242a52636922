"""Results as JSON lines, as tables for people, and held against the targets."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cases import TARGETS, Target

Line = dict[str, Any]


def machine() -> Line:
    """What the figures were taken on."""
    model = ""
    for row in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if row.startswith("model name"):
            model = row.partition(": ")[2]
            break
    return {
        "case": "machine",
        "cores": os.cpu_count(),
        "processor": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def result_lines(path: Path) -> list[Line]:
    """All lines of a result file, in order.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is not a JSON object with a case.
    """
    found = []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or "case" not in line:
            raise ValueError(f"{path}:{number}: not a result line")
        found.append(line)
    return found


def read_lines(path: Path) -> dict[str, Line]:
    """Lines of a result file by case; of a repeated case the last.

    Raises:
        OSError, ValueError: as `result_lines`.
    """
    return {line["case"]: line for line in result_lines(path)}


def verdict(target: Target, lines: dict[str, Line]) -> tuple[str, float | None]:
    """("met" | "missed" | "scaled" | "not run" | "absent", the figure)."""
    line = lines.get(target.case)
    if line is None:
        return "not run", None
    figure = line.get(target.figure)
    if figure is None:
        return "absent", None
    if "scaled" in line:
        return "scaled", figure
    return ("met" if target.is_met(figure) else "missed"), figure


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


COLUMNS = ("ops_per_s", "mib_per_s", "p50_ms", "p99_ms", "ceiling_ops_per_s", "ratio", "tier")


def cases_table(lines: Iterable[Line]) -> Table:
    """Cases that have a ratio, one row each."""
    table = Table(title="end to end")
    for name in ("case", *COLUMNS):
        table.add_column(name, justify="left" if name in ("case", "tier") else "right")
    for line in lines:
        if "ratio" in line:
            table.add_row(line["case"], *(_number(line.get(name, "")) for name in COLUMNS))
    return table


def special_table(lines: Iterable[Line]) -> Table:
    """All other cases: their figures as they are."""
    table = Table(title="special cases")
    table.add_column("case")
    table.add_column("figures")
    for line in lines:
        if "ratio" not in line and "micro" not in line and line["case"] != "machine":
            figures = (f"{k} {_number(v)}" for k, v in line.items() if k != "case")
            table.add_row(line["case"], ", ".join(figures))
    return table


def micro_table(lines: Iterable[Line]) -> Table:
    """Microbenchmarks."""
    table = Table(title="hot paths")
    for name in ("what", "µs a call", "MiB/s", "absent"):
        table.add_column(name, justify="right" if name in ("µs a call", "MiB/s") else "left")
    for line in lines:
        if "micro" in line:
            figures = (line.get("us_per_call", ""), line.get("mib_per_s", ""))
            table.add_row(line["micro"], *map(_number, figures), line.get("absent", ""))
    return table


def targets_table(lines: dict[str, Line]) -> Table:
    """Every target, met or not."""
    table = Table(title="targets")
    for name in ("target", "bound", "measured", "verdict"):
        table.add_column(name, justify="left" if name in ("target", "verdict") else "right")
    for target in TARGETS:
        word, figure = verdict(target, lines)
        measured = "" if figure is None else _number(figure)
        table.add_row(target.what, f"{target.sign} {target.bound:g}", measured, word)
    return table


def show(lines: dict[str, Line], console: Console) -> None:
    """All tables that have rows, then the targets."""
    for table in (micro_table(lines.values()), cases_table(lines.values())):
        if table.row_count:
            console.print(table)
    table = special_table(lines.values())
    if table.row_count:
        console.print(table)
    console.print(targets_table(lines))
