"""Prometheus families for what looks like an attack, or like a record that has gaps.

Not for rules of alerts: deploy/prometheus/hexagone.rules.yml has them. Nothing here is an error by
itself.

Requirement: L-09.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.admin.gate import Gate
from gateway.objects.context import Services
from gateway.objects.key_rotation import damaged_by_tenant


class Alarms(Collector):
    """Of one gateway.

    Args:
        gate: of the admin port; None: there is none.
    """

    def __init__(self, services: Services, gate: Gate | None = None) -> None:
        self._services = services
        self._gate = gate

    def collect(self) -> Iterator[Metric]:
        """The families, as Prometheus knows them."""
        services = self._services
        yield CounterMetricFamily(
            "hexagone_customer_key_writes",
            "Writes under keys of clients (SSE-C): many of a sudden look like a ransom.",
            value=services.customer_key_writes,
        )
        yield CounterMetricFamily(
            "hexagone_deletes",
            "Objects and versions that clients have deleted: many of a sudden look like a thief.",
            value=services.deletes,
        )
        if self._gate is not None:
            yield CounterMetricFamily(
                "hexagone_admin_denials",
                "Requests that the admin port has refused.",
                value=self._gate.denials,
            )
        clock = services.lock_clock
        yield GaugeMetricFamily(
            "hexagone_lock_clock_lag_seconds",
            "How far ahead the wall clock was of what locks believe, at the start.",
            value=clock.held_back_ms / 1000 if clock is not None else 0.0,
        )
        yield GaugeMetricFamily(
            "hexagone_damaged_sealed_keys",
            "Sealed keys of tenants that the last rotation could not open; they hold an older key.",
            value=sum(damaged_by_tenant(services).values()),
        )
        yield from self._journal()

    def _journal(self) -> Iterator[Metric]:
        journal = self._services.journal
        if journal is None:
            return
        yield GaugeMetricFamily(
            "hexagone_journal_writable",
            "1 while all logs of the journal take events; acts are refused where one does not.",
            value=float(not journal.failure and not journal.damaged),
        )
        yield CounterMetricFamily(
            "hexagone_journal_lost_events",
            "Events that had no room in the journal.",
            value=journal.lost,
        )
