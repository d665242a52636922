"""The scrub job of one node: reads every shard, slowly, and checks every checksum.

Not for repair: damage shows in the node's status, and the cluster's repair job writes the shard
anew. A round goes through the shards in id order; it starts again when the last one ended long
enough ago.
"""

from __future__ import annotations

from typing import Protocol

from storaged.base.env import Env
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.base.jobs import Progress
from storaged.node import ShardCorrupt, ShardInfo, ShardMissing, ShardPage

SCRUB_BYTES_PER_S = 32 * 1024 * 1024  # a 16 TB drive in six days, at a fifth of its speed or less
SCRUB_EVERY_MS = 14 * 24 * 3600 * 1000  # a sector that went bad waits at most two weeks
STEP_BYTES = 8 * 1024 * 1024  # bounds one step, far below a second
_LIST_LIMIT = 256
_IDLE_S = 600.0  # between looks whether a round is due
_FIRST = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)


class ScrubState(Protocol):
    """Where the job tells the node's status how far it is."""

    progress: float
    finished_at_ms: int


class ScrubStore(Protocol):
    """What the job needs of a shard store."""

    @property
    def scrub(self) -> ScrubState: ...

    @property
    def shard_count(self) -> int: ...

    async def list(self, start: ShardId, end: ShardId | None, *, limit: int) -> ShardPage: ...

    async def verify(self, shard: ShardId) -> ShardInfo: ...

    def scrub_finished(self, now_ms: int) -> None: ...


class ScrubJob:
    """A `storaged.base.jobs.Job`.

    Args:
        bytes_per_s: average read rate; the pauses between steps make it.
        every_ms: a round starts when the last one ended so long ago.
        name: of the job; a process with several nodes gives each its own.
    """

    def __init__(
        self,
        store: ScrubStore,
        env: Env,
        *,
        bytes_per_s: int = SCRUB_BYTES_PER_S,
        every_ms: int = SCRUB_EVERY_MS,
        name: str = "scrub",
    ) -> None:
        self.name = name
        self._store = store
        self._env = env
        self._bytes_per_s = bytes_per_s
        self._every_ms = every_ms
        self._next: ShardId | None = None
        self._total = 0
        self._done = 0
        self._corrupt = 0

    async def step(self) -> float:
        """Check some shards; see `Job`."""
        store = self._store
        if self._next is None:
            if self._env.now_ms() < store.scrub.finished_at_ms + self._every_ms:
                return _IDLE_S
            self._next = _FIRST
            self._total, self._done, self._corrupt = store.shard_count, 0, 0
            store.scrub.progress = 0.0
        read_bytes = 0
        while self._next is not None and read_bytes < STEP_BYTES:
            read_bytes += await self._check_page(self._next, STEP_BYTES - read_bytes)
        if self._next is None:
            store.scrub.progress = 1.0
            store.scrub_finished(self._env.now_ms())
        else:
            store.scrub.progress = min(self._done / max(self._total, 1), 0.999)
        return read_bytes / self._bytes_per_s

    async def _check_page(self, start: ShardId, budget_bytes: int) -> int:
        """Check shards from `start` on; moves `_next` behind the last one that was checked."""
        page = await self._store.list(start, None, limit=_LIST_LIMIT)
        read_bytes = 0
        for held in page.shards:
            if read_bytes >= budget_bytes:
                self._next = held.shard
                return read_bytes
            read_bytes += held.stored_bytes
            self._done += 1
            try:
                await self._store.verify(held.shard)
            except ShardMissing:
                continue  # deleted since it was listed
            except ShardCorrupt:
                self._corrupt += 1  # the store has noted it for status
        self._next = page.next
        return read_bytes

    def progress(self) -> Progress:
        """How far the round is; see `Job`."""
        return Progress(
            done=self._done,
            total=max(self._total, self._done),
            unit="shards",
            detail=f"{self._corrupt} corrupt" if self._corrupt else "",
        )
