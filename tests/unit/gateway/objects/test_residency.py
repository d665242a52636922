"""S-01, S-02: bodies of a bucket with a location lie on its nodes only, whichever request wrote
them; a location that can take nothing is refused, and one whose nodes are away answers 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.commit.compact import Compacter
from gateway.data.topology import OWN_REGION, Region, Topology
from gateway.jobs.repair import Repairer, RepairQueue
from gateway.meta import keyspace
from gateway.meta.records import open_stored_bytes
from gateway.model.errors import IllegalLocationConstraint, InvalidLocationConstraint
from gateway.model.layout import Geometry, Packed, Striped
from gateway.objects.append import append_object
from gateway.objects.buckets import create_bucket
from gateway.objects.complete import complete_upload
from gateway.objects.copy import copy_object
from gateway.objects.lifecycle_moves import move_bytes
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.regions import RegionUnknown, RegionUnreachable
from gateway.objects.rename import rename_object
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CopyOptions,
    CopySource,
    CreateUploadOptions,
    PutOptions,
    RenameOptions,
)
from gateway.s3.errors import s3_code_for
from storaged.base.ids import DatacenterId, ShardId, StripeFamily, StripeId
from tests.support.annotations import annotate
from tests.support.cluster import memory_cluster
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway
from tests.support.log_rig import keys_of

pytestmark = pytest.mark.proves("S-01", "S-02")

HERE, NUMBER = "kept-in-paris", 7
SMALL, LARGE = b"small", bytes(range(256)) * 3000
PLAIN = PutOptions()


def bound(gateway: Gateway, *datacenters: str) -> set[int]:
    """Bound region "paris" to datacenters; their node numbers."""
    cluster = gateway.cluster
    names = frozenset(DatacenterId(name) for name in datacenters)
    region = Region(number=NUMBER, name="paris", datacenters=names)
    cluster.topology = Topology(1, cluster.topology.nodes, (region,))
    cluster.store.set_topology(cluster.topology)
    gateway.services.regions = {"paris": NUMBER}
    return {node.number for node in cluster.topology.nodes if node.datacenter in names}


def run(test: Callable[[Gateway, set[int]], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway(cluster=memory_cluster(4, 2, 2)) as gateway:
            allowed = bound(gateway, "paris")
            await create_bucket(gateway.ctx(), HERE, "paris")
            await test(gateway, allowed)

    asyncio.run(asyncio.wait_for(main(), 60))


def layouts(gateway: Gateway, bucket: str = HERE) -> list[Striped | Packed]:
    """Of every row of a bucket that names bytes."""
    opened = gateway.services.buckets.find(bucket)
    assert opened is not None
    found = []
    for family in (keyspace.CURRENT, keyspace.NONCURRENT, keyspace.PART, keyspace.ANNOTATION):
        start = family + opened.bucket.bucket_id
        for row in gateway.log.scan(start, keyspace.successor(start), limit=10_000):
            layout = open_stored_bytes(gateway.services.records, row.key, row.value).layout
            if layout is not None:
                found.append(layout)
    return found


def stripes(gateway: Gateway, bucket: str = HERE) -> set[StripeId]:
    """Of every row of a bucket; a packed body would be in a stripe of everybody's nodes."""
    found = set()
    for layout in layouts(gateway, bucket):
        assert isinstance(layout, Striped), "it travels in a stripe of all buckets"
        first = layout.first
        for at in range(layout.stripe_count):
            found.add(StripeId(first.family, first.epoch, first.counter + at))
    return found


async def is_inside(gateway: Gateway, allowed: set[int], count: int) -> None:
    """What rows say, and what nodes outside hold: not one shard of the bucket."""
    wanted = stripes(gateway)
    assert len(wanted) >= count
    for stripe in wanted:
        row = gateway.log.stripe_row(stripe)
        assert row is not None and row.region == NUMBER
        assert {number for number in row.nodes if number} <= allowed
    first = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)
    for number, node in gateway.cluster.nodes.items():
        if number not in allowed:
            held = (await node.list(first, None, limit=1000)).shards
            assert not wanted & {one.shard.stripe for one in held}
    assert gateway.live_bytes() == gateway.named_bytes()
    assert gateway.log.reservations.open_count == 0


async def write_everything(gateway: Gateway) -> None:
    """One object by each way that bytes come in."""
    for key, content in (("empty", b""), ("small", SMALL), ("large", LARGE)):
        await gateway.put(key, content, bucket=HERE)
        assert await gateway.get(key, bucket=HERE) == content
    await annotate(gateway, "note", b"a text", key="small", bucket=HERE)
    made = await create_upload(gateway.ctx(), HERE, "parts", CreateUploadOptions())
    part = await upload_part(
        gateway.ctx(), HERE, "parts", made.upload_id, 1, BytesBody(SMALL), None
    )
    listed = [CompletePart(part_number=1, etag=part.etag)]
    await complete_upload(gateway.ctx(), HERE, "parts", made.upload_id, listed, CompleteOptions())
    await append_object(gateway.ctx(), HERE, "added", BytesBody(SMALL), PLAIN, 0)
    await append_object(gateway.ctx(), HERE, "added", BytesBody(b"more"), PLAIN, len(SMALL))
    await append_object(gateway.ctx(), HERE, "empty", BytesBody(b"filled"), PLAIN, 0)
    await rename_object(gateway.ctx(), HERE, "empty", "filled", RenameOptions())
    await gateway.put("elsewhere", SMALL)
    await annotate(gateway, "note", b"a text", key="elsewhere")
    source = CopySource(bucket=BUCKET, key="elsewhere")
    await copy_object(gateway.ctx(), source, HERE, "copied", CopyOptions())
    assert await gateway.get("added", bucket=HERE) == SMALL + b"more"
    assert await gateway.get("filled", bucket=HERE) == b"filled"
    assert await gateway.get("copied", bucket=HERE) == SMALL
    assert await gateway.get("parts", bucket=HERE) == SMALL


