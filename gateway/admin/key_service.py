"""Whether the keys of tenants can be used, for status and metrics: the key service's side of it.

Not for keys and their epochs (`gateway.admin.key_desk`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.data.envelope import KeyProvider

Document = dict[str, Any]


@runtime_checkable
class KeyServiceView(Protocol):
    """A provider that is a service."""

    def summary(self) -> Document:
        """`provider`, `answers`, `reason` (why it does not), `calls`, `errors`, `budget_refusals`
        among these, `seconds` that the calls of this gateway took. Asks nobody.
        """
        ...


def key_service_document(provider: KeyProvider) -> Document:
    """What status says of the keys."""
    return provider.summary() if isinstance(provider, KeyServiceView) else kept_in_gateway()


def kept_in_gateway() -> Document:
    """What status says where there is no key service."""
    return {
        "provider": "file",
        "answers": True,
        "reason": "",
        "calls": 0,
        "errors": 0,
        "budget_refusals": 0,
        "seconds": 0.0,
    }


def key_service_warnings(provider: KeyProvider) -> list[str]:
    """What an operator has to know at once."""
    held = key_service_document(provider)
    if held["answers"]:
        return []
    return [f"the key service does not answer: {held['reason']}"]


def key_service_metrics(held: Document) -> Iterator[Metric]:
    """The families of a document."""
    yield GaugeMetricFamily(
        "hexagone_keys_answer", "1 while keys of tenants can be used.", value=float(held["answers"])
    )
    yield CounterMetricFamily(
        "hexagone_keys_calls", "Calls to the key service.", value=float(held["calls"])
    )
    yield CounterMetricFamily(
        "hexagone_keys_errors",
        "Calls that it refused or did not answer.",
        value=float(held["errors"]),
    )
    yield CounterMetricFamily(
        "hexagone_keys_budget_refusals",
        "Calls that it refused because a budget is spent.",
        value=float(held["budget_refusals"]),
    )
    yield CounterMetricFamily(
        "hexagone_keys_call_seconds", "Time that those calls took.", value=float(held["seconds"])
    )
