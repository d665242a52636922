"""Microbenchmarks of the hot paths: what one call costs when nothing else runs.

A path whose module is not there, or has another shape than the bench expects, is reported as absent
and makes the run fail: a figure that is missing is never taken for a pass.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from storaged.base.errors import StorageError

BATCHES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A path ready to be called again and again.

    Attributes:
        call: the path; synchronous or a coroutine function.
        bytes_per_call: bytes it goes through; 0 where a rate of bytes says nothing.
        items_per_call: rows, shards, objects of one call.
        close: gives back what was opened.
    """

    call: Callable[[], Any]
    bytes_per_call: int = 0
    items_per_call: int = 1
    close: Callable[[], Awaitable[None]] | None = None


Prepare = Callable[[Path], Awaitable[Prepared]]
PATHS: dict[str, Prepare] = {}


def path(name: str) -> Callable[[Prepare], Prepare]:
    """Register a path under its name, for people."""

    def keep(prepare: Prepare) -> Prepare:
        PATHS[name] = prepare
        return prepare

    return keep


async def _batch(call: Callable[[], Any], count: int, *, is_async: bool) -> float:
    """Seconds that so many calls take, one after the other."""
    began = time.perf_counter()
    if is_async:
        for _ in range(count):
            await call()
    else:
        for _ in range(count):
            call()
    return time.perf_counter() - began


async def measure(prepared: Prepared, *, budget_s: float) -> dict[str, Any]:
    """Median of some batches, each a share of the budget."""
    is_async = inspect.iscoroutinefunction(prepared.call)
    once = max(await _batch(prepared.call, 1, is_async=is_async), 1e-7)
    once = min(once, max(await _batch(prepared.call, 3, is_async=is_async) / 3, 1e-7))
    count = max(1, int(budget_s / BATCHES / once))
    times = [await _batch(prepared.call, count, is_async=is_async) for _ in range(BATCHES)]
    seconds = median(times) / count
    line: dict[str, Any] = {"us_per_call": round(seconds * 1e6, 3), "calls": count * BATCHES}
    if prepared.bytes_per_call:
        line["mib_per_s"] = round(prepared.bytes_per_call / seconds / 2**20, 1)
    if prepared.items_per_call > 1:
        line["items_per_s"] = round(prepared.items_per_call / seconds, 1)
    return line


async def _run(name: str, folder: Path, *, budget_s: float) -> dict[str, Any]:
    line: dict[str, Any] = {"case": f"micro {name}", "micro": name}
    try:
        prepared = await PATHS[name](folder)
    except (ImportError, AttributeError, TypeError) as gone:
        return line | {"absent": f"{type(gone).__name__}: {gone}"}
    try:
        return line | await measure(prepared, budget_s=budget_s)
    except (StorageError, AttributeError, TypeError, RuntimeError) as wrong:
        return line | {"failed": f"{type(wrong).__name__}: {wrong}"}
    finally:
        if prepared.close is not None:
            await prepared.close()


def run_all(*, is_quick: bool, folder: Path) -> Iterator[dict[str, Any]]:
    """Measure every path; one line each. Folders of nodes and indexes are made below `folder`."""
    for module in (
        "bench.hot_data",
        "bench.hot_syntax",
        "bench.hot_store",
        "bench.hot_access",
        "bench.hot_keys",
    ):
        importlib.import_module(module)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for number, name in enumerate(PATHS):
            place = folder / f"micro-{number}"
            place.mkdir()
            yield runner.run(_run(name, place, budget_s=0.1 if is_quick else 0.5))
