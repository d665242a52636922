"""Trials on several systems in turns: A B C, A B C, …, and what each round gave.

All systems run throughout, idle but for the one that is measured. Before each measurement the page
cache is written back and all systems have come to rest, so nobody pays for what another left
behind; what the others used of the processor meanwhile is in every line (`others_cpu`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import Pace
from bench.compare.filling import (
    FAILURES,
    Limits,
    Side,
    bucket_of,
    fill,
    grow,
    keys_of,
    read_path,
)
from bench.compare.multipart import multipart
from bench.compare.plan import BUCKETS, Trial
from bench.compare.rounds import Sampler, frozen_round, start_cold, start_round
from bench.drive import LIST_KEYS, CaseFailed, list_query, run_load
from bench.exchange import exchange
from bench.load import Job

Line = dict[str, Any]
REST_S = 6.0  # patience for systems to come to rest
REST_SHARE = 0.06  # of one core, all systems together
FOLDER_BYTES_MAX = 7 * 2**30  # a system that holds more after long PUTs begins afresh
DELETED_KEYS = 4_000
GROWN_PUTS = 3_000  # a round of PUTs beside a known number of objects; they are deleted after it
PARTS_MIN = 8
USUAL_OBJECTS = 10_000  # in the bucket of a trial that names no number


class Comparison:
    """Runs trials on sides that are started."""

    def __init__(self, sides: Sequence[Side], pace: Pace, limits: Limits) -> None:
        self.sides = sides
        self.pace = pace
        self.limits = limits
        self._serial = 0

    def run(self, trial: Trial) -> Iterator[Line]:
        """A line for each bucket that was filled for it, then one for each side.

        Those that fail have one as well.
        """
        failures = {side.name: side.failed for side in self.sides if side.failed}
        for prepare in (self._make_bucket, self._grow_buckets, self._fill):
            yield from prepare(trial, failures)
        rounds: dict[str, list[Line]] = {side.name: [] for side in self.sides}
        for _ in range(self.pace.rounds):
            for side in self.sides:
                if side.name in failures:
                    continue
                try:
                    rounds[side.name].append(self._round(side, trial))
                except FAILURES as failure:
                    failures[side.name] = str(failure)
        for side in self.sides:
            line: Line = {"case": trial.name, "system": side.name, "generator": "own"}
            if side.name in failures:
                yield line | {"failed": failures[side.name][-600:]}
            else:
                objects = side.grown.get(bucket_of(trial))
                yield line | summary(rounds[side.name], objects)

    def _taking_part(self, failures: dict[str, str]) -> list[Side]:
        return [side for side in self.sides if side.name not in failures]

    def _make_bucket(self, trial: Trial, failures: dict[str, str]) -> Iterator[Line]:
        for side in self._taking_part(failures):
            try:
                side.system.make_bucket(bucket_of(trial))
            except FAILURES as failure:
                failures[side.name] = str(failure)
        yield from ()

    def _grow_buckets(self, trial: Trial, failures: dict[str, str]) -> Iterator[Line]:
        if trial.operation != "list" and not trial.bucket:
            return
        objects = BUCKETS[trial.bucket] if trial.bucket else USUAL_OBJECTS
        there, bucket = self._taking_part(failures), bucket_of(trial)
        yield from grow(there, bucket, objects, self.limits, failures)
        for side in self._taking_part(failures):
            try:
                _check_listing(side, trial)
            except FAILURES as failure:
                failures[side.name] = str(failure)

    def _fill(self, trial: Trial, failures: dict[str, str]) -> Iterator[Line]:
        """The keys that are read."""
        if trial.operation in ("get", "head", "mixed"):
            count = 2_000 if trial.operation == "mixed" else keys_of(trial)
            for side in self._taking_part(failures):
                try:
                    fill(side, trial, path=read_path(trial), count=count)
                except FAILURES as failure:
                    failures[side.name] = str(failure)
        yield from ()

    def _round(self, side: Side, trial: Trial) -> Line:
        """One measurement of one system.

        Raises:
            CaseFailed: an answer was wrong.
        """
        if trial.operation == "start":
            self.rest()
            line = start_round(side.system, is_cold=trial.is_cold)
            _check_listing(side, trial)
            return line
        start: Line = {"start_s": start_cold(side.system)} if trial.is_cold else {}
        job = self._job(side, trial)
        self.rest()
        if trial.is_frozen:
            return frozen_round(side.system, job)
        line = self._measured(side, trial, job)
        self._clear(side, trial, job)
        return line | start

    def _measured(self, side: Side, trial: Trial, job: Job) -> Line:
        others = [other for other in self.sides if other is not side and not other.failed]
        before, mine = sum(other.system.cpu_s() for other in others), side.system.cpu_s()
        began = time.monotonic()
        with Sampler(side.system, is_on=trial.operation == "mixed") as sampler:
            is_multipart = trial.operation == "multipart"
            result = multipart(side.system, job) if is_multipart else run_load(job)
        took = time.monotonic() - began
        return {
            "ops_per_s": result.ops_per_s,
            "mib_per_s": result.mib_per_s,
            "p50_ms": result.p50_ms,
            "p99_ms": result.p99_ms,
            "ops": result.ops,
            "cpu_ms_per_op": (side.system.cpu_s() - mine) * 1000 / max(1, result.ops),
            "generator_cpu_ms_per_op": result.generator_cpu_s * 1000 / max(1, result.ops),
            "others_cpu": (sum(other.system.cpu_s() for other in others) - before) / took,
            "resident_mib": sampler.resident_mib,
            "anonymous_mib": sampler.anonymous_mib,
        }

    def rest(self) -> None:
        """Write back what is dirty and wait until all systems are idle, a few seconds at most."""
        os.sync()
        there = [side.system for side in self.sides if not side.failed]
        deadline, before = time.monotonic() + REST_S, sum(system.cpu_s() for system in there)
        while time.monotonic() < deadline:
            time.sleep(0.3)
            spent = sum(system.cpu_s() for system in there) - before
            if spent < REST_SHARE * 0.3 + 0.01:
                return
            before += spent

    def _job(self, side: Side, trial: Trial) -> Job:
        """The load of one round; keys of a DELETE are put for it."""
        self._serial += 1
        bucket = bucket_of(trial)
        job = Job(
            endpoint=side.system.endpoint(),
            method=trial.operation.upper(),
            path=read_path(trial),
            count=keys_of(trial),
            clients=trial.clients,
            seconds=self.pace.seconds * (1.5 if trial.is_long else 1.0),
            warm_up_s=0.0 if trial.is_long or trial.is_frozen else self.pace.warm_up_s,
            tls=trial.tls,
            salt=f"{os.getpid()}-{self._serial}",
        )
        once = replace(job, seconds=None, warm_up_s=0.0)
        body = trial.length_bytes
        own = f"/{bucket}/{trial.operation}{self._serial}-{{:08d}}"
        if trial.operation == "put":
            if trial.bucket:
                return replace(once, path=own, body_bytes=body, count=GROWN_PUTS)
            return replace(job, path=own, body_bytes=body)
        if trial.operation == "delete":
            fill(side, trial, path=own, count=DELETED_KEYS)
            return replace(once, path=own, count=DELETED_KEYS, statuses=(204,))
        if trial.operation == "list":
            stride = max(1, (side.grown[bucket] - LIST_KEYS) // 4_000)
            count = max(1, min(4_000, (side.grown[bucket] - LIST_KEYS) // stride))
            query = list_query("k-{:08d}")
            path = f"/{bucket}"
            return replace(job, method="GET", path=path, query=query, count=count, stride=stride)
        if trial.operation == "mixed":
            return replace(job, mixed=True, body_bytes=body, count=2_000, statuses=(200, 204))
        if trial.operation == "multipart":
            parts = max(PARTS_MIN, 2 * trial.clients)
            path = f"/{bucket}/parts{self._serial}"
            return replace(once, method="PUT", path=path, first=1, count=parts, body_bytes=body)
        return replace(once if trial.is_cold else job, answer_bytes=body)

    def _clear(self, side: Side, trial: Trial, job: Job) -> None:
        """Undo a round of PUTs that would change the next.

        The space of long bodies is given back: they are deleted, or the system begins afresh where
        that keeps it. What was put beside a known number of objects is deleted.
        """
        if trial.operation == "put" and (trial.is_long or trial.bucket):
            gone = replace(job, method="DELETE", body_bytes=None, statuses=(204,), seconds=None)
            run_load(gone)
        is_long_write = trial.operation in ("put", "multipart") and trial.is_long
        if is_long_write and _folder_bytes(side.system.folder) > FOLDER_BYTES_MAX:
            side.system.stop()
            shutil.rmtree(side.system.folder)
            side.system.folder.mkdir()
            side.filled.clear()
            side.grown.clear()
            side.start_s.append(side.system.start())
            side.system.make_bucket(bucket_of(trial))


def _check_listing(side: Side, trial: Trial) -> None:
    """
    Raises:
        CaseFailed: the first page of the full bucket has not as many keys as it can have.
    """
    bucket = bucket_of(trial)
    wanted = min(LIST_KEYS, side.grown[bucket])
    status, body = exchange(
        side.system.endpoint(), "GET", f"/{bucket}", query=list_query(), tls=trial.tls
    )
    if status != 200 or body.count(b"<Key>") != wanted:
        raise CaseFailed(f"a listing of {body.count(b'<Key>')} keys: {status} {body[:200]!r}")


def _folder_bytes(folder: Path) -> int:
    """Blocks of all files below."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


SPREAD = ("ops_per_s", "mib_per_s", "p50_ms", "p99_ms", "resident_mib", "start_s", "p99_ratio")


def summary(rounds: list[Line], objects: int | None) -> Line:
    """Medians of all figures, least and greatest of those in `SPREAD`."""
    line: Line = {name: round(median(each[name] for each in rounds), 3) for name in rounds[0]}
    line["ops"] = sum(each["ops"] for each in rounds)
    line["rounds"] = len(rounds)
    for name in SPREAD:
        if values := [each[name] for each in rounds if name in each]:
            line[f"{name}_range"] = [round(min(values), 3), round(max(values), 3)]
    if objects is not None:
        line["objects"] = objects
    return line
