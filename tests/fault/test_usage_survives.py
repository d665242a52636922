"""Counts and metered hours outlive kill -9, a replay, a checkpoint and a lost index; limits hold in
a gateway's process before a byte of a body is asked for.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.compose import Gateway
from gateway.meta.usage import open_usage
from tests.support.histories import Load, Model, write
from tests.support.processes import BIN, Cluster, running, wait_until
from tests.support.raw_s3 import UNSIGNED, sign
from tests.support.usage_scan import full_scan

pytestmark = pytest.mark.timeout(150)


def hexagone(cluster: Cluster, *command: str) -> dict[str, Any]:
    """What a command answers as JSON."""
    full = [BIN / "hexagone", *command, "--json", "--socket", cluster.laid.socket]
    done = subprocess.run(list(map(str, full)), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def agree(cluster: Cluster, *, takes_checkpoint: bool = False) -> None:
    """Counts of the stopped gateway's index equal a full scan."""

    async def look(gateway: Gateway) -> None:
        if takes_checkpoint:
            await gateway.run_job("checkpoint")
        kept = {
            bucket: open_usage(entry)
            for bucket, entry in gateway.core.index.usage_entries().items()
        }
        found = full_scan(gateway.log, gateway.core.records)
        assert found and kept == found
        assert gateway.core.index.recount_usage() == []

    cluster.inside(look)


def test_counts_are_right_after_kills_a_checkpoint_and_a_rebuild(tmp_path: Path) -> None:
    model = Model()
    with running(tmp_path / "data") as cluster:
        for seed in range(3):
            with Load(model, cluster.client, clients=4, seed=seed):
                goal = model.acknowledged + 150
                wait_until(lambda goal=goal: model.acknowledged > goal, 60, "writes")
                cluster.kill()
            agree(cluster, takes_checkpoint=seed == 1)
            cluster.start()
        with cluster.client() as client:
            assert write(model, client, "last", Random(1).randbytes(7000)) == 200
        before = hexagone(cluster, "usage")["total"]
        assert before["objects"] > 1
        assert cluster.stop_gateway() == 0
        shutil.rmtree(cluster.folder / "index")
        done = cluster.rebuild()
        assert done.returncode == 0, done.stderr
        agree(cluster)
        cluster.start()
        assert hexagone(cluster, "usage")["total"] == before
        hours = hexagone(cluster, "usage", "--hours")["hours"]
        cluster.kill()
    assert sum(hour["requests"].get("write", 0) for hour in hours) > 0
    assert sum(hours[-1]["levels"].values()) == before["stored_bytes"]


def test_limits_in_a_process(tmp_path: Path) -> None:
    model = Model()
    with running(tmp_path / "data") as cluster:
        with cluster.client() as client:
            assert write(model, client, "there", bytes(5000)) == 200
            hexagone(cluster, "quota", "set", "--bucket", "bucket", "--bytes", "20k")
            answer = client.request("PUT", "/bucket/large", bytes(200_000))
            assert (answer.status, answer.code) == (403, "QuotaExceeded")
        with cluster.client() as client:
            # The body is never asked for, and never sent.
            given = {"host": client.authority, "content-length": "90000", "expect": "100-continue"}
            signed = sign(client.credentials, "PUT", "/bucket/large", given, payload=UNSIGNED)
            client.send_head("PUT", "/bucket/large", signed.headers)
            answer = client.read_answer()
            assert (answer.status, answer.code, answer.interim) == (403, "QuotaExceeded", ())
        with cluster.client() as client:
            assert write(model, client, "small", bytes(5000)) == 200
        shown = hexagone(cluster, "quota", "show")["quotas"]
        assert [held["limits"] for held in shown] == [{"stored_bytes": 20_000}]
        cluster.kill()
        cluster.start()
        with cluster.client() as client:
            answer = client.request("PUT", "/bucket/large", bytes(200_000))
            assert (answer.status, answer.code) == (403, "QuotaExceeded")
        hexagone(cluster, "quota", "clear", "--bucket", "bucket")
        hexagone(cluster, "quota", "set", "--source", "*", "--requests-per-s", "3")
        with cluster.client() as client:
            answers = [client.request("GET", "/bucket/there") for _ in range(12)]
        slow = [answer for answer in answers if answer.status == 503]
        assert slow and all(answer.code == "SlowDown" for answer in slow)
        assert all(answer.headers["retry-after"] == "1" for answer in slow)
        assert [answer.status for answer in answers][:3] == [200, 200, 200]
        cluster.kill()
