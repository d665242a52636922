"""The versions of a key: what happens to the one that is there when another comes or goes.

Not for deciding whether a client may, nor for bytes. A key has a row in the family of current
versions for as long as it has any version; the older ones have rows of their own, newest first. A
version id starts with its sequence, so its row is found without a search; the null version has no
such id, so the current row says where it is.

Invariants: D2, D3 (see `gateway.objects.parting`). Source: Amazon S3 User Guide, "Working with
versioning-enabled buckets", "… versioning-suspended buckets".
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from gateway.meta import keyspace
from gateway.meta.kv import Check, Write
from gateway.meta.records import StoredVersion, open_version, seal_version
from gateway.model.bucket import Versioning
from gateway.model.names import NULL_VERSION, ObjectUuid, VersionId
from gateway.model.version import Version
from gateway.objects.context import Services
from gateway.objects.parting import NOTHING, Parting, part_from_version
from gateway.objects.rewrapping import rewrapped_version
from gateway.objects.target import Target
from gateway.objects.values import ObjectHead
from gateway.objects.views import head_of

SEQUENCE_BYTES = 8


class Found(NamedTuple):
    """A version of a key and the row it is in."""

    row_key: bytes
    row: bytes
    stored: StoredVersion


def is_versioned(target: Target) -> bool:
    """Whether versions of the bucket's objects have ids that clients are told."""
    return target.opened.bucket.versioning is not Versioning.OFF


def written_head(target: Target, version: Version) -> ObjectHead:
    """A version as the write that made it answers: a null version is not named there."""
    return head_of(target.key, version, is_versioned=version.version_id != NULL_VERSION)


def find_version(
    services: Services, target: Target, current: StoredVersion | None, wanted: VersionId
) -> Found | None:
    """A version by id, current or not; None when there is none. Raises: RowCorrupt.

    Args:
        current: what was read from the key's current row.
    """
    if current is None:
        return None
    if current.version.version_id == wanted:
        value = services.log.read((target.row_key,))[0]
        if value is None:
            return None
        stored = open_version(services.records, target.row_key, value)
        return Found(target.row_key, value, stored) if _is(stored, wanted) else None
    if wanted == NULL_VERSION:
        sequence = current.version.attributes.null_sequence
    else:
        sequence = int.from_bytes(wanted[:SEQUENCE_BYTES], "big")
    if not sequence:
        return None
    row_key = keyspace.noncurrent_row(target.bucket_id, target.key, sequence)
    value = services.log.read((row_key,))[0]
    if value is None:
        return None
    stored = open_version(services.records, row_key, value)
    return Found(row_key, value, stored) if _is(stored, wanted) else None


def _is(stored: StoredVersion, wanted: VersionId) -> bool:
    return stored.version.version_id == wanted


def succession(
    services: Services, target: Target, current: StoredVersion | None, version: Version
) -> tuple[Version, Parting]:
    """A new version as it will be stored, and what happens to the one it takes the place of.

    Args:
        version: with the sequence that follows `current`'s; its id is set here.
    """
    state = target.opened.bucket.versioning
    if state is Versioning.OFF:
        if current is None:
            return version, NOTHING
        return version, part_from_version(services, target.bucket_id, current)
    if state is Versioning.ENABLED:
        entropy = services.env.random_bytes(SEQUENCE_BYTES)
        new_id = VersionId(version.sequence.to_bytes(SEQUENCE_BYTES, "big") + entropy)
        version = replace(version, version_id=new_id)
        if current is None:
            return version, NOTHING
        carried = _with_null(version, _null_sequence_beside(current))
        return carried, _archived(services, target, current, version.created_at_ms)
    if current is None:
        return version, NOTHING
    if current.version.version_id == NULL_VERSION:
        return version, part_from_version(services, target.bucket_id, current)
    gone = _archived(services, target, current, version.created_at_ms)
    null = find_version(services, target, current, NULL_VERSION)
    if null is not None:
        gone = joined(gone, _dropped(services, target, null))
    return version, gone


def delete_marker(
    services: Services, target: Target, current: StoredVersion | None, now_ms: int
) -> Version:
    """The marker that hides `current`; its id is set by `succession`."""
    sequence, created_at_ms = 1, now_ms
    if current is not None:
        sequence = current.version.sequence + 1
        created_at_ms = max(now_ms, current.version.created_at_ms + 1)
    bucket = target.opened.bucket
    return Version(
        version_id=NULL_VERSION,
        object_uuid=ObjectUuid(services.env.random_bytes(16)),
        sequence=sequence,
        created_at_ms=created_at_ms,
        content_bytes=0,
        etag="",
        is_delete_marker=True,
        storage_class="STANDARD",
        headers=(),
        user_metadata=(),
        tags=(),
        checksum=None,
        wrapped_dek=b"",
        key_epoch=bucket.key_epoch,
        owner=bucket.tenant,
        seal=None,
    )


