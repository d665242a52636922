"""Build, install and run Hexagone from a wheelhouse. Runs where there is no network; see `command`.

Not for what a cluster does: it stores one object.
"""

from __future__ import annotations

import errno
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from tests.supply.locked import ROOT
from tests.supply.wheelhouse import PINS, without_settings
from tests.support.processes import Cluster, end, free_port, start

SOURCES = ("gateway", "storaged", "pyproject.toml", "README.md", "LICENSE")


def command(wheelhouse: Path, folder: Path) -> list[str]:
    """The command line that runs this in a network namespace with nothing but loopback."""
    module = f"exec {sys.executable} -m tests.supply.offline_drill {wheelhouse} {folder}"
    return ["unshare", "--net", "sh", "-ec", f"ip link set lo up; {module}"]


def _run(*words: str | Path) -> None:
    subprocess.run(list(map(str, words)), check=True, env=without_settings())


def _no_network() -> None:
    """That it is away has to be shown: else this drill would pass anywhere."""
    try:
        socket.create_connection(("192.0.2.1", 443), 5).close()
    except OSError as error:
        assert error.errno == errno.ENETUNREACH, error
    else:
        raise AssertionError("there is a network")


def _source(folder: Path) -> Path:
    """The sources as somebody else has them, below another path."""
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def _stores_an_object(venv: Path, folder: Path) -> None:
    cluster = Cluster(folder, port=free_port())
    folder.mkdir()
    up = [venv / "bin" / "hexagone", "up", "--data", folder, "--port", str(cluster.port)]
    process = start(up, cluster.log)
    try:
        with cluster.client() as client:
            assert client.request("PUT", "/bucket").status == 200
            assert client.request("PUT", "/bucket/k", b"offline").status == 200
            assert client.request("GET", "/bucket/k").body == b"offline"
    finally:
        assert end(process) == 0


def main(wheelhouse: Path, folder: Path) -> None:
    """The drill."""
    _no_network()
    venv = folder / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", venv)
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "--quiet"]
    offline = ["--no-index", "--find-links", wheelhouse]
    _run(*pip, "install", "--no-compile", *offline, "--require-hashes", "-r", wheelhouse / PINS)
    built = []
    for name in ("here", "elsewhere"):
        out, source = folder / f"{name}-built", _source(folder / name)
        _run(*pip, "wheel", *offline, "--no-deps", "--no-build-isolation", "-w", out, source)
        (wheel,) = out.glob("hexagone-*.whl")
        built.append(wheel)
    assert built[0].read_bytes() == built[1].read_bytes(), "two builds of one source differ"
    _run(*pip, "install", *offline, "--no-deps", built[0])
    _stores_an_object(venv, folder / "data")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
