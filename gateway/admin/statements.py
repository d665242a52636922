"""Monthly statements: from metered hours and a price list, without a gateway.

Not for integrals and prices themselves (`gateway.model.billing`). Whoever has the hours of a tenant
(`hexagone usage --hours --json`), the plan and the price list computes the same statement again.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from gateway.admin.client import Document
from gateway.model.billing import (
    ANNOTATIONS,
    GB,
    HOUR_MS,
    LOOSE,
    REQUEST_KINDS,
    Hour,
    Metered,
    Plan,
    PriceList,
    hour_of,
    integrate,
    statement,
    total_of,
)
from gateway.model.version import STORAGE_CLASSES
from storaged.base.errors import Kind, StorageError

PRICES_BYTES_MAX = 64 * 1024
_SINGLE = ("out_gb", "in_gb", "reserved_gb", "reserved_out_gb", "overage_gb", "overage_out_gb")
_LINES = {*STORAGE_CLASSES, LOOSE, ANNOTATIONS, "*"}


class StatementInvalid(StorageError):
    """The statement cannot be made from this."""

    kind = Kind.INVALID


def read_prices(path: Path | None) -> PriceList:
    """A price list from TOML; None: everything costs nothing. Raises: StatementInvalid."""
    if path is None:
        return PriceList()
    try:
        text = path.read_bytes()[: PRICES_BYTES_MAX + 1]
        if len(text) > PRICES_BYTES_MAX:
            raise StatementInvalid(reason="the price list is too large")
        # Decimals as they are written: 0.1 is a tenth.
        held = tomllib.loads(text.decode(), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise StatementInvalid(prices=str(path), reason=str(error)) from error
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


def integrated(hours: Document) -> dict[str, Metered]:
    """What each bucket used, by its id, from an answer with hours."""
    by_bucket: dict[str, list[Hour]] = {}
    for row in hours["hours"]:
        by_bucket.setdefault(row["bucket_id"], []).append(hour_of(row["number"], row))
    first, end, until_ms = hours["from_hour"], hours["to_hour"], hours["until_ms"]
    return {
        bucket: integrate(rows, first=first, end=end, now_ms=until_ms)
        for bucket, rows in by_bucket.items()
    }


def statement_of(
    *, tenant: str, month: str, hours: Document, plan: Plan, prices: PriceList
) -> Document:
    """A tenant's statement of a month, as a document."""
    total = Metered()
    for used in integrated(hours).values():
        total.add(used)
    lines = statement(total, prices, plan)
    end_ms = hours["to_hour"] * HOUR_MS
    return {
        "tenant": tenant,
        "month": month,
        "is_final": hours["until_ms"] >= end_ms,
        "until_ms": hours["until_ms"],
        "plan": plan.kind,
        "switching": plan.switching,
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
