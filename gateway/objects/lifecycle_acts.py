"""What lifecycle rules do to one version or upload: looked at again, decided and committed at one
instant.

Not for finding what may be due: the job walks the rows. Nobody is asked for rights: the rules are
the owner's, and no policy stands against them. What is locked stays.

Invariants: LCK-01. A newer version is never taken for the one that was due: every change checks
the rows it was decided on, and those that count as newer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from gateway.commit.change import Change
from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace
from gateway.meta import uploads as upload_rows
from gateway.meta.buckets import StoredBucket
from gateway.meta.kv import Batch, Exists
from gateway.meta.records import StoredVersion, open_version
from gateway.meta.uploads import open_upload
from gateway.model.action import Action
from gateway.model.bucket import Versioning
from gateway.model.lifecycle import KEPT, Act, Configuration, Decision
from gateway.model.names import BucketId, ObjectKey, UploadId
from gateway.objects import outbox
from gateway.objects.context import Services
from gateway.objects.history import Found, delete_marker, removal, rewritten, succession
from gateway.objects.lifecycle import DOCUMENT, configuration_of, instant_of
from gateway.objects.lock_clock import lock_now_ms
from gateway.objects.locks import check_unlocked
from gateway.objects.parting import NOTHING, Parting, collect_object, part_later
from gateway.objects.publish import checks_of, replacing, until_committed
from gateway.objects.target import OpenBucket, Target

NEWER_PAGE = 50
NEWER_ROWS_MAX = 1000  # of a key, looked at to count the newer ones; fewer found: it is kept


class Ruled(NamedTuple):
    """A bucket with rules, as its row says."""

    opened: OpenBucket
    configuration: Configuration


def find_ruled(services: Services, bucket: BucketId) -> Ruled | None:
    """The rules of an open bucket; None when it is gone or has none. Raises: RowCorrupt."""
    stored = bucket_rows.read_bucket(services.log, services.records, bucket)
    return None if stored is None else ruled_of(services, stored)


def ruled_of(services: Services, stored: StoredBucket) -> Ruled | None:
    """The rules of a bucket that was read; None without any. Raises: RowCorrupt."""
    if DOCUMENT not in stored.bucket.cold:
        return None
    row_key = keyspace.bucket_row(stored.bucket.bucket_id)
    opened = OpenBucket(stored.bucket, row_key, stored.value)
    configuration = configuration_of(services, opened)
    return None if configuration is None else Ruled(opened, configuration)


def refreshed(services: Services, ruled: Ruled) -> Ruled | None:
    """The bucket and its rules as they are; None when either is gone. Raises: RowCorrupt."""
    opened = ruled.opened
    if services.log.read((opened.row_key,))[0] == opened.value:
        return ruled
    return find_ruled(services, opened.bucket.bucket_id)


class _Sight(NamedTuple):
    """What there is, at one instant."""

    ruled: Ruled
    target: Target
    current: StoredVersion | None


Decide = Callable[[_Sight], tuple[Decision, Change | None]]


async def apply_current(services: Services, ruled: Ruled, key: ObjectKey) -> Act:
    """Do what is due for the current version of a key.

    Raises: AccessDenied (it is locked), ConditionalRequestConflict, RowCorrupt, and what the log
        raises.
    """

    def decide(sight: _Sight) -> tuple[Decision, Change | None]:
        target, current = sight.target, sight.current
        if current is None:
            return KEPT, None
        version = current.version
        decision = sight.ruled.configuration.current(
            key,
            version,
            is_only=not version.is_delete_marker
            or is_only_version(services, target.bucket_id, key),
            at=instant_of(services),
        )
        found = Found(target.row_key, b"", current)
        if decision.act is Act.EXPIRE:
            return decision, _expiring(services, target, current, found)
        if decision.act is Act.REMOVE:
            return decision, _removing(services, target, current, found)
        if decision.act is Act.MOVE:
            return decision, _moving(services, target, current, found, decision.storage_class)
        return decision, None

    return await _apply(services, ruled, key, decide)


async def apply_noncurrent(services: Services, ruled: Ruled, key: ObjectKey, sequence: int) -> Act:
    """Do what is due for a noncurrent version. Raises: as apply_current."""

    def decide(sight: _Sight) -> tuple[Decision, Change | None]:
        target, current, configuration = sight.target, sight.current, sight.ruled.configuration
        row_key = keyspace.noncurrent_row(target.bucket_id, key, sequence)
        value = services.log.read((row_key,))[0]
        if current is None or value is None:
            return KEPT, None
        found = Found(row_key, value, open_version(services.records, row_key, value))
        newer = _newer_rows(services, target, row_key, configuration.newer_versions_max)
        decision = configuration.noncurrent(
            key, found.stored.version, newer=len(newer), at=instant_of(services)
        )
        counted = tuple(Exists(held) for held in newer)
        if decision.act is Act.REMOVE:
            return decision, _removing(services, target, current, found, counted)
        if decision.act is Act.MOVE:
            wanted = decision.storage_class
            return decision, _moving(services, target, current, found, wanted)
        return decision, None

    return await _apply(services, ruled, key, decide)


async def _apply(services: Services, ruled: Ruled, key: ObjectKey, decide: Decide) -> Act:
    row_key = keyspace.current_row(ruled.opened.bucket.bucket_id, key)

    async def attempt() -> Act:
        seen = refreshed(services, ruled)
        if seen is None:
            return Act.KEEP
        target = Target(seen.opened, key, row_key, Action.DELETE_OBJECT)
        value = services.log.read((row_key,))[0]
        current = None if value is None else open_version(services.records, row_key, value)
        decision, change = decide(_Sight(seen, target, current))
        if change is None:
            return Act.KEEP
        await services.log.commit_change(change)
        return decision.act

    return await until_committed(services, row_key, attempt)


def is_only_version(services: Services, bucket: BucketId, key: ObjectKey) -> bool:
    """Whether a key has no noncurrent version. None comes without a change of the current one."""
    start, end = keyspace.noncurrent_range(bucket, key)
    return not services.log.scan(start, end, limit=1)


def _newer_rows(services: Services, target: Target, row_key: bytes, most: int) -> list[bytes]:
    """Rows of noncurrent versions above one, delete markers left out; `most` at the most."""
    found: list[bytes] = []
    start, _ = keyspace.noncurrent_range(target.bucket_id, target.key)
    looked_at = 0
    while len(found) < most and looked_at < NEWER_ROWS_MAX:
        rows = services.log.scan(start, row_key, limit=NEWER_PAGE)
        looked_at += len(rows)
        for row in rows:
            if not open_version(services.records, row.key, row.value).version.is_delete_marker:
                found.append(row.key)
        if len(rows) < NEWER_PAGE:
            break
        start = keyspace.after(rows[-1].key)
    return found[:most]


def _expiring(services: Services, target: Target, current: StoredVersion, found: Found) -> Change:
    state, now_ms = target.opened.bucket.versioning, services.env.now_ms()
    if state is not Versioning.ENABLED:
        check_unlocked(current.version, now_ms=lock_now_ms(services), bypass_governance=False)
    if state is Versioning.OFF:
        return _removing(services, target, current, found)
    marker = delete_marker(services, target, current, now_ms)
    marker, gone = succession(services, target, current, marker)
    return replacing(services, target, current, marker, None, gone)


def _removing(
    services: Services,
    target: Target,
    current: StoredVersion,
    found: Found,
    counted: tuple[Exists, ...] = (),
) -> Change:
    now_ms = lock_now_ms(services)
    check_unlocked(found.stored.version, now_ms=now_ms, bypass_governance=False)
    gone = removal(services, target, current, found)
    key = target.key.decode("utf-8")
    left = outbox.removed(services, None, target.opened, key, found.stored.version)
    gone = gone._replace(writes=gone.writes + left)
    return _change(services, target, current, gone, counted)


def _moving(
    services: Services, target: Target, current: StoredVersion, found: Found, storage_class: str
) -> Change:
    version = replace(found.stored.version, storage_class=storage_class)
    moved = rewritten(services, found, version)
    if found.row_key == target.row_key:
        moved = Parting(moved.writes, moved.stripes, NOTHING.checks)
    return _change(services, target, current, moved)


def _change(
    services: Services,
    target: Target,
    current: StoredVersion,
    parting: Parting,
    also: tuple[Exists, ...] = (),
) -> Change:
    batch = Batch(
        partition=target.bucket_id,
        request_id=services.env.random_bytes(16),
        checks=(*checks_of(target, current), *parting.checks, *also),
        writes=parting.writes,
    )
    return Change(batch=batch, stripes=parting.stripes)


async def apply_upload(
    services: Services, ruled: Ruled, key: ObjectKey, upload_id: UploadId
) -> bool:
    """Abort an upload that has been in progress for too long; whether it was.

    Raises: as apply_current.
    """
    bucket_id = ruled.opened.bucket.bucket_id
    row_key = keyspace.upload_row(bucket_id, key, upload_id)

    async def attempt() -> bool:
        seen = refreshed(services, ruled)
        value = services.log.read((row_key,))[0]
        if seen is None or value is None:
            return False
        stored = open_upload(services.records, row_key, value)
        at = instant_of(services)
        if not seen.configuration.abort(key, stored.upload.created_at_ms, at):
            return False
        later = part_later(services, bucket_id, stored.upload.object_uuid, ())
        checks = (
            Exists(seen.opened.row_key),
            upload_rows.upload_unchanged(bucket_id, stored),
        )
        batch = Batch(
            partition=bucket_id,
            request_id=services.env.random_bytes(16),
            checks=checks,
            writes=(upload_rows.drop_upload(bucket_id, stored.upload), *later.writes),
        )
        await services.log.commit_change(Change(batch=batch))
        await collect_object(services, bucket_id, stored.upload.object_uuid)
        return True

    return await until_committed(services, row_key, attempt)
