"""How much each bucket holds: what one row counts for, and how counts move with rows.

Not for limits or bills: `gateway.objects.quotas` and `gateway.objects.metering`. Like the sums,
counts are a function of the rows alone: every index keeps them in the transaction that changes the
rows, so a crash, a replay or a rebuild cannot leave them apart, and no row of the log is contended.
Only the cluster part of a row is opened, so no tenant key is needed.

Source: docs/data-layout.md, "Counts".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct

from cryptography.exceptions import InvalidTag

from gateway.meta import keyspace
from gateway.meta.record_fields import IS_MARKER, MALFORMED, measured
from gateway.meta.sealing import CLUSTER_AAD, HEADER_BYTES, MARKER, RecordKeys
from gateway.model.version import STORAGE_CLASSES

METERED = frozenset(
    family[0]
    for family in (
        keyspace.CURRENT,
        keyspace.NONCURRENT,
        keyspace.UPLOAD,
        keyspace.PART,
        keyspace.ANNOTATION,
    )
)
"""First bytes of the row keys that count for something."""

# Slots. Those of versions are the code of the class, with _NONCURRENT added for noncurrent ones.
_NONCURRENT = 0x10
_MARKERS = 0x20
_IN_PARTS = 0x30  # versions whose bytes are in rows of parts: counted under their class as well
_UPLOADS = 0x40
_PARTS = 0x50
_ANNOTATIONS = 0x60

_SLOT = Struct(">Bqq")
_NOTHING: tuple[tuple[int, int], ...] = ()

Moves = dict[int, list[int]]
"""Slot → [count, bytes]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassUsage:
    """Versions of one storage class: how many, and their content bytes."""

    current: int
    current_bytes: int
    noncurrent: int
    noncurrent_bytes: int

    @property
    def stored_bytes(self) -> int:
        return self.current_bytes + self.noncurrent_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a bucket holds, or several together.

    Args:
        classes: by storage class; classes without a version are left out.
        delete_markers: versions without bytes; they are in no class.
        uploads: multipart uploads in progress.
        loose_bytes: of parts that belong to no version: of uploads in progress, left out of a
            completed one, or about to be taken away.
        annotations, annotation_bytes: of versions.
    """

    classes: Mapping[str, ClassUsage]
    delete_markers: int
    uploads: int
    loose_bytes: int
    annotations: int
    annotation_bytes: int

    @property
    def objects(self) -> int:
        """Versions that hold data, current and noncurrent."""
        return sum(held.current + held.noncurrent for held in self.classes.values())

    @property
    def stored_bytes(self) -> int:
        """Everything that a tenant's bytes are counted by."""
        versions = sum(held.stored_bytes for held in self.classes.values())
        return versions + self.loose_bytes + self.annotation_bytes


