"""After the faults: everything is mended, jobs come to rest, and then everything must add up."""

from __future__ import annotations

import asyncio
from collections import Counter

from gateway.commit.manifest import Manifest
from gateway.data.placement import tier_of
from gateway.meta import keyspace
from gateway.meta.records import open_stored_bytes
from gateway.meta.stripes import open_stripe
from gateway.model.layout import StripeRow, Tier
from gateway.objects.releases import releases_of
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeId
from tests.sim.clients import Client
from tests.sim.process import GatewayProcess
from tests.sim.reads import KEYS
from tests.sim.world import Violation, World

MEND_ROUNDS = 40
SETTLE_ROUNDS = 25
NAMESPACE = (keyspace.CURRENT, keyspace.NONCURRENT, keyspace.UPLOAD, keyspace.PART)


async def round_of(world: World, gateway: GatewayProcess, name: str) -> bool:
    """One round of a job; False when it did not end well."""
    task = world.loop.spawn(gateway.owner, gateway.round(name))
    await asyncio.wait({task}, timeout=60)
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, StorageError):
        world.violate(f"job {name} raised {type(error).__name__}: {error}")
    return not task.cancelled() and error is None


async def weak_stripes(world: World, gateway: GatewayProcess) -> list[str]:
    """Stripes that have not all their shards where their rows say, or are not at tier FULL."""
    held = await world.physical()
    weak = []
    for row in gateway.stripe_rows():
        there = [
            number if number and ShardId(row.stripe, index) in held[number] else 0
            for index, number in enumerate(row.nodes)
        ]
        if 0 in there or tier_of(there, world.topology, row.geometry.k) is not Tier.FULL:
            weak.append(f"{row.stripe} named on {row.nodes}, there on {there}")
    return weak


async def mend_stripes(world: World, rounds: int = MEND_ROUNDS) -> bool:
    """Let repair and sweep bring every stripe to full strength; False when they did not."""
    for turn in range(rounds):
        gateway = await world.serving()
        if gateway.log.tier is Tier.FULL and not await weak_stripes(world, gateway):
            return True
        if turn % 3 < 2:
            # Side by side: what repair is about to name, the sweep sees unnamed.
            await asyncio.gather(
                round_of(world, gateway, "sweep"), round_of(world, gateway, "repair")
            )
        else:
            await round_of(world, gateway, "repair")
        await round_of(world, gateway, "tier")
        await asyncio.sleep(2.0)
    world.trace("stripes are not at full strength yet")
    return False


async def settle(world: World) -> GatewayProcess:
    """Mend everything and run all jobs until nothing changes any more."""
    for node in world.nodes.values():
        node.faulty.mend()
    for _ in range(1000):
        if world.gateway is not None and world.gateway.serving:
            break
        await asyncio.sleep(0.5)
    gateway = await asyncio.wait_for(world.serving(), 1)
    for link in gateway.links.values():
        link.cut = False
    await asyncio.sleep(15)  # quarantines end, late deliveries arrive
    if not gateway.log.serving or gateway.log.reservations.open_count:
        world.trace("restart: the log has stopped, or ids are open since a client was cut off")
        await world.crash_gateway(drop_last=False)
        await world.start_gateway()
        gateway = await world.serving()
    await gateway.scheduler.close()
    before: object = None
    for _ in range(SETTLE_ROUNDS):
        if not await mend_stripes(world):
            weak = await weak_stripes(world, gateway)
            raise Violation(f"stripes do not come to full strength, {gateway.log.tier}: {weak[:3]}")
        for name in ("garbage", "checkpoint", "compact", "free", "sweep", "sweep", "free"):
            if not await round_of(world, gateway, name):
                world.trace(f"settling: {name} failed")
        after = sorted(
            (row.stripe, row.nodes, row.live_bytes)
            for row in gateway.stripe_rows()
            if row.stripe.family.name == "DATA"
        )
        named = {
            (number, ShardId(row.stripe, index))
            for row in gateway.stripe_rows()
            for index, number in enumerate(row.nodes)
        }
        held = {(n, shard) for n, shards in (await world.physical()).items() for shard in shards}
        if after == before and held == named:
            return gateway
        before = after
    unnamed = sorted((str(shard), number) for number, shard in held - named)
    missing = sorted((str(shard), number) for number, shard in named - held)
    raise Violation(f"no rest: unnamed {unnamed[:6]}, missing {missing[:6]}")


