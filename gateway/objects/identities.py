"""Accounts by the canonical id that clients know them by, and their names.

Not for who asks (`objects.credentials`). What is held may be a few seconds old: names change
seldom, canonical ids never.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.meta import accounts
from gateway.meta.kv import MetaStore
from gateway.meta.sealing import RecordKeys
from gateway.model.acl import ANONYMOUS_ID
from gateway.model.names import TenantId
from storaged.base.env import Env

HELD_S = 5.0
LOOK_AGAIN_S = 1.0  # an account that was made since the last look is found after that
ACCOUNTS_MAX = 100_000
PAGE = 1000


class Identity(NamedTuple):
    """An account: its tenant, and what S3 prints as ID and DisplayName."""

    tenant: TenantId
    owner_id: str
    name: str


class Identities:
    """Looks up accounts."""

    def __init__(self, store: MetaStore, records: RecordKeys, env: Env) -> None:
        self._store = store
        self._records = records
        self._env = env
        self._by_owner: dict[str, Identity] = {}
        self._by_tenant: dict[TenantId, Identity] = {}
        self._looked_s: float | None = None

    def of_owner(self, owner_id: str) -> Identity | None:
        """The account of a canonical id; None when there is none. Raises: RowCorrupt."""
        self._look(HELD_S)
        found = self._by_owner.get(owner_id)
        if found is None and owner_id != ANONYMOUS_ID:
            self._look(LOOK_AGAIN_S)
            found = self._by_owner.get(owner_id)
        return found

    def of_tenant(self, tenant: TenantId) -> Identity:
        """The account of a tenant; one without names if its row has gone. Raises: RowCorrupt."""
        self._look(HELD_S)
        if tenant not in self._by_tenant:
            self._look(LOOK_AGAIN_S)
        return self._by_tenant.get(tenant) or Identity(tenant, tenant.hex(), "")

    def name_of(self, owner_id: str) -> str:
        """What S3 prints as DisplayName of a canonical id; "" when nobody has it."""
        found = self.of_owner(owner_id)
        return "" if found is None else found.name

    def _look(self, held_s: float) -> None:
        now_s = self._env.monotonic_s()
        if self._looked_s is not None and now_s - self._looked_s < held_s:
            return
        self._looked_s = now_s
        found: list[Identity] = []
        after: TenantId | None = None
        while len(found) < ACCOUNTS_MAX:
            page = accounts.scan_tenants(self._store, self._records, after, limit=PAGE)
            for stored in page:
                tenant = stored.tenant
                found.append(Identity(tenant.tenant_id, tenant.owner_id, tenant.name))
            if len(page) < PAGE:
                break
            after = page[-1].tenant.tenant_id
        self._by_owner = {one.owner_id: one for one in found}
        self._by_tenant = {one.tenant: one for one in found}

    def __repr__(self) -> str:
        return f"Identities({len(self._by_owner)} held)"
