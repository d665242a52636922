"""Without a network: Hexagone is built twice to the same bytes, installed by hashes, and stores."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.supply import offline_drill, wheelhouse
from tests.supply.locked import LOCK, ROOT, read_lock
from tests.supply.wheelhouse import without_settings

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fetched() -> Path:
    """Fetched once for each lock; the only step that may ask anybody."""
    name = hashlib.sha256(wheelhouse.pins().encode()).hexdigest()[:16]
    folder = ROOT / ".cache" / "wheelhouse" / name
    wheelhouse.fetch(folder)
    return folder


@pytest.mark.root
@pytest.mark.proves("S-06", "A-13", "B-16", "S-05")
def test_it_is_built_twice_alike_installed_and_used_without_a_network(
    fetched: Path, tmp_path: Path
) -> None:
    words = offline_drill.command(fetched, tmp_path)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.proves("B-16")
@pytest.mark.parametrize("exchanged", [False, True])
def test_a_file_that_was_exchanged_is_not_installed(
    fetched: Path, tmp_path: Path, exchanged: bool
) -> None:
    files, target, pin = tmp_path / "files", tmp_path / "target", tmp_path / "pin"
    files.mkdir()
    (wheel,) = fetched.glob("xxhash-*.whl")
    (files / wheel.name).write_bytes(wheel.read_bytes() + b"\0" * exchanged)
    pin.write_text(read_lock(LOCK.read_text(encoding="utf-8"))["xxhash"].pinned())
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", files]
    words = [*pip, "--require-hashes", "--target", target, "-r", pin]
    done = subprocess.run(
        list(map(str, words)), env=without_settings(), capture_output=True, text=True, timeout=240
    )
    assert (done.returncode == 0) is not exchanged, done.stderr
    assert (target / "xxhash").exists() is not exchanged
    assert ("DO NOT MATCH THE HASHES" in done.stderr) is exchanged
