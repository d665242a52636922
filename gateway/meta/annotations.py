"""Annotations of versions: codec of their rows, typed reads, checks and writes.

Not for the rules of their names (`gateway.model.annotations`). A row has the fields of a part; the
name is in its key, so the names of a version are listed in order without opening a row. How many
there are is in the row of the version, which every change of that number rewrites: so none is added
to a version that is just being taken away.

Source: docs/data-layout.md, "Annotations".
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.meta import keyspace
from gateway.meta.kv import Check, MetaStore
from gateway.meta.part_records import StoredPart, open_numbered, pack_part
from gateway.meta.record_fields import pack_bytes
from gateway.meta.sealing import NonceSource, RecordKeys, seal_row
from gateway.model.annotations import PART_NUMBER
from gateway.model.layout import Layout
from gateway.model.names import BucketId, ObjectUuid
from gateway.model.version import Part


class StoredAnnotation(NamedTuple):
    """An annotation's name, UTF-8, and its row."""

    name: bytes
    held: StoredPart


def seal_annotation(
    keys: RecordKeys,
    nonces: NonceSource,
    row_key: bytes,
    annotation: Part,
    layout: Layout,
    *,
    key_epoch: int,
) -> bytes:
    """Row value of an annotation at a fresh revision."""
    uuid = keyspace.parse_annotation(row_key)[1]
    cluster = pack_bytes(layout, annotation.plain_bytes, 0, uuid)
    tenant = pack_part(annotation)
    return seal_row(keys, nonces, row_key, cluster, tenant=tenant, key_epoch=key_epoch)


def open_annotation(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredAnnotation:
    """A whole row of an annotation. Raises: RowCorrupt."""
    name = keyspace.parse_annotation(row_key)[2]
    return StoredAnnotation(name, open_numbered(keys, row_key, value, PART_NUMBER))


def read_annotation(
    store: MetaStore, keys: RecordKeys, bucket: BucketId, uuid: ObjectUuid, name: bytes
) -> StoredPart | None:
    """One annotation of a version; None when there is none. Raises: RowCorrupt."""
    row_key = keyspace.annotation_row(bucket, uuid, name)
    value = store.read((row_key,))[0]
    return None if value is None else open_annotation(keys, row_key, value).held


def annotation_unchanged(row_key: bytes, held: StoredPart | None) -> Check:
    """The row is what was read (None: absent), so its stripes are released exactly once."""
    return Check(row_key, None if held is None else held.revision)
