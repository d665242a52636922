"""Buckets: list, create, head, delete. GetBucketLocation answers what head says."""

from __future__ import annotations

from gateway.commit.change import Change
from gateway.limits import BUCKETS_PER_ACCOUNT_MAX
from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace
from gateway.meta.buckets import StoredBucket
from gateway.meta.kv import Batch, BatchConflict, Check, Write, revision_of
from gateway.meta.records import open_stored_bytes
from gateway.model.action import Action
from gateway.model.bucket import DEFAULT_LOCATION, Bucket, Versioning
from gateway.model.errors import (
    BucketAlreadyExists,
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    NoSuchBucket,
    OperationAborted,
    TooManyBuckets,
)
from gateway.model.names import UUID_BYTES, BucketId, BucketName, bucket_name
from gateway.model.quota import Subject
from gateway.model.tags import bucket_tags
from gateway.model.version import Pairs
from gateway.objects.access import check_account
from gateway.objects.access_rules import ACL, OWNERSHIP
from gateway.objects.acls import documents_of_new
from gateway.objects.bucket_config import Document
from gateway.objects.context import Context, Principal, Services
from gateway.objects.parting import part_later
from gateway.objects.regions import check_location
from gateway.objects.tagging import BUCKET_DOCUMENT, bucket_document
from gateway.objects.target import current_bucket
from gateway.objects.tokens import AT_KEY, decode_token, encode_token
from gateway.objects.values import BucketEntry, BucketPage

FIRST_KEY_EPOCH = 1
DEFAULT_CLASS = "default"
TRIES_MAX = 8
UPLOADS_PER_BATCH = 500


async def list_buckets(
    ctx: Context, *, prefix: str = "", token: str | None = None, buckets_max: int = 10_000
) -> BucketPage:
    """The caller's buckets in name order. Raises AccessDenied, InvalidArgument (a token that is not
    ours).
    """
    services = ctx.services
    tenant = check_account(ctx, Action.LIST_ALL_MY_BUCKETS, "*").tenant
    after = "" if token is None else decode_token(tenant, token)[1].decode("ascii")
    found = bucket_rows.list_buckets(
        services.log, services.records, tenant, prefix=prefix, after=after, limit=buckets_max + 1
    )
    page = found[:buckets_max]
    next_token = None
    if len(found) > buckets_max and page:
        next_token = encode_token(tenant, AT_KEY, page[-1].name.encode("ascii"))
    return BucketPage(
        buckets=tuple(
            BucketEntry(name=held.name, created_at_ms=held.created_at_ms, location=held.location)
            for held in page
        ),
        next_token=next_token,
    )


async def create_bucket(
    ctx: Context,
    name: str,
    location: str | None,
    tags: Pairs = (),
    *,
    object_lock: bool = False,
) -> BucketEntry:
    """Make a bucket in a location (None or "": the endpoint's own).

    Args:
        object_lock: versions can be locked; that turns versioning on.

    Raises:
        AccessDenied, InvalidBucketName, InvalidLocationConstraint, TooManyBuckets, InvalidTag.
        IllegalLocationConstraint: no write could be acknowledged there.
        BucketAlreadyOwnedByYou: also in the us-east-1 location, where AWS answers 200 to be kind to
            old clients.
        BucketAlreadyExists: another tenant's.
        what `acls.documents_of_new` raises about the ACL that is asked for.
    """
    services = ctx.services
    principal = check_account(ctx, Action.CREATE_BUCKET, name)
    checked = bucket_name(name)
    tagging = bucket_document(bucket_tags(tags))
    documents = documents_of_new(ctx, principal)
    if principal.rights is not None:
        _check_also(ctx, name, documents, tagging, object_lock)
    place = location or DEFAULT_LOCATION
    check_location(services, place)
    for _ in range(TRIES_MAX):
        _refuse_taken(services, principal, checked)
        await _finish_deletion(services, checked)
        _refuse_too_many(services, principal)
        try:
            return await _create(
                services, principal, checked, place, tagging, object_lock, documents
            )
        except BatchConflict:
            continue
    raise OperationAborted(bucket=name)


def _check_also(
    ctx: Context, name: str, documents: Document, tagging: Document | None, object_lock: bool
) -> None:
    """What is said of a new bucket needs the right to say it of one that is there.

    Raises: AccessDenied.
    """
    wanted = [Action.PUT_BUCKET_ACL] if ACL in documents else []
    if documents.get(OWNERSHIP, {}).get("rule"):
        wanted.append(Action.PUT_BUCKET_OWNERSHIP_CONTROLS)
    if tagging is not None:
        wanted.append(Action.PUT_BUCKET_TAGGING)
    if object_lock:
        wanted += [Action.PUT_BUCKET_OBJECT_LOCK_CONFIGURATION, Action.PUT_BUCKET_VERSIONING]
    for action in wanted:
        check_account(ctx, action, name)


def _refuse_taken(services: Services, principal: Principal, name: BucketName) -> None:
    held = bucket_rows.find_bucket(services.log, services.records, name)
    if held is None:
        return
    if held.bucket.tenant == principal.tenant:
        raise BucketAlreadyOwnedByYou(bucket=name)
    raise BucketAlreadyExists(bucket=name)


def _refuse_too_many(services: Services, principal: Principal) -> None:
    services.quotas.refuse_closed(principal.tenant)
    start, end = keyspace.tenant_bucket_range(principal.tenant)
    quota = services.quotas.of(Subject.TENANT, principal.tenant).buckets
    most = BUCKETS_PER_ACCOUNT_MAX if quota is None else min(quota, BUCKETS_PER_ACCOUNT_MAX)
    if len(services.log.scan(start, end, limit=most)) >= most:
        raise TooManyBuckets(buckets_max=most)


