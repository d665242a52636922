"""The one runner of drills: what it leaves behind when a drill passes, and when it does not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.acceptance import run, sovereignty
from tests.acceptance.steps import StepFailed, Transcript, run_drill


class Fake(Transcript):
    """A drill of one step."""

    made: list[Fake]
    fails: Exception | None = None

    def __init__(self, work: Path, files: int) -> None:
        super().__init__()
        self.work, self.files, self.ended = work, files, False
        self.made.append(self)

    def run(self) -> None:
        if self.fails is not None:
            raise self.fails
        self.step("it passes", lambda: "as said")

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Fake, "made", [], raising=False)
    return Fake.made


def drilled(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["drill", *words])
    return run_drill("usage", "fake", Fake, ("# Page",), (["echo", "1"],), files=7)


def test_a_drill_that_passes_leaves_its_page_and_no_folder(
    made: list[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    assert drilled(monkeypatch, "--report", str(page)) == 0
    (drill,) = made
    assert drill.ended and drill.files == 7 and not drill.work.exists()
    assert "ok    it passes: as said" in page.read_text()
    assert drilled(monkeypatch, "--keep", "--files", "3") == 0
    assert made[1].work.exists() and made[1].files == 3


@pytest.mark.parametrize("error", [StepFailed("a step"), KeyError("a field")])
def test_a_drill_that_fails_keeps_its_folder_and_writes_no_page(
    error: Exception,
    made: list[Fake],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Fake, "fails", error)
    page = tmp_path / "page.md"
    assert drilled(monkeypatch, "--report", str(page)) == 1
    (drill,) = made
    assert drill.ended and drill.work.exists() and not page.exists()
    assert str(drill.work) in capsys.readouterr().err


@pytest.mark.parametrize("module", [run, sovereignty])
def test_both_drills_run_by_it(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(module, "run_drill", lambda usage, name, *_, **__: asked.append(name))
    module.main()
    assert len(asked) == 1 and callable(module.Drill.end)
