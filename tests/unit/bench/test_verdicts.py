"""Verdicts: a target is met, missed or not run; a scaled or absent figure is never a pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cases import QUICK, SPECIAL, TARGETS, USUAL, chosen, matrix
from bench.check import compare_ratios, compare_targets, main, to_measure
from bench.report import read_lines, verdict

BY_CASE = {(target.case, target.figure): target for target in TARGETS}
PUT = BY_CASE["put-4k-c64", "ratio"]
MEMORY = BY_CASE["memory", "peak_mib"]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ({"ratio": 0.31}, "met"),
        ({"ratio": 0.30}, "met"),
        ({"ratio": 0.29}, "missed"),
        ({"failed": "refused"}, "absent"),
        ({"ratio": 0.5, "scaled": "10 objects"}, "scaled"),
    ],
)
def test_a_floor(line: dict[str, Any], word: str) -> None:
    assert verdict(PUT, {"put-4k-c64": line})[0] == word


def test_a_cap_and_a_case_that_was_not_run() -> None:
    assert verdict(MEMORY, {"memory": {"peak_mib": 600.0}})[0] == "met"
    assert verdict(MEMORY, {"memory": {"peak_mib": 600.1}})[0] == "missed"
    assert verdict(MEMORY, {}) == ("not run", None)


def test_every_target_has_a_case_that_can_be_run() -> None:
    known = {case.name for case in matrix()} | {c for lines in SPECIAL.values() for c in lines}
    assert {target.case for target in TARGETS} <= known


def test_sets_of_cases_are_cases() -> None:
    assert [case.name for case in chosen([], is_full=False, is_quick=True)] == list(QUICK)
    assert [case.name for case in chosen([], is_full=False, is_quick=False)] == list(USUAL)
    assert len(chosen([], is_full=True, is_quick=False)) == 4 * 4 * 3 + 3 + 1
    with pytest.raises(ValueError, match="no such case"):
        chosen(["put-5k-c1"], is_full=False, is_quick=False)


@pytest.mark.parametrize(
    ("after", "word", "is_bad"),
    [
        ({"put-4k-c64": {"ratio": 0.33}}, "held (-18 %)", False),
        ({"put-4k-c64": {"ratio": 0.10}}, "slower (-75 %)", False),
        ({"put-4k-c64": {"ratio": 0.80}}, "faster (+100 %)", False),
        ({"put-4k-c64": {"failed": "errors"}}, "errors", True),
        ({}, "not measured", True),
    ],
)
def test_only_a_missing_case_fails_the_check(
    after: dict[str, Any], word: str, is_bad: bool
) -> None:
    before = {"put-4k-c64": {"ratio": 0.40}}
    (finding,) = compare_ratios(before, after, 0.2)
    assert (finding.word, finding.is_bad) == (word, is_bad)


def test_a_lost_target_is_said_and_only_an_absent_one_is_bad() -> None:
    met, missed = {"memory": {"peak_mib": 500.0}}, {"memory": {"peak_mib": 700.0}}
    (lost,) = compare_targets(met, missed)
    assert (lost.word, lost.is_bad) == ("lost", False)
    assert [item.word for item in compare_targets(missed, missed)] == ["missed"]
    assert [item.is_bad for item in compare_targets(met, {"memory": {"failed": "x"}})] == [True]
    assert compare_targets(met, {}) == []


def test_the_short_check_takes_the_quick_cases_of_the_baseline() -> None:
    before = {"put-4k-c64": {"ratio": 0.4}, "put-4k-c1": {"ratio": 0.2}, "memory": {"ops": 1}}
    assert to_measure(before, is_short=True) == ["put-4k-c64"]
    assert to_measure(before, is_short=False) == ["put-4k-c64", "put-4k-c1"]


@pytest.mark.parametrize(("ratio", "status"), [(0.01, 0), (None, 1)])
def test_time_alone_never_changes_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: float | None, status: int
) -> None:
    baseline, result = tmp_path / "baseline.json", tmp_path / "result.json"
    baseline.write_text(json.dumps({"case": "put-4k-c64", "ratio": 0.4}), "utf-8")
    line = {"failed": "refused"} if ratio is None else {"ratio": ratio}
    result.write_text(json.dumps({"case": "put-4k-c64", **line}), "utf-8")
    monkeypatch.setattr("sys.argv", ["check", str(result), "--baseline", str(baseline)])
    assert main() == status


def test_result_files_are_read_by_case(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    lines = [{"case": "a", "ratio": 1}, {"case": "b"}, {"case": "a", "ratio": 2}]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n", "utf-8")
    assert read_lines(path) == {"a": {"case": "a", "ratio": 2}, "b": {"case": "b"}}
    path.write_text("[1]\n", "utf-8")
    with pytest.raises(ValueError, match="not a result line"):
        read_lines(path)
