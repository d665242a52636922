"""Epochs of keys disabled, enabled and destroyed; and what is left under one.

The epoch that new objects get can be neither: a rotation makes another one first. DISABLED refuses
everything at once, and nothing is written under it either, so what is left under it is counted to
the end while it is; that is why only a disabled epoch can be destroyed.

Source: docs/data-layout.md, "Epochs of keys".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import replace

from gateway.approvals.request import bucket_key_item, tenant_key_item
from gateway.data.envelope import TenantKeyMissing
from gateway.meta import bucket_key_rows, keyspace
from gateway.meta import buckets as bucket_rows
from gateway.meta.bucket_key_rows import StoredBucketKey
from gateway.meta.kv import BatchConflict, Check, Row
from gateway.meta.sealing import key_epoch_of
from gateway.model.bucket import Bucket
from gateway.model.errors import OperationAborted
from gateway.model.key_states import KeyEpoch, KeyState
from gateway.model.names import BucketId, TenantId
from gateway.objects.approving import spend
from gateway.objects.context import Services
from gateway.objects.credential_rows import under_epoch
from gateway.objects.key_move import left_under_names
from gateway.objects.key_rotation import TRIES_MAX, commit_rows, keep_copy, set_epoch_apart
from gateway.objects.rewrapping import FAMILIES
from storaged.base.errors import Kind, StorageError

PAGE_ROWS = 500


class NoSuchEpoch(StorageError):
    """The key has no such epoch, or it was destroyed."""

    kind = Kind.NOT_FOUND
    hint = "`hexagone keys list` shows the epochs"


class EpochInUse(StorageError):
    """New objects are sealed under this epoch of the key."""

    kind = Kind.CONFLICT
    hint = "rotate the key first: `hexagone keys rotate`"


class EpochNotDisabled(StorageError):
    """Only a disabled epoch of a key is destroyed."""

    kind = Kind.CONFLICT
    hint = "`hexagone keys disable` it, and see for a while whether anybody misses it"


class EpochNotEmpty(StorageError):
    """There is still something under this epoch of the key; it would be lost."""

    kind = Kind.CONFLICT
    hint = "rotate to the end, or say by name that it is to be lost"


async def set_bucket_epoch(
    services: Services, bucket: Bucket, epoch: int, state: KeyState
) -> KeyEpoch:
    """Disable an epoch of a bucket's key, or enable it: state DECRYPT_ONLY, which gives back what
    it was before. Durable and in force when it returns; idempotent.

    Raises: NoSuchEpoch, EpochInUse, OperationAborted, as the log.
    """
    if epoch >= _newest_of(services, bucket):
        raise EpochInUse(bucket=bucket.name, epoch=epoch)
    for _ in range(TRIES_MAX):
        held = _bucket_key(services, bucket, epoch)
        about = held.about
        if state is KeyState.DISABLED and about.state is not KeyState.DISABLED:
            about = replace(about, state=KeyState.DISABLED, before=about.state)
        elif state is not KeyState.DISABLED and about.state is KeyState.DISABLED:
            about = replace(about, state=about.before)
        try:
            await _put(services, bucket.bucket_id, held, held._replace(about=about))
        except BatchConflict:
            continue
        return about
    raise OperationAborted(bucket=bucket.name)


async def destroy_bucket_epoch(
    services: Services, bucket: Bucket, epoch: int, *, forced: bool, warrant: bytes = b""
) -> dict[str, int]:
    """Erase an epoch of a bucket's key; the numbers of rows that are lost by that.

    Args:
        warrant: what approvers have approved, where there are any.

    Raises: NoSuchEpoch, EpochNotDisabled; EpochNotEmpty: not forced, and something is left;
        WarrantRefused.
    """
    held = check_bucket_epoch(services, bucket, epoch)
    # Whatever was sealed under it before it was disabled is applied once this is.
    await _put(services, bucket.bucket_id, held, held)
    left = await left_in_bucket(services, bucket.bucket_id, epoch)
    if left and not forced:
        raise EpochNotEmpty(bucket=bucket.name, epoch=epoch, left=sum(left.values()))
    held = check_bucket_epoch(services, bucket, epoch)
    item = bucket_key_item(bucket.bucket_id, epoch)
    spend(services, item, warrant, item)
    about = replace(held.about, state=KeyState.DESTROYED)
    try:
        await _put(services, bucket.bucket_id, held, held._replace(about=about, wrapped=b""))
    except BatchConflict as error:
        raise OperationAborted(bucket=bucket.name) from error
    return left


def check_bucket_epoch(services: Services, bucket: Bucket, epoch: int) -> StoredBucketKey:
    """The key of an epoch that may be destroyed. Raises: NoSuchEpoch, EpochNotDisabled."""
    held = _bucket_key(services, bucket, epoch)
    if held.about.state is not KeyState.DISABLED:
        raise EpochNotDisabled(bucket=bucket.name, epoch=epoch)
    return held


async def set_all_bucket_epochs(
    services: Services, bucket: BucketId, state: KeyState, but: Container[str] = ()
) -> None:
    """Disable all epochs of a bucket's key, the newest as well, or enable them: for an erasure.
    Idempotent.

    Args:
        but: epochs, as approvals name them, that are left alone.

    Raises: OperationAborted, as the log.
    """
    for held in bucket_key_rows.scan_bucket_keys(services.log, services.records, bucket):
        about = held.about
        is_off = about.state is KeyState.DISABLED
        is_same = is_off is (state is KeyState.DISABLED)
        is_left = bucket_key_item(bucket, about.epoch) in but
        if about.state is KeyState.DESTROYED or is_same or is_left:
            continue
        becomes = about.before if is_off else KeyState.DISABLED
        about = replace(about, state=becomes, before=about.state)
        try:
            await _put(services, bucket, held, held._replace(about=about))
        except BatchConflict as error:
            raise OperationAborted(bucket=bucket.hex()) from error


async def set_all_tenant_epochs(
    services: Services, tenant: TenantId, state: KeyState, but: Container[str] = ()
) -> None:
    """As set_all_bucket_epochs, of a tenant's key."""
    provider = services.bucket_keys.provider
    for about in provider.tenant_epochs(tenant):
        is_off = about.state is KeyState.DISABLED
        is_same = is_off is (state is KeyState.DISABLED)
        is_left = tenant_key_item(tenant, about.epoch) in but
        if about.state is KeyState.DESTROYED or is_same or is_left:
            continue
        await _become(services, tenant, about.epoch, about.before if is_off else state)
    services.bucket_keys.forget_all()
    await keep_copy(services)


