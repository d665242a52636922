"""A gateway in this process whose index counts, with limits and a meter, and a clock to turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.jobs.metering import Metering
from gateway.meta.lmdb import LmdbIndex
from gateway.objects.limits_set import load_limits
from gateway.objects.metering import Meter
from storaged.base.env import RealEnv
from tests.support.cluster import MemoryCluster
from tests.support.gateway import BUCKET, Gateway, memory_gateway
from tests.support.log_rig import MemoryHistory


class TurnedEnv(RealEnv):
    """Clocks that a test turns; they stand still otherwise."""

    def __init__(self, at_ms: int = 1_800_000_000_000) -> None:
        super().__init__(threads_max=1)
        self.at_ms = at_ms
        self.up_s = 1000.0

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return self.up_s

    def turn(self, seconds: float) -> None:
        self.at_ms += int(seconds * 1000)
        self.up_s += seconds


@dataclass
class Metered:
    """A gateway, its index, its meter and the job that writes hours."""

    gateway: Gateway
    index: LmdbIndex
    meter: Meter
    metering: Metering
    env: TurnedEnv

    @property
    def bucket_id(self) -> bytes:
        opened = self.gateway.services.buckets.find(BUCKET)
        assert opened is not None
        return opened.bucket.bucket_id

    def lose_meter(self) -> None:
        """What the meter had in memory is gone, as in a crash."""
        assert self.index._usage is not None
        self.index._usage.listeners.remove(self.meter.follow)
        self.meter = _meter(self.gateway, self.index, self.env)
        self.index._usage.listeners.append(self.meter.follow)


def _meter(gateway: Gateway, index: LmdbIndex, env: TurnedEnv) -> Meter:
    services = gateway.services
    services.meter = Meter(
        log=gateway.log,
        store=index,
        usage=index,
        records=services.records,
        nonces=services.nonces,
        env=env,
    )
    return services.meter


@asynccontextmanager
async def metered_gateway(
    folder: Path,
    env: TurnedEnv | None = None,
    *,
    cluster: MemoryCluster | None = None,
    history: MemoryHistory | None = None,
) -> AsyncIterator[Metered]:
    """Wired as `gateway.compose` does it.

    Args:
        cluster, history: of an earlier gateway on the same folder, to start again on what it left.
    """
    own = RealEnv(threads_max=1)
    env = env or TurnedEnv()
    index = LmdbIndex(folder, map_size_bytes=1 << 28, sums_key=bytes(32), env=own)
    again = cluster is not None
    manager = memory_gateway(
        index=index, env=env, cluster=cluster, history=history, with_bucket=not again
    )
    async with manager as gateway:
        services = gateway.services
        usage = index.keep_usage(services.records)
        services.quotas.usage = index
        load_limits(services)
        meter = _meter(gateway, index, env)
        usage.listeners += [services.quotas.follow, meter.follow]
        metering = Metering(services, meter, index, index.recount_usage)
        yield Metered(gateway, index, meter, metering, env)
    index.close()
    own.close()
    env.close()
