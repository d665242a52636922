"""DeleteObject and DeleteObjects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.commit.change import Change, StripeChange
from gateway.meta import keyspace
from gateway.meta.kv import Batch, BatchConflict, Check, Write, revision_of
from gateway.meta.records import StoredVersion, open_plain_bytes, open_version
from gateway.model.action import Action
from gateway.model.bucket import Versioning
from gateway.model.conditions import check_write
from gateway.model.errors import NoSuchVersion
from gateway.model.names import NULL_VERSION, ObjectKey, object_key, version_id_text
from gateway.model.names import version_id as parse_version_id
from gateway.objects import access, notices, outbox
from gateway.objects.context import Context
from gateway.objects.history import (
    delete_marker,
    find_version,
    is_versioned,
    removal,
    succession,
)
from gateway.objects.lock_clock import lock_now_ms
from gateway.objects.locks import check_unlocked, may_bypass
from gateway.objects.parting import INLINE_STRIPES_MAX, part_from_version
from gateway.objects.publish import batch_id, checks_of, decide_row_and_commit, replacing
from gateway.objects.put import check_condition
from gateway.objects.releases import releases_of
from gateway.objects.target import (
    OpenBucket,
    Target,
    current_bucket,
    current_etag,
    open_current,
    open_target,
)
from gateway.objects.values import (
    NOTHING_DELETED,
    UNCONDITIONAL_WRITE,
    Deleted,
    DeleteKey,
    DeleteOutcome,
    WriteConditions,
)
from storaged.base.errors import StorageError


async def delete_object(
    ctx: Context,
    bucket: str,
    key: str,
    *,
    version_id: str | None = None,
    conditions: WriteConditions = UNCONDITIONAL_WRITE,
    bypass_governance: bool = False,
) -> Deleted:
    """Delete an object; in a bucket with versioning a delete marker hides it. With a version id,
    that version is taken away for good.

    Succeeds without a commit when there is nothing to delete, and nothing may still come.

    Args:
        bypass_governance: the caller asks for it; whether he may is checked here.

    Raises: AccessDenied (also: the version is locked), NoSuchBucket, PreconditionFailed, NoSuchKey
        (If-Match and nothing there), ConditionalRequestConflict, InvalidArgument (version id).
    """
    done: list[Deleted] = []
    is_plain = version_id is None and conditions is UNCONDITIONAL_WRITE

    def decide(target: Target, value: bytes | None) -> Change | None:
        done.clear()
        if is_plain and value is not None and _needs_bytes_only(target):
            held = open_plain_bytes(ctx.services.records, target.row_key, value)
            if held is not None and held.layout is not None:
                return _releasing(ctx, target, value, tuple(releases_of(held.layout)))
        current = open_current(ctx, target, value)
        if version_id is not None:
            return _taking_away(ctx, target, current, version_id, conditions, bypass, done)
        check_condition(ctx, target, conditions, current)
        if is_versioned(target):
            return _hiding(ctx, target, current, done)
        return None if current is None else _removing(ctx, target, current)

    opened = open_target(ctx, bucket, key, action_of(version_id))
    bypass = bypass_governance and may_bypass(ctx, opened)
    await decide_row_and_commit(ctx, opened, decide)
    return done[0] if done else Deleted(version_id=_told(version_id))


def _needs_bytes_only(target: Target) -> bool:
    """Whether an object goes whatever is said of it: nobody asks, and nobody is told."""
    bucket = target.opened.bucket
    return (
        bucket.versioning is Versioning.OFF
        and target.judge is None
        and notices.DOCUMENT not in bucket.cold
    )


def _releasing(
    ctx: Context, target: Target, value: bytes, stripes: tuple[StripeChange, ...]
) -> Change:
    """Take away a version of one part; as `_removing`."""
    opened = target.opened
    batch = Batch(
        partition=opened.bucket.bucket_id,
        request_id=batch_id(ctx.services),
        checks=(
            Check(opened.row_key, revision_of(opened.value)),
            Check(target.row_key, revision_of(value)),
        ),
        writes=(Write(target.row_key, None),),
    )
    return Change(batch=batch, stripes=stripes)


def _told(version_id: str | None) -> str | None:
    """An id that answers may repeat: one that a version of ours could have."""
    if version_id is None:
        return None
    try:
        return version_id_text(parse_version_id(version_id))
    except NoSuchVersion:
        return None


def action_of(version_id: str | None) -> Action:
    """What it takes to delete the current version, or one that is named."""
    return Action.DELETE_OBJECT if version_id is None else Action.DELETE_OBJECT_VERSION


def _hiding(
    ctx: Context, target: Target, current: StoredVersion | None, done: list[Deleted]
) -> Change:
    services = ctx.services
    marker = delete_marker(services, target, current, services.env.now_ms())
    marker, gone = succession(services, target, current, marker)
    done.append(Deleted(version_id=version_id_text(marker.version_id), is_marker=True))
    return replacing(services, target, current, marker, None, gone)


def _taking_away(
    ctx: Context,
    target: Target,
    current: StoredVersion | None,
    version_id: str,
    conditions: WriteConditions,
    bypass: bool,
    done: list[Deleted],
) -> Change | None:
    try:
        wanted = parse_version_id(version_id)
    except NoSuchVersion:
        return None  # S3 deletes what never was with success
    found = find_version(ctx.services, target, current, wanted)
    check_condition(ctx, target, conditions, None if found is None else found.stored)
    if current is None or found is None:
        return None
    version = found.stored.version
    check_unlocked(version, now_ms=lock_now_ms(ctx.services), bypass_governance=bypass)
    done.append(Deleted(version_id=version_id, is_marker=version.is_delete_marker))
    gone = removal(ctx.services, target, current, found)
    left = outbox.removed(ctx.services, ctx, target.opened, target.key.decode(), version)
    batch = Batch(
        partition=target.bucket_id,
        request_id=ctx.services.env.random_bytes(16),
        checks=(*checks_of(target, current), *gone.checks),
        writes=(*gone.writes, *left),
    )
    return Change(batch=batch, stripes=gone.stripes)


def _is_meant(wanted: str | None) -> bool:
    """Whether a version id means the one version that a key without versioning has."""
    if wanted is None:
        return True
    try:
        return parse_version_id(wanted) == NULL_VERSION
    except NoSuchVersion:
        return False


def _removing(ctx: Context, target: Target, current: StoredVersion) -> Change:
    services = ctx.services
    gone = part_from_version(services, target.bucket_id, current)
    left = outbox.removed(services, ctx, target.opened, target.key.decode(), current.version)
    batch = Batch(
        partition=target.bucket_id,
        request_id=batch_id(services),
        checks=(*checks_of(target, current), *gone.checks),
        writes=(Write(target.row_key, None), *gone.writes, *left),
    )
    return Change(batch=batch, stripes=gone.stripes)


async def delete_objects(
    ctx: Context, bucket: str, keys: Sequence[DeleteKey], *, bypass_governance: bool = False
) -> tuple[DeleteOutcome, ...]:
    """Delete up to 1,000 keys in few commits; one outcome per key, in order.

    Raises: AccessDenied, NoSuchBucket. Everything else is an outcome of its key.
    """
    opened = current_bucket(ctx, bucket, None)
    together = _Together(ctx, opened)
    alone: list[DeleteKey] = []
    errors: dict[DeleteKey, StorageError] = {}
    if opened.bucket.versioning is not Versioning.OFF or ctx.services.log.has_unknown:
        alone = list(keys)
    else:
        for wanted in keys:
            try:
                if not together.add(wanted):
                    alone.append(wanted)
            except StorageError as error:
                errors[wanted] = error
    try:
        await together.commit()
    except BatchConflict:
        # Somebody changed one of them meanwhile: each is decided again by itself.
        alone = list(keys)
    except StorageError as error:
        for wanted in together.members:
            errors[wanted] = error
    remaining = [wanted for wanted in alone if wanted not in errors]
    found = await asyncio.gather(
        *(_alone(ctx, bucket, wanted, bypass_governance) for wanted in remaining)
    )
    outcomes = dict(zip(remaining, found, strict=True))
    return tuple(
        outcomes.get(wanted)
        or DeleteOutcome(key=wanted.key, version_id=wanted.version_id, error=errors.get(wanted))
        for wanted in keys
    )


async def _alone(
    ctx: Context, bucket: str, wanted: DeleteKey, bypass_governance: bool
) -> DeleteOutcome:
    error: StorageError | None = None
    deleted = NOTHING_DELETED
    try:
        deleted = await delete_object(
            ctx.about(wanted.version_id),
            bucket,
            wanted.key,
            version_id=wanted.version_id,
            conditions=WriteConditions(if_match=wanted.if_match),
            bypass_governance=bypass_governance,
        )
    except StorageError as failed:
        error = failed
    return DeleteOutcome(key=wanted.key, version_id=wanted.version_id, error=error, deleted=deleted)


class _Together:
    """Deletes of one bucket that go in one batch."""

    def __init__(self, ctx: Context, opened: OpenBucket) -> None:
        self._ctx = ctx
        self._services = ctx.services
        self._opened = opened
        self.members: list[DeleteKey] = []
        self._seen: set[ObjectKey] = set()
        self._checks = [Check(opened.row_key, revision_of(opened.value))]
        self._writes: list[Write] = []
        self._stripes: list[StripeChange] = []

    def add(self, wanted: DeleteKey) -> bool:
        """Put one key in; False when there is no room. Raises what the key is refused with."""
        services, bucket_id = self._services, self._opened.bucket.bucket_id
        key = object_key(wanted.key.encode("utf-8", "surrogatepass"))
        ctx = self._ctx.about(wanted.version_id)
        access.check(ctx, self._opened, action_of(wanted.version_id), key)
        row_key = keyspace.current_row(bucket_id, key)
        value = services.log.read((row_key,))[0]
        current = None if value is None else open_version(services.records, row_key, value)
        if wanted.if_match is not None:
            conditions = WriteConditions(if_match=wanted.if_match)
            held = None if current is None else current.version
            access.check_may_compare(self._ctx, self._opened, key, conditions, held)
            check_write(conditions, etag=current_etag(current))
        if current is None or key in self._seen or not _is_meant(wanted.version_id):
            return True
        gone = part_from_version(services, bucket_id, current)
        if self._stripes and len(self._stripes) + len(gone.stripes) > INLINE_STRIPES_MAX:
            return False
        self._seen.add(key)
        self.members.append(wanted)
        self._checks += (Check(row_key, current.revision), *gone.checks)
        self._writes.append(Write(row_key, None))
        self._writes += outbox.removed(
            services, self._ctx, self._opened, wanted.key, current.version
        )
        self._writes.extend(gone.writes)
        self._stripes.extend(gone.stripes)
        return True

    async def commit(self) -> None:
        """Commit what was put in, if anything."""
        if not self._writes:
            return
        batch = Batch(
            partition=self._opened.bucket.bucket_id,
            request_id=self._services.env.random_bytes(16),
            checks=tuple(self._checks),
            writes=tuple(self._writes),
        )
        await self._services.log.commit_change(Change(batch=batch, stripes=tuple(self._stripes)))
