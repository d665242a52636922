"""Current versions: typed reads, checks and writes.

Not for deciding which version becomes current: use cases do, with `gateway.model.conditions`.

Source: docs/data-layout.md, "Versions".
"""

from __future__ import annotations

from gateway.meta import keyspace
from gateway.meta.kv import Check, MetaStore, Write
from gateway.meta.records import (
    StoredVersion,
    open_version,
    seal_version,
)
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.layout import Layout
from gateway.model.names import BucketId, ObjectKey
from gateway.model.version import Version


def read_current(
    store: MetaStore, keys: RecordKeys, bucket: BucketId, key: ObjectKey
) -> StoredVersion | None:
    """The current version of an object; it may be a delete marker. Raises: RowCorrupt."""
    row_key = keyspace.current_row(bucket, key)
    value = store.read((row_key,))[0]
    return None if value is None else open_version(keys, row_key, value)


def set_current(
    keys: RecordKeys,
    nonces: NonceSource,
    bucket: BucketId,
    key: ObjectKey,
    version: Version,
    layout: Layout | None,
) -> Write:
    """Write that makes a version the current one."""
    row_key = keyspace.current_row(bucket, key)
    return Write(row_key, seal_version(keys, nonces, row_key, version, layout))


def drop_current(bucket: BucketId, key: ObjectKey) -> Write:
    """Write that leaves the object without a current version."""
    return Write(keyspace.current_row(bucket, key), None)


def current_unchanged(bucket: BucketId, key: ObjectKey, stored: StoredVersion | None) -> Check:
    """The current version is what was read (None: there is none)."""
    return Check(keyspace.current_row(bucket, key), None if stored is None else stored.revision)
