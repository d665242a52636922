"""One group on its way: stored on nodes, then applied to the index, strictly in order.

The next group may be stored while the last one is being applied; it is applied only after it. Not
for forming groups or opening epochs: `gateway.commit.log`.

Invariants: D1, D6.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.commit.callers import Callers
from gateway.commit.change import LogUnavailable
from gateway.commit.forming import CLUSTER_PARTITION, Group, Sealed, StripeRowCodec, Term, View
from gateway.commit.group_store import GroupStore, StoredGroup
from gateway.commit.header import Applied
from gateway.meta.kv import Batch, Index, Write
from gateway.model.layout import Geometry, StripeRow
from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.ids import StripeId

logger = logging.getLogger(__name__)

AppliedListener = Callable[[Sealed, Mapping[StripeId, StripeRow | None]], None]
"""Called after each applied group with the group and the stripe rows it set (None: dropped). Must
be quick."""

STRIPE_CACHE_MAX = 200_000  # rows of ~500 bytes: 100 MB at the most
ROWS_HELD_MAX = 65_536  # of ~600 bytes: 40 MB
ROWS_HELD_BYTES_MAX = 64 * 1024 * 1024  # whatever keys and headers a tenant chooses
ROW_HELD_BYTES_MAX = 8 * 1024  # larger ones (manifests, huge uploads) are read from the index
KEPT_WRITES_MAX = 16  # a larger change, mostly a job's, pushes out nothing that was read


class StripeRows:
    """Applied stripe rows, the latest read ones kept open."""

    def __init__(self, index: Index, codec: StripeRowCodec) -> None:
        self._index = index
        self._codec = codec
        self._held: OrderedDict[StripeId, StripeRow] = OrderedDict()

    def get(self, stripe: StripeId) -> StripeRow | None:
        """The row; None when the index does not know the stripe. Raises: RowCorrupt."""
        held = self._held.get(stripe)
        if held is not None:
            return held
        value = self._index.read((self._codec.key(stripe),))[0]
        if value is None:
            return None
        row = self._codec.open(stripe, value)
        self.set(stripe, row)
        return row

    def set(self, stripe: StripeId, row: StripeRow | None) -> None:
        """Follow an applied group."""
        if row is None:
            self._held.pop(stripe, None)
            return
        self._held[stripe] = row
        if len(self._held) > STRIPE_CACHE_MAX:
            self._held.popitem(last=False)


class LatestRows:
    """Row values as applied, the latest ones in memory, absent ones too.

    Not for safety: values are checked where they are opened. Every write to the index comes through
    `follow`, so an entry is never old. It spares calls into LMDB, each of which gives up the
    interpreter's lock while drives are being written.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        # Ordered: a dict finds its first entry behind the places of all that were taken out.
        self._held: OrderedDict[bytes, bytes | None] = OrderedDict()
        self._held_bytes = 0

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As MetaStore.read."""
        values, found = self._look(keys)
        for key, value in found.items():
            self._set(key, value)
        return values

    def row(self, key: bytes) -> bytes | None:
        """As `read` of one key."""
        try:
            return self._held[key]
        except KeyError:
            return self.read((key,))[0]

    def rows(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `read` of very many keys: what was not held is not held after it either."""
        return self._look(keys)[0]

    def _look(
        self, keys: Sequence[bytes]
    ) -> tuple[list[bytes | None], Mapping[bytes, bytes | None]]:
        """Values of the keys, and those of them that came out of the index."""
        held = self._held
        missing = [key for key in keys if key not in held]
        if not missing:
            return [held[key] for key in keys], {}
        found = dict(zip(missing, self._index.read(missing), strict=True))
        return [found[key] if key in found else held[key] for key in keys], found

    def follow(self, batches: Iterable[Batch]) -> None:
        """Take in what has just been applied."""
        for batch in batches:
            writes: Sequence[Write] = batch.writes
            if len(writes) > KEPT_WRITES_MAX:
                writes = [write for write in writes if write.key in self._held]
            for write in writes:
                self._set(write.key, write.value)

    def _set(self, key: bytes, value: bytes | None) -> None:
        held = self._held
        if key in held:  # the latest are the last to go
            self._held_bytes -= len(key) + len(held.pop(key) or b"")
        if value is not None and len(value) > ROW_HELD_BYTES_MAX:
            return
        held[key] = value
        self._held_bytes += len(key) + len(value or b"")
        while len(held) > ROWS_HELD_MAX or self._held_bytes > ROWS_HELD_BYTES_MAX:
            oldest, gone = held.popitem(last=False)
            self._held_bytes -= len(oldest) + len(gone or b"")


