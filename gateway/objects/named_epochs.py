"""Epochs of named keys disabled, enabled and destroyed; and what is left under one.

As `gateway.objects.key_epochs` does it for keys of buckets and tenants: the epoch that wraps can be
neither, and only a disabled one can be destroyed, for then nothing passes from row to row under it
while what is left is counted.

Source: docs/data-layout.md, "Epochs of keys".
"""

from __future__ import annotations

from gateway.data.named_form import newest_active
from gateway.model.key_states import KeyEpoch, KeyState
from gateway.model.names import TenantId
from gateway.objects.context import Services
from gateway.objects.key_epochs import (
    EpochInUse,
    EpochNotDisabled,
    EpochNotEmpty,
    NoSuchEpoch,
)
from gateway.objects.key_rotation import RotationUnderWay, commit_rows, keep_copy
from gateway.objects.named_rotation import (
    NOT_OPEN,
    rotation_of,
    rows_by_epoch,
    set_named_apart,
)


async def set_named_epoch(
    services: Services, tenant: TenantId, name: str, epoch: int, state: KeyState
) -> KeyEpoch:
    """Disable an epoch of a named key, or enable it: state DECRYPT_ONLY, which gives back what it
    was before. Durable and in force when it returns; idempotent.

    Raises: NoSuchEpoch, EpochInUse, as the provider and the log.
    """
    if epoch >= newest_active(services.bucket_keys.provider.named_epochs(tenant, name)):
        raise EpochInUse(name=name, epoch=epoch)
    about = _epoch(services, tenant, name, epoch)
    if (about.state is KeyState.DISABLED) is not (state is KeyState.DISABLED):
        becomes = KeyState.DISABLED if state is KeyState.DISABLED else about.before
        await set_named_apart(services, tenant, name, epoch, becomes)
    await keep_copy(services)
    return _epoch(services, tenant, name, epoch)


async def destroy_named_epoch(
    services: Services,
    tenant: TenantId,
    name: str,
    epoch: int,
    *,
    forced: bool,
    warrant: bytes = b"",
) -> dict[str, int]:
    """Erase an epoch of a named key; the number of rows whose DEKs are lost by that.

    Args:
        warrant: what approvers have approved, where there are any.

    Raises: NoSuchEpoch, EpochNotDisabled; EpochNotEmpty: not forced, and something is left;
        RotationUnderWay: what was wrapped before it began may still be committed; WarrantRefused.
    """
    check_named_epoch(services, tenant, name, epoch)
    # Whatever was wrapped under it before it was disabled is applied once this is.
    await commit_rows(services, (), ())
    left = await left_under_name(services, tenant, name, epoch)
    if left and not forced:
        raise EpochNotEmpty(name=name, epoch=epoch, left=sum(left.values()))
    await set_named_apart(services, tenant, name, epoch, KeyState.DESTROYED, warrant)
    await keep_copy(services)
    return left


def check_named_epoch(services: Services, tenant: TenantId, name: str, epoch: int) -> None:
    """Whether an epoch of a named key is one that may be destroyed. Raises: NoSuchEpoch,
    EpochNotDisabled, RotationUnderWay.
    """
    if _epoch(services, tenant, name, epoch).state is not KeyState.DISABLED:
        raise EpochNotDisabled(name=name, epoch=epoch)
    rotation = rotation_of(services, tenant, name)
    if rotation is not None and not rotation.number:
        raise RotationUnderWay(key=name)


async def left_under_name(
    services: Services, tenant: TenantId, name: str, epoch: int
) -> dict[str, int]:
    """Rows under an epoch of a named key, and those that do not open: they may be. Final only while
    it is disabled. Raises: as the keys and the log.
    """
    found = await rows_by_epoch(services, tenant, name)
    count = found[epoch] + found[NOT_OPEN]
    return {"under named keys": count} if count else {}


def _epoch(services: Services, tenant: TenantId, name: str, epoch: int) -> KeyEpoch:
    for about in services.bucket_keys.provider.named_epochs(tenant, name):
        if about.epoch == epoch and about.state is not KeyState.DESTROYED:
            return about
    raise NoSuchEpoch(name=name, epoch=epoch)
