"""What the key service itself shows to Prometheus: what it gave to whom, and its budgets.

A gateway's own metrics say what that gateway says; these do not go through one. Tenants are told by
their ids. Not for the time that calls take (`hexagone_keys_call_seconds` of gateways).

Source: docs/key-service.md, "Budgets". Requirement: B-08.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from gateway.keyd.service import KeyService
from storaged.base.env import Env

_BUDGET = ("budget", "of")


class KeydMetrics(Collector):
    """Families of one `KeyService`, made when somebody scrapes."""

    def __init__(self, service: KeyService, env: Env) -> None:
        self._service = service
        self._env = env
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """Prometheus text."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The families, as Prometheus knows them."""
        released = CounterMetricFamily(
            "hexagone_keyd_released",
            "What was given or done, by tenant, gateway and verb.",
            labels=("tenant", "gateway", "verb"),
        )
        for tenant, gateway, verb, count in self._service.releases.counted():
            released.add_metric((tenant, gateway, verb), count)
        yield released
        yield from self._budgets()

    def _budgets(self) -> Iterator[Metric]:
        budgets, now_s = self._service.budgets, self._env.monotonic_s()
        refused = CounterMetricFamily(
            "hexagone_keyd_budget_refused", "Calls refused: a budget is spent.", labels=_BUDGET
        )
        limit = GaugeMetricFamily(
            "hexagone_keyd_budget_per_hour", "What is allowed in an hour; 0: all.", labels=_BUDGET
        )
        used = GaugeMetricFamily(
            "hexagone_keyd_budget_used",
            "In the present hour, by who has used most.",
            labels=_BUDGET,
        )
        above = GaugeMetricFamily(
            "hexagone_keyd_budget_warned",
            "How many have used more in the present hour than a warning allows.",
            labels=_BUDGET,
        )
        for told in budgets.told(now_s):
            labels = (told.budget, told.of)
            refused.add_metric(labels, budgets.refused[labels])
            limit.add_metric(labels, told.per_hour_max)
            used.add_metric(labels, told.most_used)
            above.add_metric(labels, told.warned)
        yield from (refused, limit, used, above)
