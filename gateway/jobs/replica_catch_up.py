"""Versions that wait to be replicated without a row, because the queue was full: they get one.

A bucket that has any has a mark (`gateway.objects.replica_backlog`). Once half of its rows have
gone its versions are looked through, a page a step, and those that are PENDING get rows as long as
there is room. The mark goes when a whole look has ended and nothing was left out meanwhile; after a
crash the look begins again. A version that gets a second row is no harm:
`gateway.jobs.replication` passes over what is not PENDING any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.commit.change import Change
from gateway.jobs.replica_versions import KEY_DISABLED
from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace
from gateway.meta.kv import Batch, BatchConflict, Check, Row, Write, revision_of
from gateway.meta.queues import mark_row
from gateway.meta.records import open_version
from gateway.model.errors import KmsKeyDestroyed
from gateway.model.names import BucketId, ObjectKey
from gateway.model.version import Version
from gateway.objects import outbox, replicas
from gateway.objects.context import Services
from gateway.objects.log_delivery import queues_of
from gateway.objects.replicas import PENDING, ReplicationRule
from gateway.objects.target import OpenBucket

PAGE_ROWS = 200
# A version that no rule covers any more; no target has this name, so it will be FAILED.
_NO_RULE = ReplicationRule("", 0, "", (), "", "", with_markers=True)


class _Look(NamedTuple):
    """A look through a bucket.

    Args:
        revision: of the mark when it began.
        after: the row that was looked at last; b"" = none.
    """

    bucket: BucketId
    revision: bytes
    after: bytes


class CatchUp:
    """One page a step; `step` says whether there is more to do at once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._looks: dict[
            BucketId, _Look
        ] = {}  # that have begun; at most one for each bucket behind
        self._last = BucketId(b"")

    async def step(self) -> bool:
        """Look at one page of one bucket that has a mark and room. Raises: RowCorrupt, and what
        the log raises.
        """
        look = self._next()
        if look is None:
            return False
        room = self._services.replica_backlog.room(look.bucket)
        self._last = look.bucket
        rows, is_last = self._page(look.bucket, look.after)
        try:
            taken, writes = self._entries(look.bucket, rows, room)
        except KEY_DISABLED:
            return False  # until it is enabled again
        if writes:
            batch = queues_of(self._services).changed(look.bucket, (), writes)
            await self._services.log.commit_change(Change(batch=batch))
        if taken < len(rows) or not is_last:
            after = rows[taken - 1].key if taken else look.after
            self._looks[look.bucket] = look._replace(after=after)
            return True
        self._looks.pop(look.bucket, None)
        return await self._end(look)

    def _next(self) -> _Look | None:
        """Of the buckets whose rows have become few, the one behind that of the last step."""
        services, backlog = self._services, self._services.replica_backlog
        behind = sorted(backlog.behind)
        behind = [held for held in behind if held > self._last] + behind
        for bucket in behind[: len(backlog.behind)]:
            room = backlog.room(bucket)
            if not room or backlog.rows[bucket] > room:
                continue
            if bucket in self._looks:
                return self._looks[bucket]
            value = services.log.read((mark_row(keyspace.REPLICA, bucket),))[0]
            if value is None:
                # Not committed, or not yet: the pass over the queue will see it.
                backlog.behind.discard(bucket)
                continue
            return _Look(bucket, revision_of(value), b"")
        return None

    def _page(self, bucket: BucketId, after: bytes) -> tuple[list[Row], bool]:
        """The next rows of versions of a bucket, current ones first, and whether these are the
        last.
        """
        scan = self._services.log.scan
        if after[:1] != keyspace.NONCURRENT:
            start, end = keyspace.family_range(keyspace.CURRENT, bucket)
            start = keyspace.after(after) if after else start
            rows = list(scan(start, end, limit=PAGE_ROWS))
            if len(rows) == PAGE_ROWS:
                return rows, False
            start, end = keyspace.family_range(keyspace.NONCURRENT, bucket)
        else:
            rows = []
            start, end = keyspace.after(after), keyspace.family_range(after[:1], bucket)[1]
        older = list(scan(start, end, limit=PAGE_ROWS))
        return rows + older, len(older) < PAGE_ROWS

    def _entries(
        self, bucket: BucketId, rows: list[Row], room: int
    ) -> tuple[int, tuple[Write, ...]]:
        """How many rows were looked at before the room was filled, and the writes for those that
        wait.
        """
        services, opened = self._services, self._opened(bucket)
        writes: list[Write] = []
        if opened is None:
            return len(rows), ()
        for count, row in enumerate(rows):
            if len(writes) == room:
                return count, tuple(writes)
            try:
                version = open_version(services.records, row.key, row.value).version
            except KmsKeyDestroyed:
                continue
            if version.attributes.replication == PENDING:
                document = self._document(opened, row.key, version)
                writes.append(services.replica_backlog.left(bucket, document))
        return len(rows), tuple(writes)

    def _opened(self, bucket: BucketId) -> OpenBucket | None:
        stored = bucket_rows.read_bucket(self._services.log, self._services.records, bucket)
        if stored is None:
            return None
        return OpenBucket(stored.bucket, keyspace.bucket_row(bucket), stored.value)

    def _document(
        self, opened: OpenBucket, row_key: bytes, version: Version
    ) -> Mapping[str, object]:
        if row_key[:1] == keyspace.CURRENT:
            name: ObjectKey = keyspace.parse_current(row_key)[1]
        else:
            name = keyspace.parse_noncurrent(row_key)[1]
        key = name.decode("utf-8")
        rule = replicas.rule_over(self._services, opened, key, version) or _NO_RULE
        return outbox.replica_document(rule, key, version)

    async def _end(self, look: _Look) -> bool:
        """Take the mark away, unless something was left out since the look began."""
        services, row_key = self._services, mark_row(keyspace.REPLICA, look.bucket)
        batch = Batch(
            partition=look.bucket,
            request_id=services.env.random_bytes(16),
            checks=(Check(row_key, look.revision),),
            writes=(Write(row_key, None),),
        )
        try:
            await services.log.commit_change(Change(batch=batch))
        except BatchConflict:
            return True  # and looks once more, from the beginning
        services.replica_backlog.behind.discard(look.bucket)
        return True
