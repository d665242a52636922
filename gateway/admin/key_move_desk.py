"""Moving keys from the key service's file into an HSM, for the admin port.

Not for what that means (`gateway.objects.key_move`), nor for epochs of keys in general
(`gateway.admin.key_desk`), which disables and destroys the older ones as any others.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.admin.key_desk import RATE_DEFAULT, RATE_MAX, KeyCommandInvalid, KeyDesk
from gateway.admin.outlook import Document
from gateway.jobs.key_move import NamedKeyMover
from gateway.meta import accounts
from gateway.meta import rotations as rotation_rows
from gateway.model.key_states import KeyState
from gateway.objects import key_epochs, key_move
from gateway.objects.context import Services
from gateway.objects.key_move import InFile, KeyMove, NotMoving
from gateway.objects.key_rotation import RotationUnderWay
from storaged.base.errors import Kind, StorageError

RATE_DIGITS_MAX = 9


class KeyMoveDesk:
    """What `hexagone keys move` asks."""

    def __init__(self, services: Services, desk: KeyDesk, mover: NamedKeyMover) -> None:
        self._services = services
        self._desk = desk
        self._mover = mover

    async def status(self) -> Document:
        """What is in the file still, tenant by tenant. Raises: as the provider."""
        move = await key_move.move_of(self._services)
        left = () if move is None else move.left
        return {
            "is_moving": move is not None,
            "tenants_left": 0 if move is None else move.tenants,
            "tenants": [self._shown(held) for held in left],
        }

    async def begin(self, fields: Mapping[str, str]) -> Document:
        """Have keys go on in the token, those of tenants that have not begun. Idempotent.

        Raises: NotMoving, KeyCommandInvalid, as the provider and the log.
        """
        text = fields.get("rate", "") or str(RATE_DEFAULT)
        is_number = text.isascii() and text.isdigit() and len(text) <= RATE_DIGITS_MAX
        if not is_number or int(text) > RATE_MAX:
            raise KeyCommandInvalid(reason=f"rate is at most {RATE_MAX}")
        for held in (await self._move()).left:
            try:
                await key_move.begin(self._services, held, int(text))
            except RotationUnderWay:
                continue
        return await self.status()

    async def disable(self) -> Document:
        """Disable the epochs in the file that nothing is under. Raises: NotMoving, as above."""
        for held in (await self._move()).left:
            for epoch in held.epochs if self._mover.is_done(held) else ():
                about = self._state(held, epoch)
                if about is KeyState.DECRYPT_ONLY and not await self._left(held, epoch):
                    await key_epochs.set_tenant_epoch(
                        self._services, held.tenant, epoch, KeyState.DISABLED
                    )
        return await self.status()

    async def destroy(self, requester: str) -> Document:
        """Destroy the epochs in the file that are disabled, as `keys destroy` does: nothing that
        something is under, and nothing that lacks approvals. What was refused is told.

        Raises: NotMoving, as the provider and the log.
        """
        refused = []
        for held in (await self._move()).left:
            for epoch in held.epochs:
                if self._state(held, epoch) is not KeyState.DISABLED:
                    continue
                fields = {"tenant": held.tenant.hex(), "epoch": str(epoch)}
                try:
                    await self._desk.destroy(fields, requester)
                except StorageError as error:
                    if error.kind is Kind.UNAVAILABLE:
                        raise
                    refused.append({"tenant": self._name(held), "epoch": epoch, "why": str(error)})
        return {**await self.status(), "refused": refused}

    async def _move(self) -> KeyMove:
        move = await key_move.move_of(self._services)
        if move is None:
            raise NotMoving()
        return move

    async def _left(self, held: InFile, epoch: int) -> int:
        left = await key_epochs.left_with_names(self._services, held.tenant, epoch)
        return sum(left.values())

    def _state(self, held: InFile, epoch: int) -> KeyState:
        for about in self._services.bucket_keys.provider.tenant_epochs(held.tenant):
            if about.epoch == epoch:
                return about.state
        return KeyState.DESTROYED

    def _name(self, held: InFile) -> str:
        services = self._services
        stored = accounts.read_tenant(services.log, services.records, held.tenant)
        return held.tenant.hex() if stored is None else stored.tenant.name

    def _shown(self, held: InFile) -> Document:
        services = self._services
        newest = services.bucket_keys.provider.active_epoch(held.tenant)
        rotation = rotation_rows.read_rotation(
            services.log, services.records, rotation_rows.TENANT, held.tenant
        )
        return {
            "tenant": self._name(held),
            "tenant_id": held.tenant.hex(),
            "is_begun": newest not in held.epochs and not held.waiting,
            "is_rotating": rotation is not None,
            "epochs": [
                {"epoch": epoch, "state": self._state(held, epoch).value} for epoch in held.epochs
            ],
            "named_keys": list(held.names),
            "named_done": self._mover.is_done(held),
        }
