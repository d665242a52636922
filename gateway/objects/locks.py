"""Object lock: which versions nobody may take away, and who may all the same.

`check_unlocked` is the one guard: every path that could take a version away or shorten its
retention asks it.

Source: Amazon S3 User Guide, "Locking objects with Object Lock"; API Reference,
"PutObjectRetention", "PutObjectLegalHold", "PutObjectLockConfiguration".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from gateway.model.action import Action
from gateway.model.attributes import COMPLIANCE, Attributes
from gateway.model.bucket import Bucket, Versioning
from gateway.model.errors import (
    AccessDenied,
    InvalidBucketState,
    InvalidRequest,
    NoSuchObjectLockConfiguration,
    ObjectLockConfigurationNotFoundError,
)
from gateway.model.version import Version
from gateway.objects import access
from gateway.objects.bucket_config import update_bucket
from gateway.objects.context import Context, Services
from gateway.objects.lock_clock import lock_now_ms
from gateway.objects.rewriting import named_version, rewrite_version
from gateway.objects.target import Target, current_bucket, open_target

DOCUMENT = "lock"
DAY_MS = 86_400_000
_PROTECTED = "Access Denied because object protected by object lock."


class Retention(NamedTuple):
    """A version's retention; mode "" and 0: none."""

    mode: str
    until_ms: int


class DefaultRetention(NamedTuple):
    """What a bucket gives to versions that come without; one of `days` and `years` is 0."""

    mode: str
    days: int
    years: int


def check_unlocked(version: Version, *, now_ms: int, bypass_governance: bool) -> None:
    """Go on if the version may be taken away now. Raises AccessDenied."""
    attributes = version.attributes
    if attributes.legal_hold or not _may_shorten(attributes, now_ms, bypass_governance):
        raise AccessDenied(message=_PROTECTED)


def _may_shorten(attributes: Attributes, now_ms: int, bypass_governance: bool) -> bool:
    if attributes.retain_until_ms <= now_ms:
        return True
    return attributes.retention_mode != COMPLIANCE and bypass_governance


def may_bypass(ctx: Context, target: Target) -> bool:
    """Whether the caller may take away what governance protects."""
    try:
        access.check(ctx, target.opened, Action.BYPASS_GOVERNANCE_RETENTION, target.key)
    except AccessDenied:
        return False
    return True


def check_lockable(ctx: Context, target: Target, attributes: Attributes) -> None:
    """The lock asked for a new version can be had. Raises InvalidRequest, AccessDenied."""
    if not attributes.retention_mode and not attributes.legal_hold:
        return
    _check_lock_bucket(target)
    if attributes.retention_mode:
        access.check(ctx, target.opened, Action.PUT_OBJECT_RETENTION, target.key)
    if attributes.legal_hold:
        access.check(ctx, target.opened, Action.PUT_OBJECT_LEGAL_HOLD, target.key)


def check_has_digest(bucket: Bucket, attributes: Attributes, has_digest: bool) -> None:
    """What will be locked must have come with a digest of its own, beside its signature.

    Raises: InvalidRequest.
    """
    is_locked = attributes.retention_mode or attributes.legal_hold
    if not has_digest and (is_locked or bucket.documents.get(DOCUMENT)):
        raise InvalidRequest(
            message="Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object "
            "requests with Object Lock parameters"
        )


def _check_lock_bucket(target: Target) -> None:
    if not target.opened.bucket.object_lock:
        raise InvalidRequest(message="Bucket is missing Object Lock Configuration")


def locked_by_default(services: Services, bucket: Bucket, version: Version) -> Version:
    """A new version with the bucket's default retention, unless it came with its own. It begins no
    earlier than it is for locks, whatever the wall clock says.
    """
    held = bucket.documents.get(DOCUMENT)
    if not held or version.is_delete_marker or version.attributes.retention_mode:
        return version
    from_ms = max(version.created_at_ms, lock_now_ms(services))
    until_ms = _end_of(DefaultRetention(*held["default"]), from_ms)
    attributes = replace(
        version.attributes, retention_mode=held["default"][0], retain_until_ms=until_ms
    )
    return replace(version, attributes=attributes)


def _end_of(default: DefaultRetention, from_ms: int) -> int:
    if default.days:
        return from_ms + default.days * DAY_MS
    start = datetime.fromtimestamp(from_ms / 1000, UTC)
    day = 28 if (start.month, start.day) == (2, 29) else start.day
    end = start.replace(year=start.year + default.years, day=day)
    return int(end.timestamp() * 1000)


