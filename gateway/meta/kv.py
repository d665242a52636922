"""The metadata port: ordered rows, read and scanned freely, changed by checked batches.

Implementations: `gateway.meta.memory.MemoryStore` (reference model), `gateway.meta.lmdb.LmdbIndex`
(one machine's index), and `gateway.commit.log.Log` (the index behind the replicated log: what the
gateway runs on). One suite, `tests/conformance/meta_suite.py`, runs on all of them.

Row keys: 1–1,100 bytes, any byte values, ordered bytewise. Row values: 13 bytes to 16 MiB, `marker
u8 ‖ revision 12 bytes ‖ …`; the log takes at most 8 MiB in one batch. A revision is chosen by the
writer and never used twice, so equality is all that a check needs. No open transaction ever crosses
an await: every call is complete in itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from storaged.base.errors import Kind, StorageError
from storaged.base.values import value

ROW_KEY_BYTES_MAX = 1100
ROW_VALUE_BYTES_MAX = 16 * 1024 * 1024
REVISION_BYTES = 12
PARTITION_BYTES = 16
INDEX_RESERVE_BYTES = 64 * 1024 * 1024  # left for deletes, which need pages of their own


class BatchConflict(StorageError):
    """A check of the batch failed; nothing was written."""

    kind = Kind.CONFLICT


class OutcomeUnknown(StorageError):
    """The batch may or may not be committed; ask again by its request id."""

    kind = Kind.UNKNOWN_OUTCOME


class MetaUnavailable(StorageError):
    """The metadata store cannot answer."""

    kind = Kind.UNAVAILABLE


class RowCorrupt(StorageError):
    """A row fails its check."""

    kind = Kind.CORRUPT


class Row(NamedTuple):
    key: bytes
    value: bytes


class IndexFull(StorageError):
    """The index has only its reserve left; nothing was written."""

    kind = Kind.EXHAUSTED
    hint = "raise storage.index_map_mib, or free its drive; deletes still work"


@value(frozen=True, slots=True)
class Check:
    """`revision` None: the key must be absent. Else: it must be there at exactly this revision."""

    key: bytes
    revision: bytes | None


@value(frozen=True, slots=True)
class Exists:
    """The key must be there, at any revision: the check every batch makes on its bucket's open
    row.
    """

    key: bytes


@value(frozen=True, slots=True)
class Write:
    """Set the row, or delete it when `value` is None (also when it is absent).

    Args:
        keeps_counts: a row is there, and what it counts for (`gateway.meta.usage`) stays as it is;
            an index need not look. Not kept in the log: a replay looks.
    """

    key: bytes
    value: bytes | None
    keeps_counts: bool = False


@value(frozen=True, slots=True, kw_only=True)
class Batch:
    """Checks and writes that happen at one instant, or not at all.

    Args:
        partition: 16 bytes, the bucket's id, or zeros for cluster rows; its count and keyed sum
            move with the rows. Every key of the batch starts with `family u8 ‖ partition`.
        request_id: 16 bytes; a repeat of a committed id within the window the store remembers does
            nothing and succeeds.
    """

    partition: bytes
    request_id: bytes
    checks: tuple[Check | Exists, ...]
    writes: tuple[Write, ...]


def revision_of(value: bytes) -> bytes:
    """The 12-byte revision inside a row value."""
    return value[1 : 1 + REVISION_BYTES]


class MetaStore(Protocol):
    """Ordered rows."""

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of the keys at one instant, None where absent. Microseconds; does not block on
        writers.

        Raises: MetaUnavailable, RowCorrupt. Sees: every batch whose commit has returned.
        """
        ...

    def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """Rows with start ≤ key < end in byte order (reverse: from the last), at most `limit` (≤
        10,000).

        One instant for one call; paging goes on from the last key + 0x00 (reverse: end = the last
        key).
        """
        ...

    async def commit(self, batch: Batch) -> None:
        """Check and write, all or nothing.

        Raises:
            BatchConflict(check=index of the first failed check): nothing written.
            OutcomeUnknown: deadline; the batch may still be committed later, never twice.
            MetaUnavailable: not committed.

        Idempotent: by request id. Durable when: it returns. Cancelled: as OutcomeUnknown.
        Concurrent: any number; the order of commits is the order of revisions seen by checks.
        """
        ...


class Verification(Protocol):
    """Every row held against the sums, in helpings; begun by `Index.begin_verification`."""

    def helping(self) -> list[bytes] | None:
        """Look at some more rows; at the end, the partitions whose kept count or sum is not that of
        their rows. Blocking, about a millisecond: offload it. One at a time.
        """
        ...

    def end(self) -> None:
        """Nobody wants to know any more. Idempotent."""
        ...


class Index(MetaStore, Protocol):
    """What the log needs of an index beyond the port: applying groups it has already decided."""

    async def apply(self, group: Sequence[Batch], applied: bytes) -> None:
        """Set all writes of the batches in order, without checks, and the `applied` mark, in one
        transaction.

        Durable when: it returns (the last transaction may be undone by a power cut, whole; replay
            heals that).
        """
        ...

    def applied(self) -> bytes | None:
        """The mark of the last apply, None on an empty index."""
        ...

    def partition_sums(self) -> dict[bytes, tuple[int, bytes]]:
        """Row count and 16-byte keyed sum per partition, as kept."""
        ...

    def begin_verification(self) -> Verification:
        """Begin to hold the rows against the sums. Commits may come between two helpings: what they
        change is counted. Any number may be under way.
        """
        ...

    def verify_sums(self) -> list[bytes]:
        """All helpings of a verification at once. Blocking and long."""
        ...

    def space_left_bytes(self) -> int:
        """How much the index may still grow; the log refuses growth below INDEX_RESERVE_BYTES."""
        ...

    def close(self) -> None:
        """Answer nothing from here on and give resources back. Idempotent."""
        ...
