"""Plots of a comparison as SVG: rates, 99th percentiles, and what more objects in a bucket cost.

`python -m bench.compare.plots FILE.json DIR` draws them from an earlier run. The same lines give
the same files. A store has one colour and one mark in all of them (Okabe and Ito's colours, which
the colour-blind tell apart); its synced tier is the same mark, hollow.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.compare.plan import BUCKETS, GROWTH_MAX, known_trials
from bench.compare.results import OURS, Line, by_case, figure, title, title_of
from bench.report import result_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUR_STYLE = ("#0072B2", "o")
STYLES = (
    *(("#D55E00", "s"), ("#009E73", "^"), ("#E69F00", "D"), ("#CC79A7", "v")),
    *(("#56B4E9", "P"), ("#000000", "X")),
)
SYNCED = "-synced"
WIDTH_IN = 8.6
DODGE = 1.07
HALF_MIN = (
    2.5  # an axis spans at least so many times its middle to each side: two figures are on it
)
LANE_IN, GAP_IN, FRAME_IN = 0.13, 0.14, 0.55  # of a system in a row, between rows, of a panel
SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "hexagone",  # ids do not change from run to run
}


class PlotsUnavailable(Exception):
    """Nothing is drawn, for matplotlib is not installed: `make compare` installs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A median with its range; of a case that failed all three are 0.0."""

    system: str
    value: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @property
    def is_failed(self) -> bool:
        return not self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case: a mark for each system of which the run says something."""

    what: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What one system's requests cost as its bucket grew: (objects, mark relative to the least)."""

    system: str
    points: tuple[tuple[int, Mark], ...]
    failed: str = ""  # buckets of which there is no figure


def _mark(line: Line, name: str) -> Mark:
    if "failed" in line:
        return Mark(system=line["system"])
    low, high = line[f"{name}_range"]
    return Mark(system=line["system"], value=line[name], low=low, high=high)


def rows(lines: Sequence[Line], name: str = "", *, rate: str = "") -> list[Row]:
    """Cases of a run, in its order.

    Args:
        name: the figure that is drawn; by default the one that counts in the case.
        rate: only cases in which this figure counts; by default all but start-ups.
    """
    return [
        Row(
            what=title_of(case),
            marks=tuple(_mark(line, name or figure(case)) for line in of_case.values()),
        )
        for case, of_case in by_case(lines).items()
        if (figure(case) == rate if rate else figure(case) != "start_s")
    ]


def curves(lines: Sequence[Line], operation: str) -> list[Curve]:
    """Seconds of one request over those in the smallest bucket, for each system.

    A system that failed there has no curve, and is named with what it failed.
    """
    sizes = [
        of_case
        for case, of_case in by_case(lines).items()
        if (trial := known_trials().get(case)) and trial.bucket and trial.operation == operation
    ]
    found = []
    for system in dict.fromkeys(name for of_case in sizes for name in of_case):
        there = [of_case[system] for of_case in sizes if system in of_case]
        failed = " and ".join(
            f"{BUCKETS[known_trials()[line['case']].bucket]:,}"
            for line in there
            if "failed" in line
        )
        good = sorted(
            (line for line in there if "failed" not in line), key=lambda line: line["objects"]
        )
        if "failed" in there[0]:
            good = []
        points = []
        for line in good:
            least, most = line["ops_per_s_range"]
            base = good[0]["ops_per_s"]
            mark = Mark(
                system=system, value=base / line["ops_per_s"], low=base / most, high=base / least
            )
            points.append((line["objects"], mark))
        found.append(Curve(system=system, points=tuple(points), failed=failed))
    return [curve for curve in found if len(curve.points) > 1 or curve.failed]


