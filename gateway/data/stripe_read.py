"""One read of one stripe: data cells where they answer, decoded ones where they do not.

Not for frames: what the direct path returns is as the nodes gave it, and the caller opens the
frames in it, which is the check. Decoded cells come from sources whose keyed tags were verified
first, for no library notices a wrong one. In verified mode the tags of every cell are checked. A
read repairs nothing: it reports damage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.data.erasure import codec_for
from gateway.data.geometry import CellRange, tag_aligned
from gateway.data.health import HealthView
from gateway.data.shard_header import ShardHeader, check_range, parse_header, tag_key
from gateway.data.stripe_errors import ShardInvalid, StripeCorrupt, StripeGone, StripeUnreadable
from gateway.limits import HEDGE_MIN_S
from gateway.model.layout import StripeRow
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import ShardId, StripeId
from storaged.node import Node, ShardMissing, ShardRange

HEDGE_FACTOR = 3.0  # a read this many times slower than the node's p95 is worth asking others
READ_S = 10.0  # a stripe that cannot be read within this time is unreadable

OnDamage = Callable[[StripeId, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSources:
    """What a read needs of the store."""

    nodes: Mapping[int, Node]
    health: HealthView
    env: Env
    integrity_key: bytes
    cluster_id: bytes
    on_damage: OnDamage


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCell:
    """A range of a cell whose tags match."""

    common: bytes
    content: memoryview


def hedge_delay_s(health: HealthView, number: int) -> float:
    """How long to wait for a node before others are asked as well."""
    return max(HEDGE_MIN_S, HEDGE_FACTOR * health.p95(number))


def forget(task: asyncio.Task[Any]) -> None:
    """Stop a read whose answer is not wanted any more."""
    if not task.cancel() and not task.cancelled():
        task.exception()  # seen, so that nobody is told that it was not


async def _any_of(
    gets: Mapping[asyncio.Task[ShardRange], CellRange],
    recovery: asyncio.Task[dict[int, memoryview]] | None,
    delay_s: float | None,
) -> bool:
    """Wait until one of them has ended; False when none has after `delay_s`."""
    tasks: set[asyncio.Future[Any]] = {*gets} if recovery is None else {*gets, recovery}
    done, _ = await asyncio.wait(tasks, timeout=delay_s, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


class StripeRead:
    """Reads cells of one stripe. Make one for each read.

    Args:
        row: where the shards are; another one than the truth costs time, never a wrong byte.
    """

    def __init__(self, sources: ReadSources, row: StripeRow) -> None:
        self._sources = sources
        self._row = row
        self._keys: dict[bytes, AESGCM] = {}
        self._failures: dict[int, StorageError] = {}
        self._fetched: dict[int, tuple[int, ShardRange]] = {}

    def note_failure(self, index: int, error: StorageError) -> None:
        """Remember, and report, that a shard did not come."""
        self._failures[index] = error
        number = self._row.nodes[index]
        self._sources.health.mark_failed(number, error)
        if error.kind in (Kind.NOT_FOUND, Kind.CORRUPT, Kind.INVALID):
            self._sources.on_damage(self._row.stripe, index, error.message())

    async def cells(
        self,
        ranges: Sequence[CellRange],
        *,
        verified: bool,
        adopted: Mapping[int, asyncio.Task[ShardRange]] | None = None,
    ) -> list[memoryview]:
        """Read ranges of data cells.

        Args:
            ranges: at most one for each cell.
            verified: check the tags of every cell.
            adopted: gets that are under way already, by cell, for exactly its range, and late.

        Raises:
            StripeGone: more than m shards are not where the row says.
            StripeCorrupt, StripeUnreadable: fewer than k good shards.
        """
        try:
            async with asyncio.timeout(READ_S):
                return await self._cells(ranges, verified, adopted or {})
        except TimeoutError as error:
            raise StripeUnreadable(stripe=self._row.stripe, after_s=READ_S) from error

    async def _cells(
        self,
        ranges: Sequence[CellRange],
        verified: bool,
        adopted: Mapping[int, asyncio.Task[ShardRange]],
    ) -> list[memoryview]:
        parts: dict[int, memoryview] = {}
        direct: dict[asyncio.Task[ShardRange], CellRange] = {
            adopted[wanted.cell]: wanted for wanted in ranges if wanted.cell in adopted
        }
        untried = [
            w
            for w in ranges
            if w.cell not in adopted
            and w.cell not in self._failures
            and self._row.nodes[w.cell] in self._sources.nodes
        ]
        for wanted in [w for w in untried if self._available(w.cell)]:
            untried.remove(wanted)
            direct[self._get(wanted.cell, *self._extent(wanted, verified))] = wanted
        delay_s = max((self._delay_s(wanted.cell) for wanted in direct.values()), default=0.0)
        recovery: asyncio.Task[dict[int, memoryview]] | None = None
        missing: list[CellRange] = []  # what the recovery under way takes for lost
        failed: StorageError | None = None
        hedge, since_s = bool(adopted), self._sources.env.monotonic_s()
        try:
            while len(parts) < len(ranges):
                if failed is not None and not direct:
                    if not untried:
                        raise failed
                    # Decoding is not possible: ask those as well who seem to be away.
                    for wanted in untried:
                        direct[self._get(wanted.cell, *self._extent(wanted, verified))] = wanted
                    untried = []
                elif recovery is None and failed is None and (hedge or not direct):
                    missing = [wanted for wanted in ranges if wanted.cell not in parts]
                    recovery = asyncio.create_task(self._recover(missing))
                if not await _any_of(direct, recovery, None if hedge else delay_s):
                    hedge = True
                    self._note_late((wanted.cell for wanted in direct.values()), since_s)
                for task in [task for task in direct if task.done()]:
                    wanted = direct.pop(task)
                    content = self._accept(task, wanted, verified)
                    if content is not None:
                        parts.setdefault(wanted.cell, content)
                        failed = None  # one source more: decoding may be possible by now
                if recovery is not None and recovery.done():
                    try:
                        parts = {**recovery.result(), **parts}
                    except StorageError as error:
                        # A cell that has come meanwhile was late, not lost: it is a source now.
                        late = any(wanted.cell in parts for wanted in missing)
                        failed = None if late else error
                    recovery = None
        finally:
            for task in direct:
                forget(task)
            if recovery is not None:
                forget(recovery)
        return [parts[wanted.cell] for wanted in ranges]

    async def verified_cells(
        self, lost: frozenset[int], start: int, end: int
    ) -> dict[int, VerifiedCell]:
        """k cells of one generation, none of `lost`; tags checked over whole units [start, end)."""
        groups: dict[bytes, dict[int, VerifiedCell]] = {}
        for index, (offset, got) in self._fetched.items():
            if index not in lost and offset <= start and offset + len(got.content) >= end:
                self._admit(
                    index, got.attributes, got.content[start - offset : end - offset], start, groups
                )
        held = {index for group in groups.values() for index in group}
        candidates = self._candidates(lost | held)
        running: dict[asyncio.Task[ShardRange], int] = {}
        extra = 0
        try:
            while True:
                best = max(groups.values(), key=len, default={})
                needed = self._row.geometry.k - len(best)
                if needed <= 0:
                    return best
                while candidates and len(running) < needed + extra:
                    index = candidates.pop(0)
                    running[self._get(index, start, end - start)] = index
                if not running:
                    raise self._unreadable(len(best))
                delay_s = max(self._delay_s(index) for index in running.values())
                since_s = self._sources.env.monotonic_s()
                # All of them are wanted, so one wake-up for all, unless one has failed or is late.
                until = asyncio.FIRST_COMPLETED if extra else asyncio.FIRST_EXCEPTION
                done, pending = await asyncio.wait(running, timeout=delay_s, return_when=until)
                if pending and not (done if extra else any(task.exception() for task in done)):
                    extra += 1
                    self._note_late((running[task] for task in pending), since_s)
                for task in done:
                    index = running.pop(task)
                    try:
                        got = task.result()
                    except StorageError as error:
                        self.note_failure(index, error)
                        continue
                    self._admit(index, got.attributes, got.content, start, groups, end - start)
        finally:
            for task in running:
                forget(task)

    async def _recover(self, missing: Sequence[CellRange]) -> dict[int, memoryview]:
        """Decode ranges of cells from k others."""
        row = self._row
        low = min(wanted.offset for wanted in missing)
        high = max(wanted.offset + wanted.length for wanted in missing)
        start, end = tag_aligned(row.cell_bytes, low, high)
        lost = frozenset(wanted.cell for wanted in missing)
        sources = await self.verified_cells(lost, start, end)
        present = {index: cell.content for index, cell in sources.items()}
        decoded = codec_for(row.geometry).reconstruct(present, sorted(lost), end - start)
        return {
            wanted.cell: memoryview(decoded[wanted.cell])[
                wanted.offset - start : wanted.offset - start + wanted.length
            ]
            for wanted in missing
        }

    def _extent(self, wanted: CellRange, verified: bool) -> tuple[int, int]:
        """Offset and length to ask the node for."""
        if not verified:
            return wanted.offset, wanted.length
        start, end = tag_aligned(self._row.cell_bytes, wanted.offset, wanted.offset + wanted.length)
        return start, end - start

    def _accept(
        self, task: asyncio.Task[ShardRange], wanted: CellRange, verified: bool
    ) -> memoryview | None:
        """The wanted bytes of a get that has ended; None, and a report, where it is no good."""
        offset, length = self._extent(wanted, verified)
        try:
            got = task.result()
            if len(got.content) != length:
                raise ShardInvalid(content_bytes=len(got.content), wanted_bytes=length)
            if verified:
                self._verify(wanted.cell, got.attributes, got.content, offset)
        except StorageError as error:
            self.note_failure(wanted.cell, error)
            return None
        self._fetched[wanted.cell] = (offset, got)
        return got.content[wanted.offset - offset : wanted.offset - offset + wanted.length]

    def _admit(
        self,
        index: int,
        attributes: bytes,
        content: memoryview,
        offset: int,
        groups: dict[bytes, dict[int, VerifiedCell]],
        length: int | None = None,
    ) -> None:
        """Add a cell to those of its generation once its tags are verified."""
        try:
            if length is not None and len(content) != length:
                raise ShardInvalid(content_bytes=len(content), wanted_bytes=length)
            header = self._verify(index, attributes, content, offset)
        except StorageError as error:
            self.note_failure(index, error)
            return
        cell = VerifiedCell(common=header.common, content=content)
        groups.setdefault(header.common, {})[index] = cell

    def _verify(
        self, index: int, attributes: bytes, content: memoryview, offset: int
    ) -> ShardHeader:
        """Check that these are bytes of this shard.

        Raises:
            ShardHeaderInvalid, ShardInvalid, TagMismatch.
        """
        row = self._row
        header = parse_header(attributes)
        if (
            header.index != index
            or header.geometry != row.geometry
            or header.cell_bytes != row.cell_bytes
            or header.payload_bytes != row.payload_bytes
        ):
            raise ShardInvalid(index=header.index, cell_bytes=header.cell_bytes)
        key = self._keys.get(header.common)
        if key is None:
            key = self._keys[header.common] = tag_key(
                self._sources.integrity_key,
                self._sources.cluster_id,
                row.stripe,
                row.geometry,
                cell_bytes=row.cell_bytes,
                payload_bytes=row.payload_bytes,
                common=header.common,
            )
        check_range(key, header, offset, content)
        return header

    def _note_late(self, indexes: Iterable[int], since_s: float) -> None:
        for index in indexes:
            self._sources.health.mark_late(self._row.nodes[index], since_s)

    def _available(self, index: int) -> bool:
        number = self._row.nodes[index]
        return number in self._sources.nodes and self._sources.health.prompt(number)

    def _delay_s(self, index: int) -> float:
        return hedge_delay_s(self._sources.health, self._row.nodes[index])

    def _candidates(self, without: frozenset[int] | set[int]) -> list[int]:
        """Indexes to try: first those that answer and are fast, last those that seem to be away."""
        row, health = self._row, self._sources.health
        indexes = [
            index
            for index, number in enumerate(row.nodes)
            if index not in without
            and index not in self._failures
            and number in self._sources.nodes
        ]
        return sorted(
            indexes,
            key=lambda index: (not health.prompt(row.nodes[index]), health.p95(row.nodes[index])),
        )

    def _get(self, index: int, offset: int, length: int) -> asyncio.Task[ShardRange]:
        number = self._row.nodes[index]
        return asyncio.create_task(self._timed_get(number, index, offset, length))

    async def _timed_get(self, number: int, index: int, offset: int, length: int) -> ShardRange:
        sources = self._sources
        started_s = sources.env.monotonic_s()
        got = await sources.nodes[number].get(
            ShardId(self._row.stripe, index), offset=offset, length=length
        )
        sources.health.mark_ok(number, sources.env.monotonic_s() - started_s)
        return got

    def _unreadable(self, good_count: int) -> StorageError:
        """Name what is wrong with a stripe of which too few shards came."""
        row, known = self._row, self._sources.nodes
        errors = self._failures.values()
        missing = sum(isinstance(error, ShardMissing) for error in errors)
        unplaced = sum(number not in known for number in row.nodes)
        away = sum(error.retryable for error in errors)
        failures = "; ".join(f"{i}: {error.message()}" for i, error in self._failures.items())
        if missing and missing + unplaced > row.geometry.m:
            return StripeGone(stripe=row.stripe, missing=missing)
        kind = StripeUnreadable if good_count + away >= row.geometry.k else StripeCorrupt
        return kind(stripe=row.stripe, good=good_count, needed=row.geometry.k, failures=failures)
