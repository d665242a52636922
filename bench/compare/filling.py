"""What is put into systems before they are measured: the objects that are read, and full buckets.

A bucket is filled with objects of one byte, by 64 clients on connections of their own that stay
open, the same for all. How far that came is told on standard error as it goes, and in a line.
"""

from __future__ import annotations

import http.client
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from bench.cases import KIB, MIB
from bench.cluster import ClusterFailed
from bench.compare.plan import Trial
from bench.compare.processes import SystemFailed
from bench.compare.systems import System
from bench.drive import CaseFailed, run_load
from bench.load import Job

Line = dict[str, Any]
FAILURES: tuple[type[Exception], ...] = (
    *(CaseFailed, ClusterFailed, SystemFailed, OSError),
    *(TimeoutExpired, NotImplementedError, http.client.HTTPException),
)
BUCKET, LIST_BUCKET = "bench", "listed"
FILL_STEP = 20_000
FILL_CLIENTS = 64
FILL_BYTES = 1
FREE_BYTES_MIN = 8 * 2**30


@dataclass(slots=True)
class Side:
    """One system and what has been put into it."""

    system: System
    filled: set[str] = field(default_factory=set)
    grown: dict[str, int] = field(default_factory=dict)  # bucket → objects in it
    start_s: list[float] = field(default_factory=list)
    failed: str = ""  # why it takes no part any more

    @property
    def name(self) -> str:
        return self.system.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When the filling of a bucket ends before it is full.

    Attributes:
        fill_s: patience for one bucket of one system.
        objects: at most so many in a bucket.
        caps: the same for single systems, by name.
    """

    fill_s: float
    objects: int = 1_000_000
    caps: Mapping[str, int] = field(default_factory=dict)

    def of(self, name: str, objects: int) -> int:
        """How many of `objects` a system gets at most."""
        return min(objects, self.objects, self.caps.get(name, self.objects))


def bucket_of(trial: Trial) -> str:
    """The bucket that a trial works on."""
    return LIST_BUCKET if trial.operation == "list" or trial.bucket else BUCKET


def read_path(trial: Trial) -> str:
    """Where the objects are that a trial reads."""
    return f"/{BUCKET}/read-{trial.length}-{{:08d}}"


def keys_of(trial: Trial) -> int:
    """How many keys a timed job goes round on: so many that a PUT overwrites none of its round."""
    if trial.operation == "put":
        by_length = ((4 * KIB, 30_000), (64 * KIB, 6_000), (MIB, 1_000))
    else:
        by_length = ((64 * KIB, 2_000), (MIB, 200), (16 * MIB, 32))
    longest = 48 if trial.operation == "put" else 24
    return next((count for length, count in by_length if trial.length_bytes <= length), longest)


def fill(side: Side, trial: Trial, *, path: str, count: int) -> None:
    """PUT so many objects of the trial's length, once for each path.

    Raises:
        CaseFailed: an answer was wrong.
    """
    if path in side.filled:
        return
    job = Job(
        endpoint=side.system.endpoint(),
        method="PUT",
        path=path,
        count=count,
        body_bytes=trial.length_bytes,
        clients=min(count, 64 if trial.length_bytes < MIB else 8),
        tls=trial.tls,
        salt=path,
    )
    run_load(job)
    side.filled.add(path)


def grow(
    sides: Sequence[Side], bucket: str, objects: int, limits: Limits, failures: dict[str, str]
) -> Iterator[Line]:
    """Fill the bucket of each side; a line for each that did not have so many.

    Each may take an equal share of what the drive has free; what is left when all are through is
    shared by those that stopped for it. How many there are is in every line: a peer that did not
    come so far is measured in the smaller bucket, which is to its advantage.

    Args:
        failures: gets those that fail, by name.
    """
    waiting = [side for side in sides if side.grown.get(bucket, 0) < limits.of(side.name, objects)]
    done: dict[str, Line] = {}
    for _ in range(2):
        for n, side in enumerate(waiting):
            earlier = done.get(side.name, {})
            try:
                line = _grow_one(
                    side,
                    bucket,
                    limits.of(side.name, objects),
                    patience_s=limits.fill_s - earlier.get("fill_s", 0.0),
                    share_bytes=(_free(side.system.folder) - FREE_BYTES_MIN) // (len(waiting) - n),
                )
            except FAILURES as failure:
                failures[side.name] = str(failure)
                done.pop(side.name, None)
                continue
            for name in ("fill_s", "made", "fill_bytes"):
                line[name] += earlier.get(name, 0)
            done[side.name] = line
        waiting = [side for side in waiting if done.get(side.name, {}).get("stopped") == "space"]
    yield from done.values()


def _grow_one(
    side: Side, bucket: str, objects: int, *, patience_s: float, share_bytes: int
) -> Line:
    """PUT objects until the bucket has so many, or patience or the share of the drive ends."""
    first = there = side.grown.setdefault(bucket, 0)
    free, began, stopped = _free(side.system.folder), time.monotonic(), ""
    while there < objects and not stopped:
        step = min(FILL_STEP, objects - there)
        run_load(
            Job(
                endpoint=side.system.endpoint(),
                method="PUT",
                path=f"/{bucket}/k-{{:08d}}",
                first=there,
                count=step,
                body_bytes=FILL_BYTES,
                clients=FILL_CLIENTS,
                tls=side.system.tls,
            )
        )
        there = side.grown[bucket] = there + step
        took, used = time.monotonic() - began, free - _free(side.system.folder)
        rate = (there - first) / took
        left_s = (objects - there) / rate
        print(
            f"filling {side.name}: {there:,} of {objects:,}, {rate:,.0f}/s, "
            f"{used / 2**30:.1f} GiB of {share_bytes / 2**30:.1f}, {left_s:,.0f} s to go",
            file=sys.stderr,
            flush=True,
        )
        if used / (there - first) * (there - first + FILL_STEP) > share_bytes:
            stopped = "space"
        elif took > patience_s:
            stopped = "time"
    return {
        "case": f"fill-{bucket}-{objects}",
        "system": side.name,
        "objects": there,
        "made": there - first,
        "fill_s": round(time.monotonic() - began, 1),
        "fill_bytes": free - _free(side.system.folder),
        "stopped": stopped if there < objects else "",
    }


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
