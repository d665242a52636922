"""Bits flip in LMDB's file while the gateway is stopped: no wrong value opens, no row is missing
without the sums saying so; and a file that is worse off than that is made again from the nodes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.support.histories import Load, Model, check
from tests.support.processes import Cluster, DidNotStart, running, wait_until
from tests.support.raw_s3 import ClosedByServer

FLIPS = 300
FLIPS_LONG = 5000
PROBE_S = 100.0

pytestmark = [pytest.mark.timeout(150), pytest.mark.proves("B-06")]


def _campaign(cluster: Cluster, scratch: Path, flips: int) -> Counter[str]:
    """Outcomes of all flips; a child that a flip ends by a signal counts as a crash."""
    outcomes: Counter[str] = Counter()
    at = 0
    while at < flips:
        arguments = [cluster.folder, scratch, at, flips - at, 20_260]
        child = subprocess.run(
            [sys.executable, "-m", "tests.support.index_probe", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            cwd=Path(__file__).parents[2],
        )
        begun = at - 1
        for line in child.stdout.splitlines():
            said = json.loads(line)
            begun = said["flip"]
            if "outcome" in said:
                outcomes[said["outcome"]] += 1
        assert begun >= at, child.stderr
        if child.returncode:
            assert child.returncode < 0, child.stderr[-2000:]
            outcomes["crash"] += 1
        at = begun + 1
    return outcomes


def _fill(cluster: Cluster, model: Model) -> None:
    with Load(model, cluster.client, clients=6, seed=41):
        wait_until(lambda: model.acknowledged > 300, 60, "writes")
    assert cluster.stop_gateway() == 0


def _judge(cluster: Cluster, tmp_path: Path, flips: int) -> None:
    outcomes = _campaign(cluster, tmp_path / "probe", flips)
    print(f"{flips} flips: {dict(outcomes)}")
    assert outcomes.total() == flips
    assert not outcomes["wrong"], "a damaged row opened"
    assert not outcomes["absent"], "a row was lost and the sums still hold"
    assert not outcomes["hidden"], "a row is not found by its key and the sums still hold"
    assert outcomes["seal"] + outcomes["sums"] > flips // 10, "the campaign hit rows"


def test_no_flip_goes_unseen(tmp_path: Path) -> None:
    with running(tmp_path / "data") as cluster:
        _fill(cluster, Model())
        _judge(cluster, tmp_path, FLIPS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_flip_of_many_goes_unseen(tmp_path: Path) -> None:
    with running(tmp_path / "data") as cluster:
        _fill(cluster, Model())
        _judge(cluster, tmp_path, FLIPS_LONG)


def test_an_index_in_pieces_is_made_again(tmp_path: Path) -> None:
    """A quarter of the file is noise: no wrong bytes are served, and a rebuild brings all back."""
    model = Model()
    with running(tmp_path / "data") as cluster:
        _fill(cluster, model)
        path = cluster.folder / "index" / "data.mdb"
        raw = bytearray(path.read_bytes())
        start, end = len(raw) // 3, len(raw) // 3 + len(raw) // 4
        raw[start:end] = Random(43).randbytes(end - start)
        path.write_bytes(raw)
        try:
            cluster.start()
        except DidNotStart as refused:
            print(f"refused to start: {str(refused).splitlines()[0]}")
        else:
            for key in sorted(model.keys):
                with cluster.client() as client:
                    try:
                        answer = client.request("GET", f"/bucket/{key}")
                    except (OSError, ClosedByServer):
                        continue
                    if answer.status == 200:
                        assert answer.body in model.possible(key), key
            cluster.kill()
        shutil.rmtree(cluster.folder / "index")
        done = cluster.rebuild()
        assert done.returncode == 0, done.stderr
        cluster.start()
        with cluster.client() as client:
            check(model, client)
        cluster.kill()