class Pipeline:
    """Stores and applies. `dead` is set once and for ever when the index fails."""

    def __init__(
        self,
        *,
        index: Index,
        store: GroupStore,
        codec: StripeRowCodec,
        geometry: Geometry,
        env: Env,
        applied: Applied,
        callers: Callers,
    ) -> None:
        self._index = index
        self._store = store
        self._codec = codec
        self._geometry = geometry
        self._env = env
        self._callers = callers
        self.rows = StripeRows(index, codec)
        self.latest = LatestRows(index)
        self.view = View(self.latest, self.rows.get)
        self.applied = applied
        self.unapplied: list[Group] = []
        self.dead: StorageError | None = None
        self.groups = self.changes = self.payload_bytes = 0
        self.listeners: list[AppliedListener] = []
        self._applying: asyncio.Task[None] | None = None

    async def push(self, group: Group, sealed: Sealed, term: Term) -> None:
        """Store a group, wait for its predecessor, begin to apply it.

        Raises: TierUnreachable, FencedOut: not stored as it should be. LogUnavailable: dead.
        """
        self.unapplied.append(group)
        try:
            stored = await self._store.store(sealed, term)
            await self.settle()
            if self.dead is not None:
                raise LogUnavailable(reason=str(self.dead))
        except StorageError:
            self.unapplied.remove(group)
            raise
        self._applying = asyncio.create_task(self._apply(group, sealed, stored), name="log-apply")

    async def settle(self) -> None:
        """Wait until everything pushed is applied, or the pipeline is dead."""
        while self._applying is not None:
            applying, self._applying = self._applying, None
            await asyncio.wait({applying})  # whoever is cancelled here does not cut it off
            error = None if applying.cancelled() else applying.exception()
            if error is not None:
                logger.error("a group was not applied to its end", exc_info=error)

    async def _apply(self, group: Group, sealed: Sealed, stored: StoredGroup) -> None:
        header = sealed.header
        own = self._own_row(sealed, stored)
        applied = Applied(header.epoch, header.sequence, sealed.digest, header.checkpoint)
        own_batch = Batch(
            partition=CLUSTER_PARTITION,
            request_id=self._env.random_bytes(16),
            checks=(),
            writes=(Write(self._codec.key(own.stripe), self._codec.seal(own)),),
        )
        followed = False
        try:
            await self._index.apply((*sealed.batches, own_batch), applied.encode())
            followed = True
        except StorageError as error:
            self.dead = error
            return
        finally:
            # Whatever has broken it off, no later group may be applied over one that is missing.
            if not followed and self.dead is None:
                self.dead = LogUnavailable(reason="a group was not applied to its end")
        self.applied = applied
        self.latest.follow((*sealed.batches, own_batch))
        self.rows.set(own.stripe, own)
        for stripe, row in group.stripes.items():
            self.rows.set(stripe, row)
        self.view.settle(group)
        self.unapplied.remove(group)
        self.groups += 1
        self.changes += len(group.waiters)
        self.payload_bytes += sealed.payload_bytes
        for waiter in group.waiters:
            self._callers.succeed(group.position, waiter)
        for waiter, refusal in group.refused:
            self._callers.fail(waiter, refusal)
        for listener in self.listeners:
            listener(sealed, group.stripes)

    def _own_row(self, sealed: Sealed, stored: StoredGroup) -> StripeRow:
        return StripeRow(
            stripe=sealed.header.stripe,
            geometry=self._geometry,
            cell_bytes=stored.cell_bytes,
            payload_bytes=sealed.payload_bytes,
            nodes=stored.nodes,
            tier=stored.tier,
            live_bytes=sealed.header.bodies_bytes,
        )
