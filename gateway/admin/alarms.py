"""Prometheus families for what looks like an attack: nothing here is an error by itself.

Not for rules of alerts: docs/operations.md has examples.

Requirement: L-09.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.objects.context import Services
from gateway.objects.key_rotation import damaged_by_tenant


class Alarms(Collector):
    """Of one gateway."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """The families, as Prometheus knows them."""
        services = self._services
        writes = CounterMetricFamily(
            "hexagone_customer_key_writes",
            "Writes under keys of clients (SSE-C): many of a sudden look like a ransom.",
        )
        writes.add_metric((), services.customer_key_writes)
        yield writes
        clock = services.lock_clock
        lag = GaugeMetricFamily(
            "hexagone_lock_clock_lag_seconds",
            "How far ahead the wall clock was of what locks believe, at the start.",
        )
        lag.add_metric((), clock.held_back_ms / 1000 if clock is not None else 0.0)
        yield lag
        damaged = GaugeMetricFamily(
            "hexagone_damaged_sealed_keys",
            "Sealed keys of tenants that the last rotation could not open; they hold an older key.",
        )
        damaged.add_metric((), sum(damaged_by_tenant(services).values()))
        yield damaged
