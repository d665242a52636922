"""Read, decide, commit; again when somebody was faster. The one way a current version changes.

Every overwrite and delete checks the revision it has read, also when the client set no condition:
the batch counts down the stripes of the version it replaces, and two batches that replaced the
same version would count them down twice. The other choice, a hook by which the committer releases
whatever it finds, would save the retry under contention, but would bring the codec of versions
and scans of part rows into the committer; colliding writers queue up here instead, so each waits
for those before it and no body is sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.commit.change import Change, Draft, StripeChange
from gateway.meta.kv import Batch, BatchConflict, Check, Write, revision_of
from gateway.meta.records import StoredVersion, seal_version
from gateway.model.errors import ConditionalRequestConflict, NoSuchBucket
from gateway.model.names import BucketId
from gateway.model.version import Version
from gateway.objects import outbox
from gateway.objects.body import Buffer
from gateway.objects.context import Context, Services
from gateway.objects.parting import NOTHING, Parting
from gateway.objects.rewrapping import rewrapped_version
from gateway.objects.store import SealedPart
from gateway.objects.target import Target, open_current, reread_row
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import StripeId

TRIES_MAX = 16  # after queueing up; others can be faster only from another process

Decide = Callable[[Target, StoredVersion | None], Change | None]
DecideRow = Callable[[Target, bytes | None], Change | None]
_BATCH = b"\0\0\0\1"  # makes 16 bytes of a nonce, which belongs to this run and is used once
T = TypeVar("T")


async def until_committed(
    services: Services, row_key: bytes, attempt: Callable[[], Awaitable[T]]
) -> T:
    """What `attempt` returns once it is not refused with BatchConflict.

    Args:
        row_key: the row that writers collide on; they queue up by it.
        attempt: reads, decides and commits, without an await between reading and committing; one
            that has much to read awaits, and checks every row that it has read.

    Raises:
        ConditionalRequestConflict: others were faster TRIES_MAX times.
        what the attempt raises.
    """
    queues = services.queues
    if not queues.is_contended(row_key):
        try:
            return await attempt()
        except BatchConflict:
            pass
    async with queues.turn(row_key):
        for _ in range(TRIES_MAX):
            try:
                return await attempt()
            except BatchConflict:
                continue
    raise ConditionalRequestConflict()


async def decide_and_commit(ctx: Context, opened: Target, decide: Decide) -> Target:
    """Commit what `decide` says over the current version.

    Args:
        decide: called with what is there, once per try; None = there is nothing to do. What it
            raises is raised.

    Raises:
        AccessDenied, NoSuchBucket: the bucket has gone since it was opened.
        ConditionalRequestConflict: as until_committed.
        OutcomeUnknown, LogUnavailable, LogBusy: from the log.
    """

    def decide_row(target: Target, value: bytes | None) -> Change | None:
        return decide(target, open_current(ctx, target, value))

    return await decide_row_and_commit(ctx, opened, decide_row)


async def decide_row_and_commit(ctx: Context, opened: Target, decide: DecideRow) -> Target:
    """As decide_and_commit, over the row of the current version as it is stored."""
    services = ctx.services

    async def attempt() -> Target:
        target, value = reread_row(ctx, opened)
        change = decide(target, value)
        if change is None and services.log.has_unknown:
            await services.log.commit_change(_nothing(services, target))
            target, value = reread_row(ctx, opened)
            change = decide(target, value)
        if change is not None:
            await services.log.commit_change(change)
        return target

    return await until_committed(services, opened.row_key, attempt)


def _nothing(services: Services, target: Target) -> Change:
    """A change of nothing, behind what may still be committed. Who was told that the outcome of a
    PUT is not known, and that his DELETE of it was done, would else find the object later.
    """
    return Change(
        batch=Batch(
            partition=target.bucket_id,
            request_id=batch_id(services),
            checks=(Check(target.opened.row_key, revision_of(target.opened.value)),),
            writes=(),
        )
    )


def batch_id(services: Services) -> bytes:
    """A request id for a batch: 16 bytes that no batch ever had. Cheaper than randomness."""
    return services.nonces.next() + _BATCH


def checks_of(target: Target, current: StoredVersion | None) -> tuple[Check, ...]:
    """The bucket is open and its settings are what was read, and so is the current version."""
    return (
        Check(target.opened.row_key, revision_of(target.opened.value)),
        Check(target.row_key, None if current is None else current.revision),
    )


def same_bucket(target: Target, bucket: BucketId) -> None:
    """Raises NoSuchBucket when the name has gone to another bucket since the body was sealed."""
    if target.bucket_id != bucket:
        raise NoSuchBucket(bucket=target.opened.bucket.name)


def replacing(
    services: Services,
    target: Target,
    current: StoredVersion | None,
    version: Version,
    part: SealedPart | None,
    gone: Parting,
    also: Parting = NOTHING,
) -> Change:
    """The change that makes `version` the current one, in place of `current`.

    Args:
        version, gone: as `history.succession` gives them.
        part: the bytes of the version; None for a multipart object, whose parts have rows already,
            and for a delete marker.
        also: what else happens at the same instant.
    """
    # A key was rotated while the body came, or the upload was in progress.
    version = rewrapped_version(services, target.opened.bucket, target.key, version)
    version, left = outbox.created(services, target, version)
    writes = gone.writes + also.writes + left
    stripes: tuple[StripeChange, ...] = gone.stripes + also.stripes
    bodies: tuple[Buffer, ...] = ()
    drafts: tuple[Draft, ...] = ()
    records, nonces, row_key = services.records, services.nonces, target.row_key
    if part is not None and part.body is not None:
        bodies = (part.body,)
        drafts = (
            Draft(row_key, 0, lambda at: seal_version(records, nonces, row_key, version, at)),
        )
    else:
        layout = None if part is None else part.layout
        value = seal_version(records, nonces, row_key, version, layout)
        writes = (*writes, Write(row_key, value))
        if part is not None:
            stripes = part.creates + stripes
    batch = Batch(
        partition=target.bucket_id,
        request_id=batch_id(services),
        checks=(*checks_of(target, current), *gone.checks, *also.checks),
        writes=writes,
    )
    return Change(
        batch=batch,
        bodies=bodies,
        drafts=drafts,
        stripes=stripes,
        reserved=None if part is None else part.reserved,
    )


class IdsGivenBack:
    """Lets the sweep judge reserved stripes again when the block ends, unless the batch that names
    them may still be committed: then the log does once it knows.

    A class, for a generator would cost as much as the block it guards in a small PUT.
    """

    __slots__ = ("_first", "_log")

    def __init__(self, services: Services, first: StripeId | None) -> None:
        """Guard the stripes that were reserved from `first` on; None: there are none."""
        self._log = services.log
        self._first = first

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        first = self._first
        if first is None:
            return
        if isinstance(error, StorageError):
            is_over = error.kind is not Kind.UNKNOWN_OUTCOME
        elif isinstance(error, asyncio.CancelledError):
            # Between two tries, or in the queue of a contended row, the log knows of no batch.
            is_over = not self._log.is_undecided(first)
        else:
            is_over = True
        if is_over:
            self._log.reservations.release(first)
