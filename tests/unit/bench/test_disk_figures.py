"""Disk figures count what was written: not what is allocated ahead, not what was punched out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.cluster import written_bytes
from bench.drive import CaseFailed
from bench.special import CODE_OVERHEAD, plausible

STEP = 4 * 1024 * 1024


def test_space_allocated_ahead_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    with (tmp_path / "node" / "volume").open("w+b") as volume:
        os.posix_fallocate(volume.fileno(), 0, STEP)
        os.fsync(volume.fileno())
        assert written_bytes(tmp_path) == 0
        os.pwrite(volume.fileno(), os.urandom(65_536), 0)
        os.pwrite(volume.fileno(), os.urandom(65_536), STEP // 2)
        os.fsync(volume.fileno())
        assert os.fstat(volume.fileno()).st_blocks * 512 >= STEP
        assert written_bytes(tmp_path) == 131_072


def test_files_without_holes_and_empty_ones_count_as_long_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(bytes(range(256)) * 64)
    (tmp_path / "empty").touch()
    assert written_bytes(tmp_path) == 256 * 64


def test_less_than_the_code_stores_is_no_figure() -> None:
    assert plausible(CODE_OVERHEAD) == CODE_OVERHEAD
    with pytest.raises(CaseFailed, match=r"0\.120 bytes on disk per byte cannot be"):
        plausible(0.12)
