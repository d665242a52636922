"""What is measured: the matrix of cases, and the targets of the store issue.

A case is one operation at one length with so many clients. Special cases (memory, disk, restart,
listing at scale, datacenters apart, a frozen node) have names here, their code in `bench.special`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024
LENGTHS = {"4k": 4 * KIB, "64k": 64 * KIB, "1m": MIB, "64m": 64 * MIB}
CLIENTS = (1, 16, 64)
OPERATIONS = ("put", "get", "head", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One operation in a closed loop; `length_bytes` is 0 for a listing."""

    operation: str
    length_name: str
    clients: int
    signed: bool = False

    @property
    def name(self) -> str:
        """For `--case`: operation-length-cN, with -signed when the payload's SHA-256 is."""
        length = f"-{self.length_name}" if self.length_name else ""
        return f"{self.operation}{length}-c{self.clients}{'-signed' if self.signed else ''}"

    @property
    def length_bytes(self) -> int:
        return LENGTHS.get(self.length_name, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a case is measured: rounds of so many seconds on each side.

    Attributes:
        warm_up_s: what is asked in a round before it is counted.
    """

    rounds: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound the store has to meet.

    Attributes:
        case: name of the result line it is read from.
        figure: key in that line.
        is_floor: the figure must be at least the bound; else at most.
        what: the row of the table, for people.
    """

    case: str
    figure: str
    bound: float
    is_floor: bool
    what: str

    def is_met(self, measured: float) -> bool:
        return measured >= self.bound if self.is_floor else measured <= self.bound

    @property
    def sign(self) -> str:
        return "≥" if self.is_floor else "≤"


def _floor(case: str, figure: str, bound: float, what: str) -> Target:
    return Target(case=case, figure=figure, bound=bound, is_floor=True, what=what)


def _cap(case: str, figure: str, bound: float, what: str) -> Target:
    return Target(case=case, figure=figure, bound=bound, is_floor=False, what=what)


TARGETS = (
    _floor("put-4k-c64", "ratio", 0.30, "PUT 4 KiB, 64 clients, ratio"),
    _floor("get-4k-c64", "ratio", 0.45, "GET 4 KiB, 64 clients, ratio"),
    _floor("put-64m-c1", "ratio", 0.60, "PUT 64 MiB, 1 client, ratio"),
    _floor("get-64m-c1", "ratio", 0.45, "GET 64 MiB, 1 client, ratio"),
    _cap("list-scale", "time_ratio", 2.0, "LIST, time in 1,000,000 keys over 10,000"),
    _floor("list-scale", "keys_per_s", 200_000, "LIST of 1,000 in 1,000,000, keys/s"),
    _cap("memory", "peak_mib", 600, "gateway memory, 64 PUTs of 64 MiB, MiB"),
    _cap("disk-c64", "bytes_per_byte", 2.0, "disk per byte, 4 KiB, 64 clients"),
    _cap("disk-c1", "bytes_per_byte", 6.0, "disk per byte, 4 KiB, 1 client"),
    _cap("disk-c1", "compacted_bytes_per_byte", 2.0, "the same, compacted"),
    _cap("restart", "restart_s", 3.0, "restart with 1,000,000 objects after kill -9, s"),
    _cap("restart", "start_s", 2.0, "start-up with 1,000,000 objects, s"),
    _floor("rebuild", "objects_per_s", 20_000, "rebuild from nodes, objects/s"),
    _floor("apart-10ms", "ops_per_s", 2_000, "PUT 4 KiB, 64 clients, 10 ms apart, ops/s"),
    _cap("apart-10ms", "p99_ms", 80.0, "the same, p99 ms"),
    _cap("frozen", "p99_ratio", 2.0, "GET 4 KiB, one node frozen, p99 over the healthy one"),
    _cap("keyd-get-4k", "ops_cost_percent", 3.0, "GET 4 KiB, key service, fewer requests, %"),
    _cap("keyd-put-4k", "ops_cost_percent", 3.0, "PUT 4 KiB, key service, fewer requests, %"),
)

# Case names of each special run: one run can give several lines.
SPECIAL = {
    "memory": ("memory",),
    "disk": ("disk-c64", "disk-c1"),
    "million": ("list-scale", "restart", "rebuild"),
    "apart": ("apart-10ms", "apart-5ms"),
    "frozen": ("frozen",),
    "keyd": ("keyd-get-4k", "keyd-put-4k"),
}


def matrix() -> Iterator[Case]:
    """Every case: four operations, four lengths, three numbers of clients, and listings."""
    for operation in OPERATIONS:
        for length_name in LENGTHS:
            for clients in CLIENTS:
                yield Case(operation=operation, length_name=length_name, clients=clients)
    for clients in CLIENTS:
        yield Case(operation="list", length_name="", clients=clients)
    yield Case(operation="put", length_name="4k", clients=64, signed=True)


USUAL = (
    *("put-4k-c64", "get-4k-c64", "put-64m-c1", "get-64m-c1", "put-4k-c1", "put-4k-c16"),
    *("put-4k-c64-signed", "put-64k-c16", "put-1m-c16", "get-4k-c1", "get-64k-c16", "get-1m-c16"),
    *("head-4k-c64", "delete-4k-c64", "list-c1", "list-c16"),
)
QUICK = ("put-4k-c64", "get-4k-c64", "put-64m-c1", "get-64m-c1", "head-4k-c64", "list-c1")


def chosen(names: list[str], *, is_full: bool, is_quick: bool) -> list[Case]:
    """Cases by name, or a set.

    Raises:
        ValueError: no case has that name; the message lists those there are.
    """
    known = {case.name: case for case in matrix()}
    if not names:
        names = list(known) if is_full else list(QUICK if is_quick else USUAL)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no such case: {unknown}; there are {sorted([*known, *SPECIAL])}")
    return [known[name] for name in names]
