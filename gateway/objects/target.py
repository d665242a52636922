"""The bucket and key a request is about: authorised, and read at one instant.

Not for deciding rights: `gateway.objects.access` is asked for every bucket that is opened, before
any look at the object.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace
from gateway.meta.kv import MetaStore
from gateway.meta.records import RecordKeys, StoredVersion, open_version
from gateway.model.action import Action
from gateway.model.bucket import Bucket
from gateway.model.errors import InvalidBucketName, NoSuchBucket, OperationAborted
from gateway.model.names import BucketId, ObjectKey, bucket_name, object_key
from gateway.model.version import Version
from gateway.objects import access
from gateway.objects.context import Context
from storaged.base.values import value

BUCKETS_MAX = 4096  # cached, about 1 KiB each
BUCKETS_BYTES_MAX = 4 << 20  # of cached rows; what is made of a policy is some 25 times as large
LOOKS_MAX = 4  # a bucket row that changes between reads this often is somebody's storm


@dataclass(frozen=True, slots=True)
class OpenBucket:
    """A bucket as its open row says; `value` is that row, to compare with what is there later.

    `parsed` keeps what was made of the bucket's documents; every change of one changes the row.
    """

    bucket: Bucket
    row_key: bytes
    value: bytes
    parsed: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@value(frozen=True, slots=True)
class Target:
    """An object name in an open bucket; `row_key` is that of its current version.

    `action` is what the caller was allowed to do to it, once `admit` has been asked where that
    depends on the object. `ctx`: the request that asks; None: work of our own.
    """

    opened: OpenBucket
    key: ObjectKey
    row_key: bytes
    action: Action
    judge: access.ObjectJudge | None = field(default=None, compare=False, repr=False)
    ctx: Context | None = field(default=None, compare=False, repr=False)

    @property
    def bucket_id(self) -> BucketId:
        return self.opened.bucket.bucket_id

    def admit(self, version: Version | None) -> None:
        """Go on if the caller may do that to what was found, or be told that nothing was.

        Raises: AccessDenied.
        """
        if self.judge is not None:
            self.judge.admit(version)


class BucketCache:
    """Open rows by name.

    A cached row is used only together with a read that shows it unchanged, or in a batch that
    checks that it exists, so an old one costs a second look and nothing else.
    """

    def __init__(self, store: MetaStore, records: RecordKeys) -> None:
        self._store = store
        self._records = records
        self._held: OrderedDict[str, OpenBucket] = OrderedDict()
        self._held_bytes = 0

    def find(self, name: str) -> OpenBucket | None:
        """The bucket of a name; None when there is none."""
        held = self._held.get(name)
        if held is not None:
            return held
        try:
            checked = bucket_name(name)
        except InvalidBucketName:
            return None  # no bucket can have that name
        stored = bucket_rows.find_bucket(self._store, self._records, checked)
        if stored is None:
            return None
        held = OpenBucket(stored.bucket, keyspace.bucket_row(stored.bucket.bucket_id), stored.value)
        self._held[name] = held
        self._held_bytes += len(held.value)
        while len(self._held) > BUCKETS_MAX or self._held_bytes > BUCKETS_BYTES_MAX:
            self.forget(next(iter(self._held)))
        return held

    def forget(self, name: str) -> None:
        """Look again next time."""
        held = self._held.pop(name, None)
        if held is not None:
            self._held_bytes -= len(held.value)


def open_bucket(
    ctx: Context, name: str, action: Action, key: ObjectKey | None = None
) -> OpenBucket:
    """The bucket of a name, if the caller may do that in it; perhaps as it was a moment ago.

    Raises: AccessDenied, NoSuchBucket.
    """
    opened = _found(ctx, name)
    access.check(ctx, opened, action, key)
    return opened


def _found(ctx: Context, name: str) -> OpenBucket:
    opened = ctx.services.buckets.find(name)
    if opened is None:
        raise NoSuchBucket(bucket=name)
    return opened


def current_bucket(ctx: Context, name: str, action: Action | None) -> OpenBucket:
    """The bucket of a name as it is. Raises: AccessDenied, NoSuchBucket.

    Args:
        action: None = to do something to keys that are each checked by themselves.
    """
    services = ctx.services
    for _ in range(LOOKS_MAX):
        opened = _found(ctx, name)
        if action is None:
            access.check_any(ctx, opened)
        else:
            access.check(ctx, opened, action, None)
        if services.log.read((opened.row_key,))[0] == opened.value:
            return opened
        services.buckets.forget(name)
    raise OperationAborted(bucket=name)


def open_target(ctx: Context, bucket: str, key: str, action: Action) -> Target:
    """An object name the caller may do that to, as far as the bucket tells: `Target.admit` says the
    rest. Raises: AccessDenied, NoSuchBucket, KeyTooLong, InvalidArgument.
    """
    checked = object_key(key.encode("utf-8", "surrogatepass"))
    return _target(ctx, bucket, checked, action)


def _target(ctx: Context, bucket: str, key: ObjectKey, action: Action) -> Target:
    opened = _found(ctx, bucket)
    judge = access.judge_of(ctx, opened, action, key)
    row_key = keyspace.current_row(opened.bucket.bucket_id, key)
    return Target(opened, key, row_key, action, judge, ctx)


def read_row(ctx: Context, bucket: str, key: str, action: Action) -> tuple[Target, bytes | None]:
    """An object name and the row of its current version, still sealed, at one instant at which the
    bucket was open.

    Raises: AccessDenied, NoSuchBucket, KeyTooLong, InvalidArgument.
    """
    return reread_row(ctx, open_target(ctx, bucket, key, action))


def reread_current(ctx: Context, target: Target) -> tuple[Target, StoredVersion | None]:
    """A name opened a while ago and its current version, as `read_row`, and opened.

    Raises: AccessDenied, NoSuchBucket, RowCorrupt.
    """
    target, value = reread_row(ctx, target)
    return target, open_current(ctx, target, value)


def open_current(ctx: Context, target: Target, value: bytes | None) -> StoredVersion | None:
    """What a row that was read holds. Raises: RowCorrupt."""
    return None if value is None else open_version(ctx.services.records, target.row_key, value)


def reread_row(ctx: Context, target: Target) -> tuple[Target, bytes | None]:
    """A name opened a while ago and the row of its current version, as `read_row`.

    Raises: AccessDenied, NoSuchBucket.
    """
    services = ctx.services
    for _ in range(LOOKS_MAX):
        held, value = services.log.read((target.opened.row_key, target.row_key))
        if held == target.opened.value:
            return target, value
        name = target.opened.bucket.name
        services.buckets.forget(name)
        target = _target(ctx, name, target.key, target.action)
    raise OperationAborted(bucket=target.opened.bucket.name)


def current_etag(current: StoredVersion | None) -> str | None:
    """What write conditions are about: the ETag of what a GET would find."""
    if current is None or current.version.is_delete_marker:
        return None
    return current.version.etag