async def left_in_bucket(services: Services, bucket: BucketId, epoch: int) -> dict[str, int]:
    """Rows under an epoch of a bucket's key, by what they are. Final only while it is disabled."""
    left: Counter[str] = Counter()
    for family, name in FAMILIES.items():
        start, end = keyspace.family_range(family, bucket)
        for page in _pages(services, start, end):
            left[name] += sum(key_epoch_of(row.value) == epoch for row in page)
            await services.env.sleep(0)
    return {name: count for name, count in left.items() if count}


async def set_tenant_epoch(
    services: Services, tenant: TenantId, epoch: int, state: KeyState
) -> KeyEpoch:
    """As `set_bucket_epoch`, of a tenant's key: everything in the buckets whose keys are under it
    is refused.

    Raises: NoSuchEpoch, EpochInUse, TenantKeyMissing, as the log.
    """
    provider = services.bucket_keys.provider
    if epoch >= provider.active_epoch(tenant):
        raise EpochInUse(tenant=tenant.hex(), epoch=epoch)
    about = _tenant_epoch(services, tenant, epoch)
    if (about.state is KeyState.DISABLED) is not (state is KeyState.DISABLED):
        becomes = KeyState.DISABLED if state is KeyState.DISABLED else about.before
        await _become(services, tenant, epoch, becomes)
    services.bucket_keys.forget_all()
    await keep_copy(services)
    return _tenant_epoch(services, tenant, epoch)


async def destroy_tenant_epoch(
    services: Services, tenant: TenantId, epoch: int, *, forced: bool, warrant: bytes = b""
) -> dict[str, int]:
    """Erase an epoch of a tenant's key; the number of bucket keys that are lost by that.

    Args, raises: as destroy_bucket_epoch.
    """
    check_tenant_epoch(services, tenant, epoch)
    # Whatever was wrapped under it before it was disabled is applied once this is.
    await commit_rows(services, (), ())
    left = await left_with_names(services, tenant, epoch)
    if left and not forced:
        raise EpochNotEmpty(tenant=tenant.hex(), epoch=epoch, left=sum(left.values()))
    check_tenant_epoch(services, tenant, epoch)
    await _become(services, tenant, epoch, KeyState.DESTROYED, warrant)
    await keep_copy(services)
    return left


