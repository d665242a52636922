"""The first tenant and its root user, made once with random credentials; and the keyring's copy in
the log.

There is no default secret: whoever starts a cluster finds the root user's in a file of its own.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Protocol

from gateway.commit.change import Change
from gateway.data.envelope import KeyProvider
from gateway.meta import accounts, keyspace
from gateway.meta.accounts import AccessKey, Tenant
from gateway.meta.kv import Batch, Check, MetaStore, Write, revision_of
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.identity_names import ACCESS_KEYS_MAX
from gateway.model.names import TenantId
from gateway.objects.context import CommitLog
from gateway.objects.credential_rows import all_access_keys, stored_form
from storaged.base.env import Env

ROOT_USER = "root"
ROOT_ROW = keyspace.cluster_row("root-access-key")
ACCESS_KEY_ID_BYTES = 10  # 16 base32 characters after the prefix, 80 random bits
SECRET_BYTES = 30  # 40 base64 characters, as S3's own secrets


async def ensure_root(
    log: CommitLog, records: RecordKeys, nonces: NonceSource, provider: KeyProvider, env: Env
) -> AccessKey:
    """The root user's access key; made, with its tenant, when the cluster has none.

    Idempotent: two starts at once agree on one.
    """
    held = read_root(log, records)
    if held is not None:
        return held
    tenant = Tenant(
        tenant_id=TenantId(env.random_bytes(16)),
        name="main",
        owner_id=env.random_bytes(32).hex(),
        created_at_ms=env.now_ms(),
    )
    key = AccessKey(
        access_key_id=_new_id(env),
        secret=_new_secret(env),
        tenant=tenant.tenant_id,
        user=ROOT_USER,
        created_at_ms=env.now_ms(),
        enabled=True,
    )
    root = {"access_key_id": key.access_key_id}
    writes = (
        *_new_tenant(records, nonces, provider, tenant, key),
        Write(ROOT_ROW, seal_document(records, nonces, ROOT_ROW, root)),
    )
    await _commit(log, env, (Check(ROOT_ROW, None),), writes)
    return key


async def renew_root(
    log: CommitLog, records: RecordKeys, nonces: NonceSource, provider: KeyProvider, env: Env
) -> AccessKey:
    """Another access key for the root user. The one before stays, unless that makes it three.

    Raises: BatchConflict: somebody does the same at this instant.
    """
    value = log.read((ROOT_ROW,))[0]
    held = read_root(log, records)
    if value is None or held is None:
        return await ensure_root(log, records, nonces, provider, env)
    key = replace(
        held, access_key_id=_new_id(env), secret=_new_secret(env), sealed=b"", enabled=True
    )
    key = replace(key, created_at_ms=env.now_ms())
    writes = [
        accounts.set_access_key(records, nonces, stored_form(provider, key)),
        Write(
            ROOT_ROW, seal_document(records, nonces, ROOT_ROW, {"access_key_id": key.access_key_id})
        ),
    ]
    if len(root_keys(log, records, held.tenant)) >= ACCESS_KEYS_MAX:
        writes.append(accounts.drop_access_key(held.access_key_id))
    await _commit(log, env, (Check(ROOT_ROW, revision_of(value)),), tuple(writes))
    return key


def _new_id(env: Env) -> str:
    return "HX" + base64.b32encode(env.random_bytes(ACCESS_KEY_ID_BYTES)).decode()


def _new_secret(env: Env) -> str:
    return base64.b64encode(env.random_bytes(SECRET_BYTES)).decode()


def root_keys(store: MetaStore, records: RecordKeys, tenant: TenantId) -> list[AccessKey]:
    """Access keys of the root of a tenant. Raises: RowCorrupt."""
    return [
        stored.access_key
        for stored in all_access_keys(store, records)
        if stored.access_key.tenant == tenant and stored.access_key.user == ROOT_USER
    ]


class Account(Protocol):
    """An account whose names and credentials are given."""

    @property
    def access_key_id(self) -> str: ...

    @property
    def secret(self) -> str: ...

    @property
    def owner_id(self) -> str: ...

    @property
    def display_name(self) -> str: ...


async def ensure_account(
    log: CommitLog,
    records: RecordKeys,
    nonces: NonceSource,
    provider: KeyProvider,
    env: Env,
    account: Account,
) -> AccessKey:
    """The access key of a given account; made, with a tenant of its own, when it is not there.

    Idempotent. An access key that is there keeps its secret and its tenant.
    """
    held = accounts.read_access_key(log, records, account.access_key_id)
    if held is not None:
        return held.access_key
    tenant = Tenant(
        tenant_id=TenantId(env.random_bytes(16)),
        name=account.display_name,
        owner_id=account.owner_id,
        created_at_ms=env.now_ms(),
    )
    key = AccessKey(
        access_key_id=account.access_key_id,
        secret=account.secret,
        tenant=tenant.tenant_id,
        user=ROOT_USER,
        created_at_ms=env.now_ms(),
        enabled=True,
    )
    row_key = keyspace.access_key_row(key.access_key_id)
    await _commit(
        log,
        env,
        (Check(row_key, None),),
        _new_tenant(records, nonces, provider, tenant, key),
    )
    return key


def _new_tenant(
    records: RecordKeys,
    nonces: NonceSource,
    provider: KeyProvider,
    tenant: Tenant,
    key: AccessKey,
) -> tuple[Write, ...]:
    """Makes the tenant's key, and the rows of tenant, access key and keyring."""
    provider.create_tenant_key(tenant.tenant_id)
    return (
        accounts.set_tenant(records, nonces, tenant),
        accounts.set_access_key(records, nonces, stored_form(provider, key)),
        _keyring_copy(records, nonces, provider),
    )


def read_root(store: MetaStore, records: RecordKeys) -> AccessKey | None:
    """The root user's access key, None in a fresh cluster. Raises: RowCorrupt."""
    value = store.read((ROOT_ROW,))[0]
    if value is None:
        return None
    access_key_id = open_document(records, ROOT_ROW, value)["access_key_id"]
    stored = accounts.read_access_key(store, records, access_key_id)
    return None if stored is None else stored.access_key


def restore_keyring(store: MetaStore, records: RecordKeys, provider: KeyProvider) -> None:
    """Take tenant keys that the provider lacks from the copy in the index. Raises: RowCorrupt."""
    row_key = keyspace.keyring_row()
    value = store.read((row_key,))[0]
    if value is not None:
        document = open_document(records, row_key, value)
        provider.import_sealed(base64.b64decode(document["sealed"]))


def _keyring_copy(records: RecordKeys, nonces: NonceSource, provider: KeyProvider) -> Write:
    row_key = keyspace.keyring_row()
    document = {"sealed": base64.b64encode(provider.export_sealed()).decode()}
    return Write(row_key, seal_document(records, nonces, row_key, document))


async def _commit(
    log: CommitLog, env: Env, checks: tuple[Check, ...], writes: tuple[Write, ...]
) -> None:
    batch = Batch(
        partition=keyspace.CLUSTER_PARTITION,
        request_id=env.random_bytes(16),
        checks=checks,
        writes=writes,
    )
    await log.commit_change(Change(batch=batch))
