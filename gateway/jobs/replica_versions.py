"""Versions of a key as replication sees them: which of them wait, and what is written down.

Their order is that of the rows of the key, not of the queue's, for a version may have waited
without a row. Of a key, first replicas are made oldest first, so below one that is settled none
waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from gateway.commit.change import Change
from gateway.data.envelope import TenantKeyDisabled
from gateway.meta import keyspace
from gateway.meta.kv import Batch, Check, Write
from gateway.meta.records import StoredVersion, open_version, seal_version
from gateway.model.attributes import Attributes
from gateway.model.errors import KmsKeyDestroyed, KmsKeyDisabled
from gateway.model.names import NULL_VERSION, BucketId, ObjectKey, VersionId, version_id_text
from gateway.model.version import Version
from gateway.objects.context import Services
from gateway.objects.history import SEQUENCE_BYTES
from gateway.objects.publish import until_committed
from gateway.objects.replicas import (
    ANNOTATIONS,
    COMPLETED,
    FAILED,
    PENDING,
    REPLICA,
    changes_between,
    with_unsent,
)

RUN_MAX = 256  # versions of a key that are sent before the next look
PAGE_ROWS = 64
OLDER_LOOKED_AT = 16
# What is under such a key waits: it may be enabled again.
KEY_DISABLED = (KmsKeyDisabled, TenantKeyDisabled)
_SETTLED = frozenset({COMPLETED, FAILED})


class Pending(NamedTuple):
    """A version that waits, as it was read."""

    version: Version

    @property
    def version_id(self) -> VersionId:
        return self.version.version_id

    @property
    def shown_id(self) -> str:
        """As clients are told it."""
        return version_id_text(self.version.version_id)

    @property
    def is_marker(self) -> bool:
        return self.version.is_delete_marker


class _Row(NamedTuple):
    row_key: bytes
    stored: StoredVersion


def pending_versions(
    services: Services, bucket: BucketId, key: str, wanted: VersionId
) -> list[Pending]:
    """What is to be sent for a row that names a version: that one last, and before it older ones
    that wait for their first replica too. [] when it does not wait any more.

    At most RUN_MAX, the oldest, in which case the wanted one may not be among them. Raises:
    RowCorrupt.
    """
    found = _find(services, bucket, key, wanted)
    # Markers had no status once.
    if found is None or found.stored.version.attributes.replication not in (PENDING, ""):
        return []
    version = found.stored.version
    if _was_sent(version.attributes):
        return [Pending(version)]
    run: deque[Pending] = deque((Pending(version),), maxlen=RUN_MAX)
    for older in _older(services, bucket, key, version.sequence):
        attributes = older.attributes
        if attributes.replication in _SETTLED or _was_sent(attributes):
            break
        if attributes.replication == PENDING:
            run.append(Pending(older))
    return list(reversed(run))


def _was_sent(attributes: Attributes) -> bool:
    return bool(attributes.replica or attributes.unsent)


def older_replica(services: Services, bucket: BucketId, key: str, pending: Pending) -> str:
    """Id of the replica of the version before; "" when none is known. Raises: RowCorrupt."""
    for count, older in enumerate(_older(services, bucket, key, pending.version.sequence)):
        if older.attributes.replica or count == OLDER_LOOKED_AT:
            return older.attributes.replica
    return ""


def _find(services: Services, bucket: BucketId, key: str, wanted: VersionId) -> _Row | None:
    """A version's row, whether it is the current one or not."""
    if wanted == NULL_VERSION:
        return None  # made without versioning, so not to be replicated
    name = ObjectKey(key.encode())
    sequence = int.from_bytes(wanted[:SEQUENCE_BYTES], "big")
    rows = (
        keyspace.current_row(bucket, name),
        keyspace.noncurrent_row(bucket, name, sequence),
    )
    for row_key, value in zip(rows, services.log.read(rows), strict=True):
        if value is not None:
            stored = open_version(services.records, row_key, value)
            if stored.version.version_id == wanted:
                return _Row(row_key, stored)
    return None


def _older(services: Services, bucket: BucketId, key: str, sequence: int) -> Iterator[Version]:
    """Versions below a sequence, newest first."""
    name = ObjectKey(key.encode())
    start = keyspace.after(keyspace.noncurrent_row(bucket, name, sequence))
    _, end = keyspace.noncurrent_range(bucket, name)
    while True:
        rows = services.log.scan(start, end, limit=PAGE_ROWS)
        for row in rows:
            # What is lost holds up nothing that is newer.
            with suppress(KmsKeyDestroyed):
                yield open_version(services.records, row.key, row.value).version
        if len(rows) < PAGE_ROWS:
            return
        start = keyspace.after(rows[-1].key)


async def write_status(
    services: Services, bucket: BucketId, key: str, pending: Pending, status: str, replica: str
) -> bool:
    """Write into a version how its replication went; False: it has gone. One that has changed since
    it was read still waits, for the row that came with the change.

    Args:
        replica: id of the replica; "" = it is not known, and stays as it is.

    Raises: RowCorrupt, ConditionalRequestConflict, and what the log raises.
    """

    async def attempt() -> bool:
        found = _find(services, bucket, key, pending.version_id)
        if found is None:
            return False
        version = found.stored.version
        changed = _with_status(pending.version, version, status, replica)
        if changed == version:
            return True
        value = seal_version(
            services.records, services.nonces, found.row_key, changed, found.stored.layout
        )
        batch = Batch(
            partition=bucket,
            request_id=services.env.random_bytes(16),
            checks=(Check(found.row_key, found.stored.revision),),
            writes=(Write(found.row_key, value),),
        )
        await services.log.commit_change(Change(batch=batch))
        return True

    row_key = keyspace.current_row(bucket, ObjectKey(key.encode()))
    return await until_committed(services, row_key, attempt)


def _with_status(sent: Version, version: Version, status: str, replica: str) -> Version:
    attributes = version.attributes
    if attributes.replication == REPLICA:
        return version
    # What a target has refused goes again with the next change.
    unsent = attributes.unsent if status == FAILED else ""
    written = replace(
        attributes, replication=status, replica=replica or attributes.replica, unsent=unsent
    )
    changes = set(changes_between(sent, version))
    if attributes.annotations > sent.attributes.annotations:
        changes.add(ANNOTATIONS)
    changed = replace(version, attributes=written)
    if status == FAILED or not changes:
        return changed
    return with_unsent(changed, changes)
