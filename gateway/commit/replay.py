"""Following the log: group by group from what is applied to its end, and the index with it.

Not for judging one group by its shards: `gateway.commit.recovery`. A missing link stops, unless the
operator has accepted losses; then what cannot be followed is listed and the next group that can be
read goes on.

Invariants: D6. Source: docs/data-layout.md, "The commit protocol", steps 9–11.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from gateway.commit.fencing import Fenced
from gateway.commit.forming import CLUSTER_PARTITION, StripeRowCodec
from gateway.commit.group_store import GroupStore
from gateway.commit.header import Applied
from gateway.commit.keys import LogKeys
from gateway.commit.records import Records, RecordsCorrupt
from gateway.commit.recovery import (
    Candidate,
    Candidates,
    LogGap,
    LogUndecided,
    Verdict,
    decide,
    read_group,
)
from gateway.data.stripes import StripeGone, StripeStore, StripeUnreadable
from gateway.meta.kv import Batch, Index, Write
from gateway.model.layout import Tier
from storaged.base.errors import StorageError
from storaged.base.ids import StripeId
from storaged.node import Fence

logger = logging.getLogger(__name__)

READ_AHEAD_GROUPS = 8
APPLY_WRITES_MAX = 4000


@dataclass(frozen=True, slots=True)
class Link:
    """A group that belongs to the log, read, and the mark of an index that has followed it."""

    candidate: Candidate
    records: Records
    applied: Applied


class Replay:
    """Follows one log once. `lost` says what was given up, with `accept_loss` only."""

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
        self._store = groups.stripes
        self._keys = keys
        self._codec = codec
        self._random_bytes = random_bytes
        self._accept_loss = accept_loss
        self._progress = progress
        self._ahead = _ReadAhead(self._store, keys)
        self._candidates: Candidates = {}
        self._unreachable: frozenset[int] = frozenset()
        self._last = 0
        self._batches: list[Batch] = []
        self._writes = 0
        self.lost: list[str] = []

    async def run(
        self, applied: Applied, candidates: Candidates, fenced: Fenced, failed: frozenset[int]
    ) -> Applied:
        """Adopt what follows `applied`.

        Returns: how far the index is.

        Raises:
            LogGap, LogUndecided: nothing beyond the last whole link was applied.
        """
        self._candidates = candidates
        self._unreachable = fenced.unreachable | failed
        self._last = max(candidates, default=applied.sequence)
        newest: Link | None = None
        while (link := await self._next(applied)) is not None:
            # A group with a successor was committed; the newest may lack shards, and nobody else
            # would finish it, so the index gets it only once it is whole (D1).
            if newest is not None:
                await self._apply(newest)
            newest, applied = link, link.applied
            if self._progress is not None:
                self._progress(applied.sequence, self._last)
        if newest is not None:
            await self._complete(newest.candidate, fenced.epoch)
            await self._apply(newest, flush=True)
        return applied

    async def _apply(self, link: Link, *, flush: bool = False) -> None:
        """Hand a group to the index, many groups in one transaction."""
        own = link.candidate.row(self._store.topology)
        own_batch = Batch(
            partition=CLUSTER_PARTITION,
            request_id=self._random_bytes(16),
            checks=(),
            writes=(Write(self._codec.key(own.stripe), self._codec.seal(own)),),
        )
        self._batches += [*link.records.batches, own_batch]
        self._writes += sum(len(batch.writes) for batch in link.records.batches) + 1
        if flush or self._writes >= APPLY_WRITES_MAX:
            await self._index.apply(self._batches, link.applied.encode())
            self._batches, self._writes = [], 0

    async def _next(self, applied: Applied) -> Link | None:
        """The link after `applied`; None at the end of the log."""
        sequence = applied.sequence + 1
        link = await self._at(sequence, applied, applied.digest)
        if link is not None or self._is_end(sequence, applied):
            return link
        if not self._accept_loss:
            raise LogGap(missing=sequence, later=self._last, nodes=self._unreachable_names())
        for later in range(sequence, self._last + 1):
            link = await self._at(later, applied, None)
            if link is not None:
                break
        end = self._last if link is None else link.applied.sequence - 1
        if end >= sequence:
            self._give_up(f"groups {sequence} to {end} of the log")
        return link

    def _is_end(self, sequence: int, applied: Applied) -> bool:
        """Whether nothing proves that a group of this number was committed: neither a later one,
        nor one of this number that follows another than we have.
        """
        return sequence >= self._last and all(
            candidate.header.previous == applied.digest or epoch < applied.epoch
            for epoch, candidate in self._candidates.get(sequence, {}).items()
        )

    async def _at(self, sequence: int, applied: Applied, previous: bytes | None) -> Link | None:
        """The group of this number; None when there is none that can be followed.

        A group that a later one names as its predecessor has been committed or adopted, for only
        then is a successor sent; it goes before one of a higher epoch that was left void and that
        is found all the same, for other nodes answer now. One that no successor names is void
        where there are successors.

        Args:
            previous: the digest that it must name; None: any.

        Raises: LogGap, LogUndecided.
        """
        epochs = self._candidates.get(sequence, {})
        named = {c.header.previous for c in self._candidates.get(sequence + 1, {}).values()}
        newest: Link | None = None
        problem: StorageError | None = None
        for epoch in sorted(epochs, reverse=True):
            candidate = epochs[epoch]
            if epoch < applied.epoch or previous not in (None, candidate.header.previous):
                continue
            try:
                link = await self._judged(candidate)
            except (LogGap, LogUndecided) as error:
                problem = problem or error
                continue
            if link is not None and link.applied.digest in named:
                return link
            if newest is None and problem is None:
                newest = link
        if newest is not None and not named:
            return newest
        if problem is not None:
            if not self._accept_loss:
                raise problem
            self._give_up(str(problem))
        return None

    async def _judged(self, candidate: Candidate) -> Link | None:
        """The group, read; None when it is void. Raises LogUndecided, LogGap (not readable)."""
        header = candidate.header
        verdict = decide(candidate, self._store.topology, self._unreachable)
        if verdict is Verdict.VOID:
            logger.info("group %s is void", header.stripe)
            return None
        if verdict is Verdict.STOP:
            raise LogUndecided(group=header.stripe, nodes=self._unreachable_names())
        try:
            records, digest = await self._ahead.get(candidate, self._candidates)
        except (StripeUnreadable, StripeGone, RecordsCorrupt) as error:
            raise LogGap(group=header.stripe, reason=str(error)) from error
        mark = Applied(header.epoch, header.sequence, digest, header.checkpoint)
        return Link(candidate, records, mark)

    def _give_up(self, what: str) -> None:
        if what not in self.lost:
            logger.warning("given up: %s", what)
            self.lost.append(what)

    def _unreachable_names(self) -> str:
        known = self._store.topology.by_number
        return ",".join(sorted(str(known[n].node) for n in self._unreachable if n in known))

    async def _complete(self, candidate: Candidate, epoch: int) -> None:
        """Bring the newest group to a tier that is in reach. Raises LogUndecided when none is."""
        row = candidate.row(self._store.topology)
        missing = [index for index, number in enumerate(row.nodes) if not number]
        if not missing or row.tier is Tier.FULL:
            return
        placed = await self._store.restore(
            row, missing, fence=Fence(log=self._keys.log, epoch=epoch)
        )
        candidate.found.update(placed)
        if candidate.row(self._store.topology).tier is Tier.NONE:
            raise LogUndecided(group=row.stripe, nodes="too few nodes to complete it")


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
