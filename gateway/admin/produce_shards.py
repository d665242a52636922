"""Which shards drives of a party hold, asked of the nodes themselves: shards that no row names are
on drives all the same.

Not for what is inside them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from gateway.data.shard_header import parse_header
from gateway.data.stripes import StripeStore
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.base.limits import LIST_LIMIT_MAX
from storaged.node import Node, ShardInfo

SHARDS_COUNTED_MAX = 20_000_000
WHOLE_IDS_MAX = 1_000_000  # a hundred megabytes
_FIRST = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)


@dataclass(slots=True)
class Shards:
    """What was counted. `whole`: stripes of which enough shards are there to decode them;
    `whole_ids`: their ids, None where they are too many. `silent`: nodes that did not answer.
    """

    shards: int = 0
    cell_bytes: int = 0
    stripes: int = 0
    whole: int = 0
    whole_by_family: Counter[str] = field(default_factory=Counter)
    whole_ids: set[StripeId] | None = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    counted_all: bool = True


async def count_shards(store: StripeStore, numbers: set[int]) -> Shards:
    """Ask nodes for all their shards, side by side in the order of ids, and count by stripe."""
    found = Shards()
    heap: list[tuple[bytes, int]] = []
    heads: dict[int, ShardInfo] = {}
    listings = {
        number: _listing(store.nodes[number], number, found)
        for number in numbers
        if number in store.nodes
    }
    found.silent |= numbers - listings.keys()

    async def advance(number: int) -> None:
        info = await anext(listings[number], None)
        if info is not None:
            heads[number] = info
            heapq.heappush(heap, (info.shard.encode(), number))

    for number in listings:
        await advance(number)
    stripe: StripeId | None = None
    indexes: set[int] = set()
    wanted = 0
    while heap:
        if found.shards >= SHARDS_COUNTED_MAX:
            found.counted_all = False
            break
        _, number = heapq.heappop(heap)
        info = heads[number]
        if info.shard.stripe != stripe:
            _close(found, stripe, indexes, wanted)
            stripe, indexes = info.shard.stripe, set()
            wanted = _needed(info)
        found.shards += 1
        found.cell_bytes += info.content_bytes
        indexes.add(info.shard.index)
        await advance(number)
    _close(found, stripe, indexes, wanted)
    return found


async def _listing(node: Node, number: int, found: Shards) -> AsyncIterator[ShardInfo]:
    """All shards of a node, in the order of ids; ends where it does not answer."""
    start: ShardId | None = _FIRST
    while start is not None:
        try:
            page = await node.list(start, None, limit=LIST_LIMIT_MAX)
        except StorageError:
            found.silent.add(number)
            return
        for info in page.shards:
            yield info
        start = page.next


def _needed(info: ShardInfo) -> int:
    """k, as a shard's attributes say; more than there can be where they do not."""
    try:
        return parse_header(info.attributes).geometry.k
    except StorageError:
        return 1 << 16


def _close(found: Shards, stripe: StripeId | None, indexes: set[int], needed: int) -> None:
    if stripe is None:
        return
    found.stripes += 1
    if len(indexes) < needed:
        return
    found.whole += 1
    found.whole_by_family[stripe.family.name.lower()] += 1
    if found.whole_ids is not None:
        found.whole_ids.add(stripe)
        if len(found.whole_ids) > WHOLE_IDS_MAX:
            found.whole_ids = None