def styles(lines: Sequence[Line]) -> dict[str, tuple[str, str, str]]:
    """system → (colour, mark, colour inside the mark), the same for all plots of a run."""
    names = dict.fromkeys(line["system"] for line in lines if "system" in line)
    stores = list(dict.fromkeys(n.removesuffix(SYNCED) for n in names if n != OURS))
    found = {}
    for name in names:
        store = name.removesuffix(SYNCED)
        at = 0 if name == OURS else stores.index(store)
        colour, mark = OUR_STYLE if name == OURS else STYLES[at % len(STYLES)]
        found[name] = (colour, mark, "white" if name.endswith(SYNCED) else colour)
    return found


def draw(lines: Sequence[Line], folder: Path) -> list[Path]:
    """Write `throughput.svg`, `p99.svg` and, where buckets grew, `growth.svg`.

    Returns:
        The files that were written; one of which the run holds nothing is not.

    Raises:
        PlotsUnavailable: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise PlotsUnavailable(PlotsUnavailable.__doc__) from None
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        for name, drawn in (
            ("throughput", _throughput(lines)),
            ("p99", _p99(lines)),
            ("growth", _growth(lines)),
        ):
            if drawn is not None:
                path = folder / f"{name}.svg"
                drawn.savefig(path, metadata={"Date": None, "Creator": None})
                # The library leaves spaces at ends of lines, which no file of ours has.
                text = "\n".join(row.rstrip() for row in path.read_text("utf-8").splitlines())
                path.write_text(text + "\n", "utf-8")
                written.append(path)
    return written


def _throughput(lines: Sequence[Line]) -> Figure | None:
    panels = [
        ("operations a second; further right is better", rows(lines, rate="ops_per_s")),
        ("MiB a second; further right is better", rows(lines, rate="mib_per_s")),
        ("seconds to the first PUT; further left is better", rows(lines, rate="start_s")),
    ]
    return _dots([panel for panel in panels if panel[1]], styles(lines))


def _p99(lines: Sequence[Line]) -> Figure | None:
    panels = [("99th percentile, ms; further left is better", rows(lines, "p99_ms"))]
    return _dots([panel for panel in panels if panel[1]], styles(lines))


def _dots(
    panels: Sequence[tuple[str, list[Row]]], style: dict[str, tuple[str, str, str]]
) -> Figure | None:
    """Panels one below the other: a row for each case, in it a lane for each system."""
    from matplotlib.figure import Figure

    if not panels:
        return None
    heights = [
        sum(len(row.marks) * LANE_IN + GAP_IN for row in of_panel) + FRAME_IN
        for _, of_panel in panels
    ]
    made = Figure(figsize=(WIDTH_IN, sum(heights) + 0.5), layout="constrained")
    grid = made.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for axes, (what, of_panel) in zip(grid[:, 0], panels, strict=True):
        _panel(axes, what, of_panel, style)
    _legend(made, style)
    return made


def _panel(
    axes: Axes, what: str, of_panel: list[Row], style: dict[str, tuple[str, str, str]]
) -> None:
    """One panel; the axis is a logarithm, for cases differ by orders of magnitude."""
    axes.set_title(what)
    axes.set_xscale("log")
    top, ticks = 0.0, []
    for at, row in enumerate(of_panel):
        height = len(row.marks) * LANE_IN + GAP_IN
        if at % 2:
            axes.axhspan(top, top + height, color="#f4f4f4", linewidth=0, zorder=0)
        ticks.append(top + height / 2)
        for lane, mark in enumerate(row.marks):
            _dot(axes, mark, top + GAP_IN / 2 + (lane + 0.5) * LANE_IN, style[mark.system])
        top += height
    axes.set_ylim(top, 0.0)
    axes.set_yticks(ticks, [row.what for row in of_panel])
    axes.tick_params(axis="y", length=0)
    _numbers(axes, [mark for row in of_panel for mark in row.marks if not mark.is_failed])


def _dot(axes: Axes, mark: Mark, y: float, style: tuple[str, str, str]) -> None:
    colour, shape, inside = style
    if mark.is_failed:
        axes.text(
            0.006,
            y,
            f"× {mark.system} failed",
            color=colour,
            fontsize=7.0,
            verticalalignment="center",
            transform=axes.get_yaxis_transform(),
        )
        return
    axes.plot([mark.low, mark.high], [y, y], color=colour, linewidth=1.2, zorder=2)
    axes.plot(
        [mark.value],
        [y],
        marker=shape,
        markersize=5.0,
        markeredgecolor=colour,
        markerfacecolor=inside,
        zorder=3,
    )


def _numbers(axes: Axes, marks: Sequence[Mark]) -> None:
    """Figures at the axis as people write them, so many that one can read between them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    least, most = min((m.low for m in marks), default=1.0), max((m.high for m in marks), default=1)
    middle, half = math.sqrt(least * most), max(math.sqrt(most / least) * 1.25, HALF_MIN)
    axes.set_xlim(middle / half, middle * half)
    steps = (1.0, 2.0, 5.0) if most / least < 1000 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)


