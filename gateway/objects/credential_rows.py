"""Secrets of access keys in their rows: sealed by the key service, where there is one.

Not for signing (`objects.credentials`). Where a gateway keeps the keys of tenants itself, a secret
is in its row as it is, inside what the cluster's record key seals. Where the key service does, the
row has what only that can open; rows from before are sealed so at the first start.

Source: docs/data-layout.md, "Accounts".
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from gateway.commit.change import Change
from gateway.data.bucket_sealing import asked_apart
from gateway.data.credential_sealing import CredentialKeeper, HeldCredentials, epoch_of
from gateway.data.envelope import (
    KeyProvider,
    SealInvalid,
    TenantKeyDisabled,
    TenantKeyMissing,
)
from gateway.meta import accounts, keyspace
from gateway.meta.accounts import AccessKey, StoredAccessKey
from gateway.meta.kv import Batch, BatchConflict, Check, MetaStore
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.objects.context import CommitLog
from storaged.base.env import Env

PAGE = 1000

logger = logging.getLogger(__name__)


class Resealed(NamedTuple):
    """What a reseal has done.

    Args:
        secrets: that are under the newest epoch for it.
        damaged: those that do not open, and stay.
    """

    secrets: int
    damaged: int


def keeper_of(provider: KeyProvider, env: Env) -> CredentialKeeper:
    """Who opens sealed secrets."""
    return provider if isinstance(provider, CredentialKeeper) else HeldCredentials(provider, env)


def stored_form(provider: KeyProvider, key: AccessKey) -> AccessKey:
    """An access key as its row is to have it. Raises: as the provider."""
    if not isinstance(provider, CredentialKeeper) or key.sealed:
        return key
    sealed = provider.seal_credential(key.tenant, key.access_key_id, key.secret)
    return replace(key, secret="", sealed=sealed)


async def seal_stored(
    log: CommitLog, records: RecordKeys, nonces: NonceSource, provider: KeyProvider, env: Env
) -> int:
    """Have the key service seal the secrets that rows still have in the clear; how many it was.

    Those of a tenant whose key is disabled, or destroyed, stay: an erasure is no reason to serve
    nobody. Idempotent. Raises: as the provider, as the log.
    """
    if not isinstance(provider, CredentialKeeper):
        return 0
    count = 0
    for stored in all_access_keys(log, records):
        if not stored.access_key.secret:
            continue
        try:
            changed = stored_form(provider, stored.access_key)
        except (TenantKeyDisabled, TenantKeyMissing) as error:
            name = stored.access_key.access_key_id
            logger.warning("access key %s is sealed at a later start: %s", name, error)
            continue
        count += await _put(log, records, nonces, env, stored, changed)
    if count:
        logger.warning("%d secrets of access keys were sealed by the key service", count)
    return count


async def reseal_of_tenant(
    log: CommitLog,
    records: RecordKeys,
    nonces: NonceSource,
    provider: KeyProvider,
    env: Env,
    tenant: bytes,
) -> Resealed:
    """Bring the tenant's sealed secrets under the newest epoch of its key. Those under an epoch
    that is disabled or destroyed stay, and those that do not open. Idempotent. Raises: as the
    provider, as the log.
    """
    keeper = keeper_of(provider, env)
    count = damaged = 0
    known = {about.epoch for about in provider.tenant_epochs(tenant)}
    for stored in all_access_keys(log, records):
        key = stored.access_key
        if key.tenant != tenant or not key.sealed:
            continue
        try:
            reseal = partial(keeper.reseal_credential, tenant, key.access_key_id, key.sealed)
            if epoch_of(key.sealed) not in known:
                raise SealInvalid(label="credential", record_bytes=len(key.sealed))
            sealed = await asked_apart(provider, reseal)
        except (TenantKeyDisabled, TenantKeyMissing) as error:
            logger.warning("access key %s stays as it is: %s", key.access_key_id, error)
            continue
        except SealInvalid as error:
            logger.error("access key %s stays under an older key: %s", key.access_key_id, error)
            damaged += 1
            continue
        if sealed != key.sealed:
            changed = replace(key, sealed=sealed)
            count += await _put(log, records, nonces, env, stored, changed)
    return Resealed(count, damaged)


def under_epoch(
    store: MetaStore, records: RecordKeys, provider: KeyProvider, tenant: bytes, epoch: int
) -> int:
    """Access keys whose secret is sealed under an epoch of the tenant's key, or may be: what names
    none that there is, for it is damaged, counts for each.
    """
    known = {about.epoch for about in provider.tenant_epochs(tenant)}
    return sum(
        stored.access_key.tenant == tenant and _may_be_under(stored.access_key.sealed, epoch, known)
        for stored in all_access_keys(store, records)
    )


def _may_be_under(sealed: bytes, epoch: int, known: Container[int]) -> bool:
    if not sealed:
        return False
    try:
        told = epoch_of(sealed)
    except SealInvalid:
        return True
    return told == epoch or told not in known


def all_access_keys(store: MetaStore, records: RecordKeys) -> Iterator[StoredAccessKey]:
    """Access keys of all tenants, by id. Raises: RowCorrupt."""
    after: str | None = None
    while True:
        page = accounts.scan_access_keys(store, records, after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].access_key.access_key_id


async def _put(
    log: CommitLog,
    records: RecordKeys,
    nonces: NonceSource,
    env: Env,
    stored: StoredAccessKey,
    changed: AccessKey,
) -> bool:
    """Whether the row was changed; if it was not, somebody else has changed or dropped it."""
    write = accounts.set_access_key(records, nonces, changed)
    batch = Batch(
        partition=keyspace.CLUSTER_PARTITION,
        request_id=env.random_bytes(16),
        checks=(Check(write.key, stored.revision),),
        writes=(write,),
    )
    try:
        await log.commit_change(Change(batch=batch))
    except BatchConflict:
        return False
    return True
