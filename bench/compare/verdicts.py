"""The table of targets held against one run: met, missed and by how much, or not measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.compare.plan import GROWTH_MAX, Target
from bench.compare.results import MINIO, OURS, Line, by_case, figure, title

GROWN_FROM, GROWN_TO, GROWN_OBJECTS = "put-4k-c64-in-1k", "put-4k-c64-in-1m", 1_000_000
MIXED = "mixed-4k-c64"
START, START_COLD, START_S_MAX = "start-in-1m", "start-in-1m-cold", 2.0
FROZEN, FROZEN_MAX = "get-4k-c16-frozen", 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One bound and what was measured.

    Attributes:
        value: what is held against the bound; None where there is nothing.
        is_floor: the value must be at least the bound; else at most.
        against: the system that it is a multiple of; "" for a value of its own.
        why: in place of a value, or beside it what a reader has to know.
        is_lost: there is no value, and that is our failure: it counts as missed.
    """

    bound: float
    is_floor: bool
    value: float | None = None
    unit: str = ""
    against: str = ""
    why: str = ""
    is_lost: bool = False

    @property
    def word(self) -> str:
        """`met`, `missed` or `not measured`."""
        if self.value is None:
            return "missed" if self.is_lost else "not measured"
        is_met = self.value >= self.bound if self.is_floor else self.value <= self.bound
        return "met" if is_met else "missed"

    @property
    def text(self) -> str:
        """For a cell of a table, such as `0.50 × minio (≥ 1, **missed** by 50 %)`."""
        bound = f"{'≥' if self.is_floor else '≤'} {self.bound:g}{self.unit}"
        word = f"**{self.word}**" if self.word == "missed" else self.word
        why = f": {self.why}" if self.why else ""
        if self.value is None:
            return f"{bound}, {word}{why}"
        against = f" × {self.against}" if self.against else ""
        by = f" by {_share(abs(self.value / self.bound - 1))}" if self.word == "missed" else ""
        return f"{self.value:.2f}{self.unit}{against} ({bound}, {word}{by}{why})"


