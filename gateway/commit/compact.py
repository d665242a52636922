"""Job `compact`: move the bodies that are left in under-filled stripes together into full pack
stripes (step 13).

A stripe tells which rows named it: a commit stripe by its records, a pack stripe by its directory.
Each row that still does is moved by a change that checks its revision, so an overwrite or delete in
between simply wins. Tenant keys are
not needed: only the cluster's part of a row says where its bytes are. The sealed bytes are copied
as they are.

Invariants: D1, D2. Overhead is bytes on the nodes for each live byte; 2 is the aim, n/k included.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from gateway.commit.change import Change, StripeChange
from gateway.commit.checkpoint import write_pack
from gateway.commit.forming import CLUSTER_PARTITION
from gateway.commit.header import GroupHeader
from gateway.commit.keys import LogKeys
from gateway.commit.log import Log
from gateway.commit.packs import PackInvalid, PackKind, decode_pack_head, pack_nonce
from gateway.commit.recovery import Candidate, read_group
from gateway.data.shard_header import ShardHeader, parse_header
from gateway.data.stripes import StripeGone, StripeStore
from gateway.meta import keyspace
from gateway.meta.keyspace import partition_of
from gateway.meta.kv import Batch, BatchConflict, Check, OutcomeUnknown, Row, Write, revision_of
from gateway.meta.records import move_layout, open_stored_bytes
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.meta.stripes import scan_stripes
from gateway.model.layout import Packed, StripeRow
from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.base.jobs import Progress, give_way
from storaged.base.limits import BLOCK_BYTES

logger = logging.getLogger(__name__)

OVERHEAD_MAX = 2.5  # stripes above it are worth moving: each moved byte costs n/k bytes written
PACK_BYTES = 3 * 1024 * 1024
PACK_ROWS_MAX = 4096
SCAN_ROWS = 100  # in one helping, each row opened: about a millisecond of the event loop's time
IDLE_S = 60.0
SHARD_OVERHEAD_BYTES = 512  # header, attributes and checksums of a shard, about
_ENTRY = struct.Struct(">H")
_ROW_FAMILIES = (
    keyspace.CURRENT,
    keyspace.NONCURRENT,
    keyspace.PART,
    keyspace.ANNOTATION,
)


def disk_bytes(row: StripeRow) -> int:
    """What a stripe takes on the nodes, block by block."""
    return shard_bytes(row.cell_bytes) * sum(1 for number in row.nodes if number)


def shard_bytes(cell_bytes: int) -> int:
    """What one shard takes on its node."""
    return -(-(cell_bytes + SHARD_OVERHEAD_BYTES) // BLOCK_BYTES) * BLOCK_BYTES


def is_under_filled(row: StripeRow) -> bool:
    """Whether moving the live bytes out pays."""
    return row.live_bytes > 0 and disk_bytes(row) > OVERHEAD_MAX * row.live_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """A row whose body is about to move."""

    key: bytes
    value: bytes
    old: Packed
    body: bytes


def encode_directory(keys: list[bytes]) -> bytes:
    """Row keys, each with its length as u16 before it."""
    return b"".join(_ENTRY.pack(len(key)) + key for key in keys)


def decode_directory(raw: bytes) -> list[bytes]:
    """Inverse of encode_directory. Raises PackInvalid."""
    keys = []
    at = 0
    while at < len(raw):
        if at + 2 > len(raw):
            raise PackInvalid(directory_bytes=len(raw))
        (length,) = _ENTRY.unpack_from(raw, at)
        at += 2
        keys.append(raw[at : at + length])
        at += length
    if at != len(raw):
        raise PackInvalid(directory_bytes=len(raw))
    return keys


class Compacter:
    """Looks over all stripes, one page a step, and packs what it finds."""

    name = "compact"

    def __init__(
        self,
        *,
        log: Log,
        store: StripeStore,
        keys: LogKeys,
        records: RecordKeys,
        nonces: NonceSource,
        env: Env,
        floor_sequence: Callable[[], int],
    ) -> None:
        self._log = log
        self._store = store
        self._keys = keys
        self._records = records
        self._nonces = nonces
        self._env = env
        self._floor_sequence = floor_sequence
        self._after: StripeId | None = None
        self._pending: list[Moving] = []
        self._pending_bytes = 0
        self._source_bytes = 0  # what the stripes of the pending bodies take on the nodes
        self._looked = self._moved = self._moved_bytes = 0

    def progress(self) -> Progress:
        return Progress(
            done=self._looked,
            total=0,
            unit="stripes",
            detail=f"{self._moved} bodies moved, {self._moved_bytes >> 20} MiB",
        )

    async def step(self) -> float:
        began_s = self._env.monotonic_s()
        page = scan_stripes(self._log, self._records, self._after, limit=SCAN_ROWS)
        for stored in page:
            row = stored.row
            self._looked += 1
            if self._is_candidate(row):
                await self._gather(row)
            if self._pending_bytes >= PACK_BYTES or len(self._pending) >= PACK_ROWS_MAX:
                await self._pack()
        if len(page) == SCAN_ROWS:
            self._after = page[-1].row.stripe
            await give_way(self._env, began_s)
            return 0
        if self._is_worth_it():
            await self._pack()
        self._drop_pending()
        self._after, self._looked = None, 0
        return IDLE_S

    def _is_candidate(self, row: StripeRow) -> bool:
        stripe = row.stripe
        if stripe.family is StripeFamily.DATA or not is_under_filled(row):
            return False
        if stripe.family is StripeFamily.COMMIT:
            return stripe.counter <= self._floor_sequence()  # above it the stripe must stay anyway
        return not self._log.reservations.in_flight(stripe)

    def _is_worth_it(self) -> bool:
        """Whether a pack that is not full takes less than the stripes it would empty."""
        k, m = self._log.geometry.k, self._log.geometry.m
        directory_bytes = sum(_ENTRY.size + len(item.key) for item in self._pending)
        cell_bytes = -(-(self._pending_bytes + directory_bytes) // k)
        return bool(self._pending) and (k + m) * shard_bytes(cell_bytes) < self._source_bytes

    def _drop_pending(self) -> list[Moving]:
        """Begin another pack."""
        pending, self._pending = self._pending, []
        self._pending_bytes = self._source_bytes = 0
        return pending

    async def _gather(self, row: StripeRow) -> None:
        """Add the bodies of a stripe that some row still names to what will be packed. A stripe
        that cannot be read is left to repair.
        """
        try:
            found = await self._bodies(row)
        except StripeGone:
            return
        except StorageError as error:
            logger.warning("stripe %s is not compacted: %s", row.stripe, error)
            return
        self._pending += found
        self._pending_bytes += sum(len(item.body) for item in found)
        self._source_bytes += disk_bytes(row)

    async def _bodies(self, row: StripeRow) -> list[Moving]:
        keys = dict.fromkeys(await self._row_keys(row))
        found: list[tuple[bytes, bytes, Packed]] = []
        for key, value in self._rows_of(keys):
            layout = open_stored_bytes(self._records, key, value).layout
            if isinstance(layout, Packed) and layout.stripe == row.stripe:
                found.append((key, value, layout))
        if not found:
            return []
        start = min(old.offset for _, _, old in found)
        end = max(old.offset + old.sealed_bytes for _, _, old in found)
        content = await self._store.read(row, start, end - start, verified=True)
        moving = []
        for key, value, old in found:
            at = old.offset - start
            body = bytes(content[at : at + old.sealed_bytes])
            moving.append(Moving(key=key, value=value, old=old, body=body))
        return moving

    def _rows_of(self, keys: Iterable[bytes]) -> list[Row]:
        """The rows of these keys, and those that their versions may have moved to since: between
        the current row of an object and its noncurrent ones.
        """
        wanted = dict.fromkeys(keys)
        for key in list(wanted):
            if key[:1] == keyspace.CURRENT:
                bucket, name = keyspace.parse_current(key)
            elif key[:1] == keyspace.NONCURRENT:
                bucket, name, _ = keyspace.parse_noncurrent(key)
                wanted[keyspace.current_row(bucket, name)] = None
            else:
                continue
            start, end = keyspace.noncurrent_range(bucket, name)
            while rows := self._log.scan(start, end, limit=SCAN_ROWS):
                wanted.update(dict.fromkeys(held.key for held in rows))
                start = keyspace.after(rows[-1].key)
        values = self._log.read(tuple(wanted))
        return [
            Row(key, value) for key, value in zip(wanted, values, strict=True) if value is not None
        ]

    async def _row_keys(self, row: StripeRow) -> list[bytes]:
        header = await self._header(row)
        if row.stripe.family is StripeFamily.COMMIT:
            group = GroupHeader.decode(header.common, self._keys.log_key, self._keys.log)
            candidate = Candidate(
                group,
                header.common,
                row.geometry,
                row.cell_bytes,
                row.payload_bytes,
                {index: number for index, number in enumerate(row.nodes) if number},
            )
            records, _ = await read_group(self._store, candidate, self._keys)
            return [
                write.key
                for batch in records.batches
                for write in batch.writes
                if write.value is not None and write.key[:1] in _ROW_FAMILIES
            ]
        kind, directory_bytes = decode_pack_head(header.common)
        if kind is not PackKind.BODIES:
            return []
        start = row.payload_bytes - directory_bytes
        sealed = await self._store.read(row, start, directory_bytes, verified=True)
        try:
            raw = self._keys.segments.decrypt(pack_nonce(row.stripe), sealed, row.stripe.encode())
        except InvalidTag as error:
            raise PackInvalid(stripe=row.stripe) from error
        return decode_directory(raw)

    async def _header(self, row: StripeRow) -> ShardHeader:
        """Attributes of any shard that answers; what they say is checked by what it opens."""
        error: StorageError = StripeGone(stripe=row.stripe)
        for index, number in enumerate(row.nodes):
            if number not in self._store.nodes:
                continue
            try:
                found = await self._store.nodes[number].get(
                    ShardId(row.stripe, index), offset=0, length=0
                )
                return parse_header(found.attributes)
            except StorageError as failed:
                error = failed
        raise error

    async def _pack(self) -> None:
        moving = self._drop_pending()
        stripe = self._log.pack_stripe_id()
        try:
            bodies = b"".join(item.body for item in moving)
            directory = self._keys.segments.encrypt(
                pack_nonce(stripe),
                encode_directory([item.key for item in moving]),
                stripe.encode(),
            )
            row = await write_pack(
                self._store,
                self._log,
                stripe,
                bodies + directory,
                kind=PackKind.BODIES,
                directory_bytes=len(directory),
                live_bytes=0,
            )
            await self._commit(CLUSTER_PARTITION, StripeChange(stripe=stripe, create=row))
            places = []
            offset = 0
            for item in moving:
                places.append(Packed(stripe=stripe, offset=offset, sealed_bytes=len(item.body)))
                offset += len(item.body)
            moved = await asyncio.gather(
                *(self._move(item, place) for item, place in zip(moving, places, strict=True))
            )
        finally:
            self._log.release_stripe_ids(stripe)
        self._moved += sum(moved)
        self._moved_bytes += len(bodies)

    async def _move(self, item: Moving, place: Packed) -> bool:
        value = move_layout(self._records, self._nonces, item.key, item.value, place)
        try:
            await self._commit(
                partition_of(item.key),
                StripeChange(stripe=place.stripe, live_delta=place.sealed_bytes),
                StripeChange(stripe=item.old.stripe, live_delta=-item.old.sealed_bytes),
                check=Check(item.key, revision_of(item.value)),
                write=Write(item.key, value),
            )
        except BatchConflict:
            return False
        return True

    async def _commit(
        self,
        partition: bytes,
        *stripes: StripeChange,
        check: Check | None = None,
        write: Write | None = None,
    ) -> None:
        batch = Batch(
            partition=partition,
            request_id=self._env.random_bytes(16),
            checks=() if check is None else (check,),
            writes=() if write is None else (write,),
        )
        while True:
            try:
                await self._log.commit_change(Change(batch=batch, stripes=stripes))
            except OutcomeUnknown:
                # Asked until it is known: the pack's id is released after that, never before.
                if not self._log.serving:
                    raise
            else:
                return
