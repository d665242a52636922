"""The metadata port over a dictionary and a sorted list: reference model, and the index of
simulated clusters.

Not durable. Not for large indexes: inserting moves a list of keys.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence

from gateway.meta.batches import REQUEST_IDS_MAX, SCAN_ROWS_MAX, failed_check, validate
from gateway.meta.kv import Batch, BatchConflict, MetaUnavailable, Row, Verification, Write
from gateway.meta.sums import SumDelta, differing


class MemoryStore:
    """All rows in memory; every commit is one step of the event loop, so batches are ordered by
    their calls.
    """

    def __init__(self, sums_key: bytes = bytes(32)) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._sums_key = sums_key
        self._sums = SumDelta(sums_key)
        self._applied: bytes | None = None
        self._request_ids: OrderedDict[bytes, None] = OrderedDict()
        self._closed = False

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `MetaStore.read`."""
        self._check_open()
        return [self._values.get(key) for key in keys]

    def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """See `MetaStore.scan`."""
        self._check_open()
        limit = min(limit, SCAN_ROWS_MAX)
        first, beyond = bisect_left(self._keys, start), bisect_left(self._keys, end)
        if beyond <= first or limit <= 0:
            return []
        if reverse:
            keys = self._keys[max(first, beyond - limit) : beyond][::-1]
        else:
            keys = self._keys[first : min(beyond, first + limit)]
        return [Row(key, self._values[key]) for key in keys]

    async def commit(self, batch: Batch) -> None:
        """See `MetaStore.commit`."""
        self._check_open()
        validate(batch)
        if batch.request_id in self._request_ids:
            return
        failed = failed_check(batch, self._values.get)
        if failed is not None:
            raise BatchConflict(check=failed)
        self._set(batch.writes)
        self._remember(batch.request_id)

    async def apply(self, group: Sequence[Batch], applied: bytes) -> None:
        """See `Index.apply`."""
        self._check_open()
        for batch in group:
            validate(batch)
        for batch in group:
            self._set(batch.writes)
            self._remember(batch.request_id)
        self._applied = applied

    def committed(self, request_id: bytes) -> bool:
        """Whether a batch of this id is among the last REQUEST_IDS_MAX committed or applied."""
        self._check_open()
        return request_id in self._request_ids

    def applied(self) -> bytes | None:
        """See `Index.applied`."""
        self._check_open()
        return self._applied

    def partition_sums(self) -> dict[bytes, tuple[int, bytes]]:
        """See `Index.partition_sums`."""
        self._check_open()
        return self._sums.sums()

    def begin_verification(self) -> Verification:
        """See `Index.begin_verification`: one helping, of all rows."""
        return _Verification(self)

    def verify_sums(self) -> list[bytes]:
        """See `Index.verify_sums`."""
        self._check_open()
        found = SumDelta(self._sums_key)
        found.count_in(self._values.items())
        return differing(self._sums.sums(), found.sums())

    def space_left_bytes(self) -> int:
        """See `Index.space_left_bytes`: memory is not counted."""
        return 1 << 62

    def close(self) -> None:
        """See `Index.close`."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise MetaUnavailable(reason="closed")

    def _set(self, writes: Sequence[Write]) -> None:
        for write in writes:
            before = self._values.get(write.key)
            if before is not None:
                self._sums.remove(write.key, before)
            if write.value is None:
                if before is not None:
                    del self._values[write.key]
                    del self._keys[bisect_left(self._keys, write.key)]
                continue
            self._sums.add(write.key, write.value)
            self._values[write.key] = bytes(write.value)
            if before is None:
                insort(self._keys, write.key)

    def _remember(self, request_id: bytes) -> None:
        self._request_ids[request_id] = None
        if len(self._request_ids) > REQUEST_IDS_MAX:
            self._request_ids.popitem(last=False)


class _Verification:
    """`gateway.meta.kv.Verification` over a store in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def helping(self) -> list[bytes]:
        return self._store.verify_sums()

    def end(self) -> None:
        """Nothing is held."""
