"""What is measured: trials, the table of targets, and one axis at a time around its middle.

Pure: nothing here touches a system.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from bench.cases import KIB, MIB

LENGTHS = {
    "1k": KIB,
    "4k": 4 * KIB,
    "64k": 64 * KIB,
    "1m": MIB,
    "16m": 16 * MIB,
    "64m": 64 * MIB,
}
OPERATIONS = ("put", "get", "head", "delete", "list", "mixed", "multipart")
BUCKETS = {"1k": 1_000, "10k": 10_000, "100k": 100_000, "300k": 300_000, "1m": 1_000_000}
CLIENTS = (1, 16, 64)
FROZEN_CLIENTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One operation in a closed loop, the same for all systems.

    Attributes:
        operation: one of `OPERATIONS`, or `start`: the system is ended and started again.
        length: name of a length in `LENGTHS`; of the parts for multipart.
        bucket: name of a number of objects that are in the bucket before; "" for what there is.
        is_cold: the system is started anew and the page cache dropped before each round; each
            object is read once.
        tls: over TLS; systems that have none fail.
        is_frozen: while one process of several stands still; systems of one process fail.
    """

    operation: str
    length: str = "4k"
    clients: int = 64
    bucket: str = ""
    is_cold: bool = False
    tls: bool = False
    is_frozen: bool = False

    @property
    def name(self) -> str:
        """Such as `put-4k-c64`, `list-c1-in-1m`, `get-4k-c64-cold`, `start-in-1m`."""
        parts = [self.operation]
        if self.operation not in ("list", "start"):
            parts.append(self.length)
        if self.operation != "start":
            parts.append(f"c{self.clients}")
        if self.bucket:
            parts.append(f"in-{self.bucket}")
        parts += ["cold"] * self.is_cold + ["tls"] * self.tls + ["frozen"] * self.is_frozen
        return "-".join(parts)

    @property
    def group(self) -> tuple[bool, bool, bool]:
        """(over TLS, nodes as processes, in a bucket of so many).

        Trials that differ here have systems of their own, begun empty.
        """
        return self.tls, self.is_frozen, bool(self.bucket)

    @property
    def length_bytes(self) -> int:
        return LENGTHS[self.length]

    @property
    def is_long(self) -> bool:
        """Bytes a second say more of it than operations."""
        return self.operation in ("put", "get", "multipart") and self.length_bytes >= MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a trial has to reach beside the best peer and beside MinIO.

    Attributes:
        best, minio: least ratio of operations a second.
        best_p99, minio_p99: greatest ratio of the 99th percentile.
    """

    trial: Trial
    best: float
    minio: float
    best_p99: float = 1.2
    minio_p99: float = 1.0


MIDDLE = Trial(operation="put")
LIST = Trial(operation="list", clients=1)
START = Trial(operation="start", clients=1)
FROZEN = Trial(operation="get", clients=FROZEN_CLIENTS, is_frozen=True)


def _targets(bucket: str) -> tuple[Target, ...]:
    found = []
    for operation, minio in (("put", 3.0), ("get", 1.5)):
        for clients in (16, 64):
            trial = Trial(operation=operation, clients=clients)
            found.append(Target(trial=trial, best=1.0, minio=minio))
    for operation in ("head", "delete"):
        found.append(Target(trial=Trial(operation=operation), best=1.0, minio=2.0))
    found.append(Target(trial=replace(LIST, bucket=bucket), best=1.0, minio=20.0))
    for operation in ("put", "get"):
        for clients in (1, 16):
            trial = Trial(operation=operation, length="64m", clients=clients)
            found.append(Target(trial=trial, best=0.9, minio=1.0))
    return tuple(found)


TARGETS = _targets("1m")


def quick_targets() -> tuple[Target, ...]:
    """The same beside a bucket of 10,000 keys."""
    return _targets("")


GROWTH_MAX = 1.15  # cost of a PUT in a bucket of 1 M over one of 1 k


def targets_plan(*, is_quick: bool) -> list[Trial]:
    """The trials of the table of targets; quick: a listing among 10,000 keys, no growth."""
    trials = [target.trial for target in (quick_targets() if is_quick else TARGETS)]
    trials += [Trial(operation="mixed"), FROZEN]
    if not is_quick:
        trials += scale_plan()
    return ordered(trials)


def scale_plan() -> list[Trial]:
    """What changes with the number of objects: PUT, LIST of 1,000 keys, start-up."""
    trials = [replace(MIDDLE, bucket=bucket) for bucket in BUCKETS]
    trials += [replace(LIST, bucket=bucket) for bucket in ("1k", "100k", "1m")]
    trials += [replace(START, bucket="1m"), replace(START, bucket="1m", is_cold=True)]
    return ordered(trials)


def axes() -> Iterator[Trial]:
    """Every case of the issue, one axis at a time from 4 KiB and 64 clients."""
    for operation in OPERATIONS:
        if operation != "multipart":
            yield Trial(operation=operation)
    for clients in (1, 16):
        yield Trial(operation="multipart", length="16m", clients=clients)
        yield Trial(operation="list", clients=clients)
    for operation in ("put", "get"):
        for length in LENGTHS:
            yield Trial(operation=operation, length=length, clients=16 if length == "64m" else 64)
        for clients in CLIENTS:
            yield Trial(operation=operation, clients=clients)
        for length, clients in (("4k", 64), ("64m", 1)):
            yield Trial(operation=operation, length=length, clients=clients, tls=True)
    for length, clients in (("4k", 64), ("64k", 64), ("64m", 1)):
        yield Trial(operation="get", length=length, clients=clients, is_cold=True)


def full_plan() -> list[Trial]:
    """`axes` and the targets' trials, each once, buckets that grow last."""
    return ordered([*axes(), *targets_plan(is_quick=False)])


def ordered(trials: Iterable[Trial]) -> list[Trial]:
    """Each once; buckets grow last, and the smaller ones first, for what is in them stays.

    Those of one group come together: when it is through, its systems are gone, and their data.
    """
    order = ["", *BUCKETS]
    return list(
        dict.fromkeys(sorted(trials, key=lambda trial: (trial.group, order.index(trial.bucket))))
    )


def known_trials() -> dict[str, Trial]:
    """Every trial that can be asked for by name."""
    every = [*full_plan(), *targets_plan(is_quick=True), replace(START, bucket="10k")]
    return {trial.name: trial for trial in every}
