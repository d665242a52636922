"""What an LMDB transaction of the index is made of: callers that wait, last values, request ids.

Not for LMDB's own life: `gateway.meta.lmdb` begins and ends transactions.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.meta.batches import REQUEST_ID_BYTES, REQUEST_IDS_MAX
from gateway.meta.kv import Batch
from gateway.meta.sums import SumDelta
from gateway.meta.usage import Moves, UsageDelta
from storaged.base.errors import StorageError


@dataclass(slots=True, eq=False)
class Pending:
    """A commit (one batch, `applied` None) or an apply that waits for its transaction."""

    batches: Sequence[Batch]
    applied: bytes | None
    future: asyncio.Future[None]
    error: StorageError | None = None


@dataclass(slots=True, eq=False)
class Count:
    """A count of all rows under way: those below `position` are counted, changes among them move
    the count.
    """

    found: SumDelta | UsageDelta
    position: bytes = b""

    def move(self, row_key: bytes, before: bytes | None, value: bytes | None) -> None:
        """Count a committed change."""
        if before is not None:
            self.found.remove(row_key, before)
        if value is not None:
            self.found.add(row_key, value)


@dataclass(slots=True)
class Group:
    """What one transaction sets: last value per row, request ids, applied mark.

    `watched` are its changes (row key, before, after) behind the position of a count under way,
    each with that count. `counts`: what it moves, by bucket. `alike`: rows that count for what they
    did.
    """

    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    request_ids: dict[bytes, None] = field(default_factory=dict)
    applied: bytes | None = None
    watched: list[tuple[Count, bytes, bytes | None, bytes | None]] = field(default_factory=list)
    counts: dict[bytes, tuple[Moves, bytes | None]] = field(default_factory=dict)
    alike: set[bytes] = field(default_factory=set)

    def add(self, batch: Batch) -> None:
        """Take over the writes and the request id of a batch."""
        rows, alike = self.rows, self.alike
        for write in batch.writes:
            key = write.key
            if not write.keeps_counts:
                alike.discard(key)
            elif key not in rows:  # over another write of the group, that one decides
                alike.add(key)
            rows[key] = write.value
        self.request_ids[batch.request_id] = None


class RequestWindow:
    """The last committed request ids: all in memory, and one row per transaction on disk.

    A row per transaction instead of one per id makes the window nearly free; the oldest rows go
    when the rest still holds REQUEST_IDS_MAX ids.
    """

    def __init__(self, txn: Any, database: Any) -> None:
        self._database = database
        self._rows: deque[tuple[bytes, int]] = deque()
        self.ids: OrderedDict[bytes, None] = OrderedDict()
        self._kept = 0
        self._next = 0
        for key, packed in txn.cursor(db=database).iternext():
            ids = range(0, len(packed), REQUEST_ID_BYTES)
            self.ids.update((packed[at : at + REQUEST_ID_BYTES], None) for at in ids)
            self._rows.append((key, len(ids)))
            self._kept += len(ids)
            self._next = int.from_bytes(key, "big") + 1

    def stage(self, txn: Any, request_ids: dict[bytes, None]) -> None:
        """Write the ids of a transaction and drop what is beyond the window."""
        if not request_ids:
            return
        key = self._next.to_bytes(8, "big")
        txn.put(key, b"".join(request_ids), db=self._database, append=True)
        self._next += 1
        self._rows.append((key, len(request_ids)))
        self._kept += len(request_ids)
        while self._kept - self._rows[0][1] >= REQUEST_IDS_MAX:
            oldest, count = self._rows.popleft()
            self._kept -= count
            txn.delete(oldest, db=self._database)

    def keep(self, request_ids: dict[bytes, None]) -> None:
        """Remember the ids of a committed transaction."""
        self.ids.update(request_ids)
        while len(self.ids) > REQUEST_IDS_MAX:
            self.ids.popitem(last=False)


def answer(group: Sequence[Pending], error: StorageError | None) -> None:
    """Tell every caller of a group that still waits: the group's error, its own, or success."""
    for pending in group:
        if pending.future.done():
            continue
        outcome = error or pending.error
        if outcome is None:
            pending.future.set_result(None)
        else:
            pending.future.set_exception(outcome)
