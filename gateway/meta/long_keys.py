"""Row keys longer than LMDB's 511 bytes, in exact byte order.

Not for what rows mean. A key of at most HEAD_KEY_BYTES is stored as it is, in the `rows` database.
A longer one is stored in the `long` database as hash(head) ‖ tail, where head is its first
HEAD_KEY_BYTES bytes; a marker `head ‖ 0x00` stands at the head's place, and since nothing else in
the database is that long, its length tells what it is. It sorts after the key `head` itself and
before everything that does not start with head, exactly where the long keys belong. If hash ‖ tail
is too long again, the same happens inside `long`.

An exact read needs no marker: the place follows from the key. A marker stays while a row below it
exists.

Source: docs/data-layout.md, "Long keys".
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from gateway.meta.keyspace import successor
from gateway.meta.kv import ROW_KEY_BYTES_MAX

LMDB_KEY_BYTES_MAX = 511
# Room for the marker byte, and for larger limits of other builds to be of no use to us
HEAD_KEY_BYTES = 480
HASH_BYTES = 24  # nobody finds two heads of one hash: 2^96 tries

ROWS, LONG = 0, 1
Item = tuple[bytes, bytes]

assert HEAD_KEY_BYTES + 1 <= LMDB_KEY_BYTES_MAX
assert HEAD_KEY_BYTES + 2 * (HEAD_KEY_BYTES - HASH_BYTES) >= ROW_KEY_BYTES_MAX  # two levels suffice


def head_hash(head: bytes) -> bytes:
    """Name of a head inside the `long` database, 24 bytes."""
    return blake2b(head, digest_size=HASH_BYTES).digest()


def place(row_key: bytes) -> tuple[int, bytes]:
    """Database and key where the value of a row is."""
    database = ROWS
    while len(row_key) > HEAD_KEY_BYTES:
        row_key = head_hash(row_key[:HEAD_KEY_BYTES]) + row_key[HEAD_KEY_BYTES:]
        database = LONG
    return database, row_key


def markers(row_key: bytes) -> list[tuple[int, bytes]]:
    """Database and key of the markers above a row, from the top; empty for a short key."""
    found: list[tuple[int, bytes]] = []
    database = ROWS
    while len(row_key) > HEAD_KEY_BYTES:
        head = row_key[:HEAD_KEY_BYTES]
        found.append((database, head + b"\x00"))
        row_key = head_hash(head) + row_key[HEAD_KEY_BYTES:]
        database = LONG
    return found


def put_row(txn: Any, databases: tuple[Any, Any], row_key: bytes, value: bytes) -> bytes | None:
    """Set a row and its markers; returns what it held before."""
    database, key = place(row_key)
    if database == LONG:
        for level, marker in markers(row_key):
            txn.put(marker, b"", db=databases[level])
    before: bytes | None = txn.replace(key, value, db=databases[database])
    return before


def pop_row(txn: Any, databases: tuple[Any, Any], row_key: bytes) -> bytes | None:
    """Delete a row, and every marker that has nothing below it; returns what it held before."""
    database, key = place(row_key)
    before: bytes | None = txn.pop(key, db=databases[database])
    if database == LONG and before is not None:
        cursor = txn.cursor(db=databases[LONG])
        for level, marker in reversed(markers(row_key)):
            below = head_hash(marker[:HEAD_KEY_BYTES])
            if cursor.set_range(below) and cursor.key().startswith(below):
                break
            txn.delete(marker, db=databases[level])
    return before


def collect(
    txn: Any, databases: tuple[Any, Any], start: bytes, end: bytes, *, limit: int, reverse: bool
) -> list[Item]:
    """(row key, value) with start ≤ row key < end in byte order, at most `limit`."""
    found: list[Item] = []
    if start < end and limit > 0:
        _collect(txn, databases, ROWS, (start, end), b"", limit, reverse, found)
    return found


def _collect(
    txn: Any,
    databases: tuple[Any, Any],
    level: int,
    bounds: tuple[bytes, bytes],
    base: bytes,
    limit: int,
    reverse: bool,
    found: list[Item],
) -> None:
    """Append the rows of one database between `bounds`, which are in that database's own keys.

    Args:
        base: what the hash at the start of those keys stands for; b"" in `rows`, whose keys have
            none.
    """
    start, end = bounds
    hashed = HASH_BYTES if level == LONG else 0
    # A marker belongs to the range when one of the rows below it may: so a long bound is cut to its
    # marker.
    first = start if len(start) <= HEAD_KEY_BYTES else start[:HEAD_KEY_BYTES] + b"\x00"
    beyond = end if len(end) <= HEAD_KEY_BYTES else end[:HEAD_KEY_BYTES] + b"\x00\x00"
    append = found.append
    for key, value in _entries(txn.cursor(db=databases[level]), first, beyond, reverse):
        if reverse:
            if key < first:
                return
        elif key >= beyond:
            return
        if len(key) > HEAD_KEY_BYTES:
            head = key[:HEAD_KEY_BYTES]
            below = _bounds_below(head, start, end)
            _collect(txn, databases, LONG, below, base + head[hashed:], limit, reverse, found)
        elif hashed:
            append((base + key[hashed:], value))
        else:
            append((key, value))
        if len(found) >= limit:
            return


def _entries(cursor: Any, first: bytes, beyond: bytes, reverse: bool) -> Any:
    """Entries from `first` upwards, or from below `beyond` downwards; the caller stops at the other
    bound.
    """
    if not reverse:
        return cursor.iternext() if cursor.set_range(first) else ()
    there = cursor.prev() if cursor.set_range(beyond) else cursor.last()
    return cursor.iterprev() if there else ()


def _bounds_below(head: bytes, start: bytes, end: bytes) -> tuple[bytes, bytes]:
    """The part of [start, end) below the marker of `head`, in keys of the `long` database."""
    below = head_hash(head)
    low, high = below, successor(below)
    if len(start) > HEAD_KEY_BYTES and start.startswith(head):
        low = below + start[HEAD_KEY_BYTES:]
    if len(end) > HEAD_KEY_BYTES and end.startswith(head):
        high = below + end[HEAD_KEY_BYTES:]
    return low, high
