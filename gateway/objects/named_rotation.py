"""Rotation of named keys, and the states of their epochs.

Not for wrapping DEKs anew, which takes long: the job `rotation`. An epoch is in the keyring and in
its copy in the log before the provider wraps anything under it. Then each bucket's row is written
once more, with another `named_turns`. Every batch that makes a version or an upload checks that the
bucket's row is what it has read, so what was wrapped before is not committed any more without
having been looked at (`named_rewrapping.under_newest_name`): a pass of the job that finds nothing
is final.

Source: docs/data-layout.md, "Epochs of keys".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import replace

from gateway.commit.change import Change
from gateway.data.envelope import NamedKeyMissing
from gateway.data.named_form import parted
from gateway.meta import accounts, keyspace
from gateway.meta import buckets as bucket_rows
from gateway.meta import rotations as rotation_rows
from gateway.meta.kv import BatchConflict, Check, Exists
from gateway.meta.rotations import NAMED, Rotation
from gateway.model.errors import KmsKeyDestroyed
from gateway.model.key_states import KeyState
from gateway.model.names import TenantId
from gateway.objects import rotation_told
from gateway.objects.bootstrap import restore_keyring
from gateway.objects.context import Services
from gateway.objects.erasure_looks import buckets_of
from gateway.objects.key_rotation import (
    COMPLETE,
    LEFT,
    TRIES_MAX,
    NoSuchTenant,
    RotationUnderWay,
    commit_rows,
    keep_copy,
)
from gateway.objects.named_rewrapping import FAMILIES, rewrapped_row
from storaged.base.errors import Kind, StorageError

PAGE_ROWS = 64
NOT_OPEN = 0  # stands for the epoch of what does not open


async def rotate_named_key(
    services: Services, tenant: TenantId, name: str, rows_per_s: int
) -> Rotation:
    """Make another epoch of a named key, for all that is wrapped from here on, and leave the rest
    to the job. Durable when it returns.

    Raises: RotationUnderWay, NoSuchTenant, NamedKeyMissing, JournalUnavailable (the job makes the
        epoch active when the journal takes events again), as the provider and the log.
    """
    held = accounts.read_tenant(services.log, services.records, tenant)
    if held is None:
        raise NoSuchTenant(tenant=tenant.hex())
    owner = rotation_rows.named_owner(tenant, name)
    if rotation_of(services, tenant, name) is not None:
        raise RotationUnderWay(key=name)
    provider = services.bucket_keys.provider
    restore_keyring(services.log, services.records, provider)
    epoch = await services.bucket_keys.apart(lambda: provider.add_named_epoch(tenant, name))
    await keep_copy(services)
    rotation = Rotation(
        kind=NAMED,
        owner=owner.hex(),
        name=name,
        tenant=tenant.hex(),
        epoch=epoch,
        started_at_ms=services.env.now_ms(),
        rows_per_s=rows_per_s,
    )
    write = rotation_rows.set_rotation(services.records, services.nonces, rotation)
    try:
        await commit_rows(services, (Check(rotation.row_key, None),), (write,))
    except BatchConflict as error:
        raise RotationUnderWay(key=name) from error
    await activate_named(services, rotation)
    return rotation


def rotation_of(services: Services, tenant: TenantId, name: str) -> Rotation | None:
    """The rotation under way of a named key."""
    owner = rotation_rows.named_owner(tenant, name)
    return rotation_rows.read_rotation(services.log, services.records, NAMED, owner)


async def activate_named(services: Services, rotation: Rotation) -> None:
    """Have the epoch of a rotation wrap from here on; the tenant's journal has it first.
    Idempotent. Raises: JournalUnavailable, as the provider and the log.
    """
    tenant, name = TenantId(bytes.fromhex(rotation.tenant)), rotation.name
    # A call that was cut off may have done it after what was known was dropped.
    services.bucket_keys.note_named_change()
    for about in services.bucket_keys.provider.named_epochs(tenant, name):
        if about.epoch == rotation.epoch and about.state is KeyState.PENDING:
            await rotation_told.tell_active(services, rotation)
            await set_named_apart(services, tenant, name, rotation.epoch, KeyState.ACTIVE)
    await keep_copy(services)


async def set_named_apart(
    services: Services,
    tenant: TenantId,
    name: str,
    epoch: int,
    state: KeyState,
    warrant: bytes = b"",
) -> None:
    """As `KeyProvider.set_named_epoch`; only who awaits this waits for it. What was opened is
    dropped, also where the answer that it was done did not come.
    """
    keys = services.bucket_keys
    keys.note_named_change()
    try:
        await keys.apart(lambda: keys.provider.set_named_epoch(tenant, name, epoch, state, warrant))
    except NamedKeyMissing:
        # A key service that was cut off is asked again: it had destroyed it the first time.
        states = {one.epoch: one.state for one in keys.provider.named_epochs(tenant, name)}
        if state is not KeyState.DESTROYED or states.get(epoch) is not state:
            raise
    finally:
        keys.note_named_change()
        services.opened.forget_all()


async def turn_buckets(services: Services, tenant: TenantId) -> bool:
    """Write the row of each of a tenant's buckets once more, so that no batch is committed that has
    read it before. False: one of them is just being deleted, and may come back: again later. As
    long as that is so when this begins, none is written.

    Raises: as the log.
    """
    is_done, buckets = True, buckets_of(services, tenant)
    for bucket in buckets:
        if bucket_rows.read_closed_bucket(services.log, services.records, bucket) is not None:
            return False
    for bucket in buckets:
        for tries in range(TRIES_MAX):
            stored = bucket_rows.read_bucket(services.log, services.records, bucket)
            if stored is None:
                closed = bucket_rows.read_closed_bucket(services.log, services.records, bucket)
                is_done = is_done and closed is None
                break
            changed = replace(stored.bucket, named_turns=stored.bucket.named_turns + 1)
            batch = bucket_rows.update_batch(
                services.records,
                services.nonces,
                stored,
                changed,
                services.env.random_bytes(16),
            )
            try:
                await services.log.commit_change(Change(batch=batch))
            except BatchConflict:
                is_done = is_done and tries < TRIES_MAX - 1
                continue
            finally:
                services.buckets.forget(stored.bucket.name)
            break
    return is_done


async def end_named_rotation(
    services: Services, rotation: Rotation, needed: Container[int] = ()
) -> Rotation:
    """Close a named key's rotation: the older epochs are DECRYPT_ONLY, a report in place of its
    row. The tenant's journal has that first. Idempotent. Raises: JournalUnavailable, as the
    provider and the log.

    Args:
        needed: epochs that something is left under, which does not open: they stay as they are.
    """
    tenant, name = TenantId(bytes.fromhex(rotation.tenant)), rotation.name
    retired = [
        about.epoch
        for about in services.bucket_keys.provider.named_epochs(tenant, name)
        if about.epoch < rotation.epoch
        and about.epoch not in needed
        and about.state in (KeyState.ACTIVE, KeyState.PENDING)
    ]
    await rotation_told.tell_decrypt_only(services, rotation, retired)
    for epoch in retired:
        await set_named_apart(services, tenant, name, epoch, KeyState.DECRYPT_ONLY)
    await keep_copy(services)
    outcome = LEFT if rotation.unreadable else COMPLETE
    ended = replace(rotation, ended_at_ms=services.env.now_ms(), outcome=outcome)
    claim = await rotation_told.claim_of(services, ended)
    writes = rotation_rows.end_rotation(services.records, services.nonces, ended)
    # Of a tenant that was erased meanwhile nothing is written.
    await commit_rows(services, (Exists(rotation.row_key),), (*writes, *claim))
    return ended


async def rows_by_epoch(services: Services, tenant: TenantId, name: str) -> Counter[int]:
    """Rows whose DEK is under a named key, by its epoch; NOT_OPEN: whatever they are under. What is
    under a destroyed key of its bucket is none: it is lost. Raises: as the keys and the log.
    """
    found: Counter[int] = Counter()

    def note(inner: bytes) -> bool:
        noted[:] = [parted(inner)[0]]
        return False

    for bucket in buckets_of(services, tenant):
        for family in FAMILIES:
            start, end = keyspace.family_range(family, bucket)
            while rows := services.log.scan(start, end, limit=PAGE_ROWS):
                start = keyspace.after(rows[-1].key)
                for row in rows:
                    noted: list[int] = []
                    try:
                        await rewrapped_row(services, bucket, row, note, name=name, rewrap=False)
                    except KmsKeyDestroyed:
                        continue
                    except StorageError as error:
                        if error.kind is not Kind.CORRUPT:
                            raise
                        noted = [NOT_OPEN]
                    found.update(noted)
                await services.env.sleep(0)
    return found
