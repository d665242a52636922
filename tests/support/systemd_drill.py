"""The units of deploy/ under a real systemd: the commands of docs/install.md, then what a unit is
for: readiness, restart, drain, and a sandbox in which everything still works.

Run by `own_systemd.command(…, "tests.support.systemd_drill", FOLDER)`; the first thing that is not
as it must be ends it with a traceback. All nine nodes and the gateway are on this one machine.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, redirect_stdout
from pathlib import Path
from threading import Event
from typing import Any

from gateway.ca_cli import ca_app
from gateway.cli.client import AdminClient
from tests.support.deploy_drill import Store, Story
from tests.support.own_systemd import PACKAGES, PYTHON
from tests.support.three_sites import (
    GATEWAY_ADDRESS,
    NODES,
    ROOT,
    SITES,
    STATE,
    await_that,
    reachable,
    sh,
)

ADMIN = AdminClient(Path("/run/hexagone/admin.sock"))
RUNBOOK = ROOT / "docs" / "install.md"
BIN = Path("/opt/hexagone/bin")
S3_PORT = 9000
GATEWAY = "hexagone-gateway"
KEYD = "hexagone-keyd"
UNITS = tuple(f"storaged@{node}" for node in NODES)
EXPORTS = STATE / "gateway" / "aws.env"
RESTARTED_S = 60.0
FULL_S = 90.0
HELD_S = 1.0  # far longer than a stop takes that waits for nobody
# The network, the socket of the journal and of systemd, devices that are none (`DevicePolicy=`).
LEFT_OPEN = {
    *("PrivateNetwork", "IPAddressDeny", "RestrictAddressFamilies_AF_INET_INET6"),
    *("RestrictAddressFamilies_AF_UNIX", "DeviceAllow"),
    *("RootDirectoryOrRootImage", "PrivateUsers", "PrivateMounts"),
}
# The two lines of the runbook that need a network: the same environment from what is here.
OFFLINE = {
    "python3 -m venv ": f"{PYTHON}/bin/python3 -m venv --without-pip /opt/hexagone-0.1.0",
    "/opt/hexagone-0.1.0/bin/pip install --require-hashes ": (
        f"echo {PACKAGES} > /opt/hexagone-0.1.0/lib/python3.{sys.version_info.minor}"
        "/site-packages/packages.pth"
    ),
    "/opt/hexagone-0.1.0/bin/pip install --no-deps ": (
        "/opt/hexagone-0.1.0/bin/python -m pip --quiet --disable-pip-version-check"
        " --no-cache-dir install --no-deps --no-build-isolation --no-index ."
    ),
}


def runbook(section: str) -> list[str]:
    """The commands of one section, in order, without their remarks."""
    _, found, rest = RUNBOOK.read_text().partition(f"\n## {section}\n")
    assert found, f"docs/install.md has no section {section}"
    blocks = re.findall(r"^```\n(.*?)^```$", rest.partition("\n## ")[0], re.DOTALL | re.MULTILINE)
    lines = [re.sub(r" {2,}# .*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def for_each_node(line: str) -> list[str]:
    """A command about paris-1 is one for each node; `systemctl` takes them all at once. The check
    of a configuration is made once, to save time.
    """
    if "paris-1" not in line or "config check" in line:
        return [line]
    if line.startswith("systemctl "):
        return [line.replace("storaged@paris-1", " ".join(UNITS))]
    per_site = {node: node.partition("-")[0] for node in NODES}
    return [
        line.replace("paris-1", node).replace("--datacenter paris", f"--datacenter {site}")
        for node, site in per_site.items()
    ]


def follow(section: str, beside: Path) -> None:
    """Do what the runbook says, as root in a shell; `beside` is where the CA gets its folder. What
    it says of certificates once is done for the other nodes here, where all is imported already.
    """
    for written in runbook(section):
        offline = [ours for theirs, ours in OFFLINE.items() if written.startswith(theirs)]
        for line in offline or for_each_node(written):
            if line != written and line.startswith("hexagone ca "):
                with chdir(beside), redirect_stdout(None):
                    ca_app(line.split()[2:], standalone_mode=False)
            else:
                run_line(line, beside)


def run_line(line: str, beside: Path) -> None:
    """One command; what it printed is told when it fails."""
    in_sources = "deploy/" in line or "install --no-deps" in line
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=ROOT if in_sources else beside,
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}"


def machine(folder: Path) -> None:
    """The addresses of the example, and a drive for each node, with what mkfs.ext4 puts on it."""
    for number in range(1, len(SITES) + 1):
        for host in (1, 2, 3, 10):
            sh("ip", "addr", "add", f"10.77.{number}.{host}/32", "dev", "lo")
    for node in NODES:
        mount_drive(folder, node, node)


def mount_drive(folder: Path, name: str, node: str) -> None:
    """An empty drive, with what mkfs.ext4 puts on it, at the place of a node."""
    drive = folder / "drives" / name
    (drive / "lost+found").mkdir(parents=True, mode=0o700)
    mount_point(node).mkdir(parents=True, exist_ok=True)
    sh("mount", "--bind", str(drive), str(mount_point(node)))


def mount_point(node: str) -> Path:
    return STATE / "nodes" / node


def show(unit: str) -> dict[str, str]:
    """What systemd knows of a unit."""
    words = ["systemctl", "show", unit]
    text = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def systemctl(*words: str) -> None:
    sh("systemctl", *words)


def is_active(unit: str) -> bool:
    return show(unit)["ActiveState"] == "active"


def await_full() -> None:
    """Tier FULL, and every node takes shards."""

    def is_full() -> bool:
        told: Any = ADMIN.status()
        return told["tier"]["name"] == "FULL" and all(node["usable"] for node in told["nodes"])

    await_that("nine usable nodes", is_full, FULL_S)


def check_sandbox(unit: str, own: Path) -> None:
    """What the unit promises holds for the process that serves: nothing was taken out silently."""
    known = show(unit)
    pid = known["MainPID"]
    told = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    assert told["Seccomp"] == "2" and told["NoNewPrivs"] == "1", told
    assert not any(int(told[f"Cap{which}"], 16) for which in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
    assert "0" not in told["Uid"].split() and "0" not in told["Gid"].split(), told
    inside = ["nsenter", "--mount", "--target", pid, "--"]

    def may_write(folder: str) -> bool:
        probe = f"{folder}/.probe"
        words = ["sh", "-c", 'echo > "$0" && rm "$0"', probe]
        return subprocess.run([*inside, *words], capture_output=True).returncode == 0

    elsewhere = ("/etc/hexagone", "/opt/hexagone", "/var/lib", "/usr", "/dev", "/root")
    assert may_write(str(own)), f"{unit} cannot write where it must"
    others = [str(mount_point(node)) for node in NODES if mount_point(node) != own]
    writable = [folder for folder in (*elsewhere, *others) if may_write(folder)]
    assert not writable, f"{unit} may write to {writable}"
    assert own.stat().st_mode & 0o777 == 0o700
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits), limits
    files = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])  # the host may allow fewer
    assert re.search(rf"Max open files +{files} +{files} ", limits), limits


def check_killed(*units: str) -> None:
    """kill -9: systemd starts them again, and they are ready by their own word."""
    before = {unit: show(unit) for unit in units}
    for known in before.values():
        os.kill(int(known["MainPID"]), signal.SIGKILL)

    def are_back() -> bool:
        now = {unit: show(unit) for unit in units}
        others = all(now[unit]["MainPID"] != before[unit]["MainPID"] for unit in units)
        return others and all(known["ActiveState"] == "active" for known in now.values())

    await_that(f"{units} are back", are_back, RESTARTED_S)
    for unit, known in before.items():
        assert int(show(unit)["NRestarts"]) == int(known["NRestarts"]) + 1


def check_stopped(*units: str) -> None:
    """`systemctl stop` ends them well: status 0, and no kill was needed."""
    systemctl("stop", *units)
    for unit in units:
        known = show(unit)
        how = (known["ActiveState"], known["Result"], known["ExecMainCode"])
        assert how == ("inactive", "success", "1"), (unit, how)
        assert known["ExecMainStatus"] == "0", unit


class HeldBody(io.BytesIO):
    """A body whose second half comes when the gateway has been told to stop."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.half_sent = Event()
        self.go_on = Event()

    def read(self, length: int | None = -1) -> bytes:
        if self.tell() > len(self.getvalue()) // 2:
            self.half_sent.set()
            assert self.go_on.wait(RESTARTED_S)
        return super().read(length)


