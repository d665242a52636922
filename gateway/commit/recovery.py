"""Opening an epoch from what the nodes hold: list, decide, adopt or void, apply, and only then
serve (steps 9–11).

`decide` is pure: it says of one group what the shards that were found prove. An acknowledged group
is found again as long as no more is lost than its tier allows, so "not decodable although what is
unreachable could not have made the difference" proves that nobody was told that it had committed.

Invariants: D6. Source: docs/data-layout.md, "The commit protocol".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from gateway.commit.forming import records_context
from gateway.commit.header import GroupHeader, HeaderInvalid, digest_of
from gateway.commit.keys import LogKeys
from gateway.commit.records import (
    TAG_BYTES,
    Records,
    decode_records,
    open_records,
)
from gateway.data.placement import tier_of
from gateway.data.shard_header import ShardHeaderInvalid, parse_header
from gateway.data.stripes import StripeStore
from gateway.data.topology import Topology
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.base.limits import LIST_LIMIT_MAX
from storaged.node import Node, ShardInfo

logger = logging.getLogger(__name__)


class LogGap(StorageError):
    """A link of the log is missing."""

    kind = Kind.CORRUPT
    hint = "bring back the nodes named; --accept-loss goes on without what they hold"


class LogUndecided(StorageError):
    """Whether the last group was committed depends on nodes that do not answer."""

    kind = Kind.UNAVAILABLE
    hint = "start or reconnect the nodes named"


class Verdict(Enum):
    """What the shards that were found say of a group."""

    ADOPT = "adopt"
    VOID = "void"
    STOP = "stop"


@dataclass(slots=True)
class Candidate:
    """A group of which at least one shard was found. `found`: shard index → node number."""

    header: GroupHeader
    encoded: bytes
    geometry: Geometry
    cell_bytes: int
    payload_bytes: int
    found: dict[int, int] = field(default_factory=dict)

    def row(self, topology: Topology) -> StripeRow:
        """The stripe row as found, with all bodies live."""
        nodes = tuple(self.found.get(index, 0) for index in range(self.geometry.n))
        return StripeRow(
            stripe=self.header.stripe,
            geometry=self.geometry,
            cell_bytes=self.cell_bytes,
            payload_bytes=self.payload_bytes,
            nodes=nodes,
            tier=tier_of(nodes, topology, self.geometry.k),
            live_bytes=self.header.bodies_bytes,
        )


Candidates = dict[int, dict[int, Candidate]]
"""sequence number → log epoch → candidate"""


def decide(candidate: Candidate, topology: Topology, unreachable: frozenset[int]) -> Verdict:
    """Judge one group by the number of its shards found, its tier, and the nodes that do not
    answer.
    """
    geometry = candidate.geometry
    have = len(candidate.found)
    if have >= geometry.k:
        return Verdict.ADOPT
    if candidate.header.tier is Tier.FULL and len(topology.datacenters(unreachable)) <= 1:
        return Verdict.VOID
    if candidate.header.tier is Tier.NODE and len(unreachable) <= 1:
        return Verdict.VOID
    possible = min(geometry.n - have, 2 * len(unreachable))
    return Verdict.STOP if have + possible > geometry.k else Verdict.VOID


async def collect(
    nodes: Mapping[int, Node],
    reachable: frozenset[int],
    start: StripeId,
    keys: LogKeys,
    *,
    progress: Callable[[int], None] | None = None,
) -> tuple[Candidates, frozenset[int]]:
    """List commit shards from `start` on; returns the candidates and the nodes that failed on the
    way.
    """
    candidates: Candidates = {}
    failed: set[int] = set()
    listed = 0

    async def list_node(number: int) -> None:
        nonlocal listed
        at: ShardId | None = ShardId(start, 0)
        try:
            while at is not None:
                page = await nodes[number].list(at, None, limit=LIST_LIMIT_MAX)
                for info in page.shards:
                    _add(candidates, number, info, keys)
                listed += len(page.shards)
                if progress is not None:
                    progress(listed)
                at = page.next
        except StorageError as error:
            logger.warning("node %s could not be listed: %s", nodes[number].identity.node, error)
            failed.add(number)

    await asyncio.gather(*(list_node(number) for number in reachable))
    return candidates, frozenset(failed)


async def locate(nodes: Mapping[int, Node], row: StripeRow) -> StripeRow:
    """The row with the places where shards of its stripe are found, whatever it said before."""
    first, end = ShardId(row.stripe, 0), ShardId(row.stripe, row.geometry.n)
    places = [0] * row.geometry.n

    async def look(number: int) -> None:
        try:
            page = await nodes[number].list(first, end, limit=row.geometry.n)
        except StorageError as error:
            logger.warning("node %s could not be asked: %s", nodes[number].identity.node, error)
            return
        for info in page.shards:
            places[info.shard.index] = number

    await asyncio.gather(*(look(number) for number in nodes))
    return replace(row, nodes=tuple(places))


def _add(candidates: Candidates, number: int, info: ShardInfo, keys: LogKeys) -> None:
    if info.shard.stripe.family is not StripeFamily.COMMIT:
        return
    try:
        attributes = parse_header(info.attributes)
        header = GroupHeader.decode(attributes.common, keys.log_key, keys.log)
    except (ShardHeaderInvalid, HeaderInvalid) as error:
        logger.warning("shard %s on node %d is not of this log: %s", info.shard, number, error)
        return
    if header.stripe != info.shard.stripe or attributes.index != info.shard.index:
        logger.warning("shard %s on node %d has another one's header", info.shard, number)
        return
    epochs = candidates.setdefault(header.sequence, {})
    candidate = epochs.get(header.epoch)
    if candidate is None:
        candidate = epochs[header.epoch] = Candidate(
            header,
            attributes.common,
            attributes.geometry,
            attributes.cell_bytes,
            attributes.payload_bytes,
        )
    elif candidate.encoded != attributes.common:
        logger.warning("two headers for group %s", header.stripe)
        return
    candidate.found.setdefault(info.shard.index, number)


async def read_group(
    store: StripeStore, candidate: Candidate, keys: LogKeys
) -> tuple[Records, bytes]:
    """Read and open the records of a group; returns them and the group's digest.

    Raises:
        StripeUnreadable, StripeGone, RecordsCorrupt.
    """
    header = candidate.header
    row = candidate.row(store.topology)
    sealed = bytes(await store.read(row, header.bodies_bytes, header.records_bytes, verified=True))
    context = records_context(header.log, header.epoch, header.sequence, header.previous)
    records = decode_records(
        open_records(keys.cipher(header.epoch), header.sequence, context, sealed)
    )
    return records, digest_of(candidate.encoded, sealed[-TAG_BYTES:])
