"""The frozen node: which process it is, and what its line says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cluster import ClusterFailed
from bench.load import Result
from bench.special import frozen_line, node_process


def test_a_node_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "nodes.pid").write_text("lyon-1 41\nparis-1 42\n")
    assert node_process(tmp_path, "lyon-1") == 41
    with pytest.raises(ClusterFailed, match="no node rome-1"):
        node_process(tmp_path, "rome-1")


def test_the_ratio_is_of_medians_and_each_round_is_kept() -> None:
    pairs = [(Result(p99_ms=2.0), Result(p99_ms=p99, max_ms=p99 * 2)) for p99 in (3.0, 40.0, 2.0)]
    line = frozen_line(pairs)
    assert (line["p99_ratio"], line["p99_ratios"]) == (1.5, [1.5, 20.0, 1.0])
    assert (line["max_ms"], line["errors"]) == (80.0, 0)
