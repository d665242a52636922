"""Rotation of a bucket's key in `hexagone up` with its key service: rows a second with all cores
and with one, processor time for each row, and how long reads beside it take.

Reads go on in a closed loop; windows without a rotation and with one take turns, and the 99th
percentiles of neighbours are compared. A window with one begins once the gateway is shared: it is
read from for a moment before, for the change that was under way when the first request came is a
large one. Beside them stands what rate the rotation reached in the window, for one that stands
still disturbs nobody. `python -m bench.rotation` prints a line.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import KIB
from bench.cluster import Cluster
from bench.drive import fill, make_bucket, run_load
from bench.load import Job
from bench.processor import PROC, look

Line = dict[str, Any]
VERSIONS = 60_000  # more than are moved before the first request comes
READ_KEYS = 2_000
CLIENTS = 8
SECONDS = 2.0
SHARED_S = 0.3  # of reads before a window with a rotation
TURNS = 3
PAIRS = 7  # of windows; neighbours alone differ by a factor of two on a shared machine
DEFAULT_ROWS_PER_S = 2000
POLL_S = 0.05  # each look costs the gateway a request
LULL_S = 1.5  # until the gateway takes nobody for asking any more


def _cpu_us(process_id: int) -> float:
    """Processor time of a process and its children, in µs."""
    return sum(times.total_s for times in look(process_id).values()) * 1e6


def _pin(process_id: int, cpus: set[int]) -> None:
    """Have a process and its children run on these processors alone."""
    for member in look(process_id):
        for thread in (PROC / str(member) / "task").iterdir():
            os.sched_setaffinity(int(thread.name), cpus)


class _Rotations:
    """Begins rotations of the bucket `bench`, and waits for them, by the admin socket."""

    def __init__(self, cluster: Cluster) -> None:
        from gateway.cli.client import AdminClient
        from gateway.cli.places import SocketPlace

        self._client = AdminClient(SocketPlace(cluster.data / "admin.sock"))
        self._pid = cluster.pid

    def begin(self, rows_per_s: int) -> None:
        self._client.key_epochs("POST", "rotate", {"bucket": "bench", "rate": str(rows_per_s)})
        while not self.done():  # until rows are being moved
            time.sleep(POLL_S)

    def done(self) -> int:
        """Rows that were moved so far."""
        held = self._client.key_epochs("GET", "status", {})["rotations"]
        return int(held[0]["done"]) if held else VERSIONS

    def wait(self) -> None:
        while self._client.key_epochs("GET", "status", {})["rotations"]:
            time.sleep(POLL_S)

    def alone(self) -> tuple[float, float]:
        """Rows a second, and µs of processor time for each, where nothing else runs."""
        time.sleep(LULL_S)
        cpu_us = _cpu_us(self._pid)
        self.begin(0)
        began, first = time.perf_counter(), self.done()
        self.wait()
        spent_s = time.perf_counter() - began
        return (VERSIONS - first) / spent_s, (_cpu_us(self._pid) - cpu_us) / VERSIONS


def rotation(folder: Path) -> Line:
    """One line: alone, at the default rate, without a limit."""
    cluster = Cluster(folder / "rotation")
    cluster.start()
    try:
        make_bucket(cluster.endpoint(), "bench")
        path = "/bench/photos/image-{:08d}.jpeg"
        fill(cluster.endpoint(), path, count=VERSIONS, length_bytes=4 * KIB)
        rotations = _Rotations(cluster)
        job = Job(
            endpoint=cluster.endpoint(),
            method="GET",
            path=path,
            count=READ_KEYS,
            answer_bytes=4 * KIB,
            clients=CLIENTS,
            seconds=SECONDS,
        )
        run_load(job)
        alone, on_one = [], []
        for _ in range(TURNS):
            alone.append(rotations.alone())
            _pin(cluster.pid, {0})
            on_one.append(rotations.alone())
            _pin(cluster.pid, set(range(os.cpu_count() or 1)))
        line: Line = {
            "case": "rotation",
            "rows_per_s": round(median(rate for rate, _ in alone)),
            "rows_per_s_one_core": round(median(rate for rate, _ in on_one)),
            "rates_one_core": [round(rate) for rate, _ in on_one],
            "cpu_us_per_row": round(median(cpu_us for _, cpu_us in alone), 1),
            "cpu_us_least": round(min(cpu_us for _, cpu_us in alone), 1),
        }
        for name, rows_per_s in (("default", DEFAULT_ROWS_PER_S), ("unlimited", 0)):
            line[name] = _beside(rotations, job, rows_per_s)
        return line
    finally:
        cluster.stop()


def _beside(rotations: _Rotations, job: Job, rows_per_s: int) -> Line:
    """Reads beside a rotation, and how fast that goes beside them."""
    ratios, p99s_ms, rates = [], [], []
    for _ in range(PAIRS):
        before = run_load(job)
        rotations.begin(rows_per_s)
        run_load(replace(job, seconds=SHARED_S))
        began, first = time.perf_counter(), rotations.done()
        beside = run_load(job)
        rates.append(round((rotations.done() - first) / (time.perf_counter() - began)))
        rotations.wait()
        ratios.append(round(beside.p99_ms / before.p99_ms, 2))
        p99s_ms.append((round(before.p99_ms, 2), round(beside.p99_ms, 2)))
    return {
        "p99_ratio": median(ratios),
        "ratios": ratios,
        "p99_ms": p99s_ms,
        "rows_per_s_beside": median(rates),
        "rates_beside": rates,
    }


def main() -> None:
    """Print the line as JSON."""
    with tempfile.TemporaryDirectory(prefix="hexagone-rotation-") as folder:
        sys.stdout.write(json.dumps(rotation(Path(folder))) + "\n")


if __name__ == "__main__":
    main()
