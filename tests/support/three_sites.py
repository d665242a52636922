"""Three datacenters as network namespaces on one bridge, running the files of deploy/ unmodified.

Runs as process 1 of private mount, network and process namespaces (see `command`), so all it makes
ends with it, however it ends: mounts, links, namespaces and daemons. Not for one node: the
conformance suite has real `storaged` processes too.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "deploy" / "example-5+4"
SITES = ("paris", "lyon", "marseille")
NODES = tuple(f"{site}-{number}" for number in (1, 2, 3) for site in SITES)
CONFIGS = Path("/etc/hexagone")
STATE = Path("/var/lib/hexagone")
GATEWAY_ADDRESS = "10.77.1.10"
NOTIFY = "/run/notify"
START_S = 60.0
STOP_S = 30.0
PR_SET_NO_NEW_PRIVS = 38
PR_SET_MDWE = 65  # Linux 6.3: what MemoryDenyWriteExecute= forbids, without a filter


def command(module: str, folder: Path, *words: str) -> list[str]:
    """The command line that runs `python -m module folder words` inside namespaces of its own."""
    own = ["--mount", "--net", "--ipc", "--pid", "--fork", "--mount-proc"]
    return [
        "unshare",
        *own,
        "--kill-child=SIGKILL",
        sys.executable,
        "-m",
        module,
        str(folder),
        *words,
    ]


def sh(*words: str) -> None:
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)


def private_folders(folder: Path) -> None:
    """/etc and /run of our own, and /var/lib/hexagone on the drive that `folder` is on."""
    assert os.getpid() == 1, "only inside the namespaces of `command`"
    sh("mount", "-t", "tmpfs", "run", "/run")
    original = Path("/run/etc")
    original.mkdir()
    sh("mount", "--bind", "/etc", str(original))
    sh("mount", "-t", "tmpfs", "etc", "/etc")
    for entry in original.iterdir():
        (Path("/etc") / entry.name).symlink_to(entry)
    CONFIGS.mkdir()
    state = folder / "state"
    state.mkdir()
    # Held open by a second mount: /var/lib may hide the place that `folder` is in.
    held = Path("/run/state")
    held.mkdir()
    sh("mount", "--bind", str(state), str(held))
    sh("mount", "-t", "tmpfs", "lib", "/var/lib")
    STATE.mkdir()
    sh("mount", "--bind", str(held), str(STATE))
    for path in EXAMPLE.glob("*.toml"):
        shutil.copy(path, CONFIGS)


def network() -> None:
    """A namespace per datacenter, its node addresses in it, all on one bridge; we are on it too."""
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "wan", "type", "bridge")
    sh("ip", "addr", "add", "10.77.0.1/16", "dev", "wan")
    sh("ip", "link", "set", "wan", "up")
    for number, site in enumerate(SITES, start=1):
        sh("ip", "netns", "add", site)
        veth = ["ip", "link", "add", site, "type", "veth", "peer", "name", "eth0", "netns", site]
        sh(*veth)
        for host in (1, 2, 3, 10):
            sh("ip", "-n", site, "addr", "add", f"10.77.{number}.{host}/16", "dev", "eth0")
        sh("ip", "-n", site, "link", "set", "lo", "up")
        sh("ip", "-n", site, "link", "set", "eth0", "up")
        sh("ip", "link", "set", site, "master", "wan", "up")


def cut(site: str) -> None:
    """Nothing goes into or out of a datacenter; what is inside runs on."""
    sh("ip", "link", "set", site, "down")


def join(site: str) -> None:
    """The end of `cut`."""
    sh("ip", "link", "set", site, "up")


def reachable(address: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether a TCP connection from the bridge comes about."""
    try:
        socket.create_connection((address, port), timeout_s).close()
    except OSError:
        return False
    return True


def _as_the_units_do() -> None:
    """What the units forbid and a parent can: more privileges; memory that is made executable."""
    libc = ctypes.CDLL(None)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError("PR_SET_NO_NEW_PRIVS")
    libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)  # older kernels do not know it


class Daemons:
    """The processes of the cluster, and what they tell the socket that systemd would give them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(NOTIFY)

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def start(self, site: str, name: str, *words: str) -> None:
        """Start a daemon in a datacenter, with its log beside the others."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["ip", "netns", "exec", site, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=os.environ | {"NOTIFY_SOCKET": NOTIFY},
                preexec_fn=_as_the_units_do,
            )

    def await_states(self, state: bytes, count: int, within_s: float) -> None:
        """Wait until so many daemons have told `state`; one that ended is an error."""
        until = time.monotonic() + within_s
        self._notified.settimeout(1.0)
        while count:
            assert time.monotonic() < until, f"{count} daemons did not tell {state!r}"
            try:
                told = self._notified.recv(100)
            except TimeoutError:
                ended = [n for n, p in self._running.items() if p.poll() not in (None, 0)]
                assert not ended, f"ended by themselves: {ended}"
                continue
            assert told == state, told
            count -= 1

    def stop(self, *names: str) -> None:
        """SIGTERM; each must say so, drain, and end with status 0."""
        for name in names:
            self._running[name].terminate()
        self.await_states(b"STOPPING=1", len(names), STOP_S)
        for name in names:
            assert self._running.pop(name).wait(STOP_S) == 0, name


def start_nodes(daemons: Daemons, *nodes: str) -> None:
    """Nodes, from their files; all of them are ready when it returns."""
    storaged = str(Path(sys.executable).parent / "storaged")
    for node in nodes:
        site = node.partition("-")[0]
        daemons.start(site, node, storaged, "run", "--config", str(CONFIGS / f"{node}.toml"))
    daemons.await_states(b"READY=1", len(nodes), START_S)


def start_gateway(daemons: Daemons) -> None:
    """The one gateway, in Paris."""
    hexagone = str(Path(sys.executable).parent / "hexagone")
    config = str(CONFIGS / "gateway.toml")
    daemons.start("paris", "gateway", hexagone, "gateway", "run", "--config", config)
    daemons.await_states(b"READY=1", 1, START_S)


def await_that(what: str, holds: Callable[[], bool], within_s: float) -> float:
    """Ask until it holds; returns the seconds it took."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() < start + within_s, f"not within {within_s} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - start