def live_bytes_of(gateway: GatewayProcess) -> dict[StripeId, int]:
    """What rows name in each stripe: versions, parts, and checkpoints."""
    named: Counter[StripeId] = Counter()
    for family in (keyspace.CURRENT, keyspace.NONCURRENT, keyspace.PART):
        for row in gateway.index.scan(family, keyspace.successor(family), limit=10_000):
            layout = open_stored_bytes(gateway.records, row.key, row.value).layout
            for change in () if layout is None else releases_of(layout):
                named[change.stripe] -= change.live_delta
    manifests: list[Manifest | None] = [gateway.checkpointer.newest, gateway.checkpointer.previous]
    segments = {
        segment.row.stripe: segment.row.payload_bytes
        for manifest in manifests
        if manifest is not None
        for segment in manifest.segments
    }
    return {**named, **segments}


def check_books(world: World, gateway: GatewayProcess) -> None:
    """Live bytes are what rows name, and the partitions' sums hold."""
    named = {stripe: live for stripe, live in live_bytes_of(gateway).items() if live}
    live = {row.stripe: row.live_bytes for row in gateway.stripe_rows() if row.live_bytes}
    if live != named:
        wrong = {str(s) for s in live.keys() | named.keys() if live.get(s) != named.get(s)}
        detail = [(s, live.get(_id(s, live, named)), named.get(_id(s, live, named))) for s in wrong]
        world.violate(f"live bytes (stripe, kept, named): {sorted(detail)[:5]}")
    if gateway.index.verify_sums():
        world.violate("partition sums do not hold")


def _id(text: str, *maps: dict[StripeId, int]) -> StripeId:
    return next(stripe for held in maps for stripe in held if str(stripe) == text)


def _namespace(gateway: GatewayProcess) -> dict[bytes, bytes]:
    return {k: v for k, v in gateway.index.rows().items() if k[:1] in NAMESPACE}


def _stripes(gateway: GatewayProcess, below: int) -> dict[StripeId, StripeRow]:
    rows = (
        open_stripe(gateway.records, key, value)
        for key, value in gateway.index.rows().items()
        if key[:1] == keyspace.STRIPE
    )
    return {
        row.stripe: row
        for row in rows
        if row.stripe.family.name != "COMMIT" or row.stripe.counter <= below
    }


async def check_rebuild(world: World, client: Client) -> None:
    """An index made from the nodes alone says the same."""
    before = world.gateway
    assert before is not None
    sequence = before.log.position.sequence
    await world.crash_gateway(drop_last=False)
    kept = world.machine.index.rows()
    await world.start_gateway(rebuild=True)
    after = await world.serving()
    await after.scheduler.close()
    namespace = {k: v for k, v in kept.items() if k[:1] in NAMESPACE}
    rebuilt = _namespace(after)
    if rebuilt != namespace:
        differing = [
            key for key in namespace.keys() | rebuilt if namespace.get(key) != rebuilt.get(key)
        ]
        world.violate(f"a rebuilt index differs in {len(differing)} rows: {differing[:3]}")
    stripes = {key: value for key, value in kept.items() if key[:1] == keyspace.STRIPE}
    held = {
        row.stripe: row
        for row in (open_stripe(after.records, key, value) for key, value in stripes.items())
        if row.stripe.family.name != "COMMIT" or row.stripe.counter <= sequence
    }
    made = _stripes(after, sequence)
    wrong = [
        (held.get(stripe), made.get(stripe))
        for stripe in sorted(held.keys() | made)
        if _strip(held.get(stripe)) != _strip(made.get(stripe))
    ]
    if wrong:
        world.violate(f"a rebuilt index differs in {len(wrong)} stripe rows: {wrong[:2]}")
    check_books(world, after)
    await read_all(client)


def _strip(row: StripeRow | None) -> object:
    return row and (row.nodes, row.live_bytes, row.payload_bytes)


async def read_all(client: Client) -> None:
    """Every key is read, twice, and listed."""
    client.strict = True
    for key in KEYS:
        first, second = await client.get(key), await client.get(key)
        if first != second:
            client.world.violate(f"{key} changes between two reads: {first}, {second}")
    await client.list_all()
    for (key, version_id), value in sorted(client.world.versions.items()):
        await client.get_version(key, version_id, value)
