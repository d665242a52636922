"""A systemd of our own as process 1 of namespaces of its own, to start the units of deploy/ in.

Not for one daemon: `processes` starts those. The root is an overlay, of which what is written goes
to memory; of Debian's own units only a few are there, because the others set up a machine:
systemd-sysctl would set values of the host's kernel. All it makes ends with it, however it ends:
mounts, links, daemons; the control group is taken away by `control_group`, in the caller.

Run inside by `python -m tests.support.own_systemd FOLDER MODULE WORDS…`: `MODULE` is then a service
of that systemd, and its end is the end of the machine, status 0 or 1.

Source: systemd.io, "Container Interface"; cgroups(7), cgroup_namespaces(7).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.three_sites import ROOT, sh

SYSTEMD = Path("/lib/systemd/systemd")
VENDOR_UNITS = Path("/lib/systemd/system")
UNITS_OF_DEBIAN = (
    *(f"{name}.target" for name in ("basic", "sysinit", "multi-user", "shutdown", "umount")),
    *(f"{name}.target" for name in ("local-fs", "local-fs-pre", "network", "network-online")),
    *(f"{name}.target" for name in ("sockets", "timers", "paths", "slices", "swap")),
    *("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"),
)
UNITS = Path("/usr/local/lib/systemd/system")
# What a service may be started with: a place that `ProtectHome=` does not hide.
PYTHON = Path("/opt/python")
PACKAGES = Path("/opt/python-packages")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
EMPTY_S = 10.0
LIFE_S = 400
DRILL_UNIT = """\
[Unit]
Description=The drill
Requires=multi-user.target systemd-journald.service
After=multi-user.target systemd-journald.service
SuccessAction=exit-force
SuccessActionExitStatus=0
FailureAction=exit-force
FailureActionExitStatus=1

[Service]
Type=oneshot
WorkingDirectory={root}
Environment=PYTHONDONTWRITEBYTECODE=1
ExecStart={command}
StandardOutput=append:{log}
StandardError=inherit
"""


def _cgroup2() -> Path:
    """Where the host has the one hierarchy that systemd lives in; beside version 1 or alone."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(folder)
    raise AssertionError("this host has no cgroup2 mounted, and a systemd needs one")


@contextmanager
def control_group() -> Iterator[Path]:
    """A control group of our own. At the end all in it is killed, and it and those in it go."""
    folder = Path(tempfile.mkdtemp(prefix="hexagone-drill-", dir=_cgroup2()))
    try:
        yield folder
    finally:
        (folder / "cgroup.kill").write_text("1")
        until = time.monotonic() + EMPTY_S
        while "populated 1" in (folder / "cgroup.events").read_text():
            assert time.monotonic() < until, f"something in {folder} cannot be killed"
            time.sleep(0.02)
        for inner, _, _ in os.walk(folder, topdown=False):
            Path(inner).rmdir()


def command(cgroup: Path, folder: Path, module: str, *words: str) -> list[str]:
    """The command line that boots the machine and runs `python -m module words` in it."""
    assert SYSTEMD.exists(), f"{SYSTEMD} is missing: make deb"
    own = ["--mount", "--net", "--ipc", "--uts", "--cgroup", "--pid", "--fork", "--mount-proc"]
    enter = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(cgroup / "cgroup.procs")]
    inside = [sys.executable, "-m", "tests.support.own_systemd", str(folder), module, *words]
    at_most = ["timeout", "--signal=KILL", f"{LIFE_S}s"]  # should the caller be killed
    return [*enter, *at_most, "unshare", *own, "--kill-child=SIGKILL", *inside]


def _bind(what: Path, onto: Path, *options: str) -> None:
    onto.mkdir(parents=True, exist_ok=True)
    sh("mount", "--bind", str(what), str(onto))
    if options:
        sh("mount", "-o", ",".join(("remount", "bind", *options)), str(onto))


