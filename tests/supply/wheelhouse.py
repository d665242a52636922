"""`python -m tests.supply.wheelhouse DIR`: the files that Hexagone is built and installed from, so
that neither needs a network. Only what requirements.lock pins, verified by its hashes.

Not for tests and benchmarks: their packages are not among them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.supply.locked import LOCK, ROOT, closure, declared, read_lock

PINS = "requirements.txt"


def pins() -> str:
    """The part of requirements.lock that building and running need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    locked = read_lock(LOCK.read_text(encoding="utf-8"))
    wanted = closure([*declared(), *project["build-system"]["requires"]])
    return "".join(f"{locked[name].pinned()}\n" for name in sorted(wanted))


def fetch(folder: Path) -> None:
    """Fetch what is missing, from where pip is set to fetch. Raises: CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PINS).write_text(pins(), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    exact = ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
    where = ["--dest", str(folder), "--find-links", str(folder), "-r", str(folder / PINS)]
    subprocess.run([*pip, *exact, *where], check=True)


def without_settings() -> dict[str, str]:
    """The environment, without what pip would take from it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
