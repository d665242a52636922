"""What the key service costs a warm request: `hexagone up` against `hexagone up --keys file`.

Three clusters run throughout: with a key service, with keys held in the process, and another one
with keys held in the process, which is the control: what is found between the two that are alike is
not the key service. They take turns of a fraction of a second in each order equally often, so what
changes slowly on the machine meets all of them alike, and pairs of neighbours are compared. A turn
in which other programs took the machine is not counted. Warm: one round of each is thrown away, and
a reading round takes keys that were read before.

Not for what a cold key costs, nor for rotation.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import KIB
from bench.cluster import Cluster
from bench.drive import CaseFailed, fill, make_bucket, run_load
from bench.load import Job
from bench.processor import PROC, TICKS_PER_S, look

Line = dict[str, Any]
WITH, HELD, AGAIN = "key service", "held", "held again"
TURNS = 24  # four times each order
TURNS_MIN = 6
TRIES = 3  # for each turn that is to be counted
OTHERS_MAX = 0.15  # of one core, in the mean of a turn: what the kernel does by itself is in it
SECONDS = 0.6
CLIENTS = 64
BODY_BYTES = 4 * KIB
READ_KEYS = 2_000
WRITTEN_KEYS = 3_000  # in a round
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One turn of one cluster; processor time is that of all its processes."""

    ops_per_s: float
    cpu_us: float  # for one request


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A round of each cluster, and how many cores other programs took meanwhile."""

    rounds: dict[str, Round]
    others: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Per cent, the median of pairs and the bounds of its interval."""

    median: float
    low: float
    high: float

    @property
    def bounds(self) -> list[float]:
        return [round(self.low, 2), round(self.high, 2)]


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Cost:
    """The median, and order statistics between which that of all such values lies so surely.

    No form of their distribution is taken for granted. Of fewer values than it takes, their range.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("no rounds")
    ordered, count = sorted(values), len(values)
    cut, outside = 0, 0.0
    while cut < (count - 1) // 2:
        outside += 2 * comb(count, cut) / 2**count
        if outside > 1 - confidence:
            break
        cut += 1
    at = max(cut - 1, 0)
    return Cost(median=median(ordered), low=ordered[at], high=ordered[count - 1 - at])


def fewer_ops(pairs: Sequence[tuple[Round, Round]]) -> Cost:
    """How many per cent fewer requests a second the first of each pair made."""
    return median_interval([100 * (1 - one.ops_per_s / other.ops_per_s) for one, other in pairs])


def more_cpu(pairs: Sequence[tuple[Round, Round]]) -> Cost:
    """How many per cent more processor time a request took in the first of each pair."""
    return median_interval([100 * (one.cpu_us / other.cpu_us - 1) for one, other in pairs])


def cost_line(case: str, turns: Sequence[Turn], tried: int) -> Line:
    """Figures of one operation; with `control_` what the two that are alike differ by."""
    pairs = [(turn.rounds[WITH], turn.rounds[HELD]) for turn in turns]
    control = [(turn.rounds[AGAIN], turn.rounds[HELD]) for turn in turns]
    ops, cpu = fewer_ops(pairs), more_cpu(pairs)
    control_ops, control_cpu = fewer_ops(control), more_cpu(control)
    return {
        "case": case,
        "ops_cost_percent": round(ops.median, 2),
        "ops_cost_between": ops.bounds,
        "cpu_cost_percent": round(cpu.median, 2),
        "cpu_cost_between": cpu.bounds,
        "control_ops_percent": round(control_ops.median, 2),
        "control_ops_between": control_ops.bounds,
        "control_cpu_percent": round(control_cpu.median, 2),
        "control_cpu_between": control_cpu.bounds,
        "ops_per_s": round(median(turn.rounds[WITH].ops_per_s for turn in turns), 1),
        "held_ops_per_s": round(median(turn.rounds[HELD].ops_per_s for turn in turns), 1),
        "cpu_us": round(median(turn.rounds[WITH].cpu_us for turn in turns), 1),
        "held_cpu_us": round(median(turn.rounds[HELD].cpu_us for turn in turns), 1),
        "turns": len(turns),
        "turns_left_out": tried - len(turns),
        "others_cpu": round(median(turn.others for turn in turns), 3),
    }


def _cpu_s(cluster: Cluster) -> float:
    """Seconds of all threads that are there; pools keep theirs."""
    return sum(sum(times.threads_s.values()) for times in look(cluster.pid).values())


def _job(cluster: Cluster, operation: str, serial: int) -> Job:
    if operation == "get":
        return Job(
            endpoint=cluster.endpoint(),
            method="GET",
            path="/bench/read-{:06d}",
            count=READ_KEYS,
            answer_bytes=BODY_BYTES,
            clients=CLIENTS,
            seconds=SECONDS,
        )
    return Job(
        endpoint=cluster.endpoint(),
        method="PUT",
        path="/bench/put-{:08d}",
        first=serial * WRITTEN_KEYS,
        count=WRITTEN_KEYS,
        body_bytes=BODY_BYTES,
        clients=CLIENTS,
        seconds=SECONDS,
    )


def _round(cluster: Cluster, operation: str, serial: int) -> Round:
    """One turn. Raises: CaseFailed: an answer was wrong."""
    before = _cpu_s(cluster)
    result = run_load(_job(cluster, operation, serial))
    spent_s = _cpu_s(cluster) - before
    return Round(ops_per_s=result.ops_per_s, cpu_us=spent_s * 1e6 / max(result.ops, 1))


def busy_s() -> float:
    """Seconds in which a core of this machine was not idle, since it began. Source: proc(5)."""
    fields = (PROC / "stat").read_text("ascii").splitlines()[0].split()[1:]
    ticks = [int(field) for field in fields]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / TICKS_PER_S


def _ours_s(clusters: Sequence[Cluster]) -> float:
    """Seconds of the clusters, of this process and of the load generators that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    mine = sum(one.ru_utime + one.ru_stime for one in used)
    return mine + sum(_cpu_s(cluster) for cluster in clusters)


