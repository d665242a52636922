"""Real processes, one node with a clock that is off: `hexagone status`, metrics, the journal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.support.processes import BIN, Cluster, end

WAIT_S = 120.0


def hexagone(cluster: Cluster, *arguments: str) -> str:
    """What the command prints."""
    done = subprocess.run(
        [str(BIN / "hexagone"), *arguments, "--data", str(cluster.folder)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    return done.stdout


def warned(cluster: Cluster) -> list[str]:
    answer: dict[str, Any] = json.loads(hexagone(cluster, "status", "--json"))
    return [one for one in answer["warnings"] if "clock" in one]


def until(holds: Callable[[], object]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.5)


@pytest.mark.proves("L-05")
def test_a_node_with_another_clock_is_seen_by_everybody_who_looks(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "cluster", processes=True)
    cluster.folder.mkdir()
    try:
        cluster.lay_out()
        cluster.start_shifted_node("lyon-1", -60.0)
        cluster.start()
        until(lambda: warned(cluster))
        (told,) = warned(cluster)
        assert "node lyon-1" in told and "behind this gateway's" in told
        in_french = hexagone(cluster, "--lang", "fr", "status")
        assert "! l'horloge du nœud lyon-1 retarde de " in in_french
        with urlopen(f"http://127.0.0.1:{cluster.port + 1}/metrics", timeout=20) as answer:
            page = answer.read().decode()
        skews = [one for one in page.splitlines() if one.startswith("hexagone_node_clock_skew")]
        assert len(skews) == 6
        with cluster.client() as client:
            assert client.request("PUT", "/bucket").status == 200, "nothing depends on a clock"
        cluster.kill_node("lyon-1")
        cluster.start_nodes("lyon-1")
        until(lambda: "node.clock-right" in hexagone(cluster, "journal", "show"))
        assert not warned(cluster)
        shown = hexagone(cluster, "journal", "show", "--type", "node.clock", "--json")
        kinds = [json.loads(line)["type"] for line in shown.splitlines() if '"type"' in line]
        assert kinds == ["node.clock-off", "node.clock-right"]
    finally:
        for process in (cluster.gateway, *cluster.nodes.values()):
            end(process)
        shutil.rmtree(cluster.folder)
