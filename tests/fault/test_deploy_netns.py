"""The files of deploy/ run a cluster in three network namespaces; a datacenter goes and returns."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import three_sites

pytestmark = pytest.mark.root


DRILL_S = 240.0


def _run(name: str, folder: Path) -> None:
    """One drill in namespaces of its own; they end with it, and all it has started with them."""
    words = three_sites.command("tests.support.deploy_drill", folder, name)
    with (folder / "drill.log").open("wb") as log:
        drill = subprocess.run(
            words,
            cwd=three_sites.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=DRILL_S,
        )
    logs = "".join(
        f"\n{path.name}: {path.read_text(errors='replace')[-2000:]}"
        for path in sorted(folder.glob("*.log"))
    )
    assert drill.returncode == 0, logs


@pytest.mark.proves("B-18")
@pytest.mark.timeout(DRILL_S + 30)
def test_the_example_outlives_a_datacenter(tmp_path: Path) -> None:
    _run("datacenter", tmp_path)


@pytest.mark.timeout(DRILL_S + 30)
def test_the_runbook_holds(tmp_path: Path) -> None:
    _run("runbook", tmp_path)