def _turn(clusters: dict[str, Cluster], order: Sequence[str], operation: str, serial: int) -> Turn:
    """A round of each cluster."""
    began_s = os.times().elapsed
    others_s = busy_s() - _ours_s(list(clusters.values()))
    rounds = {name: _round(clusters[name], operation, serial) for name in order}
    others_s = busy_s() - _ours_s(list(clusters.values())) - others_s
    return Turn(rounds=rounds, others=max(others_s / (os.times().elapsed - began_s), 0.0))


def turns(clusters: dict[str, Cluster], operation: str, count: int) -> tuple[list[Turn], int]:
    """So many turns that count, or what there is of them; and how many there were.

    Raises:
        CaseFailed: an answer was wrong, or other programs kept the machine busy.
    """
    orders = list(permutations(clusters))
    for cluster in clusters.values():
        _round(cluster, operation, count * TRIES)
    found: list[Turn] = []
    tried = 0
    while len(found) < count and tried < count * TRIES:
        turn = _turn(clusters, orders[len(found) % len(orders)], operation, tried)
        tried += 1
        if turn.others <= OTHERS_MAX:
            found.append(turn)
    if len(found) < min(TURNS_MIN, count):
        raise CaseFailed(f"other programs took the machine in {tried - len(found)} of {tried}")
    return found, tried


def key_service(folder: Path, *, is_quick: bool) -> Iterator[Line]:
    """GET and PUT of 4 KiB by 64 clients with a key service and without, in turns."""
    count = TURNS_MIN if is_quick else TURNS
    scaled = {"scaled": f"{count} turns"} if is_quick else {}
    flags: dict[str, tuple[str, ...]] = {WITH: (), HELD: ("--keys", "file")}
    flags[AGAIN] = flags[HELD]
    clusters: dict[str, Cluster] = {}
    try:
        for name, words in flags.items():
            cluster = Cluster(folder / name.replace(" ", "-"), flags=words)
            cluster.start()
            clusters[name] = cluster
            make_bucket(cluster.endpoint(), "bench")
            path = "/bench/read-{:06d}"
            fill(cluster.endpoint(), path, count=READ_KEYS, length_bytes=BODY_BYTES)
        for operation in ("get", "put"):
            counted, tried = turns(clusters, operation, count)
            line = cost_line(f"keyd-{operation}-4k", counted, tried)
            yield line | {"tier": clusters[WITH].tier()} | scaled
    finally:
        for cluster in clusters.values():
            cluster.stop()
