"""Named keys of a tenant's keyring, which S3 calls KMS keys: find them, make them, keep them.

Not for what they wrap. A key is in the sealed copy in the log before anything is sealed under it,
so whoever rebuilds the index has it.
"""

from __future__ import annotations

import base64
from functools import partial

from gateway.commit.change import Change
from gateway.data.bucket_sealing import asked_apart
from gateway.data.envelope import KeyProvider
from gateway.meta import keyspace
from gateway.meta.kv import Batch, BatchConflict, Check, Write, revision_of
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.errors import KmsKeyNotFound, OperationAborted
from gateway.model.names import TenantId
from gateway.objects.bootstrap import restore_keyring
from gateway.objects.context import CommitLog, Services
from storaged.base.env import Env

DEFAULT_KEY_ID = "aws/s3"  # what S3 uses when a client names none; made at its first use
TRIES_MAX = 8


def name_of(key_id: str) -> str:
    """The name in a key id: `arn:…:key/name`, `arn:…:alias/name`, `alias/name` or the name."""
    if key_id.startswith("arn:"):
        key_id = key_id.split(":", 5)[-1]
        key_id = key_id.removeprefix("key/")
    return key_id.removeprefix("alias/")


def check_exists(services: Services, tenant: TenantId, name: str) -> None:
    """Raises KmsKeyNotFound."""
    if not services.bucket_keys.provider.has_named_key(tenant, name):
        raise KmsKeyNotFound(message=f"Key '{name}' does not exist")


async def ensure_usable(services: Services, tenant: TenantId, name: str) -> None:
    """A named key that may be used at once: one that exists, or that is made when it is wanted.

    Raises: KmsKeyNotFound.
    """
    keys = services.bucket_keys
    has_key = keys.provider.has_named_key(tenant, name)
    if has_key and keys.is_copy_kept:
        return
    # The fixed keys of the test profile are all there are in it.
    made = services.test_kms_keys or (DEFAULT_KEY_ID,)
    if name not in made and not has_key:
        raise KmsKeyNotFound(message=f"Key '{name}' does not exist")
    await create_named_key(services, tenant, name)


async def create_named_key(services: Services, tenant: TenantId, name: str) -> None:
    """Make a named key of a tenant. Idempotent. Raises: TenantKeyMissing, as the log."""
    keys = services.bucket_keys
    async with services.queues.turn(keyspace.keyring_row()):
        # Until the copy is kept, whoever finds the key comes here too, also after a failure.
        keys.is_copy_kept = False
        # A key service whose folder is an older one lacks keys that the copy has: no second one.
        restore_keyring(services.log, services.records, keys.provider)
        await keys.apart(lambda: keys.provider.create_named_key(tenant, name))
        await keep_keyring_copy(
            services.log, services.records, services.nonces, keys.provider, services.env
        )
        keys.is_copy_kept = True


async def keep_keyring_copy(
    log: CommitLog, records: RecordKeys, nonces: NonceSource, provider: KeyProvider, env: Env
) -> None:
    """Bring the keyring's copy in the log up to date. What only the copy has comes to the provider
    first, so none is ever replaced by one that has less.

    Raises: RowCorrupt, SealInvalid, KeyringConflict.
    """
    row_key = keyspace.keyring_row()
    for _ in range(TRIES_MAX):
        value = log.read((row_key,))[0]
        if value is not None:
            held = open_document(records, row_key, value)
            sealed = base64.b64decode(held["sealed"])
            if await asked_apart(provider, partial(provider.is_whole, sealed)):
                return
            await asked_apart(provider, partial(provider.import_sealed, sealed))
        exported = await asked_apart(provider, provider.export_sealed)
        document = {"sealed": base64.b64encode(exported).decode()}
        batch = Batch(
            partition=keyspace.CLUSTER_PARTITION,
            request_id=env.random_bytes(16),
            checks=(Check(row_key, None if value is None else revision_of(value)),),
            writes=(Write(row_key, seal_document(records, nonces, row_key, document)),),
        )
        try:
            await log.commit_change(Change(batch=batch))
            return
        except BatchConflict:
            continue
    raise OperationAborted()
