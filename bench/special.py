"""Special cases: memory, disk, a million objects, datacenters apart; on clusters of their own.

A run that is scaled down says so in its line (`scaled`), and is never held against a target.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import KIB, MIB, Pace
from bench.cluster import PROXY_SHIFT, ROOT, Cluster, ClusterFailed
from bench.drive import (
    LIST_KEYS,
    CaseFailed,
    fetch,
    fill,
    list_query,
    listed_keys,
    make_bucket,
    run_load,
)
from bench.heads import Endpoint
from bench.key_service import key_service
from bench.load import Job, Result

Line = dict[str, Any]
HOLES_S = 5.0  # nodes punch holes a moment after deletes
CODE_OVERHEAD = 1.5  # n/k of 4+2, bodies being random bytes
FROZEN_NODE = "lyon-1"
THAW_S = 3.0  # a node that goes on is taken back in
HOME = "paris"  # the datacenter the gateway is in; its nodes are not delayed


@contextmanager
def running(folder: Path, *flags: str) -> Iterator[Cluster]:
    """A fresh cluster with the bucket `bench`, stopped at the end."""
    cluster = Cluster(folder, flags=flags)
    cluster.start()
    try:
        make_bucket(cluster.endpoint(), "bench")
        yield cluster
    finally:
        cluster.stop()


def memory(folder: Path, *, is_quick: bool) -> Iterator[Line]:
    """Peak resident memory of gateway and six LocalNodes under 64 PUTs of 64 MiB at once."""
    with running(folder / "memory") as cluster:
        before = cluster.resident_mib()
        job = Job(
            endpoint=cluster.endpoint(),
            method="PUT",
            path="/bench/big-{:08d}",
            count=64 if is_quick else 128,
            body_bytes=64 * MIB,
            clients=64,
        )
        result = run_load(job)
        yield {
            "case": "memory",
            "peak_mib": round(cluster.peak_mib(), 1),
            "idle_mib": round(before, 1),
            "after_mib": round(cluster.resident_mib(), 1),
            "mib_per_s": round(result.mib_per_s, 1),
            "ops": result.ops,
            "errors": result.errors,
            "tier": cluster.tier(),
        }


def disk(folder: Path, *, is_quick: bool) -> Iterator[Line]:
    """Bytes the nodes occupy for each byte of 4 KiB objects."""
    many, few = (4_000, 300) if is_quick else (40_000, 3_000)
    scaled = {"scaled": f"{many} and {few} objects"} if is_quick else {}
    with running(folder / "disk-c64") as cluster:
        yield {"case": "disk-c64", **_disk_bytes(cluster, count=many, clients=64)} | scaled
    with running(folder / "disk-c1") as cluster:
        line = {"case": "disk-c1", **_disk_bytes(cluster, count=few, clients=1)} | scaled
        before = line.pop("before_bytes")
        began = time.perf_counter()
        try:
            cluster.compact()
        except ClusterFailed as failure:
            yield line | {"failed": str(failure)}
            return
        line["compact_s"] = round(time.perf_counter() - began, 2)
        time.sleep(HOLES_S)
        occupied = cluster.node_bytes() - before
        line["compacted_bytes_per_byte"] = plausible(occupied / (few * 4 * KIB))
        body = fetch(cluster.endpoint(), f"/bench/small-{few - 1:08d}")
        if len(body) != 4 * KIB:
            raise CaseFailed(f"after compaction an object has {len(body)} bytes")
        yield line


def plausible(bytes_per_byte: float) -> float:
    """The figure, unless it is less than the erasure code itself stores.

    Raises:
        CaseFailed: then the measurement is wrong, or bytes are missing.
    """
    if bytes_per_byte < CODE_OVERHEAD:
        raise CaseFailed(f"{bytes_per_byte:.3f} bytes on disk per byte cannot be")
    return round(bytes_per_byte, 3)


def _disk_bytes(cluster: Cluster, *, count: int, clients: int) -> Line:
    before = cluster.node_bytes()
    job = Job(
        endpoint=cluster.endpoint(),
        method="PUT",
        path="/bench/small-{:08d}",
        count=count,
        body_bytes=4 * KIB,
        clients=clients,
    )
    result = run_load(job)
    line: Line = {
        "bytes_per_byte": (held := plausible((cluster.node_bytes() - before) / (count * 4 * KIB))),
        "code_apart": round(held / CODE_OVERHEAD, 3),
        "ops": result.ops,
        "ops_per_s": round(result.ops_per_s, 1),
        "errors": result.errors,
        "tier": cluster.tier(),
    }
    return line | ({"before_bytes": before} if clients == 1 else {})


def million(folder: Path, *, is_quick: bool) -> Iterator[Line]:
    """Listing, restart after kill -9 and rebuild with a million objects."""
    count = 20_000 if is_quick else 1_000_000
    scaled = {"scaled": f"{count} objects"} if is_quick else {}
    cluster = Cluster(folder / "million")
    cluster.start()
    try:
        endpoint = cluster.endpoint()
        for bucket, keys in (("few", 10_000), ("many", count)):
            make_bucket(endpoint, bucket)
            filled = fill(endpoint, f"/{bucket}/k-{{:08d}}", count=keys, length_bytes=1)
        tier = cluster.tier()
        yield {"case": "list-scale", **_list_scale(endpoint, count), "tier": tier} | scaled
        cluster.kill()
        restart_s = cluster.start()
        _expect_keys(cluster.endpoint(), count, step=max(count // 20, LIST_KEYS))
        cluster.stop()
        start_s = cluster.start()
        yield {
            "case": "restart",
            "restart_s": round(restart_s, 3),
            "start_s": round(start_s, 3),
            "objects": count + 10_000,
            "fill_ops_per_s": round(filled.ops_per_s, 1),
            "tier": tier,
        } | scaled
        cluster.stop()
        rebuild_s = cluster.rebuild()
        cluster.start()
        _expect_keys(cluster.endpoint(), count, step=LIST_KEYS)
        yield {
            "case": "rebuild",
            "objects_per_s": round((count + 10_000) / rebuild_s, 1),
            "rebuild_s": round(rebuild_s, 2),
            "tier": tier,
        } | scaled
    finally:
        cluster.stop()


def _list_scale(endpoint: Endpoint, count: int) -> Line:
    pace = Pace(rounds=3, seconds=2.0, warm_up_s=0.2)
    job = Job(
        endpoint=endpoint,
        method="GET",
        path="/few",
        query=list_query("k-{:08d}"),
        count=900,
        stride=10,
        seconds=pace.seconds,
        warm_up_s=pace.warm_up_s,
    )
    large = replace(job, path="/many", stride=(count - LIST_KEYS) // 900)
    pairs = [(run_load(job), run_load(large)) for _ in range(pace.rounds)]
    busy = run_load(replace(large, clients=16))
    small_ms = median(small.p50_ms for small, _ in pairs)
    large_ms = median(result.p50_ms for _, result in pairs)
    return {
        "time_ratio": round(large_ms / small_ms, 3),
        "p50_ms": round(large_ms, 3),
        "p50_ms_of_10k": round(small_ms, 3),
        "keys_per_s": round(median(r.ops_per_s for _, r in pairs) * LIST_KEYS),
        "keys_per_s_16_clients": round(busy.ops_per_s * LIST_KEYS),
        "errors": sum(small.errors + result.errors for small, result in pairs),
    }


def _expect_keys(endpoint: Endpoint, count: int, *, step: int) -> None:
    """Pages at these steps are full: nothing is missing from the listing."""
    for first in range(0, count - LIST_KEYS + 1, step):
        query = list_query(f"k-{first - 1:08d}" if first else "")
        found = listed_keys(endpoint, "many", query)
        if found != LIST_KEYS:
            raise CaseFailed(f"{found} of {LIST_KEYS} keys after k-{first:08d}")


def apart(folder: Path, *, is_quick: bool) -> Iterator[Line]:
    """PUT 4 KiB by 64 clients while two datacenters are some way off, by a delaying proxy.

    `apart-10ms` holds every byte for 10 ms in each direction (a round trip of 20 ms), `apart-5ms`
    for 5 ms (a round trip of 10 ms).
    """
    for one_way_ms in (10.0, 5.0):
        cluster = Cluster(
            folder / f"apart-{one_way_ms:g}",
            flags=("--processes",),
            settings={"HEXAGONE_NODE_PORT_SHIFT": str(PROXY_SHIFT)},
        )
        with _delayed(cluster.port, one_way_ms):
            cluster.start()
            try:
                make_bucket(cluster.endpoint(), "bench")
                job = Job(
                    endpoint=cluster.endpoint(),
                    method="PUT",
                    path="/bench/far-{:08d}",
                    count=30_000,
                    body_bytes=4 * KIB,
                    clients=64,
                    seconds=2.0 if is_quick else 8.0,
                    warm_up_s=0.5,
                )
                result = run_load(job)
                yield {
                    "case": f"apart-{one_way_ms:g}ms",
                    "one_way_ms": one_way_ms,
                    "ops_per_s": round(result.ops_per_s, 1),
                    "p50_ms": round(result.p50_ms, 2),
                    "p99_ms": round(result.p99_ms, 2),
                    "errors": result.errors,
                    "tier": cluster.tier(),
                }
            finally:
                cluster.stop()


@contextmanager
def _delayed(s3_port: int, one_way_ms: float) -> Iterator[None]:
    """Proxies between the gateway and its nodes; those of HOME pass bytes on at once.

    `hexagone up --processes` with HEXAGONE_NODE_PORT_SHIFT reaches every node that much above the
    port it listens on.
    """
    from gateway.up import NODE_PORT_OFFSET, node_identities

    places = []
    for number, identity in enumerate(node_identities(), start=1):
        port = s3_port + NODE_PORT_OFFSET + number
        delay_ms = 0.0 if identity.datacenter == HOME else one_way_ms
        places.append(f"{port + PROXY_SHIFT}:{port}:{delay_ms}")
    words = [sys.executable, "-m", "bench.delay_proxy", *places]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as proxy:
        try:
            assert proxy.stdout is not None, "the pipe was asked for"
            if proxy.stdout.readline() != b"ready\n":
                raise ClusterFailed("the delaying proxy did not start")
            yield
        finally:
            proxy.terminate()
            proxy.wait(30)


def frozen(folder: Path, *, is_quick: bool) -> Iterator[Line]:
    """GET 4 KiB by 16 clients while one node stands still (SIGSTOP): silent, not gone.

    Healthy and frozen in turns; a frozen round is counted from its first request, so what it takes
    to notice is in it.
    """
    cluster = Cluster(folder / "frozen", flags=("--processes",))
    cluster.start()
    try:
        make_bucket(cluster.endpoint(), "bench")
        path, count = "/bench/cold-{:08d}", 2_000
        fill(cluster.endpoint(), path, count=count, length_bytes=4 * KIB)
        job = Job(
            endpoint=cluster.endpoint(),
            method="GET",
            path=path,
            count=count,
            answer_bytes=4 * KIB,
            clients=16,
            seconds=1.0 if is_quick else 3.0,
        )
        run_load(replace(job, seconds=0.5))
        node = node_process(cluster.data, FROZEN_NODE)
        pairs = []
        for _ in range(1 if is_quick else 5):
            healthy = run_load(job)
            os.kill(node, signal.SIGSTOP)
            try:
                pairs.append((healthy, run_load(job)))
            finally:
                os.kill(node, signal.SIGCONT)
            time.sleep(THAW_S)
        yield {"case": "frozen", **frozen_line(pairs), "tier": cluster.tier()}
    finally:
        cluster.stop()


def frozen_line(pairs: list[tuple[Result, Result]]) -> Line:
    """Medians of (healthy, frozen) rounds, and the ratio of their p99s."""
    healthy_ms = median(healthy.p99_ms for healthy, _ in pairs)
    frozen_ms = median(result.p99_ms for _, result in pairs)
    return {
        "p99_ratio": round(frozen_ms / healthy_ms, 3),
        "p99_ms": round(frozen_ms, 3),
        "healthy_p99_ms": round(healthy_ms, 3),
        "p50_ms": round(median(result.p50_ms for _, result in pairs), 3),
        "max_ms": round(max(result.max_ms for _, result in pairs), 1),
        "ops_per_s": round(median(result.ops_per_s for _, result in pairs), 1),
        "healthy_ops_per_s": round(median(healthy.ops_per_s for healthy, _ in pairs), 1),
        "p99_ratios": [round(b.p99_ms / a.p99_ms, 3) for a, b in pairs],
        "errors": sum(a.errors + b.errors for a, b in pairs),
    }


def node_process(data: Path, name: str) -> int:
    """Process id of a node of `hexagone up --processes`, as it writes them down.

    Raises:
        ClusterFailed: no node has that name.
    """
    rows = (data / "nodes.pid").read_text("utf-8").splitlines()
    found = dict(row.split() for row in rows)
    if name not in found:
        raise ClusterFailed(f"no node {name}, only {sorted(found)}")
    return int(found[name])


RUNS = {
    "memory": memory,
    "disk": disk,
    "million": million,
    "apart": apart,
    "frozen": frozen,
    "keyd": key_service,
}
