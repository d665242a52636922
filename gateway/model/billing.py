"""What a tenant used in a time, and what that costs: integrals over hours, prices, a statement.

Pure: hours and prices in, figures out, so that whoever has the hours can compute a statement again.
All integrals are whole numbers of byte-milliseconds; money is decimal and rounded once a line. A
month is 730 h, a GB is 10^9 bytes.

Source: docs/metering.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

HOUR_MS = 3_600_000
MONTH_MS = 730 * HOUR_MS
GB = 10**9
LOOSE = "UPLOADS"  # parts that belong to no version
ANNOTATIONS = "ANNOTATIONS"
REQUEST_KINDS = ("write", "list", "read", "delete")
_CENT = Decimal("0.01")

Levels = Mapping[str, int]
"""Bytes by line: a storage class, LOOSE or ANNOTATIONS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """What one bucket was metered for in one hour.

    Args:
        number: hours since the epoch.
        until_ms: up to where `byte_ms` counts; from there on `levels` are held, beyond the end of
            the hour too, until the next hour that there is.
        byte_ms: bytes × milliseconds by line.
        requests: those that were answered without an error, by kind.
        in_bytes, out_bytes: of their bodies.
    """

    number: int
    name: str
    until_ms: int
    levels: Levels = field(default_factory=dict)
    byte_ms: Mapping[str, int] = field(default_factory=dict)
    requests: Mapping[str, int] = field(default_factory=dict)
    in_bytes: int = 0
    out_bytes: int = 0

    def document(self) -> dict[str, Any]:
        """As a JSON object without the number."""
        return {
            "name": self.name,
            "until_ms": self.until_ms,
            "levels": dict(self.levels),
            "byte_ms": dict(self.byte_ms),
            "requests": dict(self.requests),
            "in_bytes": self.in_bytes,
            "out_bytes": self.out_bytes,
        }


def hour_of(number: int, document: Mapping[str, Any]) -> Hour:
    """The other way. Raises: KeyError, TypeError."""
    return Hour(
        number=number,
        name=document["name"],
        until_ms=document["until_ms"],
        levels=document["levels"],
        byte_ms=document["byte_ms"],
        requests=document["requests"],
        in_bytes=document["in_bytes"],
        out_bytes=document["out_bytes"],
    )


@dataclass(slots=True, kw_only=True)
class Metered:
    """What was used in a time."""

    byte_ms: dict[str, int] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    in_bytes: int = 0
    out_bytes: int = 0

    def hold(self, levels: Levels, for_ms: int) -> None:
        """Bytes that were held for a time; nothing for a time below zero."""
        if for_ms > 0:
            add_to(self.byte_ms, {line: held * for_ms for line, held in levels.items()})

    def add(self, other: Metered | Hour) -> None:
        """What was used beside it."""
        add_to(self.byte_ms, other.byte_ms)
        add_to(self.requests, other.requests)
        self.in_bytes += other.in_bytes
        self.out_bytes += other.out_bytes