def _growth(lines: Sequence[Line]) -> Figure | None:
    """Panels side by side; 1 is the smallest bucket."""
    from matplotlib.figure import Figure

    trials = known_trials().values()
    panels = []
    for operation in ("put", "list"):
        if found := curves(lines, operation):
            trial = next(t for t in trials if t.bucket and t.operation == operation)
            panels.append((title(trial).partition(", bucket")[0], operation, found))
    if not panels:
        return None
    made = Figure(figsize=(WIDTH_IN, 3.9), layout="constrained")
    grid = made.subplots(1, len(panels), squeeze=False)
    style = styles(lines)
    grid[0, 0].set_ylabel("time over that in the smallest bucket")
    for axes, (what, operation, found) in zip(grid[0], panels, strict=True):
        _curves(axes, found, style)
        axes.set_title(what)
        if operation == "put":
            axes.axhline(GROWTH_MAX, color="#444444", linewidth=0.8, linestyle="--", zorder=1)
            axes.annotate(
                f"our bound, {GROWTH_MAX:g}",
                (0.01, GROWTH_MAX),
                xycoords=("axes fraction", "data"),
                xytext=(0, 2),
                textcoords="offset points",
                fontsize=7.0,
            )
    _legend(made, style)
    return made


def _curves(axes: Axes, found: Sequence[Curve], style: dict[str, tuple[str, str, str]]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for at, curve in enumerate(found):
        colour, shape, inside = style[curve.system]
        # A little beside each other, for all curves begin at the same point.
        objects = [each * DODGE**at for each, _ in curve.points]
        marks = [mark for _, mark in curve.points]
        axes.plot(
            objects,
            [mark.value for mark in marks],
            color=colour,
            linewidth=1.2,
            marker=shape,
            markersize=5.0,
            markeredgecolor=colour,
            markerfacecolor=inside,
        )
        axes.vlines(objects, [m.low for m in marks], [m.high for m in marks], color=colour, lw=0.8)
    failed = [f"× {curve.system} failed: {curve.failed}" for curve in found if curve.failed]
    axes.text(0.01, 0.98, "\n".join(failed), va="top", fontsize=7.0, transform=axes.transAxes)
    axes.set_xscale("log")
    axes.set_xlim(700, 2_200_000)
    axes.set_ylim(bottom=0.0)
    axes.grid(visible=True, axis="y")
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_xlabel("objects in the bucket")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(made: Figure, style: dict[str, tuple[str, str, str]]) -> None:
    from matplotlib.lines import Line2D

    keys = [
        Line2D([], [], color=c, marker=mark, markersize=5.0, markerfacecolor=inside, label=name)
        for name, (c, mark, inside) in style.items()
    ]
    made.legend(
        handles=keys,
        loc="outside upper left",
        ncols=4,
        frameon=False,
        title="medians, with the range of all rounds",
        alignment="left",
    )


def main() -> int:
    """0, or 2 where the file is not one of result lines, or nothing can draw."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare.plots", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        print(*draw(result_lines(given.file), given.folder), sep="\n")
    except (OSError, ValueError, PlotsUnavailable) as wrong:
        print(wrong, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
