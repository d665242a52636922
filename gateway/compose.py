"""The composition root of a gateway: which parts there are, how they hang together, and in which
order they start and stop.

Only here (and in `gateway.main`) is it known whether a node is local or remote.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Sequence
from contextlib import suppress

from gateway.commit.checkpoint import Checkpointer
from gateway.commit.compact import Compacter
from gateway.commit.free import Freer
from gateway.commit.log import Log
from gateway.commit.opening import ReplayProgress, open_log
from gateway.config import NATS_SCHEMES, GatewayConfig, given_accounts, profile_values
from gateway.core import Core, open_core, watched_certificates
from gateway.data.buffers import BufferPool
from gateway.jobs.audit import Audit
from gateway.jobs.departure import keep_departures
from gateway.jobs.enrolments import Enrolments
from gateway.jobs.erasure import ErasureKeeper
from gateway.jobs.events import Destination, EventSender
from gateway.jobs.garbage import GarbageCollector
from gateway.jobs.inventory import InventoryWriter
from gateway.jobs.key_move import NamedKeyMover
from gateway.jobs.key_use import KeyUse
from gateway.jobs.lifecycle import LifecycleKeeper
from gateway.jobs.lock_clock import keep_lock_clock
from gateway.jobs.logs import LogDelivery
from gateway.jobs.metering import Metering
from gateway.jobs.recovery import RecoveryKeeper
from gateway.jobs.repair import Repairer, RepairQueue
from gateway.jobs.replication import Replicator
from gateway.jobs.rotation import KeyRotation
from gateway.jobs.tier import TierKeeper
from gateway.jobs.usage_journal import UsageJournal
from gateway.journal.events import CLUSTER
from gateway.journal.journal import Journal
from gateway.journal.opening import open_journal, start_event
from gateway.limits import FULL_CELL_BYTES
from gateway.meta.accounts import AccessKey
from gateway.objects.bootstrap import ensure_account, ensure_root, restore_keyring
from gateway.objects.context import Services
from gateway.objects.credential_rows import keeper_of, seal_stored
from gateway.objects.credentials import Credentials
from gateway.objects.limits_set import load_limits
from gateway.objects.metering import Meter
from gateway.objects.named_keys import keep_keyring_copy
from gateway.objects.target import BucketCache
from gateway.outside.remote_s3 import RemoteBucket, RemoteS3
from gateway.outside.webhook import Webhook
from storaged.base.config import render_effective
from storaged.base.env import Env, RealEnv
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeId
from storaged.base.jobs import BEGINS_AFTER_S, Scheduler
from storaged.local import LocalNode
from storaged.scrub import ScrubJob

logger = logging.getLogger(__name__)

DAMAGE_TAKEN_MAX = 1000
LAST_LINES_S = 3.0  # for what access logs have in memory, when the gateway stops
SCRUB_REPORT_S = 60.0
SCRUB_REPORTS_MAX = 100_000


class Gateway:
    """A running gateway without its sockets: log, services, jobs.

    Attributes:
        root_key: the root user's access key; with its secret, if it was made just now.
    """

    root_key: AccessKey

    def __init__(self, core: Core, log: Log) -> None:
        assert core.nonces is not None
        self.core = core
        self.log = log
        config, env = core.config, core.env
        root = core.root
        self.journal = open_journal(
            config.journal, root.cluster_id, root.derive, env, config.storage.keys
        )
        self.services = Services(
            journal=self.journal,
            env=env,
            log=log,
            stripes=core.store,
            pool=_pool(config),
            geometry=core.geometry,
            cluster_id=core.root.cluster_id,
            records=core.records,
            nonces=core.nonces,
            bucket_keys=core.bucket_keys,
            buckets=BucketCache(log, core.records),
            credentials=Credentials(log, core.records, env, keeper_of(core.keyring, env)),
            damage=core.damage,
            region=config.cluster.region,
            locations=frozenset({config.cluster.region, *config.cluster.locations}),
            regions=config.cluster.region_numbers,
            tier_floor=core.tier_floor,
            class_geometries=config.cluster.class_geometries,
            event_targets={held.name: frozenset(held.accounts) for held in config.event_targets},
            replication_targets={
                held.name: frozenset(held.accounts) for held in config.replication_targets
            },
            **profile_values(config),
        )
        self.repairs = RepairQueue(core.topology)
        self._scrub_reports: dict[ShardId, float] = {}
        self._make_metering()
        self._make_log_jobs()
        self._make_cluster_jobs()
        self.scheduler = Scheduler(env)
        self._schedule()
        self._probing: asyncio.Task[None] | None = None

    def _make_metering(self) -> None:
        """Limits, and what tenants pay for: both follow what the index counts."""
        core, services = self.core, self.services
        services.quotas.usage = core.index
        load_limits(services)
        services.meter = Meter(
            log=self.log,
            store=core.index,
            usage=core.index,
            records=core.records,
            nonces=services.nonces,
            env=core.env,
        )
        core.usage.listeners += [services.quotas.follow, services.meter.follow]
        self.metering = Metering(services, services.meter, core.index, core.index.recount_usage)
        self.usage_journal = UsageJournal(
            services, services.meter, lambda: self.metering.has_looked
        )

    def _make_log_jobs(self) -> None:
        """What keeps the log and its stripes small."""
        core, log = self.core, self.log
        assert core.nonces is not None
        self.checkpointer = Checkpointer(
            log=log,
            store=core.store,
            keys=core.keys,
            records=core.records,
            nonces=core.nonces,
            env=core.env,
            bytes_between=core.config.policy.checkpoint_mib << 20,
        )
        self.freer = Freer(
            log=log,
            store=core.store,
            records=core.records,
            oldest_read_s=self.services.reads.oldest_s,
            env=core.env,
            floor_sequence=self._floor,
        )
        self.compacter = Compacter(
            log=log,
            store=core.store,
            keys=core.keys,
            records=core.records,
            nonces=core.nonces,
            env=core.env,
            floor_sequence=self._floor,
        )

    def _make_cluster_jobs(self) -> None:
        """What keeps stripes whole and nodes clean."""
        core, log = self.core, self.log
        self.garbage = GarbageCollector(self.services)
        self.lifecycle = LifecycleKeeper(self.services)
        self.log_delivery = LogDelivery(self.services)
        self.inventory = InventoryWriter(self.services)
        self.rotation = KeyRotation(self.services)
        self.lock_clock = keep_lock_clock(self.services, core.config.policy.lock_days_away)
        self.erasure = ErasureKeeper(
            self.services, core.config.erasure, lambda: self.run_job("compact")
        )
        self.departure = keep_departures(self.services)
        self.key_mover = NamedKeyMover(self.services)
        self.renewers, self.certificates = watched_certificates(core)
        self.key_use = KeyUse(self.services, core.config.storage.index)
        self.recovery = RecoveryKeeper(core.config.storage.keys, self.journal, core.env)
        self.destinations = _destinations(core.config)
        self.replica_targets = _replica_targets(core.config, core.env)
        self.events = EventSender(self.services, self.destinations)
        self.replicator = Replicator(self.services, self.replica_targets)
        self.repairer = Repairer(
            log=log,
            store=core.store,
            health=core.health,
            records=core.records,
            queue=self.repairs,
            env=core.env,
            drain_reports=self._damage_reports,
        )
        self.audit = Audit(
            log=log,
            nodes=core.nodes,
            health=core.health,
            records=core.records,
            repairs=self.repairs,
            env=core.env,
        )
        self.tier_keeper = TierKeeper(log=log, reachable=core.reachable, floor=core.tier_floor)

    def _schedule(self) -> None:
        core = self.core
        self.scheduler.add(self.tier_keeper)
        for scanning in (self.repairer, self.freer, self.checkpointer, self.compacter, self.audit):
            self.scheduler.add(scanning, begins_after_s=BEGINS_AFTER_S)
        for job in (
            self.garbage,
            self.metering,
            self.usage_journal,
            self.lifecycle,
            self.log_delivery,
            self.events,
            self.replicator,
            self.inventory,
            self.rotation,
            self.erasure,
            self.departure,
            self.key_mover,
            self.recovery,
            self.key_use,
            self.certificates,
            self.lock_clock,
            Enrolments(self.services, core.register_copy),
        ):
            self.scheduler.add(job)
        for renewer in self.renewers:
            self.scheduler.add(renewer)
        for node in core.nodes.values():
            if isinstance(node, LocalNode):
                self.scheduler.add(
                    ScrubJob(
                        node.store,
                        core.env,
                        name=f"scrub-{node.identity.node}",
                        bytes_per_s=core.config.policy.scrub_mib_per_s << 20,
                    ),
                    begins_after_s=BEGINS_AFTER_S,
                )
        # A node that was away may have come back without its shards: look at once.
        core.on_node_back = lambda: self.scheduler.wake("sweep")

    def _floor(self) -> int:
        return self.checkpointer.floor_sequence

    def _damage_reports(self) -> Sequence[tuple[StripeId, int, str]]:
        """What reads could not use, and what scrubs have found; each finding once in a while, for a
        node's last status still names what repair has made good since.
        """
        now_s = self.core.env.monotonic_s()
        found = []
        for status in self.core.health.statuses().values():
            for shard in status.corrupt_shards:
                if self._scrub_reports.get(shard, -math.inf) + SCRUB_REPORT_S <= now_s:
                    self._scrub_reports[shard] = now_s
                    found.append((shard.stripe, shard.index, "found by scrub"))
        if len(self._scrub_reports) > SCRUB_REPORTS_MAX:
            self._scrub_reports.clear()
        return [*self.core.damage.take(DAMAGE_TAKEN_MAX), *found]

    def start(self) -> None:
        """Jobs and probes begin."""
        self._probing = asyncio.create_task(self.core.health.run(), name="probe")
        self.scheduler.start()

    async def run_job(self, name: str) -> None:
        """One whole round of a job, now. `compact` also takes the checkpoints that free the log."""
        if name == "checkpoint":
            await self.checkpointer.take()
            return
        if name == "compact":
            await self.checkpointer.take()
            await self.checkpointer.take()
            await self.scheduler.run_round("compact")
            # Before the checkpoints, which would else keep the rows of all emptied stripes; after
            # them, the log of the moves can go.
            await self.scheduler.run_round("free")
            await self.checkpointer.take()
            await self.checkpointer.take()
            await self.scheduler.run_round("free")
            return
        if name == "repair":
            self.repairer.look_again()
        await self.scheduler.run_round(name)

    async def close(self) -> None:
        """Finish what is admitted, then release everything. Idempotent."""
        await self.scheduler.close()
        for destination in self.destinations.values():
            await destination.close()
        for target in self.replica_targets.values():
            await target.close()
        try:
            await asyncio.wait_for(self.log_delivery.finish(), LAST_LINES_S)
        except (StorageError, TimeoutError):
            logger.warning("the last lines of access logs are lost")
        try:
            await asyncio.wait_for(self.metering.finish(), LAST_LINES_S)
        except (StorageError, TimeoutError):
            logger.warning("the last requests are not metered")
        with suppress(OSError):
            await self.key_use.finish()
        if self._probing is not None:
            self._probing.cancel()
        if self.journal is not None:
            await self.journal.close()
        await self.log.close()
        await self.core.close()


def _pool(config: GatewayConfig) -> BufferPool:
    """Buffers for stripes of any class, in the memory that was given for those of the cluster's."""
    own = config.cluster.geometry.n
    widest = max(own, *(held.n for held in config.cluster.class_geometries.values()), 1)
    count = max(2, config.policy.stripe_buffers * own // widest)
    return BufferPool(count, widest * FULL_CELL_BYTES)


def _destinations(config: GatewayConfig) -> dict[str, Destination]:
    """What can be told of events, by name."""
    found: dict[str, Destination] = {}
    for target in config.event_targets:
        token = None if target.token is None else target.token.read_text().strip()
        if target.url.startswith(NATS_SCHEMES):
            # Loaded for those who use it: a gateway would start a tenth of a second later for it.
            from gateway.outside.nats_stream import NatsStream

            found[target.name] = NatsStream(target.url, token)
        else:
            found[target.name] = Webhook(target.url, token)
    return found


def _replica_targets(config: GatewayConfig, env: Env) -> dict[str, RemoteS3]:
    """Buckets elsewhere, by name."""
    found = {}
    for target in config.replication_targets:
        remote = RemoteBucket(
            target.endpoint.rstrip("/"),
            target.region,
            target.bucket or target.name,
            target.access_key_id,
            target.secret.read_text().strip(),
        )
        trusted = None
        if target.authority is not None:
            trusted = ssl.create_default_context(cafile=str(target.authority))
        found[target.name] = RemoteS3(remote, env, trusted)
    return found


def _start_journal(journal: Journal | None, config: GatewayConfig, env: Env) -> None:
    """Begin to record. A journal that takes nothing refuses acts; objects are served."""
    if journal is None:
        return
    journal.start()
    event = start_event(render_effective(config), len(config.cluster.nodes), env)
    journal.note(CLUSTER, event)


async def open_gateway(
    config: GatewayConfig,
    env: RealEnv,
    *,
    takeover: bool = False,
    progress: ReplayProgress = lambda phase, done, total: None,
) -> Gateway:
    """Open nodes, index and log, and make the root user of a fresh cluster. Raises:
    StorageError.
    """
    core = await open_core(config, env)
    try:
        log = await open_log(core.parts(), takeover=takeover, progress=progress)
        restore_keyring(core.index, core.records, core.keyring)
        gateway = Gateway(core, log)
        assert core.nonces is not None
        gateway.root_key = await ensure_root(log, core.records, core.nonces, core.keyring, env)
        await keep_keyring_copy(log, core.records, core.nonces, core.keyring, env)
        for account in given_accounts(config):
            await ensure_account(log, core.records, core.nonces, core.keyring, env, account)
        await seal_stored(log, core.records, core.nonces, core.keyring, env)
        _start_journal(gateway.journal, config, env)
    except (StorageError, asyncio.CancelledError):
        await core.close()
        raise
    return gateway