def _share(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.01 else "less than 1 %"


def beside(
    of_case: dict[str, Line], name: str, bound: float, *, is_rate: bool, peer: str = ""
) -> Verdict:
    """Our figure over a peer's, by default over the best one's, whichever that is in this figure.

    Args:
        of_case: system → line.
        is_rate: more is better, so the bound is a floor.
        peer: name of the one that counts.
    """
    values = {system: line[name] for system, line in of_case.items() if line.get(name)}
    ours = values.pop(OURS, None)
    if ours is None:
        is_lost = "failed" in of_case.get(OURS, {})
        why = f"{OURS} failed" if is_lost else ""
        return Verdict(bound=bound, is_floor=is_rate, why=why, is_lost=is_lost)
    best = peer or (max if is_rate else min)(values, key=lambda s: values[s], default="")
    if best not in values:
        failed = peer in of_case or (not peer and len(of_case) > 1)
        why = f"{peer or 'every peer'} failed" if failed else "no such peer in this case"
        return Verdict(bound=bound, is_floor=is_rate, why=why)
    return Verdict(bound=bound, is_floor=is_rate, value=ours / values[best], against=best)


def of_target(target: Target, lines: Iterable[Line]) -> dict[str, Verdict]:
    """The four bounds of one row, by the heading of their column."""
    of_case = by_case(lines).get(target.trial.name, {})
    rate = figure(target.trial.name)
    found = {
        "Against the best peer": beside(of_case, rate, target.best, is_rate=True),
        "Against MinIO": beside(of_case, rate, target.minio, is_rate=True, peer=MINIO),
        "p99, best peer": beside(of_case, "p99_ms", target.best_p99, is_rate=False),
        "p99, MinIO": beside(of_case, "p99_ms", target.minio_p99, is_rate=False, peer=MINIO),
    }
    if not of_case:
        return {
            heading: Verdict(bound=verdict.bound, is_floor=verdict.is_floor)
            for heading, verdict in found.items()
        }
    return found


def growth(lines: Iterable[Line]) -> Verdict:
    """What a PUT takes in a bucket of a million over what it takes in one of a thousand."""
    cases = by_case(lines)
    few, many = (cases.get(case, {}).get(OURS, {}) for case in (GROWN_FROM, GROWN_TO))
    if "failed" in few or "failed" in many:
        return Verdict(bound=GROWTH_MAX, is_floor=False, why=f"{OURS} failed", is_lost=True)
    if not few or not many:
        return Verdict(bound=GROWTH_MAX, is_floor=False)
    return _in_a_million(many, few["ops_per_s"] / many["ops_per_s"], GROWTH_MAX)


def _in_a_million(line: Line, value: float, bound: float, unit: str = "") -> Verdict:
    """A cap on what was measured in a bucket of a million objects, or of fewer.

    Fewer than that can show that the bound is missed, never that it is met.
    """
    objects = line.get("objects", 0)
    why = "" if objects >= GROWN_OBJECTS else f"only {objects:,} objects"
    if why and value <= bound:
        return Verdict(bound=bound, is_floor=False, unit=unit, why=f"{value:.2f}{unit} with {why}")
    return Verdict(bound=bound, is_floor=False, unit=unit, value=value, why=why)


def memory(lines: Iterable[Line]) -> Verdict:
    """Our resident memory under the mixed load over the median of the peers'."""
    of_case = by_case(lines).get(MIXED, {})
    ours = of_case.get(OURS, {})
    peers = [
        line["resident_mib"]
        for system, line in of_case.items()
        if system != OURS and line.get("resident_mib")
    ]
    if "failed" in ours:
        return Verdict(bound=1.0, is_floor=False, why=f"{OURS} failed", is_lost=True)
    if not ours or not peers:
        return Verdict(bound=1.0, is_floor=False, why="no peer" if ours else "")
    against = f"the median of {len(peers)} peer{'s' * (len(peers) > 1)}"
    value = ours["resident_mib"] / median(peers)
    return Verdict(bound=1.0, is_floor=False, value=value, against=against)


def start(lines: Iterable[Line], case: str) -> Verdict:
    """Seconds until a PUT is answered, with a million objects in a bucket."""
    line = by_case(lines).get(case, {}).get(OURS, {})
    if "start_s" in line:
        return _in_a_million(line, line["start_s"], START_S_MAX, " s")
    is_lost, why = "failed" in line, f"{OURS} failed" * ("failed" in line)
    return Verdict(bound=START_S_MAX, is_floor=False, unit=" s", why=why, is_lost=is_lost)


def frozen(lines: Iterable[Line]) -> Verdict:
    """p99 of GET while one node stands still over that while all is well."""
    line = by_case(lines).get(FROZEN, {}).get(OURS, {})
    if "p99_ratio" in line:
        errors = f"{line['errors']:,.0f} errors a round" if line.get("errors") else ""
        return Verdict(bound=FROZEN_MAX, is_floor=False, value=line["p99_ratio"], why=errors)
    is_lost, why = "failed" in line, f"{OURS} failed" * ("failed" in line)
    return Verdict(bound=FROZEN_MAX, is_floor=False, why=why, is_lost=is_lost)


def others(lines: Sequence[Line]) -> dict[str, Verdict]:
    """The bounds that are no row of `Target`, by what they say."""
    return {
        "Cost of one PUT 4 KiB, 64 clients, from 1,000 objects to 1,000,000": growth(lines),
        "Resident memory under the mixed load, 64 clients": memory(lines),
        "Start-up with 1,000,000 objects": start(lines, START),
        "Start-up with 1,000,000 objects, nothing in the page cache": start(lines, START_COLD),
        "p99 of GET 4 KiB with one node frozen, over the healthy one": frozen(lines),
    }


def every(lines: Sequence[Line], targets: Sequence[Target]) -> list[tuple[str, Verdict]]:
    """(what it is of, verdict) for each bound there is."""
    rows = [
        (f"{title(target.trial)}, {heading}", verdict)
        for target in targets
        for heading, verdict in of_target(target, lines).items()
    ]
    return [*rows, *others(lines).items()]
