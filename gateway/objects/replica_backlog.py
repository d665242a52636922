"""How many versions wait to be replicated, and what happens when that are too many.

Each version that waits has a row, up to a bound for a bucket and one for all. Beyond it nothing is
refused and nothing is lost: the version stays PENDING without a row, and the batch that writes it
also sets the bucket's mark, by which the job finds it when the rows have become fewer
(`gateway.jobs.replica_catch_up`).

Not for doing it (`gateway.jobs.replication`). The numbers are about right: a change that does not
commit counts until the next look over the whole queue.

Source: docs/data-layout.md, "Queues".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.meta import keyspace
from gateway.meta.kv import Write
from gateway.meta.queues import LAST_MS, Queues
from gateway.model.names import BucketId

if TYPE_CHECKING:
    from gateway.objects.context import Services

ROWS_MAX = 100_000  # of all buckets, some 30 MB of index
BUCKET_ROWS_MAX = 10_000
BUCKET_ROWS_LEAST = 64  # whatever the others have: a destination that is away holds up its own only


class Backlog:
    """What waits, by bucket.

    Args:
        rows: of each bucket that has any; `waiting`: of all.
        behind: buckets of which more waits than has rows.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._is_counted = False
        self.rows: Counter[BucketId] = Counter()
        self.waiting = 0
        self.behind: set[BucketId] = set()
        self._added: Counter[BucketId] = Counter()  # since the last look over the whole queue
        self.rows_max, self.bucket_rows_max = ROWS_MAX, BUCKET_ROWS_MAX
        self.bucket_rows_least = BUCKET_ROWS_LEAST

    def count(self) -> None:
        """Count what an earlier process has left, if that has not been done. Raises: RowCorrupt."""
        if self._is_counted:
            return
        services = self._services
        queues = Queues(services.log, services.records, services.nonces, services.env)
        for bucket, at_ms in queues.all(keyspace.REPLICA):
            if at_ms == LAST_MS:
                self.behind.add(bucket)
            else:
                self._add(bucket, 1)
        self._is_counted = True

    def room(self, bucket: BucketId) -> int:
        """How many rows a bucket may have beyond those that it has. Raises: RowCorrupt."""
        self.count()
        held = self.rows[bucket]
        left = min(self.rows_max - self.waiting, self.bucket_rows_max - held)
        return max(0, left, self.bucket_rows_least - held)

    def left(self, bucket: BucketId, document: Mapping[str, object]) -> Write:
        """The write that goes with a change that is to be replicated: its row if there is room,
        else the mark; then the version has to be PENDING. Raises: RowCorrupt.
        """
        services = self._services
        queues = Queues(services.log, services.records, services.nonces, services.env)
        if self.room(bucket):
            self._add(bucket, 1)
            self._added[bucket] += 1
            return queues.entry(keyspace.REPLICA, bucket, document, services.env.now_ms())
        self.behind.add(bucket)
        return queues.mark(keyspace.REPLICA, bucket)

    def done(self, bucket: BucketId) -> None:
        """A row has gone."""
        if self.rows[bucket]:
            self._add(bucket, -1)

    def counted(self, rows: Counter[BucketId]) -> None:
        """Take what a look over the whole queue has left: changes that were counted and not
        committed must not fill it for ever.
        """
        rows = rows + self._added
        self._added.clear()
        self.rows = Counter({held: min(count, rows[held]) for held, count in self.rows.items()})
        self.rows = +self.rows
        self.waiting = self.rows.total()

    def _add(self, bucket: BucketId, count: int) -> None:
        self.waiting += count
        self.rows[bucket] += count
        if not self.rows[bucket]:
            del self.rows[bucket]

    def summary(self) -> str:
        """For people."""
        text = f"{self.waiting} waiting"
        if self.behind:
            text += f", and more in {len(self.behind)} buckets that have no room for rows"
        return text

    def __repr__(self) -> str:
        return f"Backlog({self.summary()})"
