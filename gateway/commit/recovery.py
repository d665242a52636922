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

from gateway.commit.fencing import Fenced
from gateway.commit.forming import CLUSTER_PARTITION, StripeRowCodec, records_context
from gateway.commit.group_store import GroupStore
from gateway.commit.header import Applied, GroupHeader, HeaderInvalid, digest_of
from gateway.commit.keys import LogKeys
from gateway.commit.records import (
    TAG_BYTES,
    Records,
    RecordsCorrupt,
    decode_records,
    open_records,
)
from gateway.data.placement import tier_of
from gateway.data.shard_header import ShardHeaderInvalid, parse_header
from gateway.data.stripes import StripeGone, StripeStore, StripeUnreadable
from gateway.data.topology import Topology
from gateway.meta.kv import Batch, Index, Write
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.base.limits import LIST_LIMIT_MAX
from storaged.node import Fence, Node, ShardInfo

logger = logging.getLogger(__name__)

READ_AHEAD_GROUPS = 8
APPLY_WRITES_MAX = 4000


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


class Replay:
    """Follows the log from what is applied, group by group, and moves the index."""

    def __init__(
        self,
        *,
        index: Index,
        groups: GroupStore,
        keys: LogKeys,
        codec: StripeRowCodec,
        random_bytes: Callable[[int], bytes],
        accept_loss: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._index = index
        self._groups = groups
        self._store = groups.stripes
        self._keys = keys
        self._codec = codec
        self._random_bytes = random_bytes
        self._accept_loss = accept_loss
        self._progress = progress
        self.lost: list[str] = []

    async def run(
        self, applied: Applied, candidates: Candidates, fenced: Fenced, failed: frozenset[int]
    ) -> Applied:
        """Adopt what follows `applied`.

        Returns: how far the index is; the last group adopted has been completed to a tier in reach.

        Raises:
            LogGap, LogUndecided: nothing beyond the last whole link was applied.
        """
        unreachable = fenced.unreachable | failed
        last = max(candidates, default=applied.sequence)
        final: Candidate | None = None
        pending: list[Batch] = []
        writes = 0
        ahead = _ReadAhead(self._store, self._keys)
        while True:
            chosen = await self._next(applied, candidates, unreachable, last, ahead)
            if chosen is None:
                break
            candidate, records, digest = chosen
            header = candidate.header
            final = candidate
            applied = Applied(header.epoch, header.sequence, digest, header.checkpoint)
            own = candidate.row(self._store.topology)
            own_write = Write(self._codec.key(own.stripe), self._codec.seal(own))
            pending += [*records.batches, self._cluster_batch(own_write)]
            writes += sum(len(batch.writes) for batch in records.batches) + 1
            if writes >= APPLY_WRITES_MAX:
                await self._index.apply(pending, applied.encode())
                pending, writes = [], 0
            if self._progress is not None:
                self._progress(header.sequence, last)
        if pending:
            await self._index.apply(pending, applied.encode())
        if final is not None:
            await self._complete(final, applied, fenced.epoch)
        return applied

    async def _next(
        self,
        applied: Applied,
        candidates: Candidates,
        unreachable: frozenset[int],
        last: int,
        ahead: _ReadAhead,
    ) -> tuple[Candidate, Records, bytes] | None:
        """The group that follows.

        A group that a later one names as its predecessor has been committed or adopted, for only
        then is a successor sent; it goes before one of a higher epoch that was left void, and that
        is found all the same now that other nodes answer.
        """
        sequence = applied.sequence + 1
        epochs = candidates.get(sequence, {})
        named = {later.header.previous for later in candidates.get(sequence + 1, {}).values()}
        topology = self._store.topology
        newest: tuple[Candidate, Records, bytes] | None = None
        problem: StorageError | None = None
        for epoch in sorted(epochs, reverse=True):
            candidate = epochs[epoch]
            if epoch < applied.epoch or candidate.header.previous != applied.digest:
                continue
            verdict = decide(candidate, topology, unreachable)
            if verdict is Verdict.VOID:
                logger.info("group %s is void", candidate.header.stripe)
                continue
            if verdict is Verdict.STOP:
                problem = problem or LogUndecided(
                    group=candidate.header.stripe, nodes=self._names(unreachable, topology)
                )
                continue
            try:
                records, digest = await ahead.get(candidate, candidates)
            except (StripeUnreadable, StripeGone, RecordsCorrupt) as error:
                if not self._accept_loss:
                    problem = problem or LogGap(group=candidate.header.stripe, reason=str(error))
                else:
                    self.lost.append(str(candidate.header.stripe))
                continue
            if digest in named:
                return candidate, records, digest
            if newest is None and problem is None:
                newest = candidate, records, digest
        if newest is not None:
            return newest
        if problem is not None:
            raise problem
        if sequence <= last:
            later = sorted(n for n in candidates if n > sequence)
            if later:
                raise LogGap(
                    missing=sequence, later=later[0], nodes=self._names(unreachable, topology)
                )
        return None

    def _cluster_batch(self, *writes: Write) -> Batch:
        return Batch(
            partition=CLUSTER_PARTITION,
            request_id=self._random_bytes(16),
            checks=(),
            writes=writes,
        )

    @staticmethod
    def _names(numbers: frozenset[int], topology: Topology) -> str:
        known = topology.by_number
        return ",".join(sorted(str(known[number].node) for number in numbers if number in known))

    async def _complete(self, candidate: Candidate, applied: Applied, epoch: int) -> None:
        """Bring the newest adopted group to full strength: nobody else would finish it."""
        row = candidate.row(self._store.topology)
        missing = [index for index, number in enumerate(row.nodes) if not number]
        if not missing or row.tier is Tier.FULL:
            return
        placed = await self._store.restore(
            row, missing, fence=Fence(log=self._keys.log, epoch=epoch)
        )
        candidate.found.update(placed)
        whole = candidate.row(self._store.topology)
        write = Write(self._codec.key(whole.stripe), self._codec.seal(whole))
        await self._index.apply([self._cluster_batch(write)], applied.encode())
        if whole.tier is Tier.NONE:
            raise LogUndecided(group=whole.stripe, nodes="too few nodes to complete it")


class _ReadAhead:
    """Reads the following groups while one is being applied; a guess that turns out wrong is only
    thrown away.
    """

    def __init__(self, store: StripeStore, keys: LogKeys) -> None:
        self._store = store
        self._keys = keys
        self._reads: dict[StripeId, asyncio.Task[tuple[Records, bytes]]] = {}

    async def get(self, candidate: Candidate, candidates: Candidates) -> tuple[Records, bytes]:
        sequence = candidate.header.sequence
        for ahead in range(sequence, sequence + READ_AHEAD_GROUPS):
            epochs = candidates.get(ahead)
            if epochs:
                self._begin(epochs[max(epochs)])
        self._begin(candidate)
        return await self._reads.pop(candidate.header.stripe)

    def _begin(self, candidate: Candidate) -> None:
        stripe = candidate.header.stripe
        if stripe not in self._reads and len(candidate.found) >= candidate.geometry.k:
            self._reads[stripe] = asyncio.create_task(
                read_group(self._store, candidate, self._keys)
            )
