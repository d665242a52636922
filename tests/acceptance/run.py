"""`make acceptance`: real clients, a real tree, a datacenter taken away, an index thrown away.

Runs `hexagone up --processes` on a fresh folder, then one step after another; every step prints
what it did and how long it took, and the first failure ends the run with exit code 1. With
--report the transcript is written to a file when the run is whole.

Usage: python -m tests.acceptance.run [--files N] [--keep] [--report FILE]
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.acceptance.steps import (
    BIN,
    StepFailed,
    Transcript,
    make_tree,
    read_exports,
    run_drill,
)

SITE = "lyon"
PORT = 9400
WAIT_S = 600.0


class Cluster:
    """One `hexagone up --processes`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.nodes: list[subprocess.Popen[str]] = []
        self.environment: dict[str, str] = {}

    def start(self) -> None:
        log = (self.folder.parent / "up.log").open("ab")
        self.process = subprocess.Popen(
            [BIN / "hexagone", "up", "--processes", "--data", self.folder, "--port", str(PORT)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
        else:
            raise StepFailed("hexagone up ended before it was ready, see up.log")
        self.environment = read_exports(self.folder / "aws.env")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            if self.process.wait(60) != 0:
                raise StepFailed("hexagone up did not end well")
            self.process = None
        for node in self.nodes:
            node.send_signal(signal.SIGTERM)
            node.wait(30)
        self.nodes = []

    def kill(self) -> None:
        """Whatever still runs of ours, at the end of a failed run."""
        for process in [self.process, *self.nodes]:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()

    def site_pids(self) -> dict[str, int]:
        pairs = (line.split() for line in (self.folder / "nodes.pid").read_text().splitlines())
        return {name: int(pid) for name, pid in pairs if name.startswith(SITE)}

    def kill_and_wipe_site(self) -> None:
        for name, pid in self.site_pids().items():
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
            shutil.rmtree(self.folder / "nodes" / name)

    def return_site_empty(self) -> None:
        for name in self.site_pids():
            (self.folder / "nodes" / name).mkdir(parents=True)
            log = (self.folder / f"{name}.log").open("ab")
            node = subprocess.Popen(
                [BIN / "storaged", "run", "--config", self.folder / f"{name}.toml"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            self.nodes.append(node)
            assert node.stdout is not None
            if "ready" not in node.stdout.readline():
                raise StepFailed(f"{name} did not come back")

    def status(self) -> dict[str, object]:
        shown = subprocess.run(
            [BIN / "hexagone", "status", "--json", "--data", self.folder],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(shown.stdout)
        assert isinstance(found, dict)
        return found


class Drill(Transcript):
    """The steps, in order."""

    def __init__(self, work: Path, files: int) -> None:
        super().__init__()
        self.work = work
        self.files = files
        self.cluster = Cluster(work / "data")
        self.tree = work / "tree"

    def shell(self, *command: str | Path, **more: str) -> str:
        environment = {
            **self.cluster.environment,
            "RESTIC_PASSWORD": "acceptance",
            "RESTIC_REPOSITORY": f"s3:{self.cluster.environment['AWS_ENDPOINT_URL']}/restic",
            "RESTIC_CACHE_DIR": str(self.work / "restic-cache"),
            "RCLONE_CONFIG": str(self.work / "rclone.conf"),
            "RCLONE_CONFIG_HX_TYPE": "s3",
            "RCLONE_CONFIG_HX_PROVIDER": "Other",
            "RCLONE_CONFIG_HX_ENV_AUTH": "true",
            "RCLONE_CONFIG_HX_ENDPOINT": self.cluster.environment["AWS_ENDPOINT_URL"],
            "RCLONE_CONFIG_HX_REGION": self.cluster.environment["AWS_REGION"],
            **more,
        }
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=1800
        )
        return done.stdout + done.stderr

    def same(self, left: Path, right: Path) -> None:
        self.shell("diff", "-r", left, right)

    def sync_up(self) -> str:
        self.shell("aws", "s3", "mb", "s3://tree")
        self.shell("aws", "s3", "sync", "--only-show-errors", self.tree, "s3://tree/t")
        return f"{self.files} files"

    def sync_down(self) -> str:
        back = self.work / "back"
        shutil.rmtree(back, ignore_errors=True)
        self.shell("aws", "s3", "sync", "--only-show-errors", "s3://tree/t", back)
        self.same(self.tree, back)
        return "compares equal"

    def restic_first(self) -> str:
        self.shell("restic", "init", "-q")
        self.shell("restic", "backup", "-q", self.tree)
        return self.restic_again()

    def restic_again(self) -> str:
        self.shell("restic", "check", "--read-data", "-q")
        target = self.work / "restored"
        shutil.rmtree(target, ignore_errors=True)
        self.shell("restic", "restore", "latest", "-q", "--target", target)
        self.same(self.tree, target / self.tree.relative_to("/"))
        return "check --read-data passes, restore compares equal"

    def restic_backup_again(self) -> str:
        (self.tree / "written while degraded").write_bytes(b"x" * 100_000)
        self.shell("restic", "backup", "-q", self.tree)
        self.shell("aws", "s3", "sync", "--only-show-errors", self.tree, "s3://tree/t")
        return "a second snapshot; aws s3 sync of the same change"

    def rclone_first(self) -> str:
        self.shell("rclone", "mkdir", "hx:rclone")
        self.shell("rclone", "sync", "-q", self.tree, "hx:rclone/t")
        return self.rclone_check()

    def rclone_check(self) -> str:
        self.shell("rclone", "check", "-q", "--download", self.tree, "hx:rclone/t")
        return "check --download passes"

    def rclone_sync_check(self) -> str:
        self.shell("rclone", "sync", "-q", self.tree, "hx:rclone/t")
        return self.rclone_check()

    def lose_site(self) -> str:
        self.cluster.kill_and_wipe_site()
        return f"{SITE}: processes killed, folders removed"

    def new_write(self) -> str:
        self.shell("aws", "s3", "mb", "s3://written-degraded")
        self.shell(
            "aws", "s3", "sync", "--only-show-errors", self.tree / "dir00", "s3://written-degraded"
        )
        tier = str(self.cluster.status()["tier"])
        if "NODE" not in tier:
            raise StepFailed(f"status says tier {tier}, NODE expected")
        return "accepted; status says tier NODE"

    def return_site(self) -> str:
        self.cluster.return_site_empty()
        return f"{SITE} is back, empty"

    def wait_for_margins(self) -> str:
        """Until status shows full strength everywhere; the progress on the way is kept."""
        seen: list[str] = []
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            status = self.cluster.status()
            repair = next(job for job in status["jobs"] if job["name"] == "repair")  # type: ignore[index,attr-defined,union-attr]
            sweep = next(job for job in status["jobs"] if job["name"] == "sweep")  # type: ignore[index,attr-defined,union-attr]
            margins = status["margins"]["by_margin"]  # type: ignore[index,call-overload]
            progress = repair["progress"]
            line = f"{progress['done']}/{progress['total']} stripes, margins {margins}"
            if not seen or seen[-1] != line:
                seen.append(line)
            waiting = progress["total"] - progress["done"]
            clean = str(sweep["progress"]["detail"]).startswith("0 missing")
            weak = sum(n for margin, n in margins.items() if int(margin) < 2)
            if clean and not waiting and not weak and "FULL" in str(status["tier"]):
                for text in seen[:: max(1, len(seen) // 8)]:
                    self.say(f"      status: {text}")
                return "all stripes have margin 2, tier FULL"
            time.sleep(3)
        raise StepFailed(f"margins were not restored within {WAIT_S:.0f} s: {seen[-3:]}")

    def lose_index(self) -> str:
        self.cluster.stop()
        shutil.rmtree(self.cluster.folder / "index")
        shutil.rmtree(self.cluster.folder / "keys.kept", ignore_errors=True)
        (self.cluster.folder / "keyd" / "tenants.sealed").unlink()
        return (
            "LMDB folder and tenant keyring deleted; nodes, root key and key service's secret kept"
        )

    def rebuild(self) -> str:
        # Nodes and key service must run for a rebuild; the gateway must not.
        folder, processes = self.cluster.folder, []
        commands = [[BIN / "hexagone", "keyd", "--config", folder / "keyd.toml"]]
        for config in sorted(folder.glob("*-[0-9].toml")):
            commands.append([BIN / "storaged", "run", "--config", config])
        try:
            for command in commands:
                process = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
                processes.append(process)
                assert process.stdout is not None
                process.stdout.readline()
            out = self.shell(BIN / "hexagone", "rebuild", "--json", "--data", folder)
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
        result = json.loads(out.strip().splitlines()[-1])
        if result["lost"]:
            raise StepFailed(f"lost: {result['lost']}")
        self.cluster.start()
        return "nothing lost"

    def listing(self) -> str:
        listed = self.shell("aws", "s3", "ls", "--recursive", "s3://written-degraded")
        expected = sum(1 for path in (self.tree / "dir00").rglob("*") if path.is_file())
        if len(listed.strip().splitlines()) != expected:
            raise StepFailed("objects written while degraded are not all there")
        return f"{expected} objects written while degraded are there"

    def run(self) -> None:
        total = make_tree(self.tree, self.files)
        self.say(f"tree: {self.files + 1} files, {total / 1e6:.0f} MB")
        self.step("hexagone up --processes", self.cluster.start)
        self.step("aws s3 sync up", self.sync_up)
        self.step("aws s3 sync down", self.sync_down)
        self.step("restic init, backup, check, restore", self.restic_first)
        self.step("rclone sync, check", self.rclone_first)
        self.step("a datacenter is lost", self.lose_site)
        self.step("aws s3 sync down, degraded", self.sync_down)
        self.step("restic check, restore, degraded", self.restic_again)
        self.step("rclone check, degraded", self.rclone_check)
        self.step("new writes, degraded", self.new_write)
        self.step("restic backup, degraded", self.restic_backup_again)
        self.step("rclone sync, degraded", self.rclone_sync_check)
        self.step("the datacenter returns empty", self.return_site)
        self.step("repair", self.wait_for_margins)
        self.step("restic check, restore, repaired", self.restic_again)
        self.step("aws s3 sync down, repaired", self.sync_down)
        self.step("the index is lost", self.lose_index)
        self.step("hexagone rebuild", self.rebuild)
        self.step("listing after the rebuild", self.listing)
        self.step("restic check, restore, rebuilt", self.restic_again)
        self.step("rclone check, rebuilt", self.rclone_check)
        self.step("aws s3 sync down, rebuilt", self.sync_down)
        self.step("stop", self.cluster.stop)

    def end(self) -> None:
        """See `Drill` in `tests.acceptance.steps`."""
        self.cluster.kill()


INTRO = (
    "# Acceptance: the last whole run",
    "",
    "`make acceptance` writes this page. What it proves, in order: real clients store a",
    "real tree; a datacenter is killed and wiped and everything still reads and writes;",
    "it comes back empty and is filled again; the index is deleted and made again.",
)
VERSIONS = (["aws", "--version"], ["restic", "version"], ["rclone", "version"])


def main() -> int:
    return run_drill(__doc__ or "", "acceptance", Drill, INTRO, VERSIONS, files=10_000)


if __name__ == "__main__":
    sys.exit(main())
