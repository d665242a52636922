"""Bits flip in stored shards, in every region of a record, and a node lies with right checksums.

Up to m bad shards of a stripe: right bytes, and repair makes them good again. More: an error or a
cut connection, never wrong bytes and never a clean end.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from random import Random

import pytest

from gateway.compose import Gateway
from gateway.data.shard_header import parse_header
from gateway.meta.stripes import scan_stripes
from gateway.model.layout import StripeRow
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.node import Node
from tests.support.histories import Model, check, write
from tests.support.processes import Cluster, running, settle
from tests.support.raw_s3 import ClosedByServer
from tests.support.volume_edit import REGIONS, StoredShard, stored_shards

M = 2
SIZES = (1, 4096, 20_000, 131_072, 131_073, 1_000_000, 5 << 20)

pytestmark = pytest.mark.timeout(120)

Shards = dict[StripeId, dict[int, StoredShard]]


def _fill(cluster: Cluster, model: Model, rng: Random, count: int) -> None:
    with cluster.client() as client:
        for number in range(count):
            size = SIZES[number % len(SIZES)]
            assert write(model, client, f"k{number:03d}", rng.randbytes(size)) == 200
    assert cluster.stop_gateway() == 0


def _shards(cluster: Cluster) -> Shards:
    """All stored shards by stripe and index."""
    found: Shards = defaultdict(dict)
    for name in cluster.node_names():
        for stored in stored_shards(cluster.laid.node(name)):
            found[stored.shard.stripe][stored.shard.index] = stored
    return found


def _with_bodies(cluster: Cluster) -> list[StripeRow]:
    rows: list[StripeRow] = []

    async def look(gateway: Gateway) -> None:
        found = scan_stripes(gateway.log, gateway.core.records, None, limit=10_000)
        rows.extend(stored.row for stored in found if stored.row.live_bytes)

    cluster.inside(look)
    return rows


@pytest.mark.proves("B-02")
def test_up_to_m_bad_shards_of_every_stripe(tmp_path: Path) -> None:
    rng, model = Random(31), Model()
    with running(tmp_path / "data") as cluster:
        _fill(cluster, model, rng, 60)
        rows = _with_bodies(cluster)
        shards = _shards(cluster)
        spoilt: dict[ShardId, str] = {}
        for number, row in enumerate(rows):
            held = shards[row.stripe]
            for index in rng.sample(sorted(held), 1 + number % M):
                region = REGIONS[len(spoilt) % len(REGIONS)]
                held[index].spoil(region, rng)
                spoilt[held[index].shard] = region
        assert len(spoilt) > 60
        cluster.start()
        with cluster.client() as client:
            for _ in range(2):
                check(model, client)
        assert cluster.stop_gateway() == 0

        async def look(gateway: Gateway) -> None:
            await _scrub(gateway, spoilt)
            await gateway.core.health.probe()  # brings what nodes have found to repair
            await settle(gateway)
            for shard in spoilt:
                info = await _holder(gateway, shard).verify(shard)
                assert parse_header(info.attributes).index == shard.index

        cluster.inside(look)
        cluster.start()
        with cluster.client() as client:
            check(model, client)
        print(f"{len(spoilt)} shards of {len(rows)} stripes spoilt")


def _holder(gateway: Gateway, shard: ShardId) -> Node:
    row = gateway.log.stripe_row(shard.stripe)
    assert row is not None, shard
    return gateway.core.nodes[row.nodes[shard.index]]


async def _scrub(gateway: Gateway, spoilt: dict[ShardId, str]) -> None:
    """Let nodes check the spoilt shards: they see all but those with right checksums, unless a read
    has had them repaired.
    """
    seen = 0
    for shard, region in spoilt.items():
        try:
            await _holder(gateway, shard).verify(shard)
        except StorageError:
            seen += 1
            assert region != "forged"
    print(f"{seen} of {len(spoilt)} found by nodes, the others repaired after reads, or forged")


@pytest.mark.proves("B-02")
def test_more_than_m_bad_shards_are_an_error(tmp_path: Path) -> None:
    rng, model = Random(37), Model()
    with running(tmp_path / "data") as cluster:
        _fill(cluster, model, rng, 42)
        rows = _with_bodies(cluster)
        shards = _shards(cluster)
        for number, row in enumerate(rows):
            if number % 2:
                continue
            held = shards[row.stripe]
            for index in rng.sample(sorted(held), M + 1 + number // 2 % 3):
                held[index].spoil(REGIONS[rng.randrange(1, len(REGIONS))], rng)
        lost = {row.stripe for row in rows[::2]}
        assert {stripe.family for stripe in lost} == {StripeFamily.COMMIT, StripeFamily.DATA}
        cluster.start()
        right = refused = cut = 0
        for key in sorted(model.keys):
            (expected,) = model.possible(key)
            assert expected is not None
            with cluster.client() as client:
                try:
                    answer = client.request("GET", f"/bucket/{key}")
                except ClosedByServer as error:
                    assert expected.startswith(error.received), "wrong bytes before the cut"
                    assert len(error.received) < len(expected), "a clean end"
                    cut += 1
                    continue
            if answer.status == 200:
                assert answer.body == expected, key
                right += 1
            else:
                assert answer.status in (500, 503), answer.status
                assert answer.code in ("InternalError", "ServiceUnavailable", "SlowDown")
                refused += 1
        print(f"{right} right, {refused} refused, {cut} cut")
        assert right and refused
        assert refused + cut >= 42 // 2 - 2
        cluster.kill()
