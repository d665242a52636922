"""What buckets hold by a full scan that opens every row, tenant parts too: the other way to count,
which knows nothing of marks, slots or moves.
"""

from __future__ import annotations

from collections import defaultdict

from gateway.meta import keyspace
from gateway.meta.annotations import open_annotation
from gateway.meta.kv import MetaStore, Row
from gateway.meta.part_records import open_part
from gateway.meta.records import open_version
from gateway.meta.sealing import RecordKeys
from gateway.meta.usage import ClassUsage, Usage

PAGE_ROWS = 1000


def full_scan(store: MetaStore, keys: RecordKeys) -> dict[bytes, Usage]:
    """Usage by bucket id; buckets that hold nothing are left out."""
    counted: dict[bytes, _Count] = defaultdict(_Count)
    for row in _rows(store):
        bucket = row.key[1 : keyspace.HEAD_BYTES]
        match row.key[:1]:
            case keyspace.CURRENT | keyspace.NONCURRENT:
                counted[bucket].version(keys, row)
            case keyspace.UPLOAD:
                counted[bucket].uploads += 1
            case keyspace.PART:
                counted[bucket].parts += open_part(keys, row.key, row.value).part.plain_bytes
            case keyspace.ANNOTATION:
                held = open_annotation(keys, row.key, row.value).held
                counted[bucket].annotations.append(held.part.plain_bytes)
    return {bucket: count.usage() for bucket, count in counted.items()}


class _Count:
    def __init__(self) -> None:
        self.classes: dict[str, list[int]] = {}
        self.markers = self.uploads = self.parts = self.in_parts = 0
        self.annotations: list[int] = []

    def version(self, keys: RecordKeys, row: Row) -> None:
        version = open_version(keys, row.key, row.value).version
        if version.is_delete_marker:
            self.markers += 1
            return
        held = self.classes.setdefault(version.storage_class, [0, 0, 0, 0])
        at = 0 if row.key[:1] == keyspace.CURRENT else 2
        held[at] += 1
        held[at + 1] += version.content_bytes
        if version.is_multipart:
            self.in_parts += version.content_bytes

    def usage(self) -> Usage:
        return Usage(
            classes={
                name: ClassUsage(
                    current=held[0],
                    current_bytes=held[1],
                    noncurrent=held[2],
                    noncurrent_bytes=held[3],
                )
                for name, held in self.classes.items()
            },
            delete_markers=self.markers,
            uploads=self.uploads,
            loose_bytes=self.parts - self.in_parts,
            annotations=len(self.annotations),
            annotation_bytes=sum(self.annotations),
        )


def _rows(store: MetaStore) -> list[Row]:
    found: list[Row] = []
    start = b"\x00"
    while rows := store.scan(start, b"\xff" * 64, limit=PAGE_ROWS):
        found += rows
        start = keyspace.after(rows[-1].key)
    return found
