"""`make profile CASE=name`: where the gateway spends its time during one case.

py-spy is used when it is installed (it sees all threads and costs little), else cProfile, which
sees the event loop's thread only and makes everything slower: read its shares, not its figures.
"""

from __future__ import annotations

import argparse
import pstats
import shutil
import subprocess
import sys
from pathlib import Path

from bench.cases import chosen
from bench.cluster import Cluster, scratch
from bench.drive import Driver, Pace, make_bucket, run_load

ROWS = 45
PACE = Pace(rounds=1, seconds=8.0, warm_up_s=0.5)
SAMPLES_PER_S = 400


def py_spy() -> str | None:
    """Path of py-spy, beside this interpreter or on PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def record(cluster: Cluster, tool: str, sink: Path) -> subprocess.Popen[bytes]:
    """Begin to sample the gateway; it ends on its own."""
    words = [tool, "record", "--pid", str(cluster.pid), "--duration", f"{PACE.seconds:g}"]
    words += ["--rate", str(SAMPLES_PER_S), "--threads", "--format", "raw", "--output", str(sink)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def own_time(stacks: str) -> list[tuple[float, str]]:
    """(share, function) by time in the function itself, from collapsed stacks `a;b;c count`."""
    own: dict[str, int] = {}
    for row in stacks.splitlines():
        stack, _, count = row.rpartition(" ")
        if stack and count.isdigit():
            leaf = stack.rpartition(";")[2]
            own[leaf] = own.get(leaf, 0) + int(count)
    total = sum(own.values())
    ordered = sorted(own.items(), key=lambda item: item[1], reverse=True)
    return [(count / total, name) for name, count in ordered]


def main() -> int:
    """Profile one case; the raw profile is left in the working folder."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("case")
    parser.add_argument("--cprofile", action="store_true", help="cProfile even if py-spy is there")
    given = parser.parse_args()
    try:
        (case,) = chosen([given.case], is_full=False, is_quick=False)
    except ValueError as unknown:
        print(unknown, file=sys.stderr)
        return 2
    tool = None if given.cprofile else py_spy()
    raw = Path(f"bench-profile-{case.name}.{'txt' if tool else 'pstats'}").absolute()
    folder = scratch(None)
    cluster = Cluster(folder / "profile", profile=None if tool else raw)
    cluster.start()
    try:
        make_bucket(cluster.endpoint(), "bench")
        driver = Driver(endpoint=cluster.endpoint(), ceiling_port=0, pace=PACE)
        job, _ = driver.job(case)
        sampler = record(cluster, tool, raw) if tool else None
        result = run_load(job)
        if sampler is not None:
            sampler.wait(60)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{case.name}: {result.ops_per_s:.0f}/s while profiled, p50 {result.p50_ms:.2f} ms")
    if tool:
        for share, name in own_time(raw.read_text("utf-8"))[:ROWS]:
            print(f"{share * 100:6.2f} %  {name}")
    else:
        pstats.Stats(str(raw)).sort_stats("tottime").print_stats(ROWS)
    print(f"the whole profile: {raw}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
