"""`SimIndex`: an index on a simulated machine; it may lose its last transaction, never half of one.

Not for files: what a machine keeps is a `SimIndex`, each process opens a handle on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.meta.kv import Batch, Write
from gateway.meta.memory import MemoryStore
from storaged.base.env import Env


class SimIndex(MemoryStore):
    """A `MemoryStore` whose `apply` takes time and can be undone once."""

    def __init__(self, sums_key: bytes, env: Env) -> None:
        super().__init__(sums_key)
        self._env = env
        self._undo: tuple[tuple[Write, ...], bytes | None] | None = None

    async def apply(self, group: Sequence[Batch], applied: bytes) -> None:
        """See `Index.apply`."""
        await self._env.offload(lambda: None)
        self._check_open()
        keys = dict.fromkeys(write.key for batch in group for write in batch.writes)
        before = tuple(Write(key, self._values.get(key)) for key in keys)
        self._undo = (before, self._applied)
        await super().apply(group, applied)
        await self._env.offload(lambda: None)

    def reopened(self, *, drop_last: bool) -> SimIndex:
        """The handle of the next process; this one is closed. `drop_last`: as a power cut may do
        where meta pages are not synced.
        """
        self._closed = False
        if drop_last and self._undo is not None:
            writes, self._applied = self._undo
            self._set(writes)
        fresh = SimIndex(self._sums_key, self._env)
        for name in ("_values", "_keys", "_sums", "_applied", "_request_ids"):
            setattr(fresh, name, getattr(self, name))
        self._values, self._keys = {}, []
        self.close()
        return fresh

    def rows(self) -> dict[bytes, bytes]:
        """Everything, for checks."""
        return dict(self._values)
