"""`make compare`: Hexagone and the peers that are on PATH, the same load for all, in turns.

`python -m bench.compare [--quick | --targets | --full] [--rounds N] [--only NAME]… [--case NAME]…
[--endpoint NAME=FILE]… [--out DIR] [--folder DIR] [--list]`. FILE has lines of `export`, as
`aws.env` of a cluster: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION.
Writes `compare.json` (a line each) and `compare.md` to `--out`, as it goes along. A system that
fails a case is shown as failed. The exit status is 2 for a wrong command, else 0.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.cluster import ClusterFailed, read_env, scratch
from bench.compare.measure import BUCKET, FAILURES, Comparison, Side
from bench.compare.peers.garage import Garage, GarageSynced
from bench.compare.peers.hexagone import Hexagone
from bench.compare.peers.minio import MinIO
from bench.compare.peers.seaweedfs import SeaweedFS, SeaweedFSSynced
from bench.compare.plan import (
    TARGETS,
    Pace,
    Trial,
    full_plan,
    known_trials,
    quick_targets,
    targets_plan,
)
from bench.compare.systems import Setting, System
from bench.compare.table import page
from bench.drive import run_load
from bench.heads import Endpoint
from bench.load import Job
from bench.report import machine

Line = dict[str, Any]
KNOWN: tuple[tuple[str, type[System]], ...] = (
    ("", Hexagone),
    ("minio", MinIO),
    ("garage", Garage),
    ("garage", GarageSynced),
    ("weed", SeaweedFS),
    ("weed", SeaweedFSSynced),
)
NOT_STARTED = ("rustfs", "radosgw", "swift-proxy-server")  # known, reached by --endpoint only
SPACE_OBJECTS = 5_000


class Elsewhere(System):
    """A store that somebody else runs: only its address is known, not its processes."""

    def __init__(self, folder: Path, name: str, file: Path) -> None:
        self._endpoint, scheme = read_env(file)
        super().__init__(folder, tls=scheme == "https")
        self.name = name
        self.setting = Setting(store=name, tier="unknown", redundancy="unknown", notes="elsewhere")

    def launch(self) -> None:
        """It runs already."""

    def stop(self) -> None:
        """It goes on running."""

    def endpoint(self) -> Endpoint:
        return self._endpoint

    def roots(self) -> list[int]:
        return []


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    made.add_argument(
        "--quick", action="store_true", help="short rounds, small buckets: 10 minutes"
    )
    made.add_argument("--targets", action="store_true", help="the table of targets (the default)")
    made.add_argument("--full", action="store_true", help="one axis at a time, hours")
    made.add_argument("--rounds", type=int, help="of each system in each case")
    made.add_argument("--only", action="append", default=[], help="a system; again for more")
    made.add_argument("--case", action="append", default=[], help="a case; again for more")
    made.add_argument("--endpoint", action="append", default=[], metavar="NAME=FILE")
    made.add_argument("--fill-minutes", type=float, default=5.0, help="patience for one bucket")
    made.add_argument("--out", type=Path, default=Path("compare"), help="where results go")
    made.add_argument("--folder", type=Path, help="where systems keep their data meanwhile")
    made.add_argument("--list", action="store_true", help="cases and systems that are there")
    return made


def found(only: Sequence[str]) -> tuple[list[type[System]], list[str]]:
    """(systems whose programs are on PATH, names of programs that are not)."""
    there: list[type[System]] = []
    absent = []
    for program, system in KNOWN:
        if only and system.name not in only:
            continue
        if program and shutil.which(program) is None:
            absent.append(f"{system.name} ({program})")
        else:
            there.append(system)
    absent += [f"{name}: reached by --endpoint only" for name in NOT_STARTED if not only]
    return there, absent


def chosen(given: argparse.Namespace) -> list[Trial]:
    """
    Raises:
        ValueError: no case has that name.
    """
    known = known_trials()
    if wrong := [name for name in given.case if name not in known]:
        raise ValueError(f"no such case: {wrong}; there are {sorted(known)}")
    if given.case:
        return [known[name] for name in given.case]
    return full_plan() if given.full else targets_plan(is_quick=given.quick)


def pace(given: argparse.Namespace) -> Pace:
    """Rounds and seconds of this run."""
    if given.quick:
        return Pace(rounds=given.rounds or 3, seconds=1.2, warm_up_s=0.3)
    return Pace(rounds=given.rounds or 5, seconds=2.5)


def started(side: Side) -> Line:
    """Start a system and measure what 4 KiB objects take; a line either way."""
    system, setting = side.system, side.system.setting
    line: Line = {
        "case": "system",
        "system": side.name,
        "tier": setting.tier,
        "redundancy": setting.redundancy,
        "notes": setting.notes,
    }
    try:
        line["start_s"] = round(system.start(), 3)
        system.make_bucket(BUCKET)
        if system.roots():
            line["bytes_per_byte"] = round(space(system), 3)
            line["idle_mib"] = round(system.resident_mib(), 1)
    except FAILURES as failure:
        side.failed = line["failed"] = str(failure)
    return line


def space(system: System) -> float:
    """Bytes the disk holds more for each byte of objects of 4 KiB, put by 64 clients."""
    before = system.written_bytes()
    job = Job(
        endpoint=system.endpoint(),
        method="PUT",
        path=f"/{BUCKET}/space-{{:08d}}",
        count=SPACE_OBJECTS,
        body_bytes=4096,
        clients=64,
        tls=system.tls,
        salt="space",
    )
    run_load(job)
    return (system.written_bytes() - before) / (SPACE_OBJECTS * 4096)


def run(sides: list[Side], trials: list[Trial], given: argparse.Namespace) -> Iterator[Line]:
    """All lines of one comparison; trials over TLS with systems of their own at the end."""
    try:
        for side in sides:
            yield started(side)
        comparison = Comparison(sides, pace(given), fill_s=given.fill_minutes * 60)
        for trial in trials:
            yield from comparison.run(trial)
    finally:
        for side in sides:
            try:
                side.system.stop()
            except ClusterFailed as failure:
                print(failure, file=sys.stderr)


def sides_of(given: argparse.Namespace, folder: Path, *, tls: bool) -> list[Side]:
    """A side for each system of this run."""
    there, _ = found(given.only)
    sides = [Side(system(folder / f"{system.name}{'-tls' * tls}", tls=tls)) for system in there]
    for pair in given.endpoint:
        name, _, file = pair.partition("=")
        elsewhere = Elsewhere(folder / name, name, Path(file))
        if elsewhere.tls == tls:
            sides.append(Side(elsewhere))
    return sides


def all_lines(given: argparse.Namespace, trials: list[Trial], folder: Path) -> Iterator[Line]:
    """The machine, what is absent, then every trial."""
    yield machine()
    for what in found(given.only)[1]:
        yield {"case": "absent", "what": what}
    for tls in (False, True):
        if some := [trial for trial in trials if trial.tls == tls]:
            yield from run(sides_of(given, folder, tls=tls), some, given)


def main() -> int:
    """0, or 2 when the command is wrong."""
    given = parser().parse_args()
    try:
        trials = chosen(given)
    except ValueError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    if given.list:
        there, absent = found(given.only)
        print("\n".join([*known_trials(), *(system.name for system in there)]))
        print("\n".join(f"not found: {what}" for what in absent))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # systems are stopped on the way out
    given.out.mkdir(parents=True, exist_ok=True)
    folder = scratch(given.folder)
    lines: list[Line] = []
    targets = quick_targets() if given.quick else TARGETS
    try:
        with (given.out / "compare.json").open("w", encoding="utf-8") as sink:
            for line in all_lines(given, trials, folder):
                lines.append(line)
                text = json.dumps(line, ensure_ascii=False)
                print(text, flush=True)
                sink.write(text + "\n")
                sink.flush()
                (given.out / "compare.md").write_text(page(lines, trials, targets), "utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
