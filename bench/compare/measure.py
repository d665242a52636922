"""Trials on several systems in turns: A B C, A B C, …, and what each round gave.

All systems run throughout, idle but for the one that is measured. Before each measurement the page
cache is written back and all systems have come to rest, so nobody pays for what another left
behind; what the others used of the processor meanwhile is in every line (`others_cpu`).
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from subprocess import TimeoutExpired
from typing import Any
from urllib.parse import quote

from bench.cases import KIB, MIB
from bench.cluster import ClusterFailed
from bench.compare.plan import BUCKETS, Pace, Trial
from bench.compare.processes import SystemFailed
from bench.compare.systems import System, exchange
from bench.drive import LIST_KEYS, CaseFailed, list_query, run_load
from bench.load import Job, Result

Line = dict[str, Any]
FAILURES = (CaseFailed, ClusterFailed, SystemFailed, OSError, TimeoutExpired, NotImplementedError)
FAILURES += (http.client.HTTPException,)
REST_S = 6.0  # patience for systems to come to rest
REST_SHARE = 0.06  # of one core, all systems together
FILL_STEP = 20_000
FREE_BYTES_MIN = 8 * 2**30
FOLDER_BYTES_MAX = 5 * 2**30  # a system that holds more after long PUTs begins afresh
DELETED_KEYS = 4_000
PARTS = 8
BUCKET, LIST_BUCKET = "bench", "listed"


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


def keys_of(trial: Trial) -> int:
    """How many keys a timed job goes round on: so many that a PUT overwrites none of its round."""
    if trial.operation == "put":
        by_length = ((4 * KIB, 30_000), (64 * KIB, 6_000), (MIB, 1_000))
    else:
        by_length = ((64 * KIB, 2_000), (MIB, 200), (16 * MIB, 16))
    return next((count for length, count in by_length if trial.length_bytes <= length), 48) or 8


class Comparison:
    """Runs trials on sides that are started."""

    def __init__(self, sides: Sequence[Side], pace: Pace, *, fill_s: float) -> None:
        """
        Args:
            fill_s: patience for filling one bucket of one system.
        """
        self.sides = sides
        self.pace = pace
        self.fill_s = fill_s
        self._serial = 0

    def run(self, trial: Trial) -> Iterator[Line]:
        """One line for each side, also for those that fail."""
        taking_part, failures = [], {}
        for side in self.sides:
            try:
                if side.failed:
                    raise SystemFailed(side.failed)
                self._prepare(side, trial)
                taking_part.append(side)
            except FAILURES as failure:
                failures[side.name] = str(failure)
        rounds: dict[str, list[Line]] = {side.name: [] for side in taking_part}
        for _ in range(self.pace.rounds):
            for side in taking_part:
                if side.name in failures:
                    continue
                try:
                    rounds[side.name].append(self._round(side, trial))
                    self._clear(side, trial)
                except FAILURES as failure:
                    failures[side.name] = str(failure)
        for side in self.sides:
            line: Line = {"case": trial.name, "system": side.name, "generator": "own"}
            if side.name in failures:
                yield line | {"failed": failures[side.name][-600:]}
            else:
                objects = side.grown.get(_bucket(trial))
                yield line | summary(rounds[side.name], objects)

    def _round(self, side: Side, trial: Trial) -> Line:
        """One measurement of one system.

        Raises:
            CaseFailed: an answer was wrong.
        """
        if trial.is_cold:
            side.start_s.append(_start_cold(side.system))
        job = self._job(side, trial)
        self.rest()
        others = [other for other in self.sides if other is not side and not other.failed]
        before, mine = sum(other.system.cpu_s() for other in others), side.system.cpu_s()
        began = time.monotonic()
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
            "resident_mib": side.system.resident_mib(),
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
        bucket = _bucket(trial)
        seconds = self.pace.seconds * (1.5 if trial.is_long else 1.0)
        job = Job(
            endpoint=side.system.endpoint(),
            method=trial.operation.upper(),
            path=_read_path(trial),
            count=keys_of(trial),
            clients=trial.clients,
            seconds=seconds,
            warm_up_s=0.0 if trial.is_long or trial.is_cold else self.pace.warm_up_s,
            tls=trial.tls,
            salt=f"{os.getpid()}-{self._serial}",
        )
        own = f"/{bucket}/{trial.operation}{self._serial}-{{:08d}}"
        if trial.operation == "put":
            return replace(job, path=own, body_bytes=trial.length_bytes)
        if trial.operation == "delete":
            job = replace(job, path=own, count=DELETED_KEYS, seconds=None, warm_up_s=0.0)
            _fill(side, trial, path=own, count=job.count)
            return replace(job, statuses=(204,))
        if trial.operation == "list":
            stride = max(1, (side.grown[bucket] - LIST_KEYS) // 4_000)
            query = list_query("k-{:08d}")
            path = f"/{bucket}"
            return replace(job, method="GET", path=path, query=query, count=4_000, stride=stride)
        if trial.operation == "mixed":
            body = trial.length_bytes
            return replace(job, mixed=True, body_bytes=body, count=2_000, statuses=(200, 204))
        if trial.operation == "multipart":
            path = f"/{bucket}/parts{self._serial}"
            return replace(
                job,
                method="PUT",
                path=path,
                first=1,
                count=PARTS * trial.clients,
                seconds=None,
                body_bytes=trial.length_bytes,
            )
        answer = trial.length_bytes
        return replace(job, answer_bytes=answer)

    def _prepare(self, side: Side, trial: Trial) -> None:
        """Buckets and the keys that are read."""
        bucket = _bucket(trial)
        side.system.make_bucket(bucket)
        if trial.operation == "list" or trial.bucket:
            self._grow(side, bucket, BUCKETS[trial.bucket] if trial.bucket else 10_000)
            status, body = exchange(
                side.system.endpoint(),
                "GET",
                f"/{bucket}",
                query=list_query("k-00000000"),
                tls=trial.tls,
            )
            if status != 200 or body.count(b"<Key>") != LIST_KEYS:
                raise CaseFailed(f"a listing of {body.count(b'<Key>')} keys: {body[:200]!r}")
        if trial.operation in ("get", "head", "mixed"):
            count = 2_000 if trial.operation == "mixed" else keys_of(trial)
            _fill(side, trial, path=_read_path(trial), count=count)

    def _grow(self, side: Side, bucket: str, objects: int) -> None:
        """PUT objects of one byte until the bucket has so many, or patience or the drive ends.

        How many there are is in the trial's line: a peer that did not come so far is measured in
        the smaller bucket, which is to its advantage.
        """
        there = side.grown.setdefault(bucket, 0)
        deadline = time.monotonic() + self.fill_s
        while there < objects:
            step = min(FILL_STEP, objects - there)
            job = Job(
                endpoint=side.system.endpoint(),
                method="PUT",
                path=f"/{bucket}/k-{{:08d}}",
                first=there,
                count=step,
                body_bytes=1,
                clients=64,
                tls=side.system.tls,
            )
            run_load(job)
            there += step
            side.grown[bucket] = there
            free = shutil.disk_usage(side.system.folder).free
            if time.monotonic() > deadline or free < FREE_BYTES_MIN:
                return

    def _clear(self, side: Side, trial: Trial) -> None:
        """Give the space of long bodies back: delete them, or begin afresh where that keeps it."""
        if trial.operation not in ("put", "multipart") or not trial.is_long:
            return
        if trial.operation == "put":
            job = self._job(side, trial)
            path = job.path.replace(f"put{self._serial}-", f"put{self._serial - 1}-")
            run_load(
                replace(
                    job, method="DELETE", path=path, body_bytes=None, statuses=(204,), seconds=None
                )
            )
        if _folder_bytes(side.system.folder) > FOLDER_BYTES_MAX:
            side.system.stop()
            shutil.rmtree(side.system.folder)
            side.system.folder.mkdir()
            side.filled.clear()
            side.grown.clear()
            side.start_s.append(side.system.start())
            side.system.make_bucket(_bucket(trial))


def _bucket(trial: Trial) -> str:
    return LIST_BUCKET if trial.operation == "list" or trial.bucket else BUCKET


def _read_path(trial: Trial) -> str:
    return f"/{BUCKET}/read-{trial.length}-{{:08d}}"


def _fill(side: Side, trial: Trial, *, path: str, count: int) -> None:
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


def _start_cold(system: System) -> float:
    """Start anew with nothing in the page cache; seconds to the first answer."""
    system.stop()
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", "ascii")
    return system.start()


def multipart(system: System, job: Job) -> Result:
    """One upload in parts; its seconds are those of the parts and of completing it.

    Raises:
        CaseFailed: a step was refused.
    """
    endpoint, path = system.endpoint(), job.path
    status, body = exchange(endpoint, "POST", path, query="uploads=", tls=job.tls)
    found = re.search(rb"<UploadId>([^<]+)</UploadId>", body)
    if status != 200 or found is None:
        raise CaseFailed(f"no upload: {status} {body[:200]!r}")
    upload = quote(found[1].decode(), safe="-._~")
    result = run_load(replace(job, query=f"partNumber={{}}&uploadId={upload}"))
    status, body = exchange(endpoint, "GET", path, query=f"uploadId={upload}", tls=job.tls)
    parts = re.findall(rb"<Part>.*?</Part>", body, re.S)
    if status != 200 or len(parts) != job.count:
        raise CaseFailed(f"{len(parts)} of {job.count} parts are listed: {status} {body[:200]!r}")
    began = time.perf_counter()
    status, body = exchange(
        endpoint, "POST", path, query=f"uploadId={upload}", body=_completion(parts), tls=job.tls
    )
    if status != 200 or b"<Error>" in body:
        raise CaseFailed(f"not completed: {status} {body[:200]!r}")
    result.seconds += time.perf_counter() - began
    result.ops_per_s = result.ops / result.seconds
    result.mib_per_s = result.ops_per_s * (job.body_bytes or 0) / 2**20
    exchange(endpoint, "DELETE", path, tls=job.tls)
    return result


def _completion(parts: list[bytes]) -> bytes:
    rows = []
    for part in parts:
        number = re.search(rb"<PartNumber>(\d+)</PartNumber>", part)
        etag = re.search(rb"<ETag>(.*?)</ETag>", part)
        if number is None or etag is None:
            raise CaseFailed(f"a part without number or ETag: {part!r}")
        rows.append((int(number[1]), etag[1].decode()))
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in sorted(rows)
    )
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()


SPREAD = ("ops_per_s", "mib_per_s", "p50_ms", "p99_ms", "resident_mib")


def summary(rounds: list[Line], objects: int | None) -> Line:
    """Medians of all figures, least and greatest of those in `SPREAD`."""
    line: Line = {name: round(median(each[name] for each in rounds), 3) for name in rounds[0]}
    line["ops"] = sum(each["ops"] for each in rounds)
    line["rounds"] = len(rounds)
    for name in SPREAD:
        values = [each[name] for each in rounds]
        line[f"{name}_range"] = [round(min(values), 3), round(max(values), 3)]
    if objects is not None:
        line["objects"] = objects
    return line
