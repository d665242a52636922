"""A comparison runs: systems in turns, failures kept, endpoints looked at first, and for real."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bench.cases import Pace
from bench.compare import __main__ as command
from bench.compare import measure
from bench.compare.filling import Limits, Side
from bench.compare.plan import Trial
from bench.compare.plots import PlotsUnavailable
from bench.drive import CaseFailed
from bench.load import Job, Result
from tests.support.told_system import Told

Line = dict[str, Any]


def run_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, breaks: int = 99
) -> tuple[list[str], list[Line]]:
    """(who was asked, in order; lines) of PUT by three systems, three rounds.

    Args:
        breaks: the request from the beginning that is not answered.
    """
    asked: list[str] = []

    def load(job: Job) -> Result:
        asked.append(job.endpoint.access_key_id)
        if len(asked) == breaks:
            raise CaseFailed("it broke")
        return Result(ops=10, ops_per_s=float(len(asked)), p99_ms=1.0)

    monkeypatch.setattr(measure, "run_load", load)
    monkeypatch.setattr(measure.Comparison, "rest", lambda _: None)
    sides = [Side(Told(folder, name)) for name in "ABC"]
    pace = Pace(rounds=3, seconds=1.0, warm_up_s=0.0)
    comparison = measure.Comparison(sides, pace, Limits(fill_s=1.0))
    return asked, list(comparison.run(Trial(operation="put")))


def test_systems_are_measured_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, lines = run_told(tmp_path, monkeypatch)
    assert "".join(asked) == "ABCABCABC"
    assert [line["system"] for line in lines] == ["A", "B", "C"]
    assert lines[1]["ops_per_s"] == 5.0 and lines[1]["ops_per_s_range"] == [2.0, 8.0]


def test_one_that_fails_is_kept_as_failed_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, lines = run_told(tmp_path, monkeypatch, breaks=5)
    assert "".join(asked) == "ABCABCAC"
    assert lines[1] == {
        "case": "put-4k-c64",
        "system": "B",
        "generator": "own",
        "failed": "it broke",
    }
    assert lines[2]["rounds"] == 3


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["compare", *words])
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process goes on
    return command.main()


def endpoint_file(folder: Path, port: int) -> Path:
    file = folder / f"{port}.env"
    file.write_text(
        f"export AWS_ENDPOINT_URL=http://127.0.0.1:{port}\nexport AWS_ACCESS_KEY_ID=A\n"
        "export AWS_SECRET_ACCESS_KEY=B\nexport AWS_REGION=fr\n",
        "utf-8",
    )
    return file


def test_an_endpoint_without_a_listener_ends_the_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    out = tmp_path / "out"
    pair = f"far={endpoint_file(tmp_path, port)}"
    assert run(monkeypatch, "--out", str(out), "--endpoint", pair) == 2
    assert f"far: nobody at 127.0.0.1:{port}: " in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--endpoint", "far"), "NAME=FILE with a name of its own"),
        (("--endpoint", "minio=x"), "NAME=FILE with a name of its own"),
        (("--endpoint", "far=/nowhere/aws.env"), "far: /nowhere/aws.env is not read"),
        (("--case", "put-9x"), "no such case"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    words: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "--out", str(tmp_path / "out"), *words) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_name_is_given_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pair = f"far={endpoint_file(tmp_path, listening.getsockname()[1])}"
        assert run(monkeypatch, "--endpoint", pair, "--endpoint", pair) == 2
    assert "a name of its own" in capsys.readouterr().err


def test_hexagone_alone_is_measured_for_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(command, "SPACE_OBJECTS", 1_000)
    monkeypatch.setattr(measure, "REST_S", 1.0)

    def cannot_draw(lines: list[Line], out: Path) -> list[Path]:
        raise PlotsUnavailable("no plots here")

    monkeypatch.setattr(command, "draw", cannot_draw)
    cases = ("--case", "put-4k-c16", "--case", "get-4k-c16")
    words = ("--rounds", "1", "--seconds", "0.3", "--out", str(tmp_path), *cases)
    # Not below `tmp_path`: the path of a socket in a cluster has room for a hundred letters.
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        assert run(monkeypatch, *words, "--folder", folder) == 0
        assert os.listdir(folder) == []
    written = (tmp_path / "compare.json").read_text("utf-8")
    printed, told = capsys.readouterr()
    assert printed == written and "no plots here" in told
    lines = [json.loads(text) for text in written.splitlines()]
    assert [line["failed"] for line in lines if "failed" in line] == []
    absent = [line["what"] for line in lines if line["case"] == "absent"]
    assert "minio (minio)" in absent and "rustfs: reached by --endpoint only" in absent
    measured = [line for line in lines if "ops_per_s" in line]
    assert [line["case"] for line in measured] == list(cases[1::2])
    assert all(line["ops"] > 0 and line["p99_ms"] > 0.0 for line in measured)
    assert all(line["resident_mib"] > 20.0 for line in measured)
    (system,) = (line for line in lines if line["case"] == "system")
    assert system["start_s"] > 0.0 and system["bytes_per_byte"] > 1.5
    page = (tmp_path / "compare.md").read_text("utf-8")
    assert "| PUT 4 KiB, 16 clients | **" in page and "* not found: minio (minio)" in page
    assert "≥ 3, not measured: no such peer in this case" in page
