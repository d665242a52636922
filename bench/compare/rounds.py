"""Rounds that are more than a load: a start, a node that stands still, memory while it runs."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.compare.processes import SystemFailed
from bench.compare.systems import System
from bench.drive import run_load
from bench.exchange import exchange
from bench.load import Job, Result

Line = dict[str, Any]
SAMPLE_S = 0.25
FROZEN_PATIENCE_S = 30.0  # a request that has no answer so long after the round's end never has one
ERRORS_SHARE = 0.01  # with more of them the 99th percentile is one of them
THAW_S = 3.0  # a node that goes on is taken back in
THAWED_S = 60.0
WARM_S = 0.5


class Sampler:
    """The greatest memory of a system while a block runs; not on, that at its end."""

    def __init__(self, system: System, *, is_on: bool) -> None:
        self._system = system
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample) if is_on else None
        self.resident_mib = self.anonymous_mib = 0.0

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLE_S):
            self._look()

    def _look(self) -> None:
        resident_mib, anonymous_mib = self._system.memory_mib()
        self.resident_mib = max(self.resident_mib, resident_mib)
        self.anonymous_mib = max(self.anonymous_mib, anonymous_mib)

    def __enter__(self) -> Sampler:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._is_over.set()
            self._thread.join()
        self._look()


def start_cold(system: System) -> float:
    """Start anew with nothing in the page cache; seconds to the first answer."""
    system.stop()
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", "ascii")
    return system.start()


def start_round(system: System, *, is_cold: bool) -> Line:
    """End a system and start it; seconds from its start to the first PUT that is answered.

    Raises:
        NotImplementedError: it is not ours to start.
    """
    if not system.roots():
        raise NotImplementedError(f"{system.name} runs elsewhere: it is not started here")
    if is_cold:
        took = start_cold(system)
    else:
        system.stop()
        took = system.start()
    resident_mib, anonymous_mib = system.memory_mib()
    return {
        "ops_per_s": 1 / took,
        "mib_per_s": 0.0,
        "p50_ms": took * 1000,
        "p99_ms": took * 1000,
        "ops": 1,
        "start_s": took,
        "cpu_ms_per_op": system.cpu_s() * 1000,
        "resident_mib": resident_mib,
        "anonymous_mib": anonymous_mib,
    }


def frozen_round(system: System, job: Job) -> Line:
    """A load while all is well, then the same while one node stands still: silent, not gone.

    The frozen load is counted from its first request, so what it takes to notice is in it. A
    request without an answer is an error; with more than one in a hundred of these the percentile
    is the patience they had.

    Raises:
        CaseFailed: an answer was wrong while all was well.
        NotImplementedError: no node is a process of its own.
        SystemFailed: it does not come back.
    """
    node = system.node_to_freeze()
    run_load(replace(job, seconds=WARM_S))
    healthy = run_load(job)
    os.kill(node, signal.SIGSTOP)
    try:
        frozen = run_load(replace(job, stall_s=FROZEN_PATIENCE_S), allow_errors=True)
    finally:
        os.kill(node, signal.SIGCONT)
    _wait_for_thaw(system)
    p99_ms = _p99_ms(frozen)
    resident_mib, anonymous_mib = system.memory_mib()
    return {
        "ops_per_s": frozen.ops_per_s,
        "mib_per_s": frozen.mib_per_s,
        "p50_ms": frozen.p50_ms,
        "p99_ms": p99_ms,
        "max_ms": frozen.max_ms,
        "ops": frozen.ops,
        "errors": frozen.errors,
        "healthy_ops_per_s": healthy.ops_per_s,
        "healthy_p99_ms": healthy.p99_ms,
        "p99_ratio": p99_ms / healthy.p99_ms,
        "resident_mib": resident_mib,
        "anonymous_mib": anonymous_mib,
    }


def _p99_ms(result: Result) -> float:
    """The 99th percentile of all that was asked, also of what had no answer."""
    if result.errors > ERRORS_SHARE * (result.ops + result.errors):
        return max(result.p99_ms, FROZEN_PATIENCE_S * 1000)
    return result.p99_ms


def _wait_for_thaw(system: System) -> None:
    """
    Raises:
        SystemFailed: no PUT is answered for a minute.
    """
    time.sleep(THAW_S)
    deadline = time.monotonic() + THAWED_S
    while True:
        status, body = exchange(
            system.endpoint(), "PUT", "/probe/thawed", body=b"1", tls=system.tls
        )
        if status == 200:
            return
        if time.monotonic() > deadline:
            raise SystemFailed(f"{system.name} takes no PUT after a node stood still: {body!r}")
        time.sleep(0.2)
