"""The counts of buckets as the LMDB index keeps them: in a database of their own, in the
transaction that changes the rows.

Not for what a row counts for: `gateway.meta.usage`. The database is derived. A mark holds the
applied position it belongs to; where that is not the index's (an older program has written to it),
everything is counted again when the index is opened.

Source: docs/data-layout.md, "Counts".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.meta.sealing import RecordKeys
from gateway.meta.usage import Moves, UsageDelta, moved_usage, slots_between

FORMAT = b"hexagone counts 1"
MARK_KEY = b"counts"

UsageListener = Callable[[Mapping[bytes, tuple[Moves, bytes | None]]], None]
"""Called on the event loop after each transaction that moves counts, before its callers go on, with
bucket → (moves, kept entry after them). Must be quick."""


class UsageRows:
    """The database, and how counts come into it.

    Args:
        database, meta: of the LMDB environment.
        keys: open the cluster part of rows.
    """

    def __init__(self, database: Any, meta: Any, keys: RecordKeys) -> None:
        self._database = database
        self._meta = meta
        self._keys = keys
        self._correction: dict[bytes, Moves] = {}
        self.listeners: list[UsageListener] = []

    def delta(self) -> UsageDelta:
        """A count of moves that begins with nothing."""
        return UsageDelta(self._keys)

    def is_current(self, txn: Any, applied: bytes | None) -> bool:
        """Whether the counts belong to the rows as applied."""
        held: bytes | None = txn.get(MARK_KEY, db=self._meta)
        return held == FORMAT + (applied or b"")

    def fill(self, txn: Any, rows: Iterable[tuple[bytes, bytes]], applied: bytes | None) -> None:
        """Count everything again, in the transaction."""
        found = self.delta()
        found.count_in(rows)
        txn.drop(self._database, delete=False)
        self.stage(txn, found, applied)

    def stage(
        self, txn: Any, delta: UsageDelta, applied: bytes | None
    ) -> dict[bytes, tuple[Moves, bytes | None]]:
        """Set what has moved; returns it with the entries that it makes."""
        if self._correction:
            delta.merge(self._correction)
        staged: dict[bytes, tuple[Moves, bytes | None]] = {}
        for bucket, moves in delta.moved.items():
            kept = moved_usage(txn.get(bucket, db=self._database), moves)
            if kept is None:
                txn.delete(bucket, db=self._database)
            else:
                txn.put(bucket, kept, db=self._database)
            staged[bucket] = (moves, kept)
        if applied is not None:
            txn.put(MARK_KEY, FORMAT + applied, db=self._meta)
        return staged

    def committed(self) -> None:
        """The transaction that was staged is committed."""
        self._correction = {}

    def kept(self, txn: Any, bucket: bytes) -> bytes | None:
        """The entry of a bucket."""
        entry: bytes | None = txn.get(bucket, db=self._database)
        return entry

    def all_kept(self, txn: Any) -> dict[bytes, bytes]:
        """All entries by bucket."""
        return dict(txn.cursor(db=self._database).iternext())

    def correct(self, txn: Any, found: UsageDelta) -> list[bytes]:
        """Buckets whose entry is not what a scan found; the next transaction sets them right."""
        kept = self.all_kept(txn)
        self._correction = {}
        for bucket in kept.keys() | found.moved.keys():
            moves = slots_between(kept.get(bucket), found.moved.get(bucket, {}))
            if moves:
                self._correction[bucket] = moves
        return sorted(self._correction)
