"""Count and keyed sum of the rows of each partition: how a store notices that a row is *absent*.

A row that is there is authenticated by its own seal. A row that vanished, or came back at an old
revision, is seen because the sum over (key, revision) of all rows moves in the same transaction and
is verified by a scan. The sum is additive modulo 2^128, so it costs two hashes per changed row and
needs no order.

Source: M. Bellare, D. Micciancio, "A New Paradigm for Collision-Free Hashing", AdHash;
docs/data-layout.md, "Sums".
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from hashlib import blake2b

from gateway.meta.keyspace import partition_of
from gateway.meta.kv import REVISION_BYTES

SUM_BYTES = 16
COUNT_BYTES = 8
_MASK = (1 << 128) - 1


class SumDelta:
    """How counts and sums move with some rows; partition → [count, sum]."""

    __slots__ = ("_keyed", "moved")

    def __init__(self, sums_key: bytes) -> None:
        if not 16 <= len(sums_key) <= 64:
            raise ValueError("the sums key is 16 to 64 bytes")
        self._keyed = blake2b(digest_size=SUM_BYTES, key=sums_key)
        self.moved: dict[bytes, list[int]] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> SumDelta:
        twin = object.__new__(SumDelta)
        twin._keyed = self._keyed.copy()  # `copy` knows nothing of hashes
        twin.moved = deepcopy(self.moved, memo)
        return twin

    def add(self, row_key: bytes, value: bytes) -> None:
        """Count a row in."""
        self.change(row_key, None, value)

    def remove(self, row_key: bytes, value: bytes) -> None:
        """Count a row out; `value` is what it held."""
        self.change(row_key, value, None)

    def change(self, row_key: bytes, before: bytes | None, after: bytes | None) -> None:
        """Count a row out as it was and in as it is; None: absent."""
        partition = partition_of(row_key)
        entry = self.moved.get(partition)
        if entry is None:
            entry = self.moved[partition] = [0, 0]
        if before is not None:
            hashing = self._keyed.copy()
            hashing.update(row_key + before[1 : 1 + REVISION_BYTES])
            entry[0] -= 1
            entry[1] -= int.from_bytes(hashing.digest(), "big")
        if after is not None:
            hashing = self._keyed.copy()
            hashing.update(row_key + after[1 : 1 + REVISION_BYTES])
            entry[0] += 1
            entry[1] += int.from_bytes(hashing.digest(), "big")

    def count_in(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Count many rows in."""
        for row_key, value in rows:
            self.change(row_key, None, value)

    def sums(self) -> dict[bytes, tuple[int, bytes]]:
        """The moves as absolute (count, 16-byte sum), empty partitions left out."""
        return {
            partition: (count, (total & _MASK).to_bytes(SUM_BYTES, "big"))
            for partition, (count, total) in self.moved.items()
            if count or total & _MASK
        }


def moved_sum(kept: bytes | None, count: int, total: int) -> bytes | None:
    """A kept entry, `count u64 ‖ sum 16`, after a move; None when the partition is empty.

    An entry that would become impossible (negative count) stays as a count of 2^64 − 1 and is found
    by verifying.
    """
    if kept is not None and len(kept) == COUNT_BYTES + SUM_BYTES:
        count += int.from_bytes(kept[:COUNT_BYTES], "big")
        total += int.from_bytes(kept[COUNT_BYTES:], "big")
    total &= _MASK
    if count == 0 and total == 0:
        return None
    return (count & ((1 << 64) - 1)).to_bytes(COUNT_BYTES, "big") + total.to_bytes(SUM_BYTES, "big")


def unpack_sum(kept: bytes) -> tuple[int, bytes]:
    """(row count, 16-byte sum) of a kept entry."""
    return int.from_bytes(kept[:COUNT_BYTES], "big"), kept[COUNT_BYTES:]


def differing(
    kept: dict[bytes, tuple[int, bytes]], found: dict[bytes, tuple[int, bytes]]
) -> list[bytes]:
    """Partitions whose kept entry is not what a scan found, sorted."""
    return sorted(p for p in kept.keys() | found.keys() if kept.get(p) != found.get(p))