async def put_lock_configuration(
    ctx: Context, bucket: str, default: DefaultRetention | None
) -> None:
    """Turn object lock on for a bucket, and set what new versions get.

    Raises: AccessDenied, NoSuchBucket, InvalidBucketState (versioning is not enabled).
    """

    def change(held: Bucket) -> Bucket:
        if held.versioning is not Versioning.ENABLED:
            raise InvalidBucketState(
                message="Versioning must be 'Enabled' on the bucket to apply a Object Lock "
                "configuration"
            )
        kept = {name: held.documents[name] for name in held.documents if name != DOCUMENT}
        if default is not None:
            kept[DOCUMENT] = {"default": list(default)}
        return replace(held, object_lock=True, documents=kept)

    await update_bucket(ctx, bucket, change, Action.PUT_BUCKET_OBJECT_LOCK_CONFIGURATION)


def get_lock_configuration(ctx: Context, bucket: str) -> DefaultRetention | None:
    """What new versions get; None: nothing, but locks are possible.

    Raises: AccessDenied, NoSuchBucket, ObjectLockConfigurationNotFoundError.
    """
    opened = current_bucket(ctx, bucket, Action.GET_BUCKET_OBJECT_LOCK_CONFIGURATION)
    if not opened.bucket.object_lock:
        raise ObjectLockConfigurationNotFoundError(bucket=bucket)
    held = opened.bucket.documents.get(DOCUMENT)
    return DefaultRetention(*held["default"]) if held else None


async def put_retention(
    ctx: Context,
    bucket: str,
    key: str,
    wanted: str | None,
    retention: Retention,
    *,
    bypass_governance: bool,
) -> None:
    """Set the retention of a version; without bypass it can only become longer.

    Raises: AccessDenied, NoSuchBucket, NoSuchKey, NoSuchVersion, MethodNotAllowed, InvalidRequest.
    """
    opened = open_target(ctx, bucket, key, Action.PUT_OBJECT_RETENTION)
    bypass = bypass_governance and may_bypass(ctx, opened)
    now_ms = lock_now_ms(ctx.services)

    def change(held: Attributes) -> Attributes:
        is_longer = retention.until_ms >= held.retain_until_ms
        keeps_mode = retention.mode == held.retention_mode
        if not (is_longer and keeps_mode) and not _may_shorten(held, now_ms, bypass):
            raise AccessDenied(message=_PROTECTED)
        return replace(held, retention_mode=retention.mode, retain_until_ms=retention.until_ms)

    await _change_attributes(ctx, opened, wanted, change)


async def put_legal_hold(
    ctx: Context, bucket: str, key: str, wanted: str | None, is_held: bool
) -> None:
    """Set or lift the legal hold of a version. Raises: as put_retention."""
    opened = open_target(ctx, bucket, key, Action.PUT_OBJECT_LEGAL_HOLD)
    await _change_attributes(ctx, opened, wanted, lambda held: replace(held, legal_hold=is_held))


async def _change_attributes(
    ctx: Context, opened: Target, wanted: str | None, change: Callable[[Attributes], Attributes]
) -> None:
    def changed(version: Version) -> Version:
        _check_lock_bucket(opened)
        return replace(version, attributes=change(version.attributes))

    bucket, key = opened.opened.bucket.name, opened.key.decode()
    await rewrite_version(ctx, bucket, key, wanted, opened.action, changed)


def get_retention(ctx: Context, bucket: str, key: str, wanted: str | None) -> Retention:
    """The retention of a version.

    Raises: as put_retention, and NoSuchObjectLockConfiguration (it has none).
    """
    attributes = _attributes(ctx, bucket, key, wanted, Action.GET_OBJECT_RETENTION)
    if not attributes.retention_mode:
        raise NoSuchObjectLockConfiguration(key=key)
    return Retention(attributes.retention_mode, attributes.retain_until_ms)


def get_legal_hold(ctx: Context, bucket: str, key: str, wanted: str | None) -> bool:
    """Whether a version is under legal hold. Raises: as put_retention."""
    return _attributes(ctx, bucket, key, wanted, Action.GET_OBJECT_LEGAL_HOLD).legal_hold


def _attributes(
    ctx: Context, bucket: str, key: str, wanted: str | None, action: Action
) -> Attributes:
    version, _ = named_version(ctx, bucket, key, wanted, action)
    _check_lock_bucket(open_target(ctx, bucket, key, action))
    return version.attributes
