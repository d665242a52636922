"""Plots of a comparison: what is drawn is pure; the files are the same each time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.compare.plots import PlotsUnavailable, curves, draw, main, rows, styles

Line = dict[str, Any]


def line(case: str, system: str, rate: float, **more: Any) -> Line:
    figures = {"ops_per_s": rate, "mib_per_s": rate / 4, "p99_ms": 9.0}
    ranges = {f"{name}_range": [value / 2, value * 2] for name, value in figures.items()}
    return {"case": case, "system": system} | figures | ranges | more


LINES = [
    line("put-4k-c64", "hexagone", 200.0),
    line("put-4k-c64", "minio", 100.0),
    line("get-64m-c1", "hexagone", 80.0),
    {"case": "get-64m-c1", "system": "minio", "failed": "no disk"},
    *(
        line(f"put-4k-c64-in-{bucket}", "hexagone", rate, objects=objects)
        for bucket, rate, objects in (("1m", 100.0, 999_000), ("1k", 200.0, 1_000))
    ),
    line("put-4k-c64-in-1k", "minio", 50.0, objects=1_000),
    {"case": "put-4k-c64-in-1m", "system": "minio", "failed": "no disk"},
]


def test_a_row_has_medians_ranges_and_failures() -> None:
    few, long = rows(LINES, rate="ops_per_s")[0], rows(LINES, rate="mib_per_s")[0]
    assert few.what == "PUT 4 KiB, 64 clients"
    assert [(m.system, m.value, m.low, m.high) for m in few.marks] == [
        ("hexagone", 200.0, 100.0, 400.0),
        ("minio", 100.0, 50.0, 200.0),
    ]
    assert long.what == "GET 64 MiB, 1 client"
    assert [(m.system, m.value, m.is_failed) for m in long.marks] == [
        ("hexagone", 20.0, False),
        ("minio", 0.0, True),
    ]
    assert len(rows(LINES, "p99_ms")) == 4


def test_a_curve_is_time_over_that_in_the_smallest_bucket() -> None:
    ours, minio = curves(LINES, "put")
    assert [(n, m.value, m.low, m.high) for n, m in ours.points] == [
        (1_000, 1.0, 0.5, 2.0),
        (999_000, 2.0, 1.0, 4.0),
    ]
    assert ours.failed == "" and minio.failed == "1,000,000"
    assert curves(LINES, "list") == []


def test_a_store_has_one_colour_and_its_synced_tier_is_hollow() -> None:
    style = styles([{"case": "system", "system": n} for n in ("minio", "hexagone", "minio-synced")])
    assert style["minio"][:2] == style["minio-synced"][:2] != style["hexagone"][:2]
    assert style["minio"][2] == style["minio"][0] and style["minio-synced"][2] == "white"
    assert style["hexagone"] == styles([line("put-4k-c64", "hexagone", 1.0)])["hexagone"]


def test_nothing_is_drawn_without_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PlotsUnavailable, match="make compare"):
        draw(LINES, tmp_path)


def test_files_are_the_same_each_time_and_hold_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "compare.json"
    source.write_text("\n".join(map(json.dumps, LINES)), "utf-8")
    drawn = []
    for folder in ("first", "second"):
        monkeypatch.setattr("sys.argv", ["plots", str(source), str(tmp_path / folder)])
        assert main() == 0
        drawn.append({p.name: p.read_text("utf-8") for p in (tmp_path / folder).iterdir()})
    assert drawn[0] == drawn[1]
    assert sorted(drawn[0]) == ["growth.svg", "p99.svg", "throughput.svg"]
    assert ">× minio failed<" in drawn[0]["throughput.svg"]
    assert ">× minio failed: 1,000,000<" in drawn[0]["growth.svg"]
    assert all("date" not in text and ">hexagone<" in text for text in drawn[0].values())
    assert draw(LINES[:1], tmp_path / "third") == [
        tmp_path / "third" / name for name in ("throughput.svg", "p99.svg")
    ]
    source.write_text("[]\n", "utf-8")
    assert main() == 2
    assert "not a result line" in capsys.readouterr().err
