"""Environments of the clients, outside the tree: one folder per set of pins, made once.

A folder's name holds a hash of its pins, so other pins are another folder; a file `ready` in it
says that it is whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.clients.catalog import Client

PINS = Path(__file__).parent / "pins"
INSTALL_S = 900.0


class NotInstalled(Exception):
    """A part of a client is not there, and could not be installed."""


def cache() -> Path:
    chosen = os.environ.get("HEXAGONE_CLIENTS_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "hexagone-clients"


def missing(client: Client) -> str:
    """What of the machine (not of an environment) it lacks; "" when all is there."""
    for alternatives in client.programs:
        if not any(shutil.which(program) for program in alternatives.split("|")):
            return f"no {alternatives.replace('|', ' or ')} on PATH"
    for device in client.devices:
        if not os.access(device, os.R_OK | os.W_OK):
            return f"{device} is missing or closed"
    return ""


def python_of(client: Client, *, install: bool) -> Path:
    """The Python that runs the client's file. Raises NotInstalled."""
    if not client.pins:
        return Path(sys.executable)
    pins = PINS / f"{client.pins}.txt"
    folder = _folder(client.pins, pins)
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        if not install:
            raise NotInstalled(f"{folder.name} is not made yet (make clients)")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        base = getattr(sys, "_base_executable", sys.executable)
        _run([base, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "-q", "--no-deps", "-r", str(pins)])
        (folder / "ready").touch()
    return python


def modules_of(client: Client, *, install: bool) -> Path | None:
    """The folder with `node_modules` of the client, None if it has none. Raises NotInstalled."""
    if not client.npm:
        return None
    pins = PINS / client.npm
    folder = _folder(client.npm, pins / "package-lock.json")
    if not (folder / "ready").exists():
        if not install:
            raise NotInstalled(f"{folder.name} is not made yet (make clients)")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(pins / name, folder)
        _run(["npm", "ci", "--silent", "--ignore-scripts"], folder)
        (folder / "ready").touch()
    return folder


def _folder(name: str, pins: Path) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}".encode()
    digest = hashlib.sha256(version + pins.read_bytes()).hexdigest()[:10]
    return cache() / f"{name}-{digest}"


def _run(words: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_S, check=False
    )
    if done.returncode != 0:
        raise NotInstalled(f"{' '.join(words[:4])}: {(done.stderr + done.stdout)[-800:]}")
