"""Monthly statements: from metered hours and a price list, without a gateway.

Not for integrals and prices themselves (`gateway.model.billing`), nor for where hours come from:
answers of the admin port, files of them, or a tenant's journal
(`gateway.cli.statement_verify`). The same hours, plans and prices give the same statement, byte
for byte.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from gateway.cli.client import Document
from gateway.model.billing import (
    ANNOTATIONS,
    GB,
    HOUR_MS,
    LOOSE,
    REQUEST_KINDS,
    Hour,
    Metered,
    PlanChange,
    PriceList,
    hour_of,
    integrate,
    plan_before,
    plan_change_of,
    statement,
    switching_hours,
    total_of,
)
from gateway.model.version import STORAGE_CLASSES
from gateway.terminal.user_files import FileKind, FileUnusable
from storaged.base.errors import Kind, StorageError

PRICES = FileKind(bytes_max=64 * 1024, hint="docs/metering.md has a price list as it is wanted")
_SINGLE = ("out_gb", "in_gb", "reserved_gb", "reserved_out_gb", "overage_gb", "overage_out_gb")
_LINES = {*STORAGE_CLASSES, LOOSE, ANNOTATIONS, "*"}


class StatementInvalid(StorageError):
    """The statement cannot be made from this."""

    kind = Kind.INVALID


def read_prices(path: Path | None) -> PriceList:
    """A price list from TOML; None: everything costs nothing. Raises: FileUnusable."""
    if path is None:
        return PriceList()
    text = PRICES.text(path)
    try:
        # Decimals as they are written: 0.1 is a tenth.
        held = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise FileUnusable(path, hint=PRICES.hint, reason="it is no TOML", toml=error) from error
    with PRICES.of(path):
        return prices_of(held)


def prices_of(held: Mapping[str, Any]) -> PriceList:
    """A price list as a document. Raises: StatementInvalid."""
    unknown = held.keys() - {"currency", "storage", "requests_10k", *_SINGLE}
    storage, requests = held.get("storage", {}), held.get("requests_10k", {})
    if not isinstance(storage, dict) or not isinstance(requests, dict):
        raise StatementInvalid(reason="storage and requests_10k are tables")
    unknown |= (storage.keys() - _LINES) | (requests.keys() - set(REQUEST_KINDS))
    if unknown:
        raise StatementInvalid(reason=f"unknown price {sorted(unknown)[0]}")
    return PriceList(
        currency=str(held.get("currency", "EUR")),
        storage={name: _price(name, price) for name, price in storage.items()},
        requests_10k={name: _price(name, price) for name, price in requests.items()},
        **{name: _price(name, held[name]) for name in _SINGLE if name in held},
    )


def _price(name: str, value: object) -> Decimal:
    try:
        price = Decimal(str(value))
    except InvalidOperation as error:
        raise StatementInvalid(reason=f"the price {name} is no number") from error
    if not price.is_finite() or price < 0:
        raise StatementInvalid(reason=f"the price {name} is below zero, or none")
    return price


def month_hours(month: str) -> tuple[int, int]:
    """First hour of a month YYYY-MM, and of the next one. Raises: StatementInvalid."""
    try:
        begin = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError as error:
        raise StatementInvalid(reason="a month is YYYY-MM") from error
    year, number = divmod(begin.year * 12 + begin.month, 12)
    end = begin.replace(year=year, month=number + 1)
    return int(begin.timestamp()) * 1000 // HOUR_MS, int(end.timestamp()) * 1000 // HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredHours:
    """Hours of a tenant's buckets.

    Args:
        first, end: hours since the epoch; `end` is the one after the last.
        until_ms: up to where they have passed.
        by_bucket: by the bucket's id, in order, with the last one before `first` if there is one.
    """

    first: int
    end: int
    until_ms: int
    by_bucket: Mapping[str, Sequence[Hour]]


def hours_of(answer: Document) -> MeteredHours:
    """From an answer with hours. Raises: KeyError, TypeError."""
    by_bucket: dict[str, list[Hour]] = {}
    for row in answer["hours"]:
        by_bucket.setdefault(row["bucket_id"], []).append(hour_of(row["number"], row))
    return MeteredHours(
        first=answer["from_hour"],
        end=answer["to_hour"],
        until_ms=answer["until_ms"],
        by_bucket=by_bucket,
    )


def plans_of(answer: Document) -> list[PlanChange]:
    """Plans from an answer about a tenant's plan; one of before they had hours was always in force.

    Raises: KeyError, TypeError.
    """
    if not answer:
        return []
    return [plan_change_of(one) for one in answer.get("changes", [answer])]


def statement_of(
    *,
    tenant: str,
    tenant_id: str,
    month: str,
    hours: MeteredHours,
    plans: Sequence[PlanChange],
    prices: PriceList,
) -> Document:
    """A tenant's statement of a month, as a document."""
    total, free_out_bytes = Metered(), 0
    switching = switching_hours(plans, hours.first, hours.end)
    for rows in hours.by_bucket.values():
        used = integrate(rows, first=hours.first, end=hours.end, now_ms=hours.until_ms)
        total.add(used)
        free_out_bytes += sum(hour.out_bytes for hour in rows if hour.number in switching)
    plan = plan_before(plans, hours.end)
    all_free = len(switching) == hours.end - hours.first
    lines = statement(total, prices, plan, free_out_bytes=free_out_bytes, all_free=all_free)
    return {
        "tenant": tenant,
        "tenant_id": tenant_id,
        "month": month,
        "is_final": hours.until_ms >= hours.end * HOUR_MS,
        "until_ms": hours.until_ms,
        "plan": plan.kind,
        "switching": bool(switching),
        "currency": prices.currency,
        "gb_bytes": GB,
        "month_hours": 730,
        "lines": [
            {
                "item": line.item,
                "quantity": line.quantity,
                "unit": line.unit,
                "price": str(line.price),
                "per": line.per,
                "amount": str(line.amount),
            }
            for line in lines
        ],
        "total": str(total_of(lines)),
    }


def statement_bytes(statement: Document) -> bytes:
    """As `hexagone statement --json` writes it."""
    return json.dumps(statement).encode() + b"\n"
