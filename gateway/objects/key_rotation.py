"""Rotation of keys: another epoch of a bucket's or a tenant's key, and what follows from its end.

Not for re-wrapping what is under the epochs before, which takes long: the job `rotation`. A
bucket's key gets its epoch in one change of the log, together with the row that says the rotation
is under way: from that instant on every batch that makes a version checks the bucket's row and so
uses it. A tenant's key is in the keyring's file and in the copy in the log before it is used.

Source: docs/data-layout.md, "Epochs of keys".
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from gateway.commit.change import Change
from gateway.meta import accounts, bucket_key_rows, keyspace
from gateway.meta import buckets as bucket_rows
from gateway.meta import rotations as rotation_rows
from gateway.meta.bucket_key_rows import StoredBucketKey
from gateway.meta.buckets import StoredBucket
from gateway.meta.kv import Batch, BatchConflict, Check, Exists, Write
from gateway.meta.rotations import Rotation
from gateway.model.bucket import Bucket
from gateway.model.errors import OperationAborted
from gateway.model.key_states import KeyEpoch, KeyState
from gateway.model.names import BucketId, TenantId
from gateway.objects import rotation_told
from gateway.objects.bootstrap import restore_keyring
from gateway.objects.context import Services
from gateway.objects.named_keys import keep_keyring_copy
from storaged.base.errors import Kind, StorageError

TRIES_MAX = 16
REPORTS_MAX = 10_000
COMPLETE, LEFT, GONE = "complete", "left", "gone"


class RotationUnderWay(StorageError):
    """This key is being rotated already."""

    kind = Kind.CONFLICT
    hint = "`hexagone keys status` shows how far it is"


class NoSuchTenant(StorageError):
    """There is no such tenant."""

    kind = Kind.NOT_FOUND


async def rotate_bucket_key(services: Services, bucket: BucketId, rows_per_s: int) -> Rotation:
    """Make another epoch of a bucket's key, for all that is sealed from here on, and leave the rest
    to the job. Durable when it returns.

    Raises: RotationUnderWay, OperationAborted (the bucket is gone), JournalUnavailable, as the log.
    """
    told = 0
    for _ in range(TRIES_MAX):
        stored = bucket_rows.read_bucket(services.log, services.records, bucket)
        if stored is None:
            raise OperationAborted(bucket=bucket.hex())
        _refuse_second(services, rotation_rows.BUCKET, bucket, stored.bucket.name)
        rotation = Rotation(
            kind=rotation_rows.BUCKET,
            owner=bucket.hex(),
            name=stored.bucket.name,
            tenant=stored.bucket.tenant.hex(),
            epoch=stored.bucket.key_epoch + 1,
            started_at_ms=services.env.now_ms(),
            rows_per_s=rows_per_s,
        )
        changed = replace(stored.bucket, key_epoch=rotation.epoch)
        made = await services.bucket_keys.make_key(changed)
        if rotation.epoch != told:
            await rotation_told.tell_active(services, rotation)
            told = rotation.epoch
        try:
            batch = _beginning(services, stored, changed, made, rotation)
            await services.log.commit_change(Change(batch=batch))
        except BatchConflict:
            continue
        finally:
            services.buckets.forget(stored.bucket.name)
        return rotation
    raise OperationAborted(bucket=bucket.hex())


def _beginning(
    services: Services,
    stored: StoredBucket,
    changed: Bucket,
    made: tuple[bytes, int],
    rotation: Rotation,
) -> Batch:
    """What begins a rotation. `made`: the fresh key, and the epoch that wraps it."""
    records, nonces = services.records, services.nonces
    wrapped, tenant_epoch = made
    now_ms = rotation.started_at_ms
    about = KeyEpoch(epoch=rotation.epoch, created_at_ms=now_ms, changed_at_ms=now_ms)
    key = StoredBucketKey(changed.tenant, wrapped, about, tenant_epoch)
    batch = bucket_rows.update_batch(
        records,
        nonces,
        stored,
        changed,
        services.env.random_bytes(16),
        bucket_key_rows.set_bucket_key(records, nonces, changed.bucket_id, key),
        rotation_rows.set_rotation(records, nonces, rotation),
    )
    absent = (
        Check(keyspace.bucket_key_row(changed.bucket_id, rotation.epoch), None),
        Check(rotation.row_key, None),
    )
    return replace(batch, checks=(*batch.checks, *absent))


async def rotate_tenant_key(services: Services, tenant: TenantId, rows_per_s: int) -> Rotation:
    """Make another epoch of a tenant's key, for all bucket keys that are made from here on, and
    leave wrapping the others anew to the job. Durable when it returns.

    Raises: RotationUnderWay, NoSuchTenant, TenantKeyMissing, JournalUnavailable (the job makes the
        epoch active when the journal takes events again), as the log.
    """
    held = accounts.read_tenant(services.log, services.records, tenant)
    if held is None:
        raise NoSuchTenant(tenant=tenant.hex())
    _refuse_second(services, rotation_rows.TENANT, tenant, held.tenant.name)
    provider = services.bucket_keys.provider
    restore_keyring(services.log, services.records, provider)
    epoch = await services.bucket_keys.apart(lambda: provider.add_tenant_epoch(tenant))
    await keep_copy(services)
    rotation = Rotation(
        kind=rotation_rows.TENANT,
        owner=tenant.hex(),
        name=held.tenant.name,
        tenant=tenant.hex(),
        epoch=epoch,
        started_at_ms=services.env.now_ms(),
        rows_per_s=rows_per_s,
    )
    try:
        await commit_rows(
            services,
            (Check(rotation.row_key, None),),
            (rotation_rows.set_rotation(services.records, services.nonces, rotation),),
        )
    except BatchConflict as error:
        raise RotationUnderWay(key=held.tenant.name) from error
    await activate(services, rotation)
    return rotation


async def activate(services: Services, rotation: Rotation) -> None:
    """Have bucket keys wrapped under the epoch of a tenant's rotation from here on; the tenant's
    journal has it first. Idempotent. Raises: JournalUnavailable, as the provider and the log.
    """
    keys, tenant = services.bucket_keys, bytes.fromhex(rotation.owner)
    for about in keys.provider.tenant_epochs(tenant):
        if about.epoch == rotation.epoch and about.state is KeyState.PENDING:
            await rotation_told.tell_active(services, rotation)
            keys.note_epochs_change()
            try:
                await set_epoch_apart(services, tenant, rotation.epoch, KeyState.ACTIVE)
            finally:
                keys.note_epochs_change()
    await keep_copy(services)


def _refuse_second(services: Services, kind: str, owner: bytes, name: str) -> None:
    if rotation_rows.read_rotation(services.log, services.records, kind, owner) is not None:
        raise RotationUnderWay(key=name)


async def end_bucket_rotation(services: Services, rotation: Rotation, outcome: str) -> Rotation:
    """Close a bucket's rotation: a report in place of its row, and, where nothing is left under
    them, the older epochs DECRYPT_ONLY. The tenant's journal has that first.

    Raises: JournalUnavailable, OperationAborted, as the log.
    """
    bucket = BucketId(bytes.fromhex(rotation.owner))
    ended = replace(rotation, ended_at_ms=services.env.now_ms(), outcome=outcome)
    records, nonces = services.records, services.nonces
    claim, told = await rotation_told.claim_of(services, ended), list[int]()
    for _ in range(TRIES_MAX):
        checks: list[Check] = []
        writes = [*rotation_rows.end_rotation(records, nonces, ended), *claim]
        retired: list[int] = []
        held = bucket_key_rows.scan_bucket_keys(services.log, records, bucket)
        for key in held if outcome == COMPLETE else ():
            about = _retired(key.about, rotation.epoch, ended.ended_at_ms)
            if about != key.about:
                row_key = keyspace.bucket_key_row(bucket, about.epoch)
                checks.append(Check(row_key, key.revision))
                changed = key._replace(about=about)
                writes.append(bucket_key_rows.set_bucket_key(records, nonces, bucket, changed))
                if about.state is not key.about.state:
                    retired.append(about.epoch)
        if retired != told:
            await rotation_told.tell_decrypt_only(services, ended, retired)
            told = retired
        try:
            await commit_rows(services, tuple(checks), tuple(writes), bucket)
        except BatchConflict:
            continue
        return ended
    raise OperationAborted(bucket=rotation.name)


def _retired(about: KeyEpoch, newest: int, now_ms: int) -> KeyEpoch:
    if about.epoch >= newest:
        return about
    if about.state is KeyState.ACTIVE:
        return replace(about, state=KeyState.DECRYPT_ONLY, changed_at_ms=now_ms)
    if about.state is KeyState.DISABLED:
        return replace(about, before=KeyState.DECRYPT_ONLY)
    return about


async def end_tenant_rotation(
    services: Services, rotation: Rotation, needed: Container[int] = ()
) -> Rotation:
    """Close a tenant's rotation: the older epochs are DECRYPT_ONLY, a report in place of its row.
    The tenant's journal has that first. Idempotent. Raises: JournalUnavailable, as the provider and
    the log.

    Args:
        needed: epochs that something is left under, which does not open: they stay as they are.
    """
    provider, tenant = services.bucket_keys.provider, bytes.fromhex(rotation.owner)
    retired = [
        about.epoch
        for about in provider.tenant_epochs(tenant)
        if about.epoch < rotation.epoch
        and about.epoch not in needed
        and about.state in (KeyState.ACTIVE, KeyState.PENDING)
    ]
    await rotation_told.tell_decrypt_only(services, rotation, retired)
    for epoch in retired:
        await set_epoch_apart(services, tenant, epoch, KeyState.DECRYPT_ONLY)
    await keep_copy(services)
    outcome = LEFT if rotation.unreadable else COMPLETE
    ended = replace(rotation, ended_at_ms=services.env.now_ms(), outcome=outcome)
    claim = await rotation_told.claim_of(services, ended)
    writes = rotation_rows.end_rotation(services.records, services.nonces, ended)
    await commit_rows(services, (), (*writes, *claim))
    return ended


def damaged_by_tenant(services: Services) -> dict[str, int]:
    """Keys of buckets and secrets of access keys that the last rotation of a tenant's key had to
    leave, for they do not open; by the tenant's name.
    """
    latest: dict[str, Rotation] = {}
    for one in rotation_rows.scan_reports(services.log, services.records, limit=REPORTS_MAX):
        is_later = one.owner not in latest or latest[one.owner].epoch < one.epoch
        if one.kind == rotation_rows.TENANT and is_later:
            latest[one.owner] = one
    return {one.name: one.unreadable for one in latest.values() if one.unreadable}


def warnings(services: Services) -> list[str]:
    """What an operator should know of rotations."""
    return [
        f"{count} sealed keys of tenant {name} do not open and hold an older key: `hexagone keys "
        "status`"
        for name, count in damaged_by_tenant(services).items()
    ]


async def set_epoch_apart(
    services: Services, tenant: bytes, epoch: int, state: KeyState, warrant: bytes = b""
) -> None:
    """As `KeyProvider.set_tenant_epoch`; only who awaits this waits for it."""
    provider = services.bucket_keys.provider
    await services.bucket_keys.apart(
        lambda: provider.set_tenant_epoch(tenant, epoch, state, warrant)
    )


async def keep_copy(services: Services) -> None:
    """Bring the keyring's copy in the log up to date."""
    keys = services.bucket_keys
    async with services.queues.turn(keyspace.keyring_row()):
        await keep_keyring_copy(
            services.log, services.records, services.nonces, keys.provider, services.env
        )


async def commit_rows(
    services: Services,
    checks: tuple[Check | Exists, ...],
    writes: tuple[Write, ...],
    partition: bytes = keyspace.CLUSTER_PARTITION,
) -> None:
    """Commit writes. Raises: BatchConflict, as the log."""
    batch = Batch(
        partition=partition,
        request_id=services.env.random_bytes(16),
        checks=checks,
        writes=writes,
    )
    await services.log.commit_change(Change(batch=batch))
