"""The `Tables` port: a few ordered tables of small rows, changed in atomic and durable batches.

Not for meaning: `storaged.volume_index` gives it. `LmdbTables` is the real one; `MemoryTables` is
the simulation's, in which every batch is durable at once.
"""

from __future__ import annotations

import contextlib
import shutil
from bisect import bisect_left, insort
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import lmdb

from storaged.base.errors import Kind, StorageError

MAP_BYTES = 1 << 38  # address space, not memory or disk: 256 GiB index some four billion shards
TABLES = ("shards", "garbage", "pins", "volumes", "meta", "trash")

Changes = Mapping[str, Mapping[bytes, bytes | None]]


class IndexUnreadable(StorageError):
    """The index of this node cannot be read or written."""

    kind = Kind.CORRUPT
    hint = "stop the node and delete its index directory: the next start rebuilds it by a scan"


class Tables(Protocol):
    """Ordered tables; keys ≤ 64 bytes. Blocking; `apply` from one thread at a time."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """One row. Raises `IndexUnreadable`."""
        ...

    def scan(
        self, table: str, start: bytes, end: bytes | None, *, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Rows with start ≤ key < end in byte order, at most `limit`."""
        ...

    def last(self, table: str, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """The last row with start ≤ key < end. Raises `IndexUnreadable`."""
        ...

    def count(self, table: str) -> int: ...

    def apply(self, changes: Changes) -> None:
        """Set rows (None: remove), all or nothing; durable when it returns."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...

    def close(self) -> None: ...


class MemoryTables:
    """Tables in dictionaries."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[bytes, bytes]] = {table: {} for table in TABLES}
        self._keys: dict[str, list[bytes]] = {table: [] for table in TABLES}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._rows[table].get(key)

    def scan(
        self, table: str, start: bytes, end: bytes | None, *, limit: int
    ) -> list[tuple[bytes, bytes]]:
        keys = self._keys[table]
        low = bisect_left(keys, start)
        high = len(keys) if end is None else bisect_left(keys, end)
        rows = self._rows[table]
        return [(key, rows[key]) for key in keys[low : min(high, low + limit)]]

    def last(self, table: str, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        keys = self._keys[table]
        at = bisect_left(keys, end) - 1
        return (keys[at], self._rows[table][keys[at]]) if at >= 0 and keys[at] >= start else None

    def count(self, table: str) -> int:
        return len(self._rows[table])

    def apply(self, changes: Changes) -> None:
        for table, rows in changes.items():
            held, keys = self._rows[table], self._keys[table]
            for key, value in rows.items():
                if value is not None:
                    if key not in held:
                        insort(keys, key)
                    held[key] = value
                elif held.pop(key, None) is not None:
                    del keys[bisect_left(keys, key)]

    def clear(self) -> None:
        for table in TABLES:
            self._rows[table].clear()
            self._keys[table].clear()

    def close(self) -> None:
        """Nothing is open."""


class LmdbTables:
    """Tables in LMDB, every batch one synced transaction.

    A file that LMDB does not accept is removed at opening: an index holds nothing that a scan of
    the volumes does not bring back.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            self._open()
        except lmdb.Error:
            shutil.rmtree(directory, ignore_errors=True)
            try:
                self._open()
            except lmdb.Error as error:
                raise IndexUnreadable(reason=str(error)) from error

    def _open(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._environment = lmdb.open(
            str(self._directory),
            map_size=MAP_BYTES,
            max_dbs=len(TABLES),
            max_readers=128,
            mode=0o600,
            readahead=False,
        )
        self._tables = {table: self._environment.open_db(table.encode("ascii")) for table in TABLES}

    def get(self, table: str, key: bytes) -> bytes | None:
        try:
            with self._environment.begin(db=self._tables[table]) as transaction:
                value: bytes | None = transaction.get(key)
                return value
        except lmdb.Error as error:
            raise IndexUnreadable(reason=str(error)) from error

    def scan(
        self, table: str, start: bytes, end: bytes | None, *, limit: int
    ) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        try:
            with (
                self._environment.begin(db=self._tables[table]) as transaction,
                transaction.cursor() as cursor,
            ):
                if not cursor.set_range(start):
                    return found
                for key, value in cursor.iternext():
                    if len(found) == limit or (end is not None and key >= end):
                        break
                    found.append((key, value))
        except lmdb.Error as error:
            raise IndexUnreadable(reason=str(error)) from error
        return found

    def last(self, table: str, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        try:
            with (
                self._environment.begin(db=self._tables[table]) as transaction,
                transaction.cursor() as cursor,
            ):
                there = cursor.prev() if cursor.set_range(end) else cursor.last()
                key, row = cursor.item()
                return (key, row) if there and key >= start else None
        except lmdb.Error as error:
            raise IndexUnreadable(reason=str(error)) from error

    def count(self, table: str) -> int:
        try:
            with self._environment.begin() as transaction:
                return int(transaction.stat(self._tables[table])["entries"])
        except lmdb.Error as error:
            raise IndexUnreadable(reason=str(error)) from error

    def apply(self, changes: Changes) -> None:
        try:
            with self._environment.begin(write=True) as transaction:
                for table, rows in changes.items():
                    with transaction.cursor(self._tables[table]) as cursor:
                        kept = sorted((key, row) for key, row in rows.items() if row is not None)
                        if kept:
                            cursor.putmulti(kept)
                        for key, value in rows.items():
                            if value is None and cursor.set_key(key):
                                cursor.delete()
        except lmdb.Error as error:
            raise IndexUnreadable(reason=str(error)) from error

    def clear(self) -> None:
        with contextlib.suppress(lmdb.Error):
            self._environment.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._open()

    def close(self) -> None:
        self._environment.close()
