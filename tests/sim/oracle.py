"""What nodes really hold of a stripe, judged by zfec itself, not by the product's tags."""

from __future__ import annotations

import asyncio

import zfec

from gateway.model.layout import StripeRow
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId
from storaged.node import ShardRange
from tests.sim.nodes import SimNode
from tests.sim.process import GatewayProcess
from tests.sim.world import World


async def _shard(node: SimNode, row: StripeRow, index: int) -> ShardRange | None:
    """What is really there; None where nothing is, for stripes come and go."""
    try:
        return await node.faulty.node.get(
            ShardId(row.stripe, index), offset=0, length=row.cell_bytes
        )
    except StorageError:
        return None


async def check_codewords(world: World, gateway: GatewayProcess) -> None:
    """Stripes whose shards are all there are codewords, and their shards say the same of them."""
    for row in gateway.stripe_rows():
        if 0 in row.nodes:
            continue
        got = await asyncio.gather(
            *(_shard(world.nodes[number], row, index) for index, number in enumerate(row.nodes))
        )
        shards = [shard for shard in got if shard is not None]
        if len(shards) < row.geometry.n:
            continue
        k, n = row.geometry.k, row.geometry.n
        cells = [bytes(shard.content) for shard in shards]
        parity = zfec.Encoder(k, n).encode(cells[:k], tuple(range(k, n)))
        if [bytes(cell) for cell in parity] != cells[k:]:
            world.violate(f"{row.stripe} is no codeword: a shard has other bytes than it was given")