class UsageDelta:
    """How counts move with some rows; bucket → moves. Rows that fail their check count for nothing:
    who reads them is told, and their absence is no error of ours.
    """

    __slots__ = ("_keys", "moved")

    def __init__(self, keys: RecordKeys) -> None:
        self._keys = keys
        self.moved: dict[bytes, Moves] = {}

    def add(self, row_key: bytes, value: bytes) -> None:
        """Count a row in."""
        if row_key[0] in METERED:
            self._move(row_key, value, 1)

    def remove(self, row_key: bytes, value: bytes) -> None:
        """Count a row out; `value` is what it held."""
        if row_key[0] in METERED:
            self._move(row_key, value, -1)

    def count_in(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Count many rows in."""
        for row_key, value in rows:
            self.add(row_key, value)

    def merge(self, other: Mapping[bytes, Moves]) -> None:
        """Add other moves."""
        for bucket, moves in other.items():
            held = self.moved.setdefault(bucket, {})
            for slot, (count, moved_bytes) in moves.items():
                entry = held.setdefault(slot, [0, 0])
                entry[0] += count
                entry[1] += moved_bytes

    def _move(self, row_key: bytes, value: bytes, sign: int) -> None:
        held = self.moved.setdefault(row_key[1 : keyspace.HEAD_BYTES], {})
        for slot, counted_bytes in _slots(self._keys, row_key, value):
            entry = held.get(slot)
            if entry is None:
                held[slot] = [sign, sign * counted_bytes]
            else:
                entry[0] += sign
                entry[1] += sign * counted_bytes


def _slots(keys: RecordKeys, row_key: bytes, value: bytes) -> tuple[tuple[int, int], ...]:
    """What a row counts for: (slot, bytes) pairs."""
    family = row_key[:1]
    if family == keyspace.UPLOAD:
        return ((_UPLOADS, 0),)
    try:
        # As `open_cluster`, without its calls: this is done for every row of every PUT.
        if value[0] != MARKER:
            return _NOTHING
        end = HEADER_BYTES + int.from_bytes(value[29:HEADER_BYTES], "big")
        aad = b"".join((value[:HEADER_BYTES], CLUSTER_AAD, row_key))
        cluster = keys.cluster.decrypt(value[1:13], value[HEADER_BYTES:end], aad)
        has_layout, plain_bytes, mark = measured(cluster)
    except (InvalidTag, *MALFORMED):
        return _NOTHING
    if family == keyspace.PART:
        return ((_PARTS, plain_bytes),)
    if family == keyspace.ANNOTATION:
        return ((_ANNOTATIONS, plain_bytes),)
    if mark & IS_MARKER:
        return ((_MARKERS, 0),)
    slot = mark if family == keyspace.CURRENT else mark | _NONCURRENT
    if has_layout:
        return ((slot, plain_bytes),)
    return ((slot, plain_bytes), (_IN_PARTS, plain_bytes))


def moved_usage(kept: bytes | None, moves: Moves) -> bytes | None:
    """A kept entry, slot u8 ‖ count i64 ‖ bytes i64 each, after moves; None when all are zero."""
    held = unpack_slots(kept)
    for slot, (count, moved_bytes) in moves.items():
        before = held.get(slot, (0, 0))
        held[slot] = (before[0] + count, before[1] + moved_bytes)
    packed = [_SLOT.pack(slot, *held[slot]) for slot in sorted(held) if held[slot] != (0, 0)]
    return b"".join(packed) or None


def unpack_slots(kept: bytes | None) -> dict[int, tuple[int, int]]:
    """Slot → (count, bytes) of a kept entry."""
    if not kept:
        return {}
    return {slot: (count, held) for slot, count, held in _SLOT.iter_unpack(kept)}


def slots_between(kept: bytes | None, found: Moves) -> Moves:
    """What must be added to a kept entry to make it what was found; {} when they agree."""
    held = unpack_slots(kept)
    moves: Moves = {}
    for slot in held.keys() | found.keys():
        count, held_bytes = held.get(slot, (0, 0))
        found_count, found_bytes = found.get(slot, (0, 0))
        if (count, held_bytes) != (found_count, found_bytes):
            moves[slot] = [found_count - count, found_bytes - held_bytes]
    return moves


def usage_of(slots: Mapping[int, tuple[int, int]]) -> Usage:
    """Slots as values."""
    zero = (0, 0)
    classes = {}
    for code, name in enumerate(STORAGE_CLASSES):
        current, noncurrent = slots.get(code, zero), slots.get(code | _NONCURRENT, zero)
        if current != zero or noncurrent != zero:
            classes[name] = ClassUsage(
                current=current[0],
                current_bytes=current[1],
                noncurrent=noncurrent[0],
                noncurrent_bytes=noncurrent[1],
            )
    return Usage(
        classes=classes,
        delete_markers=slots.get(_MARKERS, zero)[0],
        uploads=slots.get(_UPLOADS, zero)[0],
        loose_bytes=slots.get(_PARTS, zero)[1] - slots.get(_IN_PARTS, zero)[1],
        annotations=slots.get(_ANNOTATIONS, zero)[0],
        annotation_bytes=slots.get(_ANNOTATIONS, zero)[1],
    )


def weight_of(slots: Mapping[int, Sequence[int]]) -> tuple[int, int]:
    """(objects, bytes) that limits count: versions that hold data and uploads; all stored bytes.
    Of moves as of what is kept.
    """
    objects = weight = 0
    for slot, (count, held_bytes) in slots.items():
        if slot < _MARKERS or slot == _UPLOADS:
            objects += count
        # Versions in parts are under their class as well, and their parts count by themselves.
        weight += -held_bytes if slot == _IN_PARTS else held_bytes
    return objects, weight


def open_usage(kept: bytes | None) -> Usage:
    """A kept entry as values."""
    return usage_of(unpack_slots(kept))


def total_of(kept: Iterable[bytes | None]) -> Usage:
    """Several kept entries together."""
    total: dict[int, tuple[int, int]] = {}
    for entry in kept:
        for slot, (count, held_bytes) in unpack_slots(entry).items():
            before = total.get(slot, (0, 0))
            total[slot] = (before[0] + count, before[1] + held_bytes)
    return usage_of(total)
