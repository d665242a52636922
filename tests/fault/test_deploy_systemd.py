"""The units of deploy/ run under a real systemd, installed by the commands of docs/install.md."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import own_systemd
from tests.support.three_sites import ROOT, await_that

pytestmark = pytest.mark.root

DRILL_S = 360.0
BOOT_S = 30.0


def _logs(folder: Path) -> str:
    return "".join(
        f"\n{path.name}: {path.read_text(errors='replace')[-4000:]}"
        for path in sorted(folder.glob("*.log"))
    )


@pytest.mark.timeout(DRILL_S + 30)
def test_the_units_run_a_cluster(tmp_path: Path) -> None:
    with own_systemd.control_group() as cgroup, (tmp_path / "boot.log").open("wb") as log:
        words = own_systemd.command(cgroup, tmp_path, "tests.support.systemd_drill", str(tmp_path))
        drill = subprocess.run(
            words,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=DRILL_S,
        )
    assert drill.returncode == 0, _logs(tmp_path)


def test_nothing_is_left_of_a_machine_that_hangs(tmp_path: Path) -> None:
    """What the test above relies on when it fails: processes, mounts, control groups all go."""
    mounts = Path("/proc/self/mounts").read_text()
    with own_systemd.control_group() as cgroup, (tmp_path / "boot.log").open("wb") as log:
        words = own_systemd.command(cgroup, tmp_path, "http.server")
        machine = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        service = cgroup / "system.slice" / "drill.service" / "cgroup.procs"
        await_that("it hangs", lambda: service.exists() and service.read_text() != "", BOOT_S)
    assert machine.wait(BOOT_S) != 0
    assert not cgroup.exists() and Path("/proc/self/mounts").read_text() == mounts