def check_drain(store: Store) -> None:
    """A PUT that is under way when the gateway is stopped gets its 200."""
    body = HeldBody(os.urandom(6_000_000))
    with ThreadPoolExecutor(2) as pool:
        put = pool.submit(store.put, "under way", body)
        assert body.half_sent.wait(RESTARTED_S)
        stopped = pool.submit(check_stopped, GATEWAY)
        stopping = "deactivating"
        await_that(stopping, lambda: show(GATEWAY)["ActiveState"] == stopping, RESTARTED_S)
        await_that("closed", lambda: not reachable(GATEWAY_ADDRESS, S3_PORT), RESTARTED_S)
        time.sleep(HELD_S)
        body.go_on.set()
        put.result()
        stopped.result()


def check_late_nodes(story: Story) -> None:
    """After a power cut the gateway may be first: not ready until enough nodes answer."""
    check_stopped(*UNITS)
    story.tell("nine nodes have drained")
    systemctl("start", "--no-block", GATEWAY)
    await_that("starting", lambda: show(GATEWAY)["ActiveState"] == "activating", RESTARTED_S)
    systemctl("start", *UNITS[:4])
    assert not is_active(GATEWAY) and not reachable(GATEWAY_ADDRESS, S3_PORT)
    systemctl("start", *UNITS[4:])
    await_that("the gateway is ready", lambda: is_active(GATEWAY), RESTARTED_S)
    assert reachable(GATEWAY_ADDRESS, S3_PORT)
    story.tell("the gateway was started first, and was ready when the nodes were")


