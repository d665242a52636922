"""`make profile CASE=name`: what the microseconds and the copies of one case are spent on.

`python -m bench.profile CASE [--processes] [--seconds 8] [--folder DIR] [--no-copies]`. Three
passes on one cluster: one that only warms up; one with nothing but /proc looking on, which gives
the processor time; one with py-spy, which gives the shares of the layers. Flame graph and stacks go
to `.cache/`. Then the bytes copied for each byte of 4 KiB and 64 MiB are counted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import flame
from bench.cases import KIB, MIB, Case, Pace, chosen
from bench.cluster import ROOT, Cluster, scratch
from bench.copies import Copies, NoCounter, counting
from bench.drive import Driver, ceiling_process, make_bucket, run_load
from bench.heads import Endpoint
from bench.layers import LAYERS
from bench.load import Job, Result
from bench.processor import Spent, between, look
from bench.stacks import NoSampler, Stack, own_time, read_stacks, sampling, shares

FOLDER = ROOT / ".cache"
FUNCTIONS = 25
WARM_UP_S = 1.0
CEILING_S = 2.0
# (what, operation, bytes, requests, clients): enough for a figure, few enough for its events.
COPIED = (
    ("PUT 4 KiB", "PUT", 4 * KIB, 1000, 16),
    ("GET 4 KiB", "GET", 4 * KIB, 1000, 16),
    ("PUT 64 MiB", "PUT", 64 * MIB, 4, 1),
    ("GET 64 MiB", "GET", 64 * MIB, 4, 1),
)

Line = dict[str, Any]


def spent_on(process_id: int, job: Job) -> tuple[Result, list[Spent]]:
    """Run a job; its result, and the processor time of each process of the store meanwhile."""
    before = look(process_id)
    result = run_load(job)
    return result, between(before, look(process_id))


def weigher(stacks: list[Stack], spent: list[Spent]) -> Callable[[Stack], float]:
    """What a sample counts: the processor time of its thread over the samples of that thread."""
    seen: Counter[tuple[int, int]] = Counter()
    for stack in stacks:
        seen[stack.process_id, stack.thread_id] += stack.count
    times = {
        (each.process_id, thread): seconds
        for each in spent
        for thread, seconds in each.threads_s.items()
    }

    def weigh(stack: Stack) -> float:
        key = (stack.process_id, stack.thread_id)
        return times.get(key, 0.0) / seen[key]

    return weigh


def by_layer(
    stacks: list[Stack], while_sampled: list[Spent], spent: list[Spent], ops: int
) -> dict[str, tuple[float, float]]:
    """µs per request of each layer: (main threads, all others).

    Args:
        while_sampled: processor time of the pass that gave the stacks; only its shares count.
        spent: processor time of the pass that nothing disturbed, which made `ops` requests.
    """
    weigh = weigher(stacks, while_sampled)
    main = shares(stacks, weigh, is_main=True)
    others = shares(stacks, weigh, is_main=False)
    main_us = sum(each.main_s for each in spent) / ops * 1e6
    others_us = sum(each.others_s for each in spent) / ops * 1e6
    return {layer: (main[layer] * main_us, others[layer] * others_us) for layer in LAYERS}


def layers_table(layers: dict[str, tuple[float, float]]) -> Table:
    """µs per request by layer, and their sum."""
    table = Table(title="µs of processor time per request, by layer")
    for name in ("layer", "main thread", "others", "sum", "what it is"):
        table.add_column(name, justify="left" if name in ("layer", "what it is") else "right")
    for layer, (main, others) in layers.items():
        table.add_row(layer, f"{main:.1f}", f"{others:.1f}", f"{main + others:.1f}", LAYERS[layer])
    main, others = (sum(pair[at] for pair in layers.values()) for at in (0, 1))
    table.add_row("all", f"{main:.1f}", f"{others:.1f}", f"{main + others:.1f}")
    return table


def processes_table(spent: list[Spent], ops: int) -> Table:
    """µs per request of each process, out of /proc."""
    table = Table(title="the same, by process (/proc)")
    for name in ("process", "user", "system", "main thread", "others", "sum"):
        table.add_column(name, justify="left" if name == "process" else "right")
    for each in spent:
        values = (each.user_s, each.system_s, each.main_s, each.others_s, each.total_s)
        name = f"{each.role} {each.process_id}"
        table.add_row(name, *(f"{seconds / ops * 1e6:.1f}" for seconds in values))
    return table


def copies_line(what: str, found: Copies, payload_bytes: int) -> Line:
    """Bytes copied for each byte of payload; `user` is None where it was not counted."""
    largest = sorted(found.lengths.items(), key=lambda item: -item[0] * item[1])[:5]
    user = None if found.user is None else round(found.user / payload_bytes, 3)
    return {
        "copies": what,
        "user": user,
        "kernel_in": round(found.kernel_in / payload_bytes, 3),
        "kernel_out": round(found.kernel_out / payload_bytes, 3),
        "largest": [(length, count) for length, count in largest],
        "method": found.method,
    }


def count_copies(cluster: Cluster, endpoint: Endpoint) -> list[Line]:
    """The cases of COPIED; a line with `failed` where they could not be counted."""
    lines = []
    for what, method, length, count, clients in COPIED:
        put = Job(
            endpoint=endpoint,
            method="PUT",
            path=f"/bench/copied-{length}-{{:08d}}",
            count=count,
            clients=clients,
            body_bytes=length,
        )
        job = put
        if method == "GET":
            job = replace(put, method="GET", body_bytes=None, answer_bytes=length)
        try:
            with counting(cluster.pid) as found:
                run_load(job)
        except NoCounter as why:
            lines.append({"copies": what, "failed": str(why)})
            continue
        lines.append(copies_line(what, found, length * count))
    return lines


def copies_table(lines: list[Line]) -> Table:
    """Bytes copied per byte of payload."""
    table = Table(title="bytes copied for each byte stored or served")
    for name in ("what", "memcpy", "kernel in", "kernel out", "largest memcpy, length x count"):
        table.add_column(name, justify="left" if name[0] in "wl" else "right")
    for line in lines:
        if "failed" in line:
            table.add_row(line["copies"], line["failed"])
            continue
        user = "not counted" if line["user"] is None else f"{line['user']:.2f}"
        largest = ", ".join(f"{length:,} x {count:,}" for length, count in line["largest"][:3])
        kernel = (f"{line['kernel_in']:.2f}", f"{line['kernel_out']:.2f}")
        table.add_row(line["copies"], user, *kernel, largest)
    return table


def ceiling_us(job: Job, path: str) -> float:
    """µs per request of the ceiling for the same bytes, in the same minute."""
    with ceiling_process() as (port, process_id):
        endpoint = replace(job.endpoint, host="127.0.0.1", port=port)
        seconds = None if job.seconds is None else CEILING_S
        aimed = replace(job, endpoint=endpoint, path=path, seconds=seconds)
        result, spent = spent_on(process_id, aimed)
    return sum(each.total_s for each in spent) / max(result.ops, 1) * 1e6


def profile(case: Case, cluster: Cluster, seconds: float, console: Console) -> Line:
    """The passes over one case on a running cluster, printed as they come."""
    endpoint = cluster.endpoint()
    make_bucket(endpoint, "bench")
    pace = Pace(rounds=1, seconds=seconds, warm_up_s=0.0)
    driver = Driver(endpoint=endpoint, ceiling_port=0, pace=pace)
    job, path = driver.job(case)
    run_load(replace(job, seconds=WARM_UP_S) if job.seconds else job)
    ceiling = ceiling_us(job, path)
    job, _ = driver.job(case)
    result, spent = spent_on(cluster.pid, job)
    job, _ = driver.job(case)
    raw = FOLDER / f"profile-{case.name}.txt"
    raw.unlink(missing_ok=True)
    with sampling(cluster.pid, raw):
        sampled, while_sampled = spent_on(cluster.pid, job)
    stacks = read_stacks(raw.read_text("utf-8"), cluster.pid)
    layers = by_layer(stacks, while_sampled, spent, result.ops)
    drawn = raw.with_suffix(".svg")
    drawn.write_text(flame.svg(stacks, f"{case.name}: work by function, colours are layers"))
    total_us = sum(each.total_s for each in spent) / result.ops * 1e6
    console.print(
        f"{case.name}: {result.ops_per_s:.0f}/s, p50 {result.p50_ms:.2f} ms, {total_us:.0f} µs of "
        f"processor time per request; the ceiling's {ceiling:.0f} µs. "
        f"While sampled {sampled.ops_per_s:.0f}/s."
    )
    console.print(layers_table(layers))
    console.print(processes_table(spent, result.ops))
    for share, name in own_time(stacks)[:FUNCTIONS]:
        console.print(f"{share * 100:6.2f} %  {name}", highlight=False)
    console.print(f"flame graph: {drawn}\nstacks: {raw}")
    return {
        "case": case.name,
        "ops_per_s": round(result.ops_per_s, 1),
        "us_per_request": round(total_us, 1),
        "ceiling_us_per_request": round(ceiling, 1),
        "layers_us": {layer: round(sum(pair), 1) for layer, pair in layers.items()},
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    made.add_argument("case")
    made.add_argument("--processes", action="store_true", help="nodes as processes of their own")
    made.add_argument("--seconds", type=float, default=8.0, help="length of each pass")
    made.add_argument("--folder", type=Path, help="where the cluster keeps its data meanwhile")
    made.add_argument("--no-copies", action="store_true", help="do not count copies")
    return made


def main() -> int:
    """0; 1 when there is no sampler; 2 for an unknown case."""
    given = parser().parse_args()
    try:
        (case,) = chosen([given.case], is_full=False, is_quick=False)
    except ValueError as unknown:
        print(unknown, file=sys.stderr)
        return 2
    FOLDER.mkdir(exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 140)
    folder = scratch(given.folder)
    cluster = Cluster(folder / "profile", flags=("--processes",) if given.processes else ())
    cluster.start()
    try:
        line = profile(case, cluster, given.seconds, console)
        if not given.no_copies:
            line["copies"] = count_copies(cluster, cluster.endpoint())
            console.print(copies_table(line["copies"]))
    except NoSampler as why:
        print(why, file=sys.stderr)
        return 1
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    (FOLDER / f"profile-{case.name}.json").write_text(json.dumps(line) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
