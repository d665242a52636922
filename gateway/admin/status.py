"""What an operator sees of a running cluster, as plain documents ready for JSON.

Not for changing anything, and no source of truth: everything here is what this gateway has seen.
Never holds a key, a secret, an ETag or an object's name that was not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from gateway.admin.journal_warnings import journal_warnings
from gateway.admin.key_service import kept_in_gateway
from gateway.admin.margins import MarginCounter, Margins
from gateway.admin.outlook import PRODUCTION_USES, Document, durability_report, spread
from gateway.admin.regions import refused_regions, regions_report
from gateway.admin.where import Locator, no_certificate
from gateway.commit.checkpoint import Checkpointer
from gateway.commit.log import Log
from gateway.config import GatewayConfig
from gateway.data.buffers import BufferPool
from gateway.data.health import HealthView
from gateway.data.placement import reachable_tier, tier_of
from gateway.data.topology import NodeState, Topology, TopologyNode
from gateway.jobs.repair import Repairer, RepairQueue
from gateway.journal.journal import Journal
from gateway.meta import keyspace
from gateway.meta.sealing import RecordKeys
from gateway.model.durability import Assumptions, durability
from gateway.model.layout import Tier
from gateway.objects.damage import DamageQueue
from storaged.base.env import Env
from storaged.base.jobs import JobStatus, Scheduler
from storaged.node import NodeStatus

UNRECOVERABLE_LISTED_MAX = 50
BUCKETS_COUNTED_MAX = 1000

TIER_MEANS = {
    Tier.FULL: "any datacenter may go",
    Tier.NODE: "reduced margin: any node may go, but not a datacenter",
    Tier.NONE: "too few nodes: not even any one node may go",
}


@dataclass(slots=True, kw_only=True)
class ClusterView:
    """Everything that `status`, `durability`, `where` and metrics read. Made once, by the
    composition root.

    Args:
        topology: set it again when the topology changes.
        started_at_ms: wall clock at which this gateway began to serve.
    """

    config: GatewayConfig
    topology: Topology
    health: HealthView
    log: Log
    scheduler: Scheduler
    repairs: RepairQueue
    repairer: Repairer
    checkpointer: Checkpointer
    records: RecordKeys
    damage: DamageQueue
    pool: BufferPool
    env: Env
    started_at_ms: int
    certificate_of: Callable[[int], str | None] = no_certificate
    journal: Journal | None = None
    more_warnings: Callable[[], Sequence[str]] = tuple
    certificate_days: Callable[[], Mapping[str, float]] = dict
    key_service: Callable[[], Document] = kept_in_gateway
    closing: bool = False
    _counted: Margins | None = field(default=None, init=False)
    _counter: MarginCounter = field(init=False)

    def __post_init__(self) -> None:
        self._counter = MarginCounter(
            log=self.log,
            records=self.records,
            health=self.health,
            repairs=self.repairs,
            env=self.env,
        )

    # Answers

    def status(self) -> Document:
        """The cluster as this gateway sees it. `count_margins` first makes the margins fresh."""
        geometry = self.config.cluster.geometry
        now_ms = self.env.now_ms()
        return {
            "cluster": self.config.cluster.name,
            "region": self.config.cluster.region,
            "geometry": {"k": geometry.k, "m": geometry.m},
            "at_ms": now_ms,
            "uptime_s": max(0, now_ms - self.started_at_ms) // 1000,
            "tier": self._tier(),
            "writes": self._writes(),
            "warnings": self.warnings(),
            "log": self._log(),
            "nodes": [self._node(node) for node in self.topology.nodes],
            "regions": self._regions(),
            "margins": self._margins(),
            "repair": self._repair(),
            "jobs": self.jobs(),
            "index": self._index(),
            "keys": self.key_service(),
            "buffers": {
                "leased": self.pool.leased_count,
                "max": self.pool.count_max,
                "waiting": self.pool.waiting_count,
            },
        }

    def durability(self) -> Document:
        """The model's figures for the layout in use and for production's."""
        return durability_report(self.config, self.topology)

    async def where(self, bucket: str, key: str) -> Document:
        """See `Locator.where`."""
        return await self.locator().where(bucket, key)

    def locator(self) -> Locator:
        """Answers where objects are."""
        return Locator(
            store=self.log,
            records=self.records,
            topology=self.topology,
            health=self.health,
            env=self.env,
            certificate_of=self.certificate_of,
        )

    def jobs(self) -> list[Document]:
        """All jobs with their progress."""
        return [job_report(job) for job in self.scheduler.status()]

    async def count_margins(self) -> None:
        """Count the margins of all stripes, where there are few enough to do it at once."""
        self._counted = await self._counter.count(self.topology)

    # Facts, also for metrics

    def reachable_tier(self) -> Tier:
        """The best tier that the usable nodes can give to a write."""
        geometry = self.config.cluster.geometry
        return reachable_tier(self.topology, geometry, self.health.usable())

    def tier(self) -> Tier:
        """What a write gets: the epoch's tier, or less where the usable nodes cannot give it."""
        return min(self.log.tier, self.reachable_tier())

    def not_ready(self) -> str:
        """Why writes cannot be taken, in one word; "" when they can."""
        if self.closing:
            return "closing"
        if not self.log.serving:
            return "stopped"
        floor = Tier.FULL if self.config.policy.refuse_reduced_margin else Tier.NODE
        if self.reachable_tier() < floor:
            return "too-few-nodes"
        return "opening-epoch" if self.log.status().detail else ""

    def margins(self) -> Margins:
        """The newest count of margins there is."""
        look = Margins(
            by_margin=self.repairer.histogram,
            counted_at_ms=self.repairer.histogram_at_ms,
            counted_by="the last look of job repair",
        )
        counted = self._counted
        return look if counted is None or counted.counted_at_ms < look.counted_at_ms else counted

    def index_rows(self) -> int:
        """Rows of all kinds in the index, as its own sums say."""
        return sum(count for count, _ in self.log.index.partition_sums().values())

    def index_bytes(self) -> int:
        """What the index takes on this machine's drive."""
        return sum(_allocated_bytes(path) for path in self.config.storage.index.glob("*"))

    def warnings(self) -> list[str]:
        """What somebody should look at, worst first."""
        found = []
        if lost := self.repairs.unrecoverable:
            found.append(f"{len(lost)} stripes could not be repaired: see repair.unrecoverable")
        reason = self._writes()["reason"]
        if reason:
            found.append(f"writes are refused: {reason}")
        if self.journal is not None:
            found += journal_warnings(self.journal)
        found += self.more_warnings()
        found += refused_regions(self._regions())
        found += [_trouble(node) for node in map(self._node, self.topology.nodes) if _trouble(node)]
        lowest = self.margins().lowest
        if lowest is not None and lowest < 0:
            found.append("some stripes cannot be read until nodes return (margin below 0)")
        if not reason and self.tier() is not Tier.FULL:
            found.append(f"tier {self.tier().name}: {TIER_MEANS[self.tier()]}")
        if self._margin_after_datacenter() == 0:
            found.append(f"this layout has margin 0 after losing a datacenter. {PRODUCTION_USES}")
        return found

    # Sections of the status

    def _regions(self) -> list[Document]:
        floor = Tier.FULL if self.config.policy.refuse_reduced_margin else Tier.NODE
        geometry = self.config.cluster.geometry
        return regions_report(self.topology, geometry, self.health.usable(), floor)

    def _tier(self) -> Document:
        tier = self.tier()
        return {
            "name": tier.name,
            "meaning": TIER_MEANS[tier],
            "applies_to": "what is written; see margins for what is stored",
            "epoch": self.log.tier.name,
            "reachable": self.reachable_tier().name,
        }

    def _writes(self) -> Document:
        reasons = {
            "closing": "the gateway is closing",
            "stopped": f"the log has stopped: {self.log.status().detail or 'closed'}",
            "too-few-nodes": "the usable nodes cannot give the tier that the policy asks for",
            "opening-epoch": f"no log epoch can be opened yet: {self.log.status().detail}",
        }
        word = self.not_ready()
        return {"accepted": not word, "reason": reasons.get(word, "")}

    def _log(self) -> Document:
        state = self.log.status()
        epoch, sequence = state.checkpoint
        newest = self.checkpointer.newest
        return {
            "epoch": state.epoch,
            "sequence": state.sequence,
            "serving": state.serving,
            "waiting": state.waiting,
            "groups": state.groups,
            "changes": state.changes,
            "payload_bytes": state.payload_bytes,
            "checkpoint": {
                "epoch": epoch,
                "sequence": sequence,
                "groups_since": state.sequence - newest.floor.sequence if newest else None,
                "segments": len(newest.segments) if newest else 0,
            },
            "freed_up_to": self.checkpointer.floor_sequence,
            "detail": state.detail,
        }

    def _node(self, node: TopologyNode) -> Document:
        number = node.number
        usable = number in self.health.usable()
        status = self.health.statuses().get(number)
        reachable = self.health.readable(number)
        report: Document = {
            "number": number,
            "node": str(node.node),
            "datacenter": str(node.datacenter),
            "country": node.country,
            "operator": node.operator,
            "state": node.state.value,
            "reachable": reachable,
            "usable": usable,
            "why_not": "" if usable else self._why_not(node),
            "read_p95_ms": round(self.health.p95(number) * 1000, 2),
            "clock_skew_s": self.health.clocks.skew_s(number),
        }
        if status is None:
            return report | {"seen": False}
        return report | _drive_report(status) | {"other_identity": _mismatch(node, status)}

    def _why_not(self, node: TopologyNode) -> str:
        if node.state is not NodeState.ACTIVE:
            return f"state {node.state.value}: takes no shards"
        detail = self.health.details().get(node.number, "")
        if detail:
            return detail
        return "resting after a slow answer" if self.health.readable(node.number) else "no answer"

    def _margins(self) -> Document:
        found = self.margins()
        return {
            "by_margin": {str(left): found.by_margin[left] for left in sorted(found.by_margin)},
            "lowest": found.lowest,
            "stripes": sum(found.by_margin.values()),
            "counted_by": found.counted_by,
            "counted_at_ms": found.counted_at_ms,
        }

    def _repair(self) -> Document:
        lost = self.repairs.unrecoverable
        return {
            "waiting": len(self.repairs.waiting),
            "reported": len(self.damage),
            "reports_dropped": self.damage.dropped,
            "unrecoverable_count": len(lost),
            "unrecoverable": [
                {"stripe": str(stripe), "reason": reason}
                for stripe, reason in islice(lost.items(), UNRECOVERABLE_LISTED_MAX)
            ],
        }

    def _index(self) -> Document:
        start = keyspace.BUCKET
        end = keyspace.successor(start)
        buckets = len(self.log.scan(start, end, limit=BUCKETS_COUNTED_MAX))
        return {
            "rows": self.index_rows(),
            "bytes": self.index_bytes(),
            "buckets": buckets,
            "buckets_counted_all": buckets < BUCKETS_COUNTED_MAX,
        }

    def _margin_after_datacenter(self) -> int | None:
        geometry = self.config.cluster.geometry
        numbers = spread(self.topology, geometry)
        if tier_of(numbers, self.topology, geometry.k) is not Tier.FULL:
            return None
        held: dict[str, int] = {}
        for number in numbers:
            datacenter = str(self.topology.by_number[number].datacenter)
            held[datacenter] = held.get(datacenter, 0) + 1
        return durability(tuple(held.values()), geometry.k, Assumptions()).margin_after_site


