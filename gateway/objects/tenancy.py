"""Tenants: made, found, disabled. And what changes of anything in a tenant have in common.

Not for S3, nor for who may ask: only operators come here, by the admin port.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar

from gateway.commit.change import Change
from gateway.meta import accounts, keyspace
from gateway.meta.accounts import AccessKey, StoredTenant, Tenant
from gateway.meta.kv import Batch, BatchConflict, Check, Write
from gateway.model.errors import OperationAborted
from gateway.model.identity_names import ROOT_USER, checked_tenant_name
from gateway.model.names import TenantId
from gateway.objects.bootstrap import ACCESS_KEY_ID_BYTES, SECRET_BYTES
from gateway.objects.context import Services
from gateway.objects.credential_rows import stored_form
from gateway.objects.named_keys import keep_keyring_copy
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

TENANTS_MAX = 100_000
PAGE = 1000
TRIES_MAX = 8
ID_BYTES = 10
_TENANTS_ROW = keyspace.family_range(keyspace.TENANT, keyspace.CLUSTER_PARTITION)[0]

Result = TypeVar("Result")


class NoSuchIdentity(StorageError):
    """There is no tenant, user, group, role, policy or access key of this name."""

    kind = Kind.NOT_FOUND
    hint = "`list` of the same command shows the names"


class IdentityExists(StorageError):
    """The name is taken."""

    kind = Kind.CONFLICT


class IdentityInUse(StorageError):
    """Something still depends on it."""

    kind = Kind.CONFLICT


class IdentityLimit(StorageError):
    """There are as many as there may be."""

    kind = Kind.CONFLICT


class AccessKeyLimit(IdentityLimit):
    """The user has as many access keys as there may be."""

    hint = (
        "`hexagone access-key list` shows them: disable the one that nobody uses, and delete it "
        "once nothing fails"
    )


class Step(NamedTuple):
    """A change of rows, as they have been read."""

    checks: tuple[Check, ...]
    writes: tuple[Write, ...]


async def change(services: Services, decide: Callable[[], tuple[Step, Result]]) -> Result:
    """Commit what `decide` says of the rows as they are, again where they have changed meanwhile.

    Raises: OperationAborted, as `decide` and the log.
    """
    for _ in range(TRIES_MAX):
        step, result = decide()
        batch = Batch(
            partition=keyspace.CLUSTER_PARTITION,
            request_id=services.env.random_bytes(16),
            checks=step.checks,
            writes=step.writes,
        )
        try:
            await services.log.commit_change(Change(batch=batch))
        except BatchConflict:
            continue
        return result
    raise OperationAborted()


def new_id(env: Env, prefix: str) -> str:
    """An id that nobody has had."""
    return prefix + base64.b32encode(env.random_bytes(ID_BYTES)).decode()


def new_access_key(env: Env, tenant: TenantId, user: str) -> AccessKey:
    """A lasting access key with a random secret."""
    return AccessKey(
        access_key_id="HX" + base64.b32encode(env.random_bytes(ACCESS_KEY_ID_BYTES)).decode(),
        secret=base64.b64encode(env.random_bytes(SECRET_BYTES)).decode(),
        tenant=tenant,
        user=user,
        created_at_ms=env.now_ms(),
        enabled=True,
    )


def tenants(services: Services) -> list[Tenant]:
    """All tenants, by id. Raises: RowCorrupt."""
    return [stored.tenant for stored in _stored_tenants(services)]


def find_tenant(services: Services, text: str) -> Tenant:
    """The tenant of a name, a canonical id, or a hexadecimal id. Raises: NoSuchIdentity."""
    return _find(services, text).tenant


async def create_tenant(
    services: Services, name: str, *, owner_id: str = ""
) -> tuple[Tenant, AccessKey]:
    """Make a tenant with keys of its own, and the access key of its root user.

    Args:
        owner_id: the canonical id that it had elsewhere; "": a fresh one.

    Raises: IdentityNameInvalid, IdentityExists, IdentityLimit.
    """
    checked_tenant_name(name)
    env, records, nonces = services.env, services.records, services.nonces
    # One at a time, so that no two tenants have one name: only this process makes any.
    async with services.queues.turn(_TENANTS_ROW):
        held = tenants(services)
        taken = {text for one in held for text in (one.name, one.owner_id, one.tenant_id.hex())}
        if name in taken or owner_id in taken:
            raise IdentityExists(tenant=name)
        if len(held) >= TENANTS_MAX:
            raise IdentityLimit(tenants_max=TENANTS_MAX)
        tenant = Tenant(
            tenant_id=TenantId(env.random_bytes(16)),
            name=name,
            owner_id=owner_id or env.random_bytes(32).hex(),
            created_at_ms=env.now_ms(),
        )
        key = new_access_key(env, tenant.tenant_id, ROOT_USER)
        provider = services.bucket_keys.provider
        async with services.queues.turn(keyspace.keyring_row()):
            # In the log before anything is sealed under it, as every key.
            await services.bucket_keys.apart(lambda: provider.create_tenant_key(tenant.tenant_id))
            await keep_keyring_copy(services.log, records, nonces, provider, env)
        stored = stored_form(provider, key)
        row_key = keyspace.tenant_row(tenant.tenant_id)
        key_row = keyspace.access_key_row(key.access_key_id)

        def decide() -> tuple[Step, None]:
            writes = (
                accounts.set_tenant(records, nonces, tenant),
                accounts.set_access_key(records, nonces, stored),
            )
            return Step((Check(row_key, None), Check(key_row, None)), writes), None

        await change(services, decide)
    return tenant, key


async def set_tenant_enabled(services: Services, text: str, *, enabled: bool) -> Tenant:
    """Take, or no longer take, all access keys of a tenant. Raises: NoSuchIdentity."""

    def decide() -> tuple[Step, Tenant]:
        stored = _find(services, text)
        tenant = replace(stored.tenant, enabled=enabled)
        row_key = keyspace.tenant_row(tenant.tenant_id)
        write = accounts.set_tenant(services.records, services.nonces, tenant)
        return Step((Check(row_key, stored.revision),), (write,)), tenant

    return await change(services, decide)


def _find(services: Services, text: str) -> StoredTenant:
    for stored in _stored_tenants(services):
        tenant = stored.tenant
        if text in (tenant.name, tenant.owner_id, tenant.tenant_id.hex()):
            return stored
    raise NoSuchIdentity(tenant=text[:64])


def _stored_tenants(services: Services) -> list[StoredTenant]:
    found: list[StoredTenant] = []
    after: TenantId | None = None
    while len(found) < TENANTS_MAX:
        page = accounts.scan_tenants(services.log, services.records, after, limit=PAGE)
        found += page
        if len(page) < PAGE:
            break
        after = page[-1].tenant.tenant_id
    return found
