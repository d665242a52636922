"""Running cases: one job against the ceiling and against Hexagone in turns, and the medians."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from bench.cases import KIB, MIB, Case, Pace
from bench.cluster import ROOT
from bench.exchange import exchange
from bench.heads import Endpoint
from bench.load import Job, Result, job_to_json

LIST_KEYS = 1000
JOB_S = 1800.0


class CaseFailed(Exception):
    """A job had errors, or could not run: its figure would mean nothing."""


FULL_PACE = Pace(rounds=3, seconds=3.0, warm_up_s=0.3)
QUICK_PACE = Pace(rounds=1, seconds=1.0, warm_up_s=0.2)


def run_load(job: Job, *, allow_errors: bool = False) -> Result:
    """One job in a process of its own.

    Raises:
        CaseFailed: the generator ended with an error, or the job had errors and none are allowed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=job_to_json(job),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=JOB_S,
        check=False,
    )
    if done.returncode:
        raise CaseFailed(f"{job.method} {job.path}: {done.stderr[-600:]}")
    result = Result(**json.loads(done.stdout))
    if result.errors and not allow_errors:
        raise CaseFailed(f"{job.method} {job.path}: {result.errors} errors: {result.first_error}")
    return result


@contextmanager
def ceiling_process() -> Iterator[tuple[int, int]]:
    """The ceiling in a process of its own; gives its port and its process id."""
    words = [sys.executable, "-m", "bench.ceiling"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None, "the pipe was asked for"
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def ceiling_server() -> Iterator[int]:
    """The ceiling in a process of its own; gives its port."""
    with ceiling_process() as (port, _):
        yield port


def make_bucket(endpoint: Endpoint, bucket: str) -> None:
    """Create a bucket; it may be there already."""
    run_load(Job(endpoint=endpoint, method="PUT", path=f"/{bucket}", body_bytes=0, statuses=(200,)))


def fetch(endpoint: Endpoint, path: str, query: str = "") -> bytes:
    """One signed GET.

    Raises:
        CaseFailed: the status is not 200.
    """
    status, body = exchange(endpoint, "GET", path, query=query)
    if status != 200:
        raise CaseFailed(f"GET {path}?{query}: {status} {body[:300]!r}")
    return body


def list_query(start_after: str = "") -> str:
    """Canonical query of a listing of 1,000 keys."""
    after = f"&start-after={start_after}" if start_after else ""
    return f"list-type=2&max-keys={LIST_KEYS}{after}"


def listed_keys(endpoint: Endpoint, bucket: str, query: str) -> int:
    """How many keys a listing holds."""
    return len(re.findall(rb"<Key>", fetch(endpoint, f"/{bucket}", query)))


def key_count(length_bytes: int) -> int:
    """How many keys a timed job goes round on."""
    if length_bytes <= 64 * KIB:
        return 20_000
    return 400 if length_bytes <= MIB else 8


@dataclass(slots=True)
class Driver:
    """Runs cases against one cluster and one ceiling."""

    endpoint: Endpoint
    ceiling_port: int
    pace: Pace
    bucket: str = "bench"
    tier: Callable[[], str] = lambda: "unknown"
    _serial: int = 0
    _filled: set[str] = field(default_factory=set)

    @property
    def _ceiling(self) -> Endpoint:
        return replace(self.endpoint, host="127.0.0.1", port=self.ceiling_port)

    def run(self, case: Case) -> dict[str, Any]:
        """Measure one case: rounds of (ceiling, Hexagone), medians of each.

        Raises:
            CaseFailed: any answer was wrong, on either side.
        """
        pairs = []
        for _ in range(self.pace.rounds):
            job, ceiling_path = self.job(case)
            peak = run_load(replace(job, endpoint=self._ceiling, path=ceiling_path))
            pairs.append((peak, run_load(job)))
            if case.operation == "put" and case.length_bytes >= MIB:
                self._remove(job)
        return self._line(case, pairs)

    def job(self, case: Case) -> tuple[Job, str]:
        """The job of one round, with its keys in place, and the path it takes on the ceiling."""
        makers = {"put": self._put, "delete": self._delete, "list": self._list}
        return makers.get(case.operation, self._read)(case)

    def _line(self, case: Case, pairs: list[tuple[Result, Result]]) -> dict[str, Any]:
        ceiling = median(peak.ops_per_s for peak, _ in pairs)
        ours = median(result.ops_per_s for _, result in pairs)
        line: dict[str, Any] = {
            "case": case.name,
            "ops_per_s": round(ours, 2),
            "mib_per_s": round(median(result.mib_per_s for _, result in pairs), 2),
            "p50_ms": round(median(result.p50_ms for _, result in pairs), 3),
            "p99_ms": round(median(result.p99_ms for _, result in pairs), 3),
            "errors": sum(result.errors for _, result in pairs),
            "ops": sum(result.ops for _, result in pairs),
            "ceiling_ops_per_s": round(ceiling, 2),
            "ratio": round(ours / ceiling, 4) if ceiling else 0.0,
            "ratios": [round(r.ops_per_s / p.ops_per_s, 4) for p, r in pairs if p.ops_per_s],
            "tier": self.tier(),
        }
        if case.operation == "list":
            line["keys_per_s"] = round(ours * LIST_KEYS, 1)
        return line

    def _timed(self, case: Case, **fields: Any) -> Job:
        warm_up_s = self.pace.warm_up_s if case.length_bytes < MIB else 0.0
        values = {"clients": case.clients, "seconds": self.pace.seconds, "warm_up_s": warm_up_s}
        return Job(endpoint=self.endpoint, **(values | fields))

    def _put(self, case: Case) -> tuple[Job, str]:
        self._serial += 1
        path = f"/{self.bucket}/{case.length_bytes}/r{self._serial}-{{:08d}}"
        count = max(key_count(case.length_bytes), case.clients)
        if case.length_bytes <= 4 * KIB:
            count = 60_000  # so many that none is overwritten within a round
        job = self._timed(
            case,
            method="PUT",
            path=path,
            count=count,
            body_bytes=case.length_bytes,
            signed=case.signed,
        )
        return job, path

    def _read(self, case: Case) -> tuple[Job, str]:
        path = f"/{self.bucket}/{case.length_bytes}/read-{{:08d}}"
        count = min(key_count(case.length_bytes), 2_000)
        self._fill(path, count, case.length_bytes)
        job = self._timed(
            case,
            method=case.operation.upper(),
            path=path,
            count=count,
            answer_bytes=case.length_bytes,
        )
        return job, path

    def _delete(self, case: Case) -> tuple[Job, str]:
        self._serial += 1
        path = f"/{self.bucket}/{case.length_bytes}/gone{self._serial}-{{:08d}}"
        count = max(min(key_count(case.length_bytes), 10_000), 64)
        self._fill(path, count, case.length_bytes)
        job = Job(
            endpoint=self.endpoint,
            method="DELETE",
            path=path,
            count=count,
            statuses=(204,),
            clients=case.clients,
        )
        return job, path

    def _list(self, case: Case) -> tuple[Job, str]:
        bucket = f"{self.bucket}-list"
        if bucket not in self._filled:
            make_bucket(self.endpoint, bucket)
        self._fill(f"/{bucket}/k-{{:08d}}", 10_000, 1)
        query = list_query("k-{:08d}")
        body = fetch(self.endpoint, f"/{bucket}", list_query("k-00000000"))
        if body.count(b"<Key>") != LIST_KEYS:
            raise CaseFailed(f"a listing of {body.count(b'<Key>')} keys, {LIST_KEYS} wanted")
        job = self._timed(case, method="GET", path=f"/{bucket}", query=query, count=9_000)
        self._filled.add(bucket)
        return job, f"/{bucket}/{len(body)}/list"

    def _fill(self, path: str, count: int, length_bytes: int) -> None:
        if path in self._filled:
            return
        fill(self.endpoint, path, count=count, length_bytes=length_bytes)
        self._filled.add(path)

    def _remove(self, job: Job) -> None:
        """Give the space of long bodies back; keys that were never written answer 204 as well."""
        run_load(
            replace(
                job, method="DELETE", body_bytes=None, statuses=(204,), seconds=None, signed=False
            )
        )


def fill(endpoint: Endpoint, path: str, *, count: int, length_bytes: int) -> Result:
    """PUT every key of a path once, as fast as 64 clients can (8 for long bodies)."""
    clients = min(count, 64 if length_bytes < MIB else 8)
    return run_load(
        Job(
            endpoint=endpoint,
            method="PUT",
            path=path,
            count=count,
            body_bytes=length_bytes,
            clients=clients,
        )
    )
