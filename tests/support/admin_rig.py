"""An admin view of a whole gateway over memory nodes, for tests of what operators see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.admin.status import ClusterView
from gateway.commit.checkpoint import Checkpointer
from gateway.config import AdminConfig, ClusterConfig, GatewayConfig, NodeConfig, StorageConfig
from gateway.data.topology import Topology
from gateway.jobs.repair import Repairer, RepairQueue
from gateway.model.layout import Geometry
from storaged.base.jobs import Progress, Scheduler
from tests.support.cluster import memory_cluster
from tests.support.gateway import Gateway, memory_gateway
from tests.support.log_rig import keys_of


class CountingJob:
    """A job that does one unit a step, `units` a round; fails at the step `fails_at`."""

    name = "count"

    def __init__(self, units: int = 3, fails_at: int = 0) -> None:
        self.units = units
        self.fails_at = fails_at
        self.done = 0

    async def step(self) -> float:
        self.done += 1
        if self.done == self.fails_at:
            raise RuntimeError("a secret that no answer may show")
        return 60.0 if self.done % self.units == 0 else 0.0

    def progress(self) -> Progress:
        return Progress(done=self.done, total=self.units, unit="steps", detail="counting")


@dataclass(slots=True, kw_only=True)
class AdminRig:
    """A gateway and its admin view. Jobs are stepped by tests, never by themselves."""

    gateway: Gateway
    view: ClusterView
    scheduler: Scheduler
    repairs: RepairQueue
    repairer: Repairer
    counting: CountingJob

    async def lose(self, datacenter: str) -> None:
        """Take a datacenter away and let the gateway see it."""
        for node in self.gateway.cluster.in_datacenter(datacenter):
            node.down = True
        await self.gateway.cluster.health.probe()


def config_of(topology: Topology, geometry: Geometry, folder: Path) -> GatewayConfig:
    """A configuration whose nodes are those of a topology, as folders of this machine."""
    return GatewayConfig(
        cluster=ClusterConfig(
            name="tests",
            data_shards=geometry.k,
            parity_shards=geometry.m,
            nodes=tuple(
                NodeConfig(
                    number=node.number,
                    id=node.node,
                    datacenter=node.datacenter,
                    country=node.country,
                    directory=folder / node.node,
                )
                for node in topology.nodes
            ),
        ),
        storage=StorageConfig(index=folder / "index", keys=folder / "keys"),
        admin=AdminConfig(socket=folder / "admin.sock"),
    )


@asynccontextmanager
async def admin_rig(
    *node_counts: int, folder: Path = Path("nowhere"), geometry: Geometry | None = None
) -> AsyncIterator[AdminRig]:
    """A gateway with so many nodes in each datacenter (two in each of three), and its view."""
    cluster = memory_cluster(*node_counts, geometry=geometry)
    async with memory_gateway(cluster=cluster) as gateway:
        services, log, env = gateway.services, gateway.log, cluster.env
        await cluster.health.probe()
        repairs = RepairQueue(cluster.topology)
        repairer = Repairer(
            log=log,
            store=cluster.store,
            health=cluster.health,
            records=services.records,
            queue=repairs,
            env=env,
            drain_reports=lambda: services.damage.take(1000),
        )
        counting = CountingJob()
        scheduler = Scheduler(env)
        scheduler.add(repairer)
        scheduler.add(counting)
        view = ClusterView(
            config=config_of(cluster.topology, cluster.geometry, folder),
            topology=cluster.topology,
            health=cluster.health,
            log=log,
            scheduler=scheduler,
            repairs=repairs,
            repairer=repairer,
            checkpointer=Checkpointer(
                log=log,
                store=cluster.store,
                keys=keys_of(b"root"),
                records=services.records,
                nonces=services.nonces,
                env=env,
            ),
            records=services.records,
            damage=services.damage,
            pool=cluster.pool,
            env=env,
            started_at_ms=env.now_ms(),
        )
        yield AdminRig(
            gateway=gateway,
            view=view,
            scheduler=scheduler,
            repairs=repairs,
            repairer=repairer,
            counting=counting,
        )
