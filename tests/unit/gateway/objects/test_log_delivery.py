"""Access logs from memory into rows and objects, over crashes and without bounds broken."""

from __future__ import annotations

import asyncio

from gateway.jobs.logs import LogDelivery
from gateway.meta import keyspace
from gateway.model.names import BucketId
from gateway.objects import buckets
from gateway.objects.log_spool import PENDING_BYTES_MAX, ROW_BYTES_MAX, LogRoute
from tests.support.gateway import Gateway, memory_gateway


async def route_to(gateway: Gateway, name: str) -> LogRoute:
    await buckets.create_bucket(gateway.ctx(), name, None)
    opened = gateway.services.buckets.find(name)
    assert opened is not None
    bucket: BucketId = opened.bucket.bucket_id
    return LogRoute(bucket, name, "log/", "SimplePrefix", (), "bucket", "owner-of-tests")


def test_lines_survive_in_rows_once_flushed() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            route = await route_to(gateway, "logs")
            gateway.services.log_spool.add(route, "one\n")
            gateway.services.log_spool.add(route, "two\n")
            await gateway.services.log_spool.flush()
            assert len(gateway.rows_of(keyspace.LOG_LINES)) == 1
            cluster, index = gateway.cluster, gateway.index
        async with memory_gateway(cluster=cluster, index=index, with_bucket=False) as again:
            assert len(again.rows_of(keyspace.LOG_LINES)) == 1

    asyncio.run(scenario())


def test_long_logs_are_cut_into_rows_and_memory_is_bounded() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            route = await route_to(gateway, "logs")
            spool = gateway.services.log_spool
            line = "x" * (ROW_BYTES_MAX // 4) + "\n"
            for _ in range(2 * PENDING_BYTES_MAX // len(line)):
                spool.add(route, line)
            assert spool.dropped > 0
            for _ in range(PENDING_BYTES_MAX // ROW_BYTES_MAX + 10):
                await spool.flush()
            assert not spool.has_pending
            assert len(gateway.rows_of(keyspace.LOG_LINES)) >= PENDING_BYTES_MAX // ROW_BYTES_MAX

    asyncio.run(scenario())


def test_lines_to_a_bucket_that_has_gone_are_dropped() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            route = await route_to(gateway, "logs")
            gateway.services.log_spool.add(route, "one\n")
            await gateway.services.log_spool.flush()
            await buckets.delete_bucket(gateway.ctx(), "logs")
            gateway.services.log_roll_s = 0.0
            await LogDelivery(gateway.services).step()
            assert gateway.rows_of(keyspace.LOG_LINES) == []

    asyncio.run(scenario())
