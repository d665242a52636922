"""Node processes that are killed at system calls, frozen, refused by their drive, or lost with
their whole datacenter.

The gateway stays up: writes go to other nodes, reads come from parity, and what a dead node left is
right or swept.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from gateway.cli.client import AdminClient
from gateway.compose import Gateway
from gateway.data.placement import tier_of
from gateway.meta.stripes import scan_stripes
from gateway.model.layout import Tier
from tests.support.histories import Load, Model, check, write
from tests.support.processes import Cluster, running, settle, shards_on, tasks_of, wait_until
from tests.support.raw_s3 import RawClient
from tests.support.strace import QUIET, Strace

SAMPLE = 5  # boundaries in `make test`
VICTIM = "paris-1"
SITE = ("lyon-1", "lyon-2")

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path / "data", processes=True) as started:
        yield started


async def _whole(gateway: Gateway) -> None:
    """Nothing missing, nothing unnamed, and every stripe survives the loss of any datacenter."""
    detail = await settle(gateway)
    assert detail.startswith("0 missing, 0 unnamed"), detail
    for stored in scan_stripes(gateway.log, gateway.core.records, None, limit=10_000):
        nodes = stored.row.nodes
        assert all(nodes) and tier_of(nodes, gateway.core.topology, 4) is Tier.FULL, stored.row


def _restart(cluster: Cluster, name: str) -> None:
    cluster.kill_node(name)
    cluster.start_nodes(name)


def _await_usable(cluster: Cluster, name: str) -> None:
    """Until the gateway gives shards to a node: after a restart it connects when its back-off is
    over, and what is written until then makes no call there.
    """
    admin = AdminClient(cluster.laid.socket)

    def is_usable() -> bool:
        return any(node["node"] == name and node["usable"] for node in admin.status()["nodes"])

    wait_until(is_usable, 60, f"{name} is usable")


def _write_both(model: Model, client: RawClient, key: str, rng: Random) -> None:
    """One small and one large PUT."""
    for size in (4096, 5 << 20):
        status = write(model, client, key, rng.randbytes(size))
        assert status == 200, "another node takes what a dead one does not"


def _boundaries(cluster: Cluster, model: Model, rng: Random, work: Path) -> list[tuple[int, int]]:
    """(thread, call) of one undisturbed small and one large PUT at one node."""
    tasks = tasks_of(cluster.nodes[VICTIM].pid)
    traces = [
        Strace([task], f"trace={QUIET}", output=work / f"calls-{at}")
        for at, task in enumerate(tasks)
    ]
    for trace in traces:
        trace.__enter__()
    try:
        with cluster.client() as client:
            _write_both(model, client, "traced", rng)
    finally:
        for trace in traces:
            trace.__exit__(None, None, None)
    counts = [trace.calls().total() for trace in traces]
    return [(at, call) for at, count in enumerate(counts) for call in range(1, count + 1)]


def _kill_campaign(cluster: Cluster, work: Path, sample: int | None) -> None:
    """Kill at each boundary; when the thread makes fewer calls this time, at one of half that
    number, and at last at the first call of another thread.
    """
    rng, model = Random(7), Model()
    boundaries = _boundaries(cluster, model, rng, work)
    assert len(boundaries) > 10
    chosen = boundaries if sample is None else rng.sample(boundaries, sample)
    kills = exact = 0
    for number, (thread, call) in enumerate(chosen):
        _await_usable(cluster, VICTIM)
        tasks = tasks_of(cluster.nodes[VICTIM].pid)
        tries = [(thread, call >> halved) for halved in range(call.bit_length())]
        tries += [((thread + more) % len(tasks), 1) for more in range(1, len(tasks))]
        for at, count in tries:
            inject = f"inject={QUIET}:signal=KILL:when={count}"
            task = tasks[min(at, len(tasks) - 1)]
            with (
                Strace([task], f"trace={QUIET}", inject, output=work / "kill"),
                cluster.client() as client,
            ):
                _write_both(model, client, f"k{number % 4}", rng)
                check(model, client)
            if cluster.nodes[VICTIM].poll() is not None:
                kills += 1
                exact += (at, count) == (thread, call)
                break
            _await_usable(cluster, VICTIM)
        _restart(cluster, VICTIM)
        with cluster.client() as client:
            check(model, client)
    print(f"{kills} kills at {len(chosen)} of {len(boundaries)} boundaries, {exact} exactly there")
    print(f"{model.acknowledged} acknowledged")
    # Which thread of a pool gets the work differs; the node takes part in each write all the same.
    assert kills == len(chosen)
    assert sample or exact > len(chosen) // 2
    assert cluster.stop_gateway() == 0
    cluster.inside(_whole)


def test_kill_of_a_node_at_sampled_boundaries(cluster: Cluster, tmp_path: Path) -> None:
    _kill_campaign(cluster, tmp_path, SAMPLE)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_kill_of_a_node_at_every_boundary(cluster: Cluster, tmp_path: Path) -> None:
    _kill_campaign(cluster, tmp_path, None)


def test_a_frozen_node_slows_nobody_for_long(cluster: Cluster) -> None:
    rng, model = Random(11), Model()
    with cluster.client() as client:
        for number in range(20):
            assert write(model, client, f"k{number:02d}", rng.randbytes(200_000)) == 200
        os.kill(cluster.nodes[VICTIM].pid, signal.SIGSTOP)
        try:
            puts, gets = [], []
            for number in range(60):
                began = time.monotonic()
                assert write(model, client, f"k{number % 20:02d}", rng.randbytes(150_000)) == 200
                puts.append(time.monotonic() - began)
                began = time.monotonic()
                check(model, client, [f"k{rng.randrange(20):02d}"])
                gets.append(time.monotonic() - began)
        finally:
            os.kill(cluster.nodes[VICTIM].pid, signal.SIGCONT)
        for name, times in (("PUT", puts), ("GET", gets)):
            cuts = statistics.quantiles(times, n=100)
            print(f"{name}: p50 {cuts[49] * 1e3:.0f} ms, p99 {cuts[98] * 1e3:.0f} ms")
        assert max(puts) < 12 and statistics.median(puts) < 0.5
        assert max(gets) < 5 and statistics.median(gets) < 0.5
        check(model, client)


def test_a_failed_sync_takes_the_drive_out_of_service(cluster: Cluster, tmp_path: Path) -> None:
    """The second fdatasync would succeed: nothing may be acknowledged on this drive again."""
    rng, model = Random(13), Model()
    number = cluster.node_names().index(VICTIM) + 1
    node = cluster.nodes[VICTIM]
    with cluster.client() as client:
        assert write(model, client, "before", rng.randbytes(200_000)) == 200
        inject = "inject=fdatasync:error=EIO:when=1"
        with Strace(
            [node.pid], "trace=fdatasync", inject, output=tmp_path / "eio", follow=True
        ) as trace:
            for at in range(6):
                assert write(model, client, f"k{at}", rng.randbytes(200_000)) == 200
        failed = trace.output.read_text().count("EIO")
        assert failed, "the fault was injected on a thread that syncs"
        assert write(model, client, "after", rng.randbytes(4096)) == 200
        check(model, client)
    assert node.poll() is None, "what it has can still be read"
    assert cluster.stop_gateway() == 0

    async def look(gateway: Gateway) -> None:
        assert not gateway.core.health.statuses()[number].in_service
        assert number not in gateway.core.health.usable()
        rows = scan_stripes(gateway.log, gateway.core.records, None, limit=1000)
        listed = (await shards_on(gateway))[number]
        named = {row.row.stripe for row in rows if number in row.row.nodes}
        assert named <= {shard.stripe for shard in listed}, "acknowledged after a failed sync"
        assert any(row.row.nodes and number not in row.row.nodes for row in rows)

    cluster.inside(look)
    _restart(cluster, VICTIM)
    cluster.start()
    with cluster.client() as client:
        check(model, client)


@pytest.mark.proves("B-18")
def test_a_lost_datacenter_comes_back_empty(cluster: Cluster) -> None:
    model = Model()
    with Load(model, cluster.client, clients=4, seed=17):
        wait_until(lambda: model.acknowledged > 60, 60, "writes with all nodes")
        for name in SITE:
            cluster.kill_node(name)
            cluster.wipe_node(name)
        seen = model.acknowledged
        wait_until(lambda: model.acknowledged > seen + 60, 60, "writes without a datacenter")
    with cluster.client() as client:
        check(model, client)
        cluster.start_nodes(*SITE)
        check(model, client)
    print(f"{model.acknowledged} acknowledged, {model.unknown} unknown")
    assert cluster.stop_gateway() == 0
    cluster.start()
    assert cluster.stop_gateway() == 0

    async def look(gateway: Gateway) -> None:
        for _ in range(4):
            await gateway.scheduler.run_round("tier")
        await _whole(gateway)

    cluster.inside(look)
    cluster.start()
    with cluster.client() as client:
        check(model, client)
