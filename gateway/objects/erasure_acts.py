"""What the steps of an erasure do: versions deleted, people and rights forgotten, keys destroyed.

Not for their order, nor for when (`gateway.jobs.erasure`). Each can be done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gateway.approvals.request import bucket_key_item, tenant_key_item
from gateway.commit.change import Change
from gateway.meta import (
    accounts,
    approval_rows,
    bucket_key_rows,
    departure_rows,
    identities,
    keyspace,
    rotations,
    told_rows,
)
from gateway.meta import buckets as bucket_rows
from gateway.meta.documents import open_document
from gateway.meta.erasure_rows import Erasure
from gateway.meta.kv import Batch, Row, Write
from gateway.meta.records import open_version
from gateway.meta.stripes import scan_stripes
from gateway.model.action import Action
from gateway.model.key_states import KeyEpoch, KeyState
from gateway.model.names import BucketId, TenantId, object_key, version_id_text
from gateway.model.names import version_id as parse_version_id
from gateway.objects import key_epochs, outbox
from gateway.objects.context import Services
from gateway.objects.erasing import EPOCHS_MAX
from gateway.objects.erasure_looks import buckets_of
from gateway.objects.history import Found, find_version, removal
from gateway.objects.key_rotation import commit_rows, keep_copy
from gateway.objects.lock_clock import lock_now_ms
from gateway.objects.locks import check_unlocked
from gateway.objects.publish import checks_of, until_committed
from gateway.objects.purging import drop_bucket, purge_bucket
from gateway.objects.target import OpenBucket, Target
from storaged.base.ids import StripeFamily, StripeId

PAGE_ROWS = 500
_IDENTITIES = (
    identities.USER,
    identities.GROUP,
    identities.ROLE,
    identities.POLICY,
    identities.PROVIDER,
)


async def delete_version(services: Services, bucket: BucketId, key: str, version: str) -> bool:
    """Take away the current version of a key, or the one that is named; whether there was one.

    Raises: AccessDenied (it is locked), RowCorrupt, as the log.
    """
    wanted = object_key(key.encode("utf-8", "surrogateescape"))
    row_key = keyspace.current_row(bucket, wanted)

    async def attempt() -> bool:
        stored = bucket_rows.read_bucket(services.log, services.records, bucket)
        value = services.log.read((row_key,))[0]
        if stored is None or value is None:
            return False
        opened = OpenBucket(stored.bucket, keyspace.bucket_row(bucket), stored.value)
        target = Target(opened, wanted, row_key, Action.DELETE_OBJECT_VERSION)
        current = open_version(services.records, row_key, value)
        found: Found | None = Found(row_key, value, current)
        if version and version != version_id_text(current.version.version_id):
            found = find_version(services, target, current, parse_version_id(version))
        if found is None:
            return False
        now_ms = lock_now_ms(services)
        check_unlocked(found.stored.version, now_ms=now_ms, bypass_governance=False)
        gone = removal(services, target, current, found)
        left = outbox.removed(services, None, opened, key, found.stored.version)
        batch = Batch(
            partition=bucket,
            request_id=services.env.random_bytes(16),
            checks=(*checks_of(target, current), *gone.checks),
            writes=(*gone.writes, *left),
        )
        await services.log.commit_change(Change(batch=batch, stripes=gone.stripes))
        return True

    return await until_committed(services, row_key, attempt)


def doomed(services: Services, erasure: Erasure, kind: str) -> list[str]:
    """Keys of the bucket or of the tenant that are to be destroyed and are not known to be."""
    epochs: list[tuple[str, KeyEpoch]]
    if kind == rotations.TENANT:
        tenant = bytes.fromhex(erasure.tenant)
        held = services.bucket_keys.provider.tenant_epochs(tenant)
        epochs = [(tenant_key_item(tenant, about.epoch), about) for about in held]
    else:
        bucket = BucketId(bytes.fromhex(erasure.bucket))
        keys = bucket_key_rows.scan_bucket_keys(services.log, services.records, bucket)
        epochs = [(bucket_key_item(bucket, one.about.epoch), one.about) for one in keys]
    before = erasure.limits.get(kind, EPOCHS_MAX)
    return [
        item
        for item, about in epochs
        if about.epoch < before
        and item not in erasure.destroyed
        # What was destroyed already is counted only if it was this erasure, before a crash.
        and (about.state is not KeyState.DESTROYED or item in erasure.items)
    ]


async def destroy_key(services: Services, item: str, warrant: bytes, *, forced: bool) -> None:
    """Destroy a key that is named as approvals name it. Idempotent.

    Args:
        forced: it is disabled, and what is under it is to be lost.

    Raises: WarrantRefused, EpochNotEmpty, as the log.
    """
    kind, owner, number = item.split("/")
    epoch, held_by = int(number), bytes.fromhex(owner)
    if kind == "tenant-key":
        tenant = TenantId(held_by)
        states = {
            one.epoch: one.state for one in services.bucket_keys.provider.tenant_epochs(tenant)
        }
        if states.get(epoch, KeyState.DESTROYED) is KeyState.DESTROYED:
            await keep_copy(services)  # which may not have been told
            return
        if not forced:
            await key_epochs.set_tenant_epoch(services, tenant, epoch, KeyState.DISABLED)
        await key_epochs.destroy_tenant_epoch(
            services, tenant, epoch, forced=forced, warrant=warrant
        )
        return
    stored = bucket_rows.read_bucket(services.log, services.records, BucketId(held_by))
    keys = bucket_key_rows.scan_bucket_keys(services.log, services.records, BucketId(held_by))
    states = {one.about.epoch: one.about.state for one in keys}
    if stored is None or states.get(epoch, KeyState.DESTROYED) is KeyState.DESTROYED:
        return
    if not forced:
        await key_epochs.set_bucket_epoch(services, stored.bucket, epoch, KeyState.DISABLED)
    await key_epochs.destroy_bucket_epoch(
        services, stored.bucket, epoch, forced=forced, warrant=warrant
    )


async def purge_some(services: Services, erasure: Erasure) -> Counter[str]:
    """Take away a page of the rows of what is erased; empty once there are none, and the buckets
    are gone. Raises: RowCorrupt, as the log.
    """
    if erasure.bucket:
        ids = [BucketId(bytes.fromhex(erasure.bucket))]
    else:
        ids = buckets_of(services, TenantId(bytes.fromhex(erasure.tenant)))
    for bucket in ids:
        taken = await purge_bucket(services, bucket)
        if taken:
            return taken
        is_there = bucket_rows.read_bucket(services.log, services.records, bucket) is not None
        is_closed = bucket_rows.read_closed_bucket(services.log, services.records, bucket)
        if is_there or is_closed is not None:
            await drop_bucket(services, bucket)
            return Counter({"buckets": 1})
    return Counter()


async def forget_some(services: Services, erasure: Erasure) -> Counter[str]:
    """Take away some of the technical data of a tenant; empty once there is none. The tenant's own
    row goes last, so that a process that dies finds the others by it. (E-02)
    """
    tenant = TenantId(bytes.fromhex(erasure.tenant))
    keys = _access_keys(services, tenant)
    limits = _limits(services, tenant, keys)
    if limits:
        return await _drop(services, "limits", limits)
    if keys:
        return await _drop(services, "access keys", [keyspace.access_key_row(one) for one in keys])
    for kind in _IDENTITIES:
        start, end = keyspace.identity_range(tenant, kind)
        rows = services.log.scan(start, end, limit=PAGE_ROWS)
        if rows:
            return await _drop(services, "identities", [row.key for row in rows])
    start = keyspace.HOUR + keyspace.CLUSTER_PARTITION + tenant
    rows = services.log.scan(start, keyspace.successor(start), limit=PAGE_ROWS)
    if rows:
        return await _drop(services, "metered hours", [row.key for row in rows])
    reports = _reports(services, erasure.tenant)
    if reports:
        return await _drop(services, "reports", reports)
    row_key = keyspace.tenant_row(tenant)
    if services.log.read((row_key,))[0] is not None:
        # With it what its journal was told, for that is written only as long as there is a tenant.
        others = (told_rows.tenant_row(tenant), departure_rows.departure_row(tenant))
        await commit_rows(services, (), tuple(Write(one, None) for one in (*others, row_key)))
        return Counter({"tenants": 1})
    return Counter()


def _access_keys(services: Services, tenant: TenantId) -> list[str]:
    found: list[str] = []
    after: str | None = None
    while page := accounts.scan_access_keys(services.log, services.records, after, limit=PAGE_ROWS):
        found += [one.access_key.access_key_id for one in page if one.access_key.tenant == tenant]
        after = page[-1].access_key.access_key_id
    return found


def _limits(services: Services, tenant: TenantId, keys: Sequence[str]) -> list[bytes]:
    """Rows of limits and plans of a tenant and of its access keys."""
    start, end = keyspace.family_range(keyspace.LIMIT, keyspace.CLUSTER_PARTITION)
    named = {tenant.hex(), *keys}
    return [
        row.key
        for row in _all(services, start, end)
        if row.key[keyspace.HEAD_BYTES :].decode("utf-8", "replace").rpartition(":")[2] in named
    ]


def _reports(services: Services, tenant: str) -> list[bytes]:
    """Rows of rotations, and of requests for approval, that name a tenant."""
    found = []
    for name in ("rotated/", "rotation/", "rotation-end/"):
        start = keyspace.cluster_row(name)
        for row in _all(services, start, keyspace.successor(start)):
            if open_document(services.records, row.key, row.value).get("tenant") == tenant:
                found.append(row.key)
    for stored in approval_rows.scan_pending(services.log, services.records, limit=10_000):
        if tenant in stored.pending.request.text:
            found.append(approval_rows.approval_row(stored.pending.request.request_id))
    return found


def _all(services: Services, start: bytes, end: bytes) -> list[Row]:
    found: list[Row] = []
    while page := services.log.scan(start, end, limit=PAGE_ROWS):
        found += page
        start = keyspace.after(page[-1].key)
    return found


async def _drop(services: Services, name: str, rows: Sequence[bytes]) -> Counter[str]:
    await commit_rows(services, (), tuple(Write(row_key, None) for row_key in rows))
    return Counter({name: len(rows)})


def newest_epoch(services: Services, erasure: Erasure, kind: str, *, in_use: bool = False) -> int:
    """The newest epoch of the bucket's or the tenant's key; 0 without any. `in_use`: one that a
    rotation has only prepared does not count.
    """
    if kind == rotations.TENANT:
        tenant = bytes.fromhex(erasure.tenant)
        held = services.bucket_keys.provider.tenant_epochs(tenant)
        return max(
            (one.epoch for one in held if not in_use or one.state is KeyState.ACTIVE), default=0
        )
    bucket = BucketId(bytes.fromhex(erasure.bucket))
    stored = bucket_rows.read_bucket(services.log, services.records, bucket)
    return 0 if stored is None else stored.bucket.key_epoch


def rotation_ended(services: Services, kind: str, owner: bytes) -> bool:
    """Whether no rotation of a key is under way."""
    return rotations.read_rotation(services.log, services.records, kind, owner) is None


async def log_sequence(services: Services) -> int:
    """The number of a group of the log that comes after everything before. Raises: as the log."""
    batch = Batch(
        partition=keyspace.CLUSTER_PARTITION,
        request_id=services.env.random_bytes(16),
        checks=(),
        writes=(),
    )
    committed = await services.log.commit_change(Change(batch=batch))
    return committed.position.sequence


def log_groups_to(services: Services, sequence: int) -> int:
    """Groups of the log up to one that are still on nodes."""
    count = 0
    after: StripeId | None = None
    while page := scan_stripes(services.log, services.records, after, limit=PAGE_ROWS):
        after = page[-1].row.stripe
        count += sum(
            one.row.stripe.family is StripeFamily.COMMIT and one.row.stripe.counter <= sequence
            for one in page
        )
    return count