def check_drive_replaced(folder: Path, store: Store, story: Story) -> None:
    """A drive that is not mounted must not look like an empty node; an empty one that is, is one.
    Three nodes are away meanwhile, so every read decodes.
    """
    check_stopped(*UNITS[-3:])
    unit, node = UNITS[-1], NODES[-1]
    sh("umount", str(mount_point(node)))
    started = subprocess.run(["systemctl", "start", unit], capture_output=True)
    assert started.returncode != 0 and not is_active(unit)
    assert not list(mount_point(node).iterdir())
    store.check()
    story.tell("a node refused to start without its drive; all reads without three nodes")
    mount_drive(folder, "spare", node)
    systemctl("start", *UNITS[-3:])
    await_full()
    for job in ("sweep", "repair"):
        *_, last = ADMIN.run(job)
        assert "result" in last, last
    check_stopped(*UNITS[:3])
    store.check()
    systemctl("start", *UNITS[:3])
    story.tell("its drive was replaced by an empty one and repaired; all reads by means of it")


def check_exposure() -> None:
    """Of all that systemd knows to take from a service, the units leave just these things."""
    for unit in ("storaged@.service", f"{GATEWAY}.service", f"{KEYD}.service"):
        words = ["systemd-analyze", "security", "--offline=true", "--json=short"]
        path = f"/etc/systemd/system/{unit}"
        text = subprocess.run([*words, path], check=True, stdout=subprocess.PIPE, text=True).stdout
        left = {row["json_field"] for row in json.loads(text) if row["set"] is False}
        assert left <= LEFT_OPEN, (unit, left - LEFT_OPEN)


def check_journal() -> None:
    """Everybody's words are in the journal, and nobody was refused anything by the sandbox."""
    for unit in (*UNITS, GATEWAY, KEYD):
        words = ["journalctl", "--no-pager", "-o", "cat", "-u", unit]
        text = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
        assert "ready" in text, unit
        refused = re.findall(r".*(?:not permitted|denied|Read-only|Traceback|SIGSYS).*", text)
        assert not refused, (unit, refused)


def drill(folder: Path) -> None:
    """The whole story, in its order."""
    story = Story()
    beside = folder / "ca-machine"
    beside.mkdir()
    machine(folder)
    follow("Install", beside)
    story.tell("the runbook: installed, nine nodes and the gateway are ready")

    store = Store(EXPORTS)
    await_full()
    store.write("whole")
    store.check()
    story.tell("written and read at tier FULL")

    follow("Key service", beside)
    store.check()
    story.tell("keys of tenants are in a process of their own")

    for unit, node in zip(UNITS, NODES, strict=True):
        check_sandbox(unit, mount_point(node))
    check_sandbox(GATEWAY, STATE / "gateway")
    check_sandbox(KEYD, STATE / "keyd")
    check_exposure()
    story.tell("eleven sandboxes are as the units say")

    check_killed(UNITS[0], GATEWAY, KEYD)
    store.check()
    store.write("after kills")
    story.tell("a node, the gateway and the key service were killed and are back")

    check_drain(store)
    check_late_nodes(story)
    store.check()
    systemctl("restart", *UNITS[:3], GATEWAY)
    await_full()
    store.check()
    story.tell("restarted in each datacenter, everything is there")

    follow("Restore", beside)
    store.check()
    story.tell("the index is rebuilt by the runbook")

    check_drive_replaced(folder, store, story)
    check_stopped(GATEWAY, KEYD, *UNITS)
    check_journal()
    story.tell("all have stopped, the journal is clean")


def main() -> None:
    folder = Path(sys.argv[1])
    try:
        drill(folder)
    finally:
        with (folder / "journal.log").open("wb") as log:
            subprocess.run(["journalctl", "--no-pager"], stdout=log, check=False)


if __name__ == "__main__":
    main()
