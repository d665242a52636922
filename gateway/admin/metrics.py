"""Prometheus families of the cluster as this gateway sees it, made when somebody scrapes.

Not for the S3 front end (`gateway.metrics`) nor for nodes (`storaged.metrics`). Labels are node,
datacenter, job and margin: none grows with what clients send.

Source: Prometheus documentation, "Metric and label naming".
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.admin.key_service import key_service_metrics
from gateway.admin.status import ClusterView

JOB_STATES = ("running", "waiting", "paused", "failing")


class ClusterMetrics(Collector):
    """Log, nodes, repair, jobs, buffers and index of one gateway. Collect on its event loop."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """The families, as Prometheus knows them."""
        yield from self._log()
        yield from self._nodes()
        yield from self._stripes()
        yield from self._jobs()
        yield from self._memory_and_index()
        yield self._certificates()
        yield from key_service_metrics(self._view.key_service())

    def _log(self) -> Iterator[Metric]:
        view = self._view
        state = view.log.status()
        accepted = not view.not_ready()
        yield _gauge("hexagone_log_epoch", "Term of the committer.", state.epoch)
        yield _gauge("hexagone_log_sequence", "Last group in the index.", state.sequence)
        yield _gauge(
            "hexagone_log_checkpoint_sequence",
            "Group of the newest checkpoint's record.",
            state.checkpoint[1],
        )
        yield _gauge(
            "hexagone_log_tier", "What writes survive: 2 any datacenter, 1 any node.", state.tier
        )
        yield _gauge(
            "hexagone_reachable_tier",
            "What the usable nodes could give; 0 is none.",
            view.reachable_tier(),
        )
        yield _gauge("hexagone_log_waiting", "Changes not committed yet.", state.waiting)
        yield _gauge("hexagone_log_serving", "1 until the log stops.", state.serving)
        yield _gauge("hexagone_writes_accepted", "1 while writes are taken.", accepted)
        yield _counter("hexagone_log_groups", "Groups committed by this run.", state.groups)
        yield _counter("hexagone_log_changes", "Changes committed by this run.", state.changes)
        yield _counter(
            "hexagone_log_payload_bytes",
            "Payload of the groups committed by this run.",
            state.payload_bytes,
        )
        yield _gauge(
            "hexagone_start_time_seconds",
            "When this gateway began to serve, UTC.",
            view.started_at_ms / 1000,
        )

    def _nodes(self) -> Iterator[Metric]:
        view = self._view
        families = {
            name: GaugeMetricFamily(f"hexagone_node_{name}", text, labels=("node", "datacenter"))
            for name, text in (
                ("reachable", "1 while the node answers."),
                ("usable", "1 while the node takes shards."),
                ("in_service", "1 while the node's drive is in service."),
                ("shards", "Shards held."),
                ("stored_bytes", "Bytes on the drive."),
                ("free_bytes", "Bytes left on the drive."),
                ("capacity_bytes", "Bytes the drive may hold."),
                ("corrupt_shards", "Shards found corrupt and not repaired yet."),
                ("scrub_ratio", "How far the running scrub is, 0 to 1."),
                ("scrubbed_timestamp_seconds", "End of the last full scrub, 0 for none."),
                ("read_p95_seconds", "95th percentile of the last reads."),
                ("clock_skew_seconds", "Its clock ahead of the gateway's; below 0: behind."),
            )
        }
        usable = view.health.usable()
        for node in view.topology.nodes:
            labels = (str(node.node), str(node.datacenter))
            values: dict[str, float] = {
                "reachable": view.health.readable(node.number),
                "usable": node.number in usable,
                "read_p95_seconds": view.health.p95(node.number),
            }
            status = view.health.statuses().get(node.number)
            if status is not None:
                values |= {
                    "in_service": status.in_service,
                    "shards": status.shard_count,
                    "stored_bytes": status.stored_bytes,
                    "free_bytes": status.free_bytes,
                    "capacity_bytes": status.capacity_bytes,
                    "corrupt_shards": len(status.corrupt_shards),
                    "scrub_ratio": status.scrub_progress,
                    "scrubbed_timestamp_seconds": status.scrubbed_at_ms / 1000,
                }
            skew_s = view.health.clocks.skew_s(node.number)
            if skew_s is not None:
                values["clock_skew_seconds"] = skew_s
            for name, value in values.items():
                families[name].add_metric(labels, float(value))
        yield from families.values()

    def _stripes(self) -> Iterator[Metric]:
        view = self._view
        stripes = GaugeMetricFamily(
            "hexagone_stripes",
            "Stripes by how many more shards they may lose, as job repair counted last.",
            labels=("margin",),
        )
        for left, count in sorted(view.repairer.histogram.items()):
            stripes.add_metric((str(left),), count)
        yield stripes
        yield _gauge(
            "hexagone_stripes_counted_timestamp_seconds",
            "When they were counted; 0: not yet.",
            view.repairer.histogram_at_ms / 1000,
        )
        yield _gauge(
            "hexagone_repair_waiting", "Stripes waiting for repair.", len(view.repairs.waiting)
        )
        yield _gauge(
            "hexagone_repair_unrecoverable",
            "Stripes that could not be repaired.",
            len(view.repairs.unrecoverable),
        )
        yield _gauge(
            "hexagone_damage_reports",
            "Bad shards that reads found, not taken up yet.",
            len(view.damage),
        )
        yield _counter(
            "hexagone_damage_reports_dropped",
            "Reports that found the queue full.",
            view.damage.dropped,
        )

    def _jobs(self) -> Iterator[Metric]:
        label = ("job",)
        done = GaugeMetricFamily("hexagone_job_done", "Units done of this round.", labels=label)
        total = GaugeMetricFamily(
            "hexagone_job_units", "Units of this round; 0: not known.", labels=label
        )
        waiting = GaugeMetricFamily(
            "hexagone_job_waiting", "Units in the job's queue, if it has one.", labels=label
        )
        rounds = CounterMetricFamily("hexagone_job_rounds", "Rounds ended.", labels=label)
        failures = CounterMetricFamily("hexagone_job_failures", "Steps that failed.", labels=label)
        states = GaugeMetricFamily(
            "hexagone_job_state", "1 for the state the job is in.", labels=("job", "state")
        )
        for job in self._view.scheduler.status():
            done.add_metric((job.name,), job.progress.done)
            total.add_metric((job.name,), job.progress.total)
            waiting.add_metric((job.name,), job.progress.waiting)
            rounds.add_metric((job.name,), job.rounds)
            failures.add_metric((job.name,), job.failures)
            for state in JOB_STATES:
                states.add_metric((job.name, state), float(job.state == state))
        yield from (done, total, waiting, rounds, failures, states)

    def _certificates(self) -> Metric:
        days = GaugeMetricFamily(
            "hexagone_certificate_days_left",
            "Days until a certificate ends, as new connections see it.",
            labels=("holder",),
        )
        for holder, left in sorted(self._view.certificate_days().items()):
            days.add_metric((holder,), left)
        return days

    def _memory_and_index(self) -> Iterator[Metric]:
        view = self._view
        pool = view.pool
        yield _gauge("hexagone_buffers_leased", "Stripe buffers in use.", pool.leased_count)
        yield _gauge("hexagone_buffers_max", "Stripe buffers there may be.", pool.count_max)
        yield _gauge("hexagone_buffers_waiting", "Bodies in line for one.", pool.waiting_count)
        yield _gauge("hexagone_index_rows", "Rows of all kinds in the index.", view.index_rows())
        yield _gauge("hexagone_index_bytes", "What the index takes on disk.", view.index_bytes())


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=float(value))
