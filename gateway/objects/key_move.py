"""Keys of tenants on their way from the key service's file into an HSM, as a gateway sees it.

The key service has both open and makes every new key in the token (`gateway.keyd.moving`). Here the
keys are rotated that are in the file still, named keys get their counterparts, and what is left
under the older ones is counted. Nothing here is written down: where the move is, is what the key
service says, so a gateway that dies goes on by looking again.

Source: docs/hsm.md, "Moving to one".
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

from gateway.meta import rotations as rotation_rows
from gateway.meta.rotations import Rotation
from gateway.model.names import TenantId
from gateway.objects import named_moving
from gateway.objects.context import Services
from gateway.objects.key_rotation import rotate_tenant_key
from gateway.objects.named_keys import create_named_key
from storaged.base.errors import Kind, StorageError


class NotMoving(StorageError):
    """The key service moves no keys."""

    kind = Kind.CONFLICT
    hint = 'set `provider = "pkcs11"` and `from_file = true` in keyd.toml: docs/hsm.md'


@runtime_checkable
class TellsOfItself(Protocol):
    """A provider elsewhere, which says how it is."""

    def status(self) -> dict[str, Any]:
        """What it tells. Raises: as the provider."""
        ...


class InFile(NamedTuple):
    """What the file has of a tenant: epochs of his key, names of his others, some of them; and how
    many of these have no counterpart in the token.
    """

    tenant: TenantId
    epochs: tuple[int, ...]
    names: tuple[str, ...]
    waiting: int


class KeyMove(NamedTuple):
    """Where a move is: how many tenants have keys in the file, and some of them."""

    tenants: int
    left: tuple[InFile, ...]


async def move_of(services: Services) -> KeyMove | None:
    """The move under way; None: there is none. Raises: as the provider."""
    provider = services.bucket_keys.provider
    if not isinstance(provider, TellsOfItself):
        return None
    told = (await services.bucket_keys.apart(provider.status)).get("move")
    if not told:
        return None
    left = tuple(
        InFile(
            TenantId(bytes.fromhex(tenant)),
            tuple(one["epochs"]),
            tuple(one["names"]),
            int(one["waiting"]),
        )
        for tenant, one in told["left"].items()
    )
    return KeyMove(int(told["tenants"]), left)


async def begin(services: Services, held: InFile, rows_per_s: int) -> Rotation | None:
    """Have a tenant's keys go on in the token: counterparts of the named ones, and another epoch of
    his own, if the newest is in the file. Idempotent; None: it was begun before.

    Raises: as the provider and the log, RotationUnderWay.
    """
    for name in held.names if held.waiting else ():
        await create_named_key(services, held.tenant, name)
    newest = services.bucket_keys.provider.active_epoch(held.tenant)
    rotation = rotation_rows.read_rotation(
        services.log, services.records, rotation_rows.TENANT, held.tenant
    )
    if newest not in held.epochs or rotation is not None:
        return None
    return await rotate_tenant_key(services, held.tenant, rows_per_s)


async def left_under_names(services: Services, tenant: TenantId, epoch: int) -> int:
    """Rows that need a named key which would go with an epoch: those of the file go with the last
    one there. Raises: as the provider.
    """
    move = await move_of(services)
    for held in () if move is None else move.left:
        if held.tenant == tenant and held.names and held.epochs == (epoch,):
            looked = await named_moving.look(services, tenant, rewrap=False)
            return looked.found + looked.unreadable
    return 0