def removal(services: Services, target: Target, current: StoredVersion, found: Found) -> Parting:
    """Take one version away for good; the newest of the others becomes or stays the current one.

    The check on the current row is the caller's.
    """
    if found.row_key != target.row_key:
        gone = _dropped(services, target, found)
        if found.stored.version.version_id == NULL_VERSION:
            kept = _with_null(current.version, 0)
            gone = joined(gone, _current(services, target, kept, current))
        return gone
    gone = part_from_version(services, target.bucket_id, found.stored)
    start, end = keyspace.noncurrent_range(target.bucket_id, target.key)
    rows = services.log.scan(start, end, limit=1)
    if not rows:
        return joined(gone, Parting((Write(target.row_key, None),), (), ()))
    heir = open_version(services.records, rows[0].key, rows[0].value)
    null_sequence = current.version.attributes.null_sequence
    if heir.version.version_id == NULL_VERSION:
        null_sequence = 0
    attributes = replace(
        heir.version.attributes, noncurrent_since_ms=0, null_sequence=null_sequence
    )
    promoted = replace(heir.version, attributes=attributes)
    # Who rotates the bucket's key has looked at the current row perhaps, and not at this one.
    promoted = rewrapped_version(
        services, target.opened.bucket, target.key, promoted, is_promoted=True
    )
    moved = Parting((Write(rows[0].key, None),), (), (Check(rows[0].key, heir.revision),))
    return joined(gone, moved, _current(services, target, promoted, heir))


class Insertion(NamedTuple):
    """Where a version of a known place goes, as it will be stored there, and what goes with it."""

    row_key: bytes
    version: Version
    gone: Parting


def insertion(
    services: Services, target: Target, current: StoredVersion | None, version: Version
) -> Insertion | None:
    """A version that brings its id and sequence along, among those that a key has. None where it
    would take the place of one for good, or a newer one has taken its own: nothing that is there
    goes by it.

    Args:
        version: of a sequence that no version of the key has; `noncurrent_since_ms` says since
            when it is not the current one, if it is not.
    """
    if current is None:
        return Insertion(target.row_key, _as_current(version, 0), NOTHING)
    held, null_sequence = current.version, _null_sequence_beside(current)
    is_null = version.version_id == NULL_VERSION
    if target.opened.bucket.versioning is Versioning.OFF or (is_null and null_sequence):
        return None
    if version.sequence > held.sequence:
        gone = _archived(services, target, current, version.created_at_ms)
        return Insertion(target.row_key, _as_current(version, null_sequence), gone)
    row_key = keyspace.noncurrent_row(target.bucket_id, target.key, version.sequence)
    fresh = Parting((), (), (Check(row_key, None),))
    if is_null:
        kept = _with_null(held, version.sequence)
        fresh = joined(fresh, _current(services, target, kept, current))
    return Insertion(row_key, version, fresh)


def _as_current(version: Version, null_sequence: int) -> Version:
    attributes = replace(version.attributes, noncurrent_since_ms=0, null_sequence=null_sequence)
    return replace(version, attributes=attributes)


def rewritten(services: Services, found: Found, version: Version) -> Parting:
    """The same version with other tags, attributes or class; its bytes stay where they are."""
    value = seal_version(
        services.records, services.nonces, found.row_key, version, found.stored.layout
    )
    check = Check(found.row_key, found.stored.revision)
    return Parting((Write(found.row_key, value),), (), (check,))


def joined(*partings: Parting) -> Parting:
    """All of them at one instant."""
    return Parting(
        tuple(write for parting in partings for write in parting.writes),
        tuple(change for parting in partings for change in parting.stripes),
        tuple(check for parting in partings for check in parting.checks),
    )


def _null_sequence_beside(current: StoredVersion) -> int:
    """Where the key's null version will be once `current` is noncurrent; 0 = it has none."""
    if current.version.version_id == NULL_VERSION:
        return current.version.sequence
    return current.version.attributes.null_sequence


def _with_null(version: Version, null_sequence: int) -> Version:
    if version.attributes.null_sequence == null_sequence:
        return version
    attributes = replace(version.attributes, null_sequence=null_sequence)
    return replace(version, attributes=attributes)


def _archived(services: Services, target: Target, current: StoredVersion, since_ms: int) -> Parting:
    """The current version in a row among the noncurrent ones. Its current row is written by whoever
    takes its place.
    """
    version = current.version
    attributes = replace(version.attributes, null_sequence=0, noncurrent_since_ms=since_ms)
    row_key = keyspace.noncurrent_row(target.bucket_id, target.key, version.sequence)
    archived = replace(version, attributes=attributes)
    value = seal_version(services.records, services.nonces, row_key, archived, current.layout)
    return Parting((Write(row_key, value),), (), (Check(row_key, None),))


def _dropped(services: Services, target: Target, found: Found) -> Parting:
    """A noncurrent version and its bytes, away."""
    gone = part_from_version(services, target.bucket_id, found.stored)
    row = Parting((Write(found.row_key, None),), (), (Check(found.row_key, found.stored.revision),))
    return joined(gone, row)


def _current(services: Services, target: Target, version: Version, held: StoredVersion) -> Parting:
    value = seal_version(services.records, services.nonces, target.row_key, version, held.layout)
    return Parting((Write(target.row_key, value),), (), ())