def _devices(dev: Path) -> None:
    """A /dev with nothing of the machine in it; so journald does not read the host's kernel log."""
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "dev", str(dev))
    for name in DEVICES:
        (dev / name).touch()
        sh("mount", "--bind", f"/dev/{name}", str(dev / name))
    for name in ("shm", "pts", "mqueue"):
        (dev / name).mkdir()
    sh("mount", "-t", "tmpfs", "shm", str(dev / "shm"))
    sh("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "pts", str(dev / "pts"))
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")


def _new_root(folder: Path) -> Path:
    """An overlay of / with the kernel's file systems. Nothing written there reaches the host."""
    held = folder / "machine"
    held.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "machine", str(held))
    root = held / "root"
    for path in (root, held / "upper", held / "work"):
        path.mkdir()
    layers = f"lowerdir=/,upperdir={held / 'upper'},workdir={held / 'work'}"
    sh("mount", "-t", "overlay", "-o", layers, "overlay", str(root))
    _devices(root / "dev")
    sh("mount", "-t", "proc", "proc", str(root / "proc"))
    _bind(root / "proc/sys", root / "proc/sys", "ro")  # most of it is the host kernel's
    sh("mount", "-t", "sysfs", "-o", "ro", "sysfs", str(root / "sys"))
    sh("mount", "-t", "cgroup2", "cgroup2", str(root / "sys/fs/cgroup"))
    for name in ("run", "tmp", "var/tmp", "var/log", "etc/systemd", "var/lib/systemd"):
        (root / name).mkdir(parents=True, exist_ok=True)
        sh("mount", "-t", "tmpfs", "-o", "mode=755", "own", str(root / name))
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    # Mounts of the host are not in the overlay: what is needed of it is bound where it was.
    _bind(ROOT, root / ROOT.relative_to("/"), "ro")
    for place in (Path(sys.prefix), Path(sys.base_prefix)):
        if not (root / place.relative_to("/") / "bin").exists():
            _bind(place, root / place.relative_to("/"), "ro")
    _bind(Path(sys.base_prefix), root / PYTHON.relative_to("/"), "ro")
    packages = Path(sys.prefix, "lib", f"python3.{sys.version_info.minor}", "site-packages")
    _bind(packages, root / PACKAGES.relative_to("/"), "ro")
    _bind(folder, root / folder.relative_to("/"))
    return root


def _libraries(root: Path) -> None:
    """A Python that was built for another place finds its own library by the cache of ld.so."""
    (root / "etc/ld.so.conf.d/drill.conf").write_text(f"{PYTHON}/lib\n")
    sh("chroot", str(root), "ldconfig")


def _units(root: Path, folder: Path, drill: list[str]) -> None:
    units = root / UNITS.relative_to("/")
    units.mkdir(parents=True, exist_ok=True)
    for name in UNITS_OF_DEBIAN:
        shutil.copy(VENDOR_UNITS / name, units)
    (root / "etc/systemd/system").mkdir()
    text = DRILL_UNIT.format(root=ROOT, command=" ".join(drill), log=folder / "drill.log")
    (units / "drill.service").write_text(text)


def boot(folder: Path, module: str, *words: str) -> None:
    """Become that machine; does not return. Its log of process 1 goes to our standard error."""
    assert os.getpid() == 1, "only inside the namespaces of `command`"
    sh("ip", "link", "set", "lo", "up")
    root = _new_root(folder)
    _libraries(root)
    _units(root, folder, [sys.executable, "-m", module, *words])
    os.chdir(root)
    Path("run/host").mkdir()
    sh("pivot_root", ".", "run/host")
    os.chdir("/")
    sh("umount", "--lazy", "/run/host")
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "container": "hexagone-drill",
        "SYSTEMD_UNIT_PATH": f"/etc/systemd/system:/run/systemd/system:{UNITS}",
        "SYSTEMD_GENERATOR_PATH": "/run/no-generators",
    }
    words_of_it = [str(SYSTEMD), "--unit=drill.service", "--log-target=journal", "--show-status=0"]
    os.execve(SYSTEMD, words_of_it, environment)


if __name__ == "__main__":
    boot(Path(sys.argv[1]), *sys.argv[2:])
