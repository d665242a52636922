"""Filling: shares of a drive, caps, progress; a frozen node; groups of trials."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.compare import filling, rounds
from bench.compare.filling import FREE_BYTES_MIN, Limits, Side, grow
from bench.compare.plan import Trial, known_trials, ordered, scale_plan, targets_plan
from bench.compare.processes import memory_mib
from bench.drive import CaseFailed
from bench.load import Job, Result
from tests.support.told_system import Told

GIB = 2**30
Line = dict[str, Any]


def filled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, bytes_each: dict[str, int], limits: Limits
) -> tuple[dict[str, Line], dict[str, str]]:
    """Lines and failures of filling a bucket of a million on a drive with 20 GiB to give."""
    free = [FREE_BYTES_MIN + 20 * GIB]

    def load(job: Job) -> Result:
        name = job.endpoint.access_key_id
        if name not in bytes_each:
            raise CaseFailed("it broke")
        free[0] -= job.count * bytes_each[name]
        return Result(ops=job.count)

    monkeypatch.setattr(filling, "run_load", load)
    monkeypatch.setattr(filling, "_free", lambda folder: free[0])
    sides = [Side(Told(folder, name)) for name in ("large", "small", "broken")]
    failures: dict[str, str] = {}
    lines = {line["system"]: line for line in grow(sides, "full", 1_000_000, limits, failures)}
    assert {side.name: side.grown["full"] for side in sides[:2]} == {
        name: line["objects"] for name, line in lines.items()
    }
    assert free[0] >= FREE_BYTES_MIN
    return lines, failures


def test_each_system_has_its_share_of_the_drive_and_the_rest_goes_to_who_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"large": 48 * 1024, "small": 1024}
    lines, failures = filled(tmp_path, monkeypatch, bytes_each=sizes, limits=Limits(fill_s=60.0))
    assert lines["small"]["objects"] == 1_000_000 and lines["small"]["stopped"] == ""
    assert 380_000 <= lines["large"]["objects"] <= 420_000
    assert lines["large"]["stopped"] == "space"
    assert lines["large"]["fill_bytes"] == lines["large"]["objects"] * 48 * 1024
    assert failures == {"broken": "it broke"}
    assert "filling small: 1,000,000 of 1,000,000" in capsys.readouterr().err


def test_caps_end_a_filling_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(fill_s=60.0, objects=50_000, caps={"large": 30_000})
    sizes = {"large": 1024, "small": 1024}
    lines, _ = filled(tmp_path, monkeypatch, bytes_each=sizes, limits=limits)
    assert {name: line["objects"] for name, line in lines.items()} == {
        "large": 30_000,
        "small": 50_000,
    }


def test_patience_ends_a_filling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"large": 1024, "small": 1024}
    lines, _ = filled(tmp_path, monkeypatch, bytes_each=sizes, limits=Limits(fill_s=-1.0))
    assert {line["stopped"] for line in lines.values()} == {"time"}


def test_a_frozen_node_goes_on_and_what_had_no_answer_is_in_the_percentile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    states = []

    def load(job: Job, *, allow_errors: bool = False) -> Result:
        if allow_errors:
            os.waitid(os.P_PID, node.pid, os.WSTOPPED)  # a signal takes its time
        stat = Path(f"/proc/{node.pid}/stat").read_text("ascii")
        states.append(stat.rpartition(")")[2].split()[0])
        return Result(ops=100, errors=5 * allow_errors, p99_ms=8.0)

    monkeypatch.setattr(rounds, "run_load", load)
    monkeypatch.setattr(rounds, "_wait_for_thaw", lambda system: None)
    system = Told(tmp_path, "told")
    monkeypatch.setattr(system, "node_to_freeze", lambda: node.pid, raising=False)
    try:
        line = rounds.frozen_round(system, Job(endpoint=system.endpoint(), method="GET", path="/"))
        os.kill(node.pid, signal.SIGTERM)
        node.wait(10)  # it would not end while it stood still
    finally:
        node.kill()
        node.communicate()
    assert states[-1] == "T" and "T" not in states[:2]
    assert line["healthy_p99_ms"] == 8.0
    assert line["p99_ms"] == rounds.FROZEN_PATIENCE_S * 1000 and line["errors"] == 5


def test_a_system_of_one_process_has_no_node_to_freeze(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="one process"):
        Told(tmp_path, "told").node_to_freeze()


def test_memory_is_of_all_descendants() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "held = bytearray(64 << 20); print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None and child.stdout.readline()
        resident, anonymous = memory_mib([child.pid])
        together, _ = memory_mib([os.getpid()])
    finally:
        child.kill()
        child.communicate()
    assert 64 < anonymous <= resident < together


def test_trials_of_a_group_come_together_and_buckets_grow() -> None:
    for plan in (targets_plan(is_quick=False), ordered(known_trials().values()), scale_plan()):
        groups = [trial.group for trial in plan]
        assert groups == sorted(groups)
        assert len(set(plan)) == len(plan)
    assert scale_plan()[-1] == Trial(operation="start", clients=1, bucket="1m", is_cold=True)
