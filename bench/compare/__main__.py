"""`make compare`: Hexagone and the peers that are on PATH, the same load for all, in turns.

`python -m bench.compare [--quick | --targets | --scale | --full] [--rounds N] [--seconds S]
[--only NAME]… [--case NAME]… [--endpoint NAME=FILE]… [--objects N] [--cap NAME=N]…
[--fill-minutes M] [--out DIR] [--folder DIR] [--list]`. FILE has lines of `export`, as `aws.env`
of a cluster: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION. Writes
`compare.json` (a line each) and `compare.md` to `--out`, as it goes along, and plots at the end. A
system that fails a case is shown as failed. The exit status is 2 for a wrong command, which an
endpoint that does not answer is as well, else 0.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.cases import Pace
from bench.cluster import ClusterFailed, read_env, scratch
from bench.compare.filling import BUCKET, FAILURES, Limits, Side
from bench.compare.measure import Comparison
from bench.compare.peers.garage import Garage, GarageSynced
from bench.compare.peers.hexagone import Hexagone
from bench.compare.peers.minio import MinIO
from bench.compare.peers.seaweedfs import SeaweedFS, SeaweedFSSynced
from bench.compare.plan import (
    TARGETS,
    Target,
    Trial,
    full_plan,
    known_trials,
    ordered,
    quick_targets,
    scale_plan,
    targets_plan,
)
from bench.compare.plots import PlotsUnavailable, draw
from bench.compare.processes import SystemFailed
from bench.compare.results import Line
from bench.compare.systems import Setting, System
from bench.compare.table import page
from bench.drive import run_load
from bench.heads import Endpoint
from bench.load import Job
from bench.report import machine

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
USUAL = Pace(rounds=5, seconds=2.5, warm_up_s=0.5)
ANSWER_S = 5.0  # patience for an endpoint to take a connection


class Elsewhere(System):
    """A store that somebody else runs: only its address is known, not its processes."""

    def __init__(self, folder: Path, name: str, file: Path) -> None:
        try:
            self._endpoint, scheme = read_env(file)
        except (OSError, ValueError) as failure:
            raise ClusterFailed(f"{name}: {file} is not read: {failure}") from None
        super().__init__(folder, tls=scheme == "https")
        self.name = name
        self.setting = Setting(store=name, tier="unknown", redundancy="unknown", notes="elsewhere")

    def launch(self) -> None:
        """
        Raises:
            SystemFailed: nobody listens there.
        """
        where = (self._endpoint.host, self._endpoint.port)
        try:
            socket.create_connection(where, ANSWER_S).close()
        except OSError as failure:
            raise SystemFailed(f"{self.name}: nobody at {where[0]}:{where[1]}: {failure}") from None

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
    made.add_argument("--scale", action="store_true", help="what more objects in a bucket cost")
    made.add_argument("--full", action="store_true", help="one axis at a time, hours")
    made.add_argument("--rounds", type=int, help="of each system in each case")
    made.add_argument("--seconds", type=float, help="of each round")
    made.add_argument("--only", action="append", default=[], help="a system; again for more")
    made.add_argument("--case", action="append", default=[], help="a case; again for more")
    made.add_argument("--endpoint", action="append", default=[], metavar="NAME=FILE")
    made.add_argument("--fill-minutes", type=float, default=45.0, help="patience for one bucket")
    made.add_argument("--objects", type=int, default=1_000_000, help="in a bucket at most")
    made.add_argument("--cap", action="append", default=[], metavar="NAME=N", help="for one system")
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
    if given.scale:
        return scale_plan()
    if given.case:
        return ordered(known[name] for name in given.case)
    return full_plan() if given.full else targets_plan(is_quick=given.quick)


def pace(given: argparse.Namespace) -> Pace:
    """Rounds and seconds of this run."""
    usual = Pace(rounds=3, seconds=1.2, warm_up_s=0.3) if given.quick else USUAL
    seconds = given.seconds or usual.seconds
    return Pace(
        rounds=given.rounds or usual.rounds,
        seconds=seconds,
        warm_up_s=min(usual.warm_up_s, seconds),
    )


def limits(given: argparse.Namespace) -> Limits:
    """How far buckets are filled in this run.

    Raises:
        ValueError: a cap is not NAME=N.
    """
    caps = {}
    for pair in given.cap:
        name, _, objects = pair.partition("=")
        if not objects.isdigit():
            raise ValueError(f"--cap {pair}: NAME=N is wanted")
        caps[name] = int(objects)
    return Limits(fill_s=given.fill_minutes * 60, objects=given.objects, caps=caps)


def started(side: Side, *, with_space: bool) -> Line:
    """Start a system and, the first time, measure what 4 KiB objects take; a line either way."""
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
        if with_space and system.roots():
            line["bytes_per_byte"] = round(space(system), 3)
            line["idle_mib"] = round(system.memory_mib()[0], 1)
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


def run(
    sides: list[Side], trials: list[Trial], given: argparse.Namespace, *, is_first: bool
) -> Iterator[Line]:
    """All lines of the trials of one group."""
    try:
        for side in sides:
            yield started(side, with_space=is_first)
        comparison = Comparison(sides, pace(given), limits(given))
        for trial in trials:
            yield from comparison.run(trial)
    finally:
        for side in sides:
            try:
                side.system.stop()
            except ClusterFailed as failure:
                print(failure, file=sys.stderr)


def stores_elsewhere(pairs: Sequence[str], folder: Path) -> list[Elsewhere]:
    """The stores of `--endpoint`, each of which takes connections.

    Raises:
        ValueError: a pair is not NAME=FILE, or the name is another system's.
        ClusterFailed, SystemFailed: the file says no address, or nobody is there.
    """
    names = [system.name for _, system in KNOWN]
    stores = []
    for pair in pairs:
        name, _, file = pair.partition("=")
        if not name or not file or name in names or "/" in name:
            raise ValueError(f"--endpoint {pair}: NAME=FILE with a name of its own is wanted")
        names.append(name)
        store = Elsewhere(folder / name, name, Path(file))
        store.launch()
        stores.append(store)
    return stores


def all_lines(
    given: argparse.Namespace, trials: list[Trial], folder: Path, elsewhere: Sequence[Elsewhere]
) -> Iterator[Line]:
    """The machine, what is absent, then every trial."""
    there, absent = found(given.only)
    yield machine()
    for what in absent:
        yield {"case": "absent", "what": what}
    for n, group in enumerate(dict.fromkeys(trial.group for trial in trials)):
        some = [trial for trial in trials if trial.group == group]
        tls, apart = some[0].tls, some[0].is_frozen
        ours = [system(folder / f"{system.name}-{n}", tls=tls, apart=apart) for system in there]
        theirs = [store for store in elsewhere if store.tls == tls]
        sides = [Side(system) for system in (*ours, *theirs)]
        yield from run(sides, some, given, is_first=n == 0)
        for system in ours:
            shutil.rmtree(system.folder, ignore_errors=True)


def publish(lines: Iterable[Line], out: Path, targets: Sequence[Target]) -> list[Line]:
    """Print and keep lines as they come, the page of them anew each time."""
    kept: list[Line] = []
    with (out / "compare.json").open("w", encoding="utf-8") as sink:
        for line in lines:
            kept.append(line)
            text = json.dumps(line, ensure_ascii=False)
            print(text, flush=True)
            sink.write(text + "\n")
            sink.flush()
            (out / "compare.md").write_text(page(kept, targets), "utf-8")
    return kept


def main() -> int:
    """0, or 2 when the command is wrong."""
    given = parser().parse_args()
    if given.list:
        there, absent = found(given.only)
        print("\n".join([*known_trials(), *(system.name for system in there)]))
        print("\n".join(f"not found: {what}" for what in absent))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # systems are stopped on the way out
    folder = scratch(given.folder)
    try:
        try:
            trials = chosen(given)
            limits(given)
            elsewhere = stores_elsewhere(given.endpoint, folder)
        except (ValueError, ClusterFailed, SystemFailed) as wrong:
            print(wrong, file=sys.stderr)
            return 2
        given.out.mkdir(parents=True, exist_ok=True)
        targets = quick_targets() if given.quick else TARGETS
        lines = publish(all_lines(given, trials, folder, elsewhere), given.out, targets)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        print(*draw(lines, given.out), sep="\n", file=sys.stderr)
    except PlotsUnavailable as unavailable:
        print(unavailable, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