def test_every_way_in_stays_inside() -> None:
    async def test(gateway: Gateway, allowed: set[int]) -> None:
        await write_everything(gateway)
        await is_inside(gateway, allowed, 9)
        services = gateway.services
        services.class_geometries = {"GLACIER": Geometry(5, 3)}
        opened = services.buckets.find(HERE)
        assert opened is not None
        bucket = opened.bucket.bucket_id
        start = keyspace.CURRENT + bucket
        for row in gateway.log.scan(start, keyspace.successor(start), limit=100):
            await move_bytes(services, bucket, row.key, "GLACIER")
        for stripe in stripes(gateway):
            held = gateway.log.stripe_row(stripe)
            assert held is not None and held.geometry == Geometry(5, 3)
        compacter = Compacter(
            log=gateway.log,
            store=services.stripes,
            keys=keys_of(b"root"),
            records=services.records,
            nonces=services.nonces,
            env=services.env,
            floor_sequence=lambda: 1 << 40,
        )
        while not await compacter.step():
            pass
        await is_inside(gateway, allowed, 9)
        assert isinstance(layouts(gateway, BUCKET)[0], Packed)  # that costs nobody else anything

    run(test)


async def repaired(gateway: Gateway) -> None:
    cluster = gateway.cluster
    await cluster.health.probe()
    repairer = Repairer(
        log=gateway.log,
        store=cluster.store,
        health=cluster.health,
        records=gateway.services.records,
        queue=RepairQueue(cluster.topology),
        env=cluster.env,
        drain_reports=lambda: gateway.services.damage.take(1000),
    )
    for _ in range(40):
        if await repairer.step():
            break


def test_repair_stays_inside_and_brings_in_what_lies_outside() -> None:
    async def test(gateway: Gateway, allowed: set[int]) -> None:
        await write_everything(gateway)
        gone = min(allowed)
        gateway.cluster.nodes[gone].down = True
        await repaired(gateway)
        await is_inside(gateway, allowed, 9)
        gateway.cluster.nodes[gone].down = False
        bound(gateway, "lyon", "marseille")  # whoever moves a region moves its bytes
        await repaired(gateway)
        for stripe in stripes(gateway):
            row = gateway.log.stripe_row(stripe)
            assert row is not None and not {number for number in row.nodes if number} & allowed
        assert await gateway.get("large", bucket=HERE) == LARGE

    run(test)


def test_a_region_whose_nodes_are_away_answers_503_and_others_write_on() -> None:
    async def test(gateway: Gateway, allowed: set[int]) -> None:
        await gateway.put("small", SMALL, bucket=HERE)
        for number in sorted(allowed)[1:]:
            gateway.cluster.nodes[number].down = True
        await gateway.cluster.health.probe()
        for content in (b"", SMALL, LARGE):
            with pytest.raises(RegionUnreachable) as error:
                await gateway.put("refused", content, bucket=HERE)
            answer = s3_code_for(error.value)
            assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        assert len(stripes(gateway)) == 1
        gateway.services.regions = {}  # somebody took the region out of the configuration
        with pytest.raises(RegionUnknown) as unknown:
            await gateway.put("refused", SMALL, bucket=HERE)
        assert s3_code_for(unknown.value).status == 503

    run(test)


def test_a_location_that_could_never_acknowledge_is_refused() -> None:
    async def test(gateway: Gateway, allowed: set[int]) -> None:
        bound(gateway, "lyon")  # two nodes: six shards have no place there
        with pytest.raises(IllegalLocationConstraint) as error:
            await create_bucket(gateway.ctx(), "never", "paris")
        answer = s3_code_for(error.value)
        assert (answer.status, answer.code) == (400, "IllegalLocationConstraintException")
        with pytest.raises(InvalidLocationConstraint):
            await create_bucket(gateway.ctx(), "never", "atlantis")

    run(test)


def test_the_log_and_small_bodies_of_other_buckets_stay_in_the_clusters_own_region() -> None:
    async def main() -> None:
        cluster = memory_cluster(2, 2, 2, 2)
        own = Region(
            number=OWN_REGION,
            name="fr",
            datacenters=frozenset(map(DatacenterId, ("paris", "lyon", "marseille"))),
        )
        cluster.topology = Topology(1, cluster.topology.nodes, (own,))
        cluster.store.set_topology(cluster.topology)
        async with memory_gateway(cluster=cluster) as gateway:
            for number in range(20):
                await gateway.put(f"small-{number}", SMALL)
            await gateway.put("large", LARGE)
            cluster.in_datacenter("paris")[0].down = True
            await gateway.put("handed-off", LARGE)
            assert await gateway.get("handed-off") == LARGE
        first = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)
        for node in cluster.in_datacenter("lille"):
            assert not (await node.list(first, None, limit=1000)).shards
        for node in cluster.in_datacenter("lyon"):
            assert (await node.list(first, None, limit=1000)).shards

    asyncio.run(asyncio.wait_for(main(), 60))
