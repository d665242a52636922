"""Counters of the S3 front end, in a registry of their own.

Not for deciding anything. Counting a request must cost about a microsecond, so the hot path adds
to plain integers of one `OperationCounters`; the Prometheus families are made from them when
somebody asks.

Source: Prometheus documentation, "Metric and label naming"; "Histograms and summaries".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# Seconds: from a HEAD out of the cache to an upload of hours.
LATENCY_BOUNDS_S = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0),
)
ERROR_CODES_MAX = 128  # S3's table has fewer; a label must not grow with what clients send


class OperationCounters:
    """Numbers of one operation; only ever added to, from one thread."""

    __slots__ = ("buckets", "bytes_in", "bytes_out", "errors", "latency_sum_s", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.latency_sum_s = 0.0
        self.buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.errors: dict[str, int] = {}

    def count(self, *, latency_s: float, bytes_in: int, bytes_out: int, code: str) -> None:
        """Add one answered request.

        Args:
            latency_s: from the request's head to the last byte of the answer.
            bytes_in: decoded bytes of the request's body.
            bytes_out: bytes of the answer's body.
            code: S3 error code, "" for success.
        """
        self.requests += 1
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        self.latency_sum_s += latency_s
        self.buckets[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        if code and (code in self.errors or len(self.errors) < ERROR_CODES_MAX):
            self.errors[code] = self.errors.get(code, 0) + 1


class S3Metrics(Collector):
    """All operations of one front end."""

    def __init__(self) -> None:
        self._operations: dict[str, OperationCounters] = {}
        self.in_flight = 0
        self.connections_refused = 0
        self.aborted_answers = 0

    def operation(self, name: str) -> OperationCounters:
        """The counters of an operation; made at the first call."""
        counters = self._operations.get(name)
        if counters is None:
            counters = self._operations[name] = OperationCounters()
        return counters

    def collect(self) -> Iterator[Metric]:
        """The families, as Prometheus knows them."""
        requests = CounterMetricFamily(
            "hexagone_s3_requests", "Answered requests.", labels=("operation",)
        )
        errors = CounterMetricFamily(
            "hexagone_s3_errors", "Answers with an S3 error code.", labels=("operation", "code")
        )
        received = CounterMetricFamily(
            "hexagone_s3_received_bytes", "Decoded bytes of bodies.", labels=("operation",)
        )
        sent = CounterMetricFamily(
            "hexagone_s3_sent_bytes", "Bytes of answers' bodies.", labels=("operation",)
        )
        latency = HistogramMetricFamily(
            "hexagone_s3_latency_seconds",
            "From the head of a request to the last byte of its answer.",
            labels=("operation",),
        )
        for name, counters in self._operations.items():
            requests.add_metric((name,), counters.requests)
            received.add_metric((name,), counters.bytes_in)
            sent.add_metric((name,), counters.bytes_out)
            for code, count in counters.errors.items():
                errors.add_metric((name, code), count)
            latency.add_metric((name,), _cumulative(counters.buckets), counters.latency_sum_s)
        yield from (requests, errors, received, sent, latency)
        yield GaugeMetricFamily(
            "hexagone_s3_requests_in_flight", "Requests being answered.", value=self.in_flight
        )
        yield CounterMetricFamily(
            "hexagone_s3_connections_refused",
            "Connections closed at once, too many being open.",
            value=self.connections_refused,
        )
        yield CounterMetricFamily(
            "hexagone_s3_aborted_answers",
            "Answers cut in the middle, because the rest could not be read.",
            value=self.aborted_answers,
        )


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    total = 0
    points = []
    for bound, count in zip((*map(str, LATENCY_BOUNDS_S), "+Inf"), buckets, strict=True):
        total += count
        points.append((bound, float(total)))
    return points


def new_registry(*collectors: Collector) -> CollectorRegistry:
    """A registry that holds these collectors and nothing else."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The text that `CONTENT_TYPE` announces."""
    return generate_latest(registry)
