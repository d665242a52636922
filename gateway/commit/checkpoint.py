"""Fuzzy, incremental checkpoints: the index copied to pack stripes, so that the log before its
floor is not needed.

The floor is where the index stood when the copy began; rows that change while it is copied are set
again by the log from the floor on, so the copy need not be of one instant. Key ranges that nothing
has touched since the last checkpoint keep their segments. Two checkpoints are kept, and the log
from the older one's floor: a checkpoint that turns out to be unreadable does not cost the cluster.

Invariants: D3, D6. Source: docs/data-layout.md, "Checkpoints".
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, bisect_right
from itertools import groupby

from gateway.commit.change import Change, Position, StripeChange
from gateway.commit.forming import CLUSTER_PARTITION, Sealed
from gateway.commit.header import GroupKind
from gateway.commit.keys import LogKeys
from gateway.commit.log import Log
from gateway.commit.manifest import (
    CheckpointCorrupt,
    Manifest,
    Segment,
    encode_manifest,
    read_segment,
    stripes_of,
)
from gateway.commit.packs import PackKind, encode_pack_head, pack_nonce
from gateway.commit.records import encode_records
from gateway.data.geometry import cell_bytes
from gateway.data.stripes import StripeStore
from gateway.limits import NODE_PUT_S
from gateway.meta.keyspace import cluster_row, partition_of
from gateway.meta.kv import Batch, Row, Write
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.meta.verification import verify_sums
from gateway.model.layout import StripeRow
from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.ids import StripeId
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 3 * 1024 * 1024
SCAN_ROWS = 500  # one short read: well under a millisecond of the event loop's time
FIRST_KEY = b"\x00"
LAST_KEY = b"\xff"
CHECKPOINT_ROW = cluster_row("checkpoint")
LOG_BYTES_BETWEEN = 256 * 1024 * 1024  # log payload after which the job takes a checkpoint
GROUPS_BETWEEN = 20_000


class Checkpointer:
    """Job `checkpoint`. Knows which key ranges changed since the last one; after a start, all may
    have.
    """

    name = "checkpoint"

    def __init__(
        self,
        *,
        log: Log,
        store: StripeStore,
        keys: LogKeys,
        records: RecordKeys,
        nonces: NonceSource,
        env: Env,
        bytes_between: int = LOG_BYTES_BETWEEN,
    ) -> None:
        self._bytes_between = bytes_between
        self._log = log
        self._store = store
        self._keys = keys
        self._records = records
        self._nonces = nonces
        self._env = env
        self._dirty: set[bytes] | None = None  # starts of changed segments; None: not known, all
        self._starts: list[bytes] = []
        self._done = self._total = 0
        self._taking = asyncio.Lock()
        self.newest: Manifest | None = None
        self.previous: Manifest | None = None
        self._load()
        self._bytes_since = 0
        # Restarts that come often must not keep the log from ever being checkpointed.
        self._groups_since = log.position.sequence - self._newest_floor
        log.on_applied.append(self._note)

    def _load(self) -> None:
        value = self._log.read((CHECKPOINT_ROW,))[0]
        if value is None:
            return
        document = open_document(self._records, CHECKPOINT_ROW, value)
        if document.get("newest") is not None:
            self.newest = Manifest.of(document["newest"])
        if document.get("previous") is not None:
            self.previous = Manifest.of(document["previous"])

    @property
    def floor_sequence(self) -> int:
        """Groups up to here are in both checkpoints; 0 until there are two."""
        return self.previous.floor.sequence if self.previous is not None else 0

    @property
    def _newest_floor(self) -> int:
        return self.newest.floor.sequence if self.newest is not None else 0

    def _note(self, sealed: Sealed, stripes: object) -> None:
        self._bytes_since += sealed.payload_bytes
        self._groups_since += 1
        if self._dirty is None:
            return
        keys = [write.key for batch in sealed.batches for write in batch.writes]
        # The row of the group's own stripe is in no batch of it.
        keys.append(self._log.codec.key(sealed.header.stripe))
        for key in keys:
            at = bisect_right(self._starts, key) - 1
            self._dirty.add(self._starts[max(at, 0)])

    def progress(self) -> Progress:
        floor = self._log.position.sequence - self._newest_floor
        return Progress(
            done=self._done, total=self._total, unit="segments", detail=f"{floor} groups since"
        )

    async def step(self) -> float:
        if self._bytes_since >= self._bytes_between or self._groups_since >= GROUPS_BETWEEN:
            await self.take()
        return 5.0

    async def take(self) -> Manifest:
        """Take one checkpoint.

        Raises: what storing raises, SumsMismatch; the log is then as before. Cancelled: at most its
            record is committed. Concurrent: one after the other.
        """
        async with self._taking:
            return await self._take()

    async def _take(self) -> Manifest:
        floor = self._log.position
        dirty, self._dirty = self._dirty, set()
        self._bytes_since = self._groups_since = 0
        old = self.newest.segments if self.newest is not None else ()
        reserved: list[StripeId] = []
        committing = finished = False
        try:
            segments = await self._copy(old if dirty is not None else (), dirty or set(), reserved)
            manifest = Manifest(floor=floor, segments=segments)
            await verify_sums(self._log.index, self._env)
            committing = True
            await self._commit(manifest)
            finished = True
        except StorageError:
            committing = False
            raise
        finally:
            if not finished:
                self._dirty = None  # what was dirty before is not copied: all may be
            # A record whose commit goes on without us may still name them (D2).
            for stripe in () if committing and not finished else reserved:
                self._log.release_stripe_ids(stripe)
        self._follow([segment.start for segment in segments])
        logger.info("checkpoint at group %d, %d segments", floor.sequence, len(segments))
        return manifest

    def _follow(self, starts: list[bytes]) -> None:
        """Take over the new segments' starts. What changed while they were copied was noted by the
        old ones: a new segment is dirty where a dirty old one overlaps it.
        """
        old, self._starts = self._starts, starts
        if self._dirty is None:
            return
        dirty: set[bytes] = set()
        for start in self._dirty:
            after = bisect_right(old, start)
            end = old[after] if after < len(old) else LAST_KEY
            first = max(bisect_right(starts, start) - 1, 0)
            dirty.update(starts[first : bisect_left(starts, end)])
        self._dirty = dirty

    async def _copy(
        self, old: tuple[Segment, ...], dirty: set[bytes], reserved: list[StripeId]
    ) -> tuple[Segment, ...]:
        if not old:
            self._starts = [FIRST_KEY]
            self._done, self._total = 0, 0
            return tuple(await self._copy_range(FIRST_KEY, LAST_KEY, reserved))
        segments: list[Segment] = []
        ends = [segment.start for segment in old[1:]] + [LAST_KEY]
        self._done, self._total = 0, len(old)
        for segment, end in zip(old, ends, strict=True):
            if segment.start in dirty:
                segments += await self._copy_range(segment.start, end, reserved)
            else:
                row = self._log.stripe_row(segment.row.stripe)
                segments.append(Segment(start=segment.start, row=row or segment.row))
            self._done += 1
        return tuple(segments)

    async def _copy_range(
        self, start: bytes, end: bytes, reserved: list[StripeId]
    ) -> list[Segment]:
        segments: list[Segment] = []
        at = segment_start = start
        rows: list[Row] = []
        size_bytes = 0
        while True:
            page = self._log.scan(at, end, limit=SCAN_ROWS)
            for row in page:
                family = row.key[:1]
                if rows and family != rows[-1].key[:1]:
                    # Objects stay as they are for long, stripes and settings never do: apart, the
                    # former keep their segments from one checkpoint to the next.
                    segments.append(await self._write(segment_start, rows, reserved))
                    segment_start, rows, size_bytes = family, [], 0
                rows.append(row)
                size_bytes += len(row.key) + len(row.value) + 6
                if size_bytes >= SEGMENT_BYTES:
                    segments.append(await self._write(segment_start, rows, reserved))
                    segment_start = row.key + b"\x00"
                    rows, size_bytes = [], 0
            if len(page) < SCAN_ROWS:
                break
            at = page[-1].key + b"\x00"
            await self._env.sleep(0)
        if rows or not segments:
            segments.append(await self._write(segment_start, rows, reserved))
        return segments

    async def _write(self, start: bytes, rows: list[Row], reserved: list[StripeId]) -> Segment:
        stripe = self._log.pack_stripe_id()
        reserved.append(stripe)
        batches = tuple(
            Batch(
                partition=partition,
                request_id=bytes(16),
                checks=(),
                writes=tuple(Write(row.key, row.value) for row in group),
            )
            for partition, group in groupby(rows, key=lambda row: partition_of(row.key))
        )
        payload = self._keys.segments.encrypt(
            pack_nonce(stripe), encode_records(batches, b""), stripe.encode()
        )
        row = await write_pack(
            self._store,
            self._log,
            stripe,
            payload,
            kind=PackKind.SEGMENT,
            directory_bytes=0,
            live_bytes=len(payload),
        )
        segment = Segment(start=start, row=row)
        if await read_segment(self._store, self._keys, segment) != batches:
            raise CheckpointCorrupt(stripe=stripe)
        return segment

    async def _commit(self, manifest: Manifest) -> Position:
        """One record makes the segments named, the checkpoint known, and the one before the last
        releasable.
        """
        self._load()  # one that was cancelled may have been committed all the same
        keep = stripes_of(manifest) | stripes_of(self.newest)
        create = stripes_of(manifest) - stripes_of(self.newest)
        release = stripes_of(self.previous) - keep
        by_stripe = {segment.row.stripe: segment.row for segment in manifest.segments}
        stripes = [StripeChange(stripe=s, create=by_stripe[s]) for s in sorted(create)]
        for stripe in sorted(release):
            row = self._log.stripe_row(stripe)
            if row is not None and row.live_bytes:
                stripes.append(StripeChange(stripe=stripe, live_delta=-row.live_bytes))
        document = {
            "newest": manifest.document(),
            "previous": None if self.newest is None else self.newest.document(),
        }
        value = seal_document(self._records, self._nonces, CHECKPOINT_ROW, document)
        batch = Batch(
            partition=CLUSTER_PARTITION,
            request_id=self._env.random_bytes(16),
            checks=(),
            writes=(Write(CHECKPOINT_ROW, value),),
        )
        position = await self._log.commit_record(
            GroupKind.CHECKPOINT,
            encode_manifest(manifest),
            Change(batch=batch, stripes=tuple(stripes)),
        )
        self.previous, self.newest = self.newest, manifest
        return position


async def write_pack(
    store: StripeStore,
    log: Log,
    stripe: StripeId,
    payload: bytes,
    *,
    kind: PackKind,
    directory_bytes: int,
    live_bytes: int,
) -> StripeRow:
    """Store a pack stripe at the log's tier; returns its row, which a change must still create."""
    geometry = log.geometry
    cell = cell_bytes(geometry, len(payload))
    buffer = bytearray(geometry.n * cell)
    buffer[: len(payload)] = payload
    nodes, tier = await store.write(
        stripe,
        geometry,
        buffer,
        cell_bytes=cell,
        payload_bytes=len(payload),
        common=encode_pack_head(kind, directory_bytes),
        tier=log.tier,
        fence=None,
        retain_until_ms=0,
        deadline_s=NODE_PUT_S,
    )
    return StripeRow(
        stripe=stripe,
        geometry=geometry,
        cell_bytes=cell,
        payload_bytes=len(payload),
        nodes=nodes,
        tier=tier,
        live_bytes=live_bytes,
    )
