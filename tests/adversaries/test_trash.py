"""Who has taken a gateway over deletes every shard of every node: it all comes back."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path
from random import Random

import pytest

from gateway.core import node_context, open_nodes
from storaged.base.env import RealEnv
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.base.limits import DELETE_BATCH_MAX
from storaged.node import Node
from tests.support.processes import BIN, Cluster, end

FIRST = ShardId(StripeId(StripeFamily.COMMIT, 0, 0), 0)
LIMIT = min(500, DELETE_BATCH_MAX)


async def wiped(node: Node) -> int:
    """Delete everything that a node lists; how many shards that was."""
    count = 0
    async with asyncio.timeout(60):
        while shards := (await node.list(FIRST, None, limit=LIMIT)).shards:
            assert set(await node.delete([one.shard for one in shards])) == {None}
            count += len(shards)
    return count


def wipe(cluster: Cluster) -> list[int]:
    """With the certificate and key of the gateway, from its folder, and nothing else."""

    async def main() -> list[int]:
        env, config = RealEnv(), cluster.config()
        nodes = await open_nodes(config, env, node_context(config.node_tls))
        try:
            return [await wiped(node) for node in nodes.values()]
        finally:
            for node in nodes.values():
                await node.close()
            env.close()

    return asyncio.run(main())


def restored(cluster: Cluster, name: str) -> dict[str, int]:
    config = cluster.folder / f"{name}.toml"
    command = [BIN / "storaged", "trash", "restore", "--config", config, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, timeout=120)
    answer: dict[str, int] = json.loads(done.stdout)
    return answer


@pytest.mark.timeout(300)
@pytest.mark.proves("B-08", "LCK-04")
def test_all_shards_that_a_gateway_deletes_come_back(tmp_path: Path) -> None:
    rng = Random(8)
    bodies = {f"key-{n}": rng.randbytes(n * 150_000 + 10) for n in range(5)}
    cluster = Cluster(tmp_path / "data", processes=True)
    cluster.folder.mkdir()
    cluster.lay_out()
    for name in cluster.node_names():
        config = cluster.folder / f"{name}.toml"
        config.write_text("trash_hours = 24\n" + config.read_text())
    try:
        cluster.start()
        with cluster.client() as client:
            assert client.request("PUT", "/bucket").status == 200
            for key, body in bodies.items():
                assert client.request("PUT", f"/bucket/{key}", body).status == 200
        assert cluster.stop_gateway() == 0
        counts = wipe(cluster)
        assert min(counts) > 0
        assert wipe(cluster) == [0] * len(counts)  # there is nothing more that it could reach
        for name in cluster.node_names():
            assert end(cluster.nodes.pop(name)) == 0
        done = [restored(cluster, name) for name in cluster.node_names()]
        assert [one["restored"] for one in done] == counts
        assert all(one["damaged"] == 0 for one in done)
        cluster.start()
        with cluster.client() as client:
            for key, body in bodies.items():
                assert client.request("GET", f"/bucket/{key}").body == body
            assert client.request("PUT", "/bucket/next", b"writes go on").status == 200
        assert cluster.stop_gateway() == 0
    finally:
        for process in (cluster.gateway, *cluster.nodes.values()):
            end(process, signal.SIGKILL)


def test_the_trash_of_a_node_that_runs_is_not_touched(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", processes=True)
    cluster.folder.mkdir()
    cluster.lay_out()
    name = cluster.node_names()[0]
    cluster.start_nodes(name)
    try:
        for verb in ("list", "restore"):
            command = [BIN / "storaged", "trash", verb, "--config", cluster.folder / f"{name}.toml"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 1 and "has this directory open" in done.stderr, done.stderr
        assert end(cluster.nodes.pop(name)) == 0
        done = subprocess.run(
            [*command, "--since", "yesterday"], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2, done.stderr
        done = subprocess.run(
            [BIN / "storaged", "trash", "list", "--config", cluster.folder / f"{name}.toml"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 and "shards        0" in done.stdout, done.stdout
    finally:
        for process in cluster.nodes.values():
            end(process, signal.SIGKILL)
