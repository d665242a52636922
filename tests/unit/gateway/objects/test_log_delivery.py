"""Access logs from memory into rows and objects, over crashes and without bounds broken."""

from __future__ import annotations

import asyncio
import json

from gateway.jobs.logs import LogDelivery
from gateway.meta import keyspace
from gateway.model.names import BucketId
from gateway.objects import buckets
from gateway.objects.bucket_logging import DELIVERER
from gateway.objects.list import list_objects
from gateway.objects.log_delivery import OBJECT_BYTES_MAX
from gateway.objects.log_spool import (
    OWNER_BYTES_MAX,
    PENDING_BYTES_MAX,
    ROW_BYTES_MAX,
    TARGET_BYTES_MAX,
    LogRoute,
)
from gateway.objects.policies import put_policy
from gateway.objects.values import ListOptions
from tests.support.gateway import Gateway, memory_gateway


async def route_to(gateway: Gateway, name: str) -> LogRoute:
    await buckets.create_bucket(gateway.ctx(), name, None)
    opened = gateway.services.buckets.find(name)
    assert opened is not None
    bucket: BucketId = opened.bucket.bucket_id
    return LogRoute(bucket, name, "log/", "SimplePrefix", (), "bucket", "owner-of-tests")


async def delivered_lines(gateway: Gateway, bucket: str) -> int:
    """How many lines the owner of a bucket finds in it, once all that is due has come."""
    arn = f"arn:aws:s3:::{bucket}/*"
    said = {"Effect": "Allow", "Principal": {"Service": DELIVERER}, "Resource": arn}
    text = json.dumps({"Statement": {**said, "Action": "s3:PutObject"}})
    await put_policy(gateway.ctx(), bucket, text)
    gateway.services.log_roll_s = 0.0
    while gateway.rows_of(keyspace.LOG_LINES):
        await LogDelivery(gateway.services).step()
    page = await list_objects(gateway.ctx(), bucket, ListOptions())
    contents = [await gateway.get(entry.key, bucket=bucket) for entry in page.entries]
    return sum(content.count(b"\n") for content in contents)


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
            offered = 2 * TARGET_BYTES_MAX // len(line)
            for _ in range(offered):
                spool.add(route, line)
            assert spool.dropped > 0
            while await spool.flush():
                pass
            assert len(gateway.rows_of(keyspace.LOG_LINES)) >= TARGET_BYTES_MAX // ROW_BYTES_MAX
            assert await delivered_lines(gateway, "logs") == offered - spool.dropped

    asyncio.run(scenario())


def test_a_busy_account_pushes_out_its_own_lines_only() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            spool = gateway.services.log_spool
            line = "x" * (TARGET_BYTES_MAX // 8 - 1) + "\n"
            busy = [
                (await route_to(gateway, f"busy-{number}"))._replace(owner="busy")
                for number in range(2 * OWNER_BYTES_MAX // TARGET_BYTES_MAX)
            ]
            for route in busy:
                for _ in range(16):
                    spool.add(route, line)
            assert spool.dropped == 16 * len(busy) - 8 * OWNER_BYTES_MAX // TARGET_BYTES_MAX
            # Another account has room: in a bucket of its own, and in one of those.
            mine = await route_to(gateway, "mine")
            dropped = spool.dropped
            spool.add(mine, "one\n")
            spool.add(busy[-1]._replace(owner="else"), "two\n")
            assert spool.dropped == dropped
            spool.add(busy[-1], line)
            assert spool.dropped == dropped + 1
            while await spool.flush():
                pass
            assert await delivered_lines(gateway, "mine") == 1
            spool.add(busy[0], line)  # what is written is room again
            assert spool.dropped == dropped + 1

    asyncio.run(scenario())


def test_a_log_that_fills_an_object_does_not_wait() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            spool, route = gateway.services.log_spool, await route_to(gateway, "logs")
            line = "x" * (ROW_BYTES_MAX - 1) + "\n"
            job, rows = LogDelivery(gateway.services), OBJECT_BYTES_MAX // ROW_BYTES_MAX
            for number in range(2 * rows + 4):
                spool.add(route, line)
                await job.step()
                assert len(gateway.rows_of(keyspace.LOG_LINES)) <= rows + 2, number
            assert job.progress().done == 2
            assert spool.dropped == 0

    asyncio.run(scenario())


def test_the_memory_of_all_lines_is_bounded() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            spool, route = gateway.services.log_spool, await route_to(gateway, "logs")
            line = "x" * (TARGET_BYTES_MAX - 1) + "\n"
            shares = PENDING_BYTES_MAX // TARGET_BYTES_MAX
            for number in range(shares + 3):
                target = BucketId(number.to_bytes(16, "big"))
                spool.add(route._replace(target=target, owner=str(number)), line)
            assert spool.dropped == 3

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
