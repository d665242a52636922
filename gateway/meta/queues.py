"""Durable queues of a bucket: rows that something is still to be done about, oldest first.

Not for what is to be done: each queue's job knows its own documents. A row is written in the batch
that makes the work, and dropped once it is done, so work is done at least once whatever crashes.

Source: docs/data-layout.md, "Queues".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gateway.meta import keyspace
from gateway.meta.kv import Batch, MetaStore, Write
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.names import BucketId
from storaged.base.env import Env

COUNTED_AT_ONCE = 1000
TAIL_BYTES = 8  # random, so that rows of one millisecond differ
LAST_MS = keyspace.SEQUENCE_MAX  # "time" of the one row of a bucket that stands for what has none
_LAST_TAIL = b"\xff" * TAIL_BYTES


class Queued(NamedTuple):
    """A row of a queue."""

    row_key: bytes
    bucket: BucketId
    at_ms: int
    document: dict[str, Any]


def mark_row(family: bytes, bucket: BucketId) -> bytes:
    """Row key of a bucket's mark, see `Queues.mark`."""
    return keyspace.queue_row(family, bucket, LAST_MS, _LAST_TAIL)


class Queues:
    """Reads and writes rows of queues; `family` is one of `keyspace.QUEUES`."""

    def __init__(
        self, store: MetaStore, records: RecordKeys, nonces: NonceSource, env: Env
    ) -> None:
        self._store = store
        self._records = records
        self._nonces = nonces
        self._env = env

    def entry(
        self, family: bytes, bucket: BucketId, document: Mapping[str, Any], at_ms: int
    ) -> Write:
        """Write that adds a row; it goes into a batch of that bucket."""
        tail = self._env.random_bytes(TAIL_BYTES)
        row_key = keyspace.queue_row(family, bucket, at_ms, tail)
        return Write(row_key, seal_document(self._records, self._nonces, row_key, document))

    def mark(self, family: bytes, bucket: BucketId) -> Write:
        """Write that sets the row for what has no row of its own: one of each bucket, its last, at
        another revision each time.
        """
        row_key = mark_row(family, bucket)
        return Write(row_key, seal_document(self._records, self._nonces, row_key, {}))

    def of_bucket(
        self, family: bytes, bucket: BucketId, after: bytes | None, *, limit: int
    ) -> list[Queued]:
        """The oldest rows of one bucket above a row key. Raises: RowCorrupt."""
        start, end = keyspace.family_range(family, bucket)
        return self._scan(start if after is None else keyspace.after(after), end, limit)

    def oldest(self, family: bytes) -> Iterator[tuple[BucketId, int]]:
        """The buckets that have rows, and the time of the oldest of each. Raises: RowCorrupt."""
        start = family
        while rows := self._store.scan(start, keyspace.successor(family), limit=1):
            bucket, at_ms = keyspace.parse_queue(rows[0].key)
            yield bucket, at_ms
            start = keyspace.successor(family + bucket)

    def all(self, family: bytes) -> Iterator[tuple[BucketId, int]]:
        """Bucket and time of every row, unopened, to count them. Raises: RowCorrupt."""
        start, end = family, keyspace.successor(family)
        while True:
            rows = self._store.scan(start, end, limit=COUNTED_AT_ONCE)
            yield from (keyspace.parse_queue(row.key) for row in rows)
            if len(rows) < COUNTED_AT_ONCE:
                return
            start = keyspace.after(rows[-1].key)

    def page(self, family: bytes, after: bytes | None, *, limit: int) -> list[Queued]:
        """Rows of all buckets above a row key, bucket by bucket. Raises: RowCorrupt."""
        start = family if after is None else keyspace.after(after)
        return self._scan(start, keyspace.successor(family), limit)

    def _scan(self, start: bytes, end: bytes, limit: int) -> list[Queued]:
        found = []
        for row in self._store.scan(start, end, limit=limit):
            bucket, at_ms = keyspace.parse_queue(row.key)
            document = open_document(self._records, row.key, row.value)
            found.append(Queued(row.key, bucket, at_ms, document))
        return found

    def changed(
        self, bucket: BucketId, done: Iterable[bytes], added: Iterable[Write] = ()
    ) -> Batch:
        """The batch that drops rows of one bucket and adds others."""
        return Batch(
            partition=bucket,
            request_id=self._env.random_bytes(16),
            checks=(),
            writes=(*(Write(row_key, None) for row_key in done), *added),
        )