def job_report(job: JobStatus) -> Document:
    """One job, ready for JSON."""
    progress = job.progress
    return {
        "name": job.name,
        "state": job.state,
        "rounds": job.rounds,
        "failures": job.failures,
        "last_error": job.last_error,
        "progress": {
            "done": progress.done,
            "total": progress.total,
            "unit": progress.unit,
            "detail": progress.detail,
            "waiting": progress.waiting,
        },
    }


def _drive_report(status: NodeStatus) -> Document:
    return {
        "seen": True,
        "in_service": status.in_service,
        "writable": status.writable,
        "shards": status.shard_count,
        "stored_bytes": status.stored_bytes,
        "free_bytes": status.free_bytes,
        "capacity_bytes": status.capacity_bytes,
        "scrub_progress": round(status.scrub_progress, 4),
        "scrubbed_at_ms": status.scrubbed_at_ms,
        "corrupt_shards": len(status.corrupt_shards),
        "detail": status.detail,
    }


def _mismatch(node: TopologyNode, status: NodeStatus) -> str:
    """What the node says it is, where that differs from the configuration; "" when it agrees."""
    identity = status.identity
    said = (identity.node, identity.datacenter, identity.country)
    if said == (node.node, node.datacenter, node.country):
        return ""
    return "/".join((identity.country, identity.datacenter, identity.node))


def _trouble(node: Document) -> str:
    """One line on a node that needs somebody; "" for a healthy one."""
    name = node["node"]
    if node["state"] == NodeState.GONE.value:
        return ""
    if node.get("other_identity"):
        return f"node {name} says it is {node['other_identity']}"
    if not node["usable"] and node["state"] == NodeState.ACTIVE.value:
        return f"node {name} ({node['datacenter']}) takes no shards: {node['why_not']}"
    if not node["reachable"]:
        return f"node {name} ({node['datacenter']}) does not answer: {node['why_not']}"
    if node.get("corrupt_shards"):
        return f"node {name} has found {node['corrupt_shards']} corrupt shards"
    return ""


def _allocated_bytes(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512  # the index file is sparse
    except OSError:
        return 0  # it has gone in between
