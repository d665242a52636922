"""Rotations of keys as rows of the cluster: those under way, with how far they are, a report of
each that has ended, and a claim of each whose end the journal was not told yet.

Not for doing anything: `gateway.objects.key_rotation` begins and ends them, the job `rotation`
moves them on. Source: docs/data-layout.md, "Documents".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from gateway.meta import keyspace
from gateway.meta.documents import open_document, seal_document
from gateway.meta.kv import MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.sealing import NonceSource, RecordKeys

BUCKET, TENANT, NAMED = "bucket", "tenant", "named-key"
NAME_DIGEST_BYTES = 16

_UNDER_WAY = keyspace.cluster_row("rotation/")
_ENDED = keyspace.cluster_row("rotated/")
_CLAIMS = keyspace.cluster_row("rotation-end/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """One rotation of a key.

    Args:
        kind: BUCKET, TENANT or NAMED.
        owner: hexadecimal id of the bucket or tenant; of a named key its `named_owner`.
        name: of it, when the rotation began.
        tenant: hexadecimal id; of a bucket or a named key, its owner.
        epoch: of the key that everything goes under.
        rows_per_s: most rows that are re-wrapped in a second; 0 = no limit.
        total: rows under older epochs when they were counted.
        number: 0 while they are counted, then of the pass under way.
        family, at: where the pass is: number of a family, row key from which on there are rows to
            look at, hexadecimal; "" = the start of the family.
        found: rows under older epochs that the pass has met.
        unreadable: those of them that do not open.
        rewrapped: rows by what they are.
        conflicts: rows that a request changed first; a later pass meets them again if need be.
        ended_at_ms: 0 while it is under way.
        outcome: "" while it is under way; else `complete`, `left` (rows that do not open are under
            older epochs), or `gone` (the bucket was deleted).
    """

    kind: str
    owner: str
    name: str
    tenant: str
    epoch: int
    started_at_ms: int
    rows_per_s: int
    total: int = 0
    number: int = 0
    family: int = 0
    at: str = ""
    found: int = 0
    unreadable: int = 0
    rewrapped: Mapping[str, int] = field(default_factory=dict)
    conflicts: int = 0
    ended_at_ms: int = 0
    outcome: str = ""

    @property
    def row_key(self) -> bytes:
        """Its row while it is under way."""
        return rotation_row(self.kind, bytes.fromhex(self.owner))

    @property
    def done(self) -> int:
        """Rows that were re-wrapped."""
        return sum(self.rewrapped.values())


class StoredRotation(NamedTuple):
    """A rotation and the revision of its row."""

    rotation: Rotation
    revision: bytes


class Claim(NamedTuple):
    """A rotation that has ended, and how many events the tenant's journal had before."""

    rotation: Rotation
    journal_size: int


def named_owner(tenant: bytes, name: str) -> bytes:
    """What stands for a named key: its tenant ‖ the first 16 bytes of SHA-256 of its name."""
    return tenant + sha256(name.encode()).digest()[:NAME_DIGEST_BYTES]


def rotation_row(kind: str, owner: bytes) -> bytes:
    """Row of the rotation under way of a key."""
    return keyspace.cluster_row(f"rotation/{kind}/{owner.hex()}")


def read_rotation(store: MetaStore, keys: RecordKeys, kind: str, owner: bytes) -> Rotation | None:
    """The rotation under way of a key. Raises: RowCorrupt."""
    row_key = rotation_row(kind, owner)
    value = store.read((row_key,))[0]
    return None if value is None else _open(keys, row_key, value).rotation


def scan_rotations(store: MetaStore, keys: RecordKeys, *, limit: int) -> list[StoredRotation]:
    """Rotations under way, those of buckets first. Raises: RowCorrupt."""
    rows = store.scan(_UNDER_WAY, keyspace.successor(_UNDER_WAY), limit=limit)
    return [_open(keys, row.key, row.value) for row in rows]


def scan_reports(store: MetaStore, keys: RecordKeys, *, limit: int) -> list[Rotation]:
    """Rotations that have ended, the latest first of those that `limit` leaves. Raises:
    RowCorrupt.
    """
    rows = store.scan(_ENDED, keyspace.successor(_ENDED), limit=limit)
    ended = [_open(keys, row.key, row.value).rotation for row in rows]
    return sorted(ended, key=lambda one: one.ended_at_ms, reverse=True)


def set_rotation(keys: RecordKeys, nonces: NonceSource, rotation: Rotation) -> Write:
    """Write that sets the row of a rotation under way."""
    return _write(keys, nonces, rotation.row_key, rotation)


def end_rotation(keys: RecordKeys, nonces: NonceSource, rotation: Rotation) -> tuple[Write, Write]:
    """Writes that drop the row of a rotation and leave its report."""
    name = f"rotated/{rotation.kind}/{rotation.owner}/{rotation.epoch:010d}"
    report = _write(keys, nonces, keyspace.cluster_row(name), rotation)
    return Write(rotation.row_key, None), report


def scan_claims(store: MetaStore, keys: RecordKeys, *, limit: int) -> list[Claim]:
    """Ends of rotations that the journal was not told. Raises: RowCorrupt."""
    found = []
    for row in store.scan(_CLAIMS, keyspace.successor(_CLAIMS), limit=limit):
        try:
            document = open_document(keys, row.key, row.value)
            size = int(document.pop("journal_size"))
            found.append(Claim(Rotation(**document), size))
        except (KeyError, TypeError, ValueError) as error:
            raise RowCorrupt(row_key=row.key[:64].hex(), part="structure") from error
    return found


def set_claim(keys: RecordKeys, nonces: NonceSource, claim: Claim) -> Write:
    """Write that leaves the end of a rotation to be told."""
    row_key = _claim_row(claim.rotation)
    document = {**asdict(claim.rotation), "journal_size": claim.journal_size}
    return Write(row_key, seal_document(keys, nonces, row_key, document))


def drop_claim(rotation: Rotation) -> Write:
    """Write that drops a claim: it was told."""
    return Write(_claim_row(rotation), None)


def _claim_row(rotation: Rotation) -> bytes:
    return keyspace.cluster_row(
        f"rotation-end/{rotation.kind}/{rotation.owner}/{rotation.epoch:010d}"
    )


def _write(keys: RecordKeys, nonces: NonceSource, row_key: bytes, rotation: Rotation) -> Write:
    document: dict[str, Any] = asdict(rotation)
    return Write(row_key, seal_document(keys, nonces, row_key, document))


def _open(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredRotation:
    try:
        rotation = Rotation(**open_document(keys, row_key, value))
    except TypeError as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error
    return StoredRotation(rotation, revision_of(value))