async def _create(
    services: Services,
    principal: Principal,
    name: BucketName,
    location: str,
    tagging: Document | None,
    object_lock: bool,
    documents: Document,
) -> BucketEntry:
    bucket = Bucket(
        bucket_id=BucketId(services.env.random_bytes(UUID_BYTES)),
        name=name,
        tenant=principal.tenant,
        created_at_ms=services.env.now_ms(),
        location=location,
        versioning=Versioning.ENABLED if object_lock else Versioning.OFF,
        object_lock=object_lock,
        geometry_class=DEFAULT_CLASS,
        key_epoch=FIRST_KEY_EPOCH,
        documents=documents,
        cold=frozenset() if tagging is None else frozenset({BUCKET_DOCUMENT}),
    )
    wrapped, tenant_epoch = await services.bucket_keys.make_key(bucket)
    records, nonces = services.records, services.nonces
    also: tuple[Write, ...] = ()
    if tagging is not None:
        also = (
            bucket_rows.set_document(records, nonces, bucket.bucket_id, BUCKET_DOCUMENT, tagging),
        )
    request_id = services.env.random_bytes(16)
    batch = bucket_rows.create_batch(
        records, nonces, bucket, wrapped, request_id, *also, tenant_epoch=tenant_epoch
    )
    await services.log.commit_change(Change(batch=batch))
    return _entry_of(bucket)


def _entry_of(bucket: Bucket) -> BucketEntry:
    return BucketEntry(
        name=bucket.name, created_at_ms=bucket.created_at_ms, location=bucket.location
    )


async def head_bucket(ctx: Context, name: str, action: Action = Action.LIST_BUCKET) -> BucketEntry:
    """The bucket. Raises AccessDenied, NoSuchBucket."""
    return _entry_of(current_bucket(ctx, name, action).bucket)


async def delete_bucket(ctx: Context, name: str) -> None:
    """Delete an empty bucket; uploads in progress go with it.

    Raises: AccessDenied, NoSuchBucket, BucketNotEmpty.
    """
    services = ctx.services
    bucket = current_bucket(ctx, name, Action.DELETE_BUCKET).bucket
    if holds_versions(services, bucket.bucket_id):
        raise BucketNotEmpty(bucket=name)
    stored = bucket_rows.read_bucket(services.log, services.records, bucket.bucket_id)
    if stored is None:
        raise NoSuchBucket(bucket=name)
    batch = bucket_rows.close_batch(
        services.records, services.nonces, stored, services.env.random_bytes(16)
    )
    try:
        await services.log.commit_change(Change(batch=batch))
    except BatchConflict as error:
        raise OperationAborted(bucket=name) from error
    finally:
        services.buckets.forget(name)
    is_finished = await _finish_deletion(services, bucket.name)
    # Whoever else has finished it may have found a version and opened it again.
    still_there = bucket_rows.read_bucket(services.log, services.records, bucket.bucket_id)
    if not is_finished or still_there is not None:
        raise BucketNotEmpty(bucket=name)


def holds_versions(services: Services, bucket: BucketId) -> bool:
    """Whether the bucket holds a version; final only while it is closed."""
    return any(
        services.log.scan(*keyspace.family_range(family, bucket), limit=1)
        for family in (keyspace.CURRENT, keyspace.NONCURRENT)
    )


async def _finish_deletion(services: Services, name: BucketName) -> bool:
    """Step 2 of deleting a bucket, here or left behind by a crash; see `gateway.meta.buckets`.

    Returns:
        False when the bucket holds versions and is open again.
    """
    for _ in range(TRIES_MAX):
        closed = bucket_rows.find_closed_bucket(services.log, services.records, name)
        if closed is None:
            return True
        try:
            if not await _step_two(services, closed):
                return False
        except BatchConflict:
            continue
    raise OperationAborted(bucket=name)


async def _step_two(services: Services, closed: StoredBucket) -> bool:
    bucket_id = closed.bucket.bucket_id
    request_id = services.env.random_bytes(16)
    if holds_versions(services, bucket_id):
        batch = bucket_rows.reopen_batch(services.records, services.nonces, closed, request_id)
        await services.log.commit_change(Change(batch=batch))
        return False
    while batch_of_uploads := _dropping_uploads(services, closed):
        await services.log.commit_change(Change(batch=batch_of_uploads))
    batch = bucket_rows.delete_batch(services.log, closed, request_id)
    await services.log.commit_change(Change(batch=batch))
    services.bucket_keys.forget(bucket_id)
    return True


def _dropping_uploads(services: Services, closed: StoredBucket) -> Batch | None:
    """Uploads of a closed bucket that go next; their parts are left to `collect_garbage`."""
    bucket_id = closed.bucket.bucket_id
    start, end = keyspace.family_range(keyspace.UPLOAD, bucket_id)
    rows = services.log.scan(start, end, limit=UPLOADS_PER_BATCH)
    if not rows:
        return None
    writes: list[Write] = []
    checks = [Check(keyspace.closed_bucket_row(bucket_id), closed.revision)]
    for row in rows:
        uuid = open_stored_bytes(services.records, row.key, row.value).object_uuid
        checks.append(Check(row.key, revision_of(row.value)))
        writes.append(Write(row.key, None))
        writes.extend(part_later(services, bucket_id, uuid, ()).writes)
    return Batch(
        partition=bucket_id,
        request_id=services.env.random_bytes(16),
        checks=tuple(checks),
        writes=tuple(writes),
    )


async def finish_deletions(services: Services) -> int:
    """Go on with deletions that a crash has interrupted; for start-up. Returns how many."""
    closed = bucket_rows.scan_closed_buckets(services.log, services.records, limit=10_000)
    for stored in closed:
        await _finish_deletion(services, stored.bucket.name)
    return len(closed)