def add_to(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Add by name."""
    for name, count in more.items():
        if count:
            total[name] = total.get(name, 0) + count


def integrate(hours: Iterable[Hour], *, first: int, end: int, now_ms: int) -> Metered:
    """What a bucket used from hour `first` to before hour `end`, as far as that has passed.

    Args:
        hours: of the bucket, by number; the last one before `first` with them, if there is one.
    """
    total = Metered()
    at_ms, end_ms = first * HOUR_MS, min(end * HOUR_MS, now_ms)
    levels: Levels = {}
    for hour in hours:
        if hour.number >= end:
            break
        if hour.number >= first:
            total.hold(levels, hour.number * HOUR_MS - at_ms)
            total.add(hour)
        at_ms, levels = max(at_ms, hour.until_ms), hour.levels
    total.hold(levels, end_ms - at_ms)
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a tenant pays.

    Args:
        reserved_bytes, reserved_out_bytes: of a subscription, stored all month and sent in a month;
            0: on demand.
        switching: the tenant is moving to another provider: what is sent is metered and free, in
            the hours in which the plan says so.
    """

    reserved_bytes: int = 0
    reserved_out_bytes: int = 0
    switching: bool = False

    @property
    def kind(self) -> str:
        return "subscription" if self.reserved_bytes or self.reserved_out_bytes else "on-demand"


ON_DEMAND = Plan()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChange:
    """A plan, and the hour since the epoch from whose beginning on it is in force."""

    since_hour: int
    plan: Plan

    def document(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "since_hour": self.since_hour,
            "reserved_bytes": self.plan.reserved_bytes,
            "reserved_out_bytes": self.plan.reserved_out_bytes,
            "switching": self.plan.switching,
        }


def plan_change_of(document: Mapping[str, Any]) -> PlanChange:
    """The other way; a plan that does not say since when was always in force. Raises: KeyError."""
    plan = Plan(
        reserved_bytes=document["reserved_bytes"],
        reserved_out_bytes=document["reserved_out_bytes"],
        switching=document["switching"],
    )
    return PlanChange(since_hour=document.get("since_hour", 0), plan=plan)


def plan_before(changes: Sequence[PlanChange], end: int) -> Plan:
    """The plan in force in the last hour before `end`; `changes` by hour."""
    held = [one.plan for one in changes if one.since_hour < end]
    return held[-1] if held else ON_DEMAND


def switching_hours(changes: Sequence[PlanChange], first: int, end: int) -> set[int]:
    """Hours from `first` to before `end` in which the tenant was switching."""
    found: set[int] = set()
    ends = [one.since_hour for one in (*changes[1:], PlanChange(since_hour=end, plan=ON_DEMAND))]
    for one, until in zip(changes, ends, strict=False):
        if one.plan.switching:
            found.update(range(max(first, one.since_hour), min(end, until)))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices without tax.

    Args:
        storage: of a GB held for a month, by line; "*": of lines that are not named.
        out_gb, in_gb: of a GB sent and received.
        requests_10k: of 10,000 requests, by kind.
        reserved_gb, reserved_out_gb: of a GB of a subscription, for a month.
        overage_gb, overage_out_gb: of a GB beyond it; None: as on demand.
    """

    currency: str = "EUR"
    storage: Mapping[str, Decimal] = field(default_factory=dict)
    out_gb: Decimal = Decimal(0)
    in_gb: Decimal = Decimal(0)
    requests_10k: Mapping[str, Decimal] = field(default_factory=dict)
    reserved_gb: Decimal = Decimal(0)
    reserved_out_gb: Decimal = Decimal(0)
    overage_gb: Decimal | None = None
    overage_out_gb: Decimal | None = None

    def of_line(self, line: str) -> Decimal:
        """Price of a GB held for a month."""
        return self.storage.get(line, self.storage.get("*", Decimal(0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a statement: an exact quantity of a unit, its price, the amount rounded to
    cents.
    """

    item: str
    quantity: int
    unit: str
    price: Decimal
    per: str
    amount: Decimal


def statement(
    metered: Metered, prices: PriceList, plan: Plan, *, free_out_bytes: int, all_free: bool
) -> list[Line]:
    """Lines of what a tenant pays for a month.

    Args:
        plan: in force at the end of the month.
        free_out_bytes: of what was sent, in hours of switching.
        all_free: the tenant was switching in every hour.
    """
    lines = list(_storage(metered, prices, plan))
    if free_out_bytes or all_free:
        lines.append(_line("sent, switching", free_out_bytes, "byte", Decimal(0), "GB", GB))
    if not all_free:
        lines += _sent(metered.out_bytes - free_out_bytes, prices, plan)
    lines.append(_line("received", metered.in_bytes, "byte", prices.in_gb, "GB", GB))
    for kind in REQUEST_KINDS:
        price = prices.requests_10k.get(kind, Decimal(0))
        count = metered.requests.get(kind, 0)
        lines.append(_line(f"requests {kind}", count, "request", price, "10k", 10_000))
    return lines


def total_of(lines: Iterable[Line]) -> Decimal:
    """Sum of the amounts."""
    return sum((line.amount for line in lines), Decimal("0.00"))


def _storage(metered: Metered, prices: PriceList, plan: Plan) -> list[Line]:
    gb_month = GB * MONTH_MS
    if not plan.reserved_bytes:
        return [
            _line(f"storage {name}", held, "byte·ms", prices.of_line(name), "GB·month", gb_month)
            for name, held in sorted(metered.byte_ms.items())
        ]
    reserved = plan.reserved_bytes * MONTH_MS
    over = max(0, sum(metered.byte_ms.values()) - reserved)
    price = prices.of_line("STANDARD") if prices.overage_gb is None else prices.overage_gb
    return [
        _line("storage reserved", reserved, "byte·ms", prices.reserved_gb, "GB·month", gb_month),
        _line("storage overage", over, "byte·ms", price, "GB·month", gb_month),
    ]


def _sent(out_bytes: int, prices: PriceList, plan: Plan) -> list[Line]:
    if not plan.reserved_out_bytes:
        return [_line("sent", out_bytes, "byte", prices.out_gb, "GB", GB)]
    over = max(0, out_bytes - plan.reserved_out_bytes)
    price = prices.out_gb if prices.overage_out_gb is None else prices.overage_out_gb
    reserved = plan.reserved_out_bytes
    return [
        _line("sent reserved", reserved, "byte", prices.reserved_out_gb, "GB", GB),
        _line("sent overage", over, "byte", price, "GB", GB),
    ]


def _line(item: str, quantity: int, unit: str, price: Decimal, per: str, units_per: int) -> Line:
    amount = (Decimal(quantity) * price / Decimal(units_per)).quantize(_CENT, ROUND_HALF_UP)
    return Line(item=item, quantity=quantity, unit=unit, price=price, per=per, amount=amount)