def check_tenant_epoch(services: Services, tenant: TenantId, epoch: int) -> None:
    """Whether an epoch may be destroyed. Raises: NoSuchEpoch, EpochNotDisabled."""
    if _tenant_epoch(services, tenant, epoch).state is not KeyState.DISABLED:
        raise EpochNotDisabled(tenant=tenant.hex(), epoch=epoch)


async def _become(
    services: Services, tenant: TenantId, epoch: int, state: KeyState, warrant: bytes = b""
) -> None:
    """Change an epoch of a tenant's key; what is in use is dropped, also where the answer that it
    was done did not come.
    """
    provider = services.bucket_keys.provider
    try:
        await set_epoch_apart(services, tenant, epoch, state, warrant)
    except TenantKeyMissing:
        # A key service that was cut off is asked again: it had destroyed it the first time.
        epochs = {about.epoch: about.state for about in provider.tenant_epochs(tenant)}
        if state is not KeyState.DESTROYED or epochs.get(epoch) is not state:
            raise
    finally:
        services.bucket_keys.forget_all()


async def left_in_tenant(services: Services, tenant: TenantId, epoch: int) -> dict[str, int]:
    """Bucket keys and secrets of access keys under an epoch of a tenant's key."""
    count = 0
    start = keyspace.BUCKET_KEY
    for page in _pages(services, start, keyspace.successor(start)):
        for row in page:
            key = bucket_key_rows.open_bucket_key(services.records, row.key, row.value)
            count += (key.tenant, key.tenant_epoch, bool(key.wrapped)) == (tenant, epoch, True)
        await services.env.sleep(0)
    provider = services.bucket_keys.provider
    secrets = under_epoch(services.log, services.records, provider, tenant, epoch)
    left = {"bucket keys": count, "access keys": secrets}
    return {name: number for name, number in left.items() if number}


async def left_with_names(services: Services, tenant: TenantId, epoch: int) -> dict[str, int]:
    """As left_in_tenant, and what needs a named key that goes with the epoch: while keys move."""
    left = await left_in_tenant(services, tenant, epoch)
    under_names = await left_under_names(services, tenant, epoch)
    return {**left, "under named keys": under_names} if under_names else left


def _pages(services: Services, start: bytes, end: bytes) -> Iterator[list[Row]]:
    while True:
        rows = services.log.scan(start, end, limit=PAGE_ROWS)
        yield rows
        if len(rows) < PAGE_ROWS:
            return
        start = keyspace.after(rows[-1].key)


def _newest_of(services: Services, bucket: Bucket) -> int:
    stored = bucket_rows.read_bucket(services.log, services.records, bucket.bucket_id)
    return (bucket if stored is None else stored.bucket).key_epoch


def _bucket_key(services: Services, bucket: Bucket, epoch: int) -> StoredBucketKey:
    keys = bucket_key_rows.scan_bucket_keys(services.log, services.records, bucket.bucket_id)
    for held in keys:
        if held.about.epoch == epoch and held.about.state is not KeyState.DESTROYED:
            return held
    raise NoSuchEpoch(bucket=bucket.name, epoch=epoch)


def _tenant_epoch(services: Services, tenant: TenantId, epoch: int) -> KeyEpoch:
    for about in services.bucket_keys.provider.tenant_epochs(tenant):
        if about.epoch == epoch and about.state is not KeyState.DESTROYED:
            return about
    raise NoSuchEpoch(tenant=tenant.hex(), epoch=epoch)


async def _put(
    services: Services, bucket: BucketId, held: StoredBucketKey, changed: StoredBucketKey
) -> None:
    """Write a bucket's key anew, and drop what was unwrapped. Raises: BatchConflict."""
    if changed.about.state is not held.about.state:
        about = replace(changed.about, changed_at_ms=services.env.now_ms())
        changed = changed._replace(about=about)
    row_key = keyspace.bucket_key_row(bucket, held.about.epoch)
    write = bucket_key_rows.set_bucket_key(services.records, services.nonces, bucket, changed)
    try:
        await commit_rows(services, (Check(row_key, held.revision),), (write,), bucket)
    finally:
        services.bucket_keys.forget(bucket)
