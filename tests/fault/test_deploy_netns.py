"""The files of deploy/ run a cluster in three network namespaces; a datacenter goes and returns."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import three_sites

pytestmark = pytest.mark.root


DRILL_S = 240.0


@pytest.mark.timeout(DRILL_S + 30)
def test_the_example_outlives_a_datacenter(tmp_path: Path) -> None:
    words = three_sites.command("tests.support.deploy_drill", tmp_path)
    with (tmp_path / "drill.log").open("wb") as log:
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
        for path in sorted(tmp_path.glob("*.log"))
    )
    assert drill.returncode == 0, logs
