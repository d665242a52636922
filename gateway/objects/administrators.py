"""Administrators' accounts: made, given roles, disabled. One register for a gateway.

Not for tenants' users (`gateway.objects.users`), nor for who may call this (`gateway.admin.gate`).
Requirements: A-01, A-02, A-03, A-05.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from gateway.meta import administrator_rows as rows
from gateway.meta.kv import Check
from gateway.model.administrators import (
    ADMINISTRATORS_MAX,
    Administrator,
    AdministratorInvalid,
    check_person,
    checked_account_name,
    checked_person,
    checked_roles,
)
from gateway.model.second_factor import SecondFactor
from gateway.model.second_factor_errors import SecondFactorThere
from gateway.objects.context import Services
from gateway.objects.tenancy import Step, change
from storaged.base.errors import Kind, StorageError


class NoSuchAdministrator(StorageError):
    """There is no administrator of this name."""

    kind = Kind.NOT_FOUND
    hint = "`hexagone admin list` shows the names"


class AdministratorExists(StorageError):
    """There is an administrator of this name."""

    kind = Kind.CONFLICT
    hint = "`hexagone admin grant` gives a role to an account that is there"


class Administrators:
    """All accounts. This gateway alone writes them, so they are read once and kept."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._held: dict[str, Administrator] | None = None
        self._turn = asyncio.Lock()  # what a person has is judged over all accounts at once

    def all(self) -> list[Administrator]:
        """By name. Raises: RowCorrupt."""
        return list(self._accounts().values())

    def find(self, name: str) -> Administrator:
        """Raises: NoSuchAdministrator, RowCorrupt."""
        found = self._accounts().get(name)
        if found is None:
            raise NoSuchAdministrator(name=name[:64])
        return found

    async def add(self, name: str, person: str, roles: Iterable[str]) -> Administrator:
        """Make an account of one person.

        Raises: AdministratorExists, AdministratorInvalid, RolesExcludeEachOther.
        """
        now_ms = self._services.env.now_ms()
        made = Administrator(
            name=checked_account_name(name),
            person=checked_person(person),
            roles=checked_roles(roles),
            created_at_ms=now_ms,
            changed_at_ms=now_ms,
        )
        async with self._turn:
            held = self._accounts()
            if name in held:
                raise AdministratorExists(name=name)
            if len(held) >= ADMINISTRATORS_MAX:
                raise AdministratorInvalid(reason=f"there are {ADMINISTRATORS_MAX} already")
            return await self._set(made)

    async def grant(self, name: str, roles: Iterable[str]) -> Administrator:
        """Give roles. Raises: NoSuchAdministrator, AdministratorInvalid, RolesExcludeEachOther."""
        given = checked_roles(roles)
        return await self._edit(name, lambda held: replace(held, roles=held.roles | given))

    async def revoke(self, name: str, roles: Iterable[str]) -> Administrator:
        """Take roles away. Raises: NoSuchAdministrator, AdministratorInvalid."""
        taken = checked_roles(roles)
        return await self._edit(name, lambda held: replace(held, roles=held.roles - taken))

    async def set_enabled(self, name: str, *, enabled: bool) -> Administrator:
        """Let somebody in, or no longer. Raises: NoSuchAdministrator."""
        return await self._edit(name, lambda held: replace(held, enabled=enabled))

    async def distrust(self, name: str) -> Administrator:
        """Take no certificate of the account that was made before this moment: a key was lost.
        Raises: NoSuchAdministrator.
        """
        now_ms = self._services.env.now_ms()
        second_ms = now_ms - now_ms % 1000  # certificates know seconds only
        return await self._edit(name, lambda held: replace(held, certificates_from_ms=second_ms))

    async def enrol(self, name: str, made: SecondFactor | None) -> Administrator:
        """Keep somebody's second factor; None: take it away. Raises: NoSuchAdministrator,
        SecondFactorThere.
        """

        def edit(held: Administrator) -> Administrator:
            if made is not None and held.second_factor is not None:
                raise SecondFactorThere(who=name)
            return replace(held, second_factor=made)

        return await self._edit(name, edit)

    async def _edit(
        self, name: str, edit: Callable[[Administrator], Administrator]
    ) -> Administrator:
        async with self._turn:
            changed = replace(edit(self.find(name)), changed_at_ms=self._services.env.now_ms())
            return await self._set(changed)

    async def _set(self, wanted: Administrator) -> Administrator:
        """Write an account once it was held against all others. Durable when: this returns."""
        services = self._services
        check_person(wanted, self._accounts().values())

        def decide() -> tuple[Step, Administrator]:
            stored = rows.read_administrator(services.log, services.records, wanted.name)
            write = rows.set_administrator(services.records, services.nonces, wanted)
            revision = None if stored is None else stored.revision
            return Step((Check(write.key, revision),), (write,)), wanted

        try:
            return await change(services, decide)
        finally:
            self._held = None  # also after an error, whose outcome may not be known

    def _accounts(self) -> dict[str, Administrator]:
        if self._held is None:
            found = rows.scan_administrators(self._services.log, self._services.records)
            self._held = {held.name: held for held in found}
        return self._held
