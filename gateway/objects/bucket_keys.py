"""Bucket keys in use, for a while: what wraps DEKs and opens the tenant part of rows.

Not for making or storing keys: the rows are `gateway.meta.buckets`', unwrapping the provider's;
where that is the key service, no bucket key is ever in this process.
"""

from __future__ import annotations

from collections import OrderedDict

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.data.bucket_sealing import BucketKeysOf, BucketSealer, HeldBucketKeys
from gateway.data.envelope import KeyProvider
from gateway.meta import bucket_key_rows
from gateway.meta.bucket_key_rows import StoredBucketKey
from gateway.meta.kv import MetaStore
from gateway.meta.sealing import RecordKeys
from gateway.model.bucket import Bucket
from gateway.model.errors import KmsKeyDestroyed, KmsKeyDisabled
from gateway.model.key_states import KeyState
from gateway.model.names import BucketId
from storaged.base.env import Env

KEYS_MAX = 4096
KEY_TTL_S = 300.0


def _keys_of(provider: KeyProvider, env: Env) -> BucketKeysOf:
    return provider if isinstance(provider, BucketKeysOf) else HeldBucketKeys(provider, env)


class BucketKeys:
    """Bucket keys in use by (bucket, epoch), at most KEYS_MAX for at most `ttl_s` each.

    Attributes:
        provider: keeps the keys of tenants.
        is_copy_kept: the log has a copy of every key of the provider.
    """

    def __init__(
        self,
        store: MetaStore,
        provider: KeyProvider,
        cluster_key: bytes,
        env: Env,
        ttl_s: float = KEY_TTL_S,
    ) -> None:
        self._store = store
        self.provider = provider
        self.is_copy_kept = True
        self._env = env
        self._ttl_s = ttl_s
        self._keys_of = (provider, _keys_of(provider, env))
        self._held: OrderedDict[tuple[bytes, int], tuple[float, BucketSealer]] = OrderedDict()
        self.records = RecordKeys(cluster_key, self.cipher)

    @property
    def keys_of(self) -> BucketKeysOf:
        """Who makes bucket keys and opens them: the provider itself, or this process with it."""
        provider, keys_of = self._keys_of
        if provider is not self.provider:
            keys_of = _keys_of(self.provider, self._env)
            self._keys_of = (self.provider, keys_of)
        return keys_of

    def sealer(self, bucket: BucketId, epoch: int) -> BucketSealer:
        """The key of a bucket's epoch, for use.

        Raises: RowCorrupt (no such row), KmsKeyDisabled, KmsKeyDestroyed, and what the provider
            raises for a key it may not open.
        """
        now_s = self._env.monotonic_s()
        held = self._held.get((bucket, epoch))
        if held is not None and held[0] > now_s:
            return held[1]
        stored = bucket_key_rows.read_bucket_key(self._store, self.records, bucket, epoch)
        sealer = self._opened(bucket, stored)
        self._held[bucket, epoch] = (now_s + self._ttl_s, sealer)
        self._held.move_to_end((bucket, epoch))
        if len(self._held) > KEYS_MAX:
            self._held.popitem(last=False)
        return sealer

    def _opened(self, bucket: BucketId, stored: StoredBucketKey) -> BucketSealer:
        """A bucket key that was read. Raises: as sealer."""
        epoch, state = stored.about.epoch, stored.about.state
        if state is KeyState.DISABLED:
            raise KmsKeyDisabled(epoch=epoch)
        if state is KeyState.DESTROYED:
            raise KmsKeyDestroyed(epoch=epoch)
        return self.keys_of.bucket_sealer(
            stored.tenant, bucket, epoch, stored.wrapped, stored.tenant_epoch
        )

    def new_key(self, bucket: Bucket) -> tuple[bytes, int]:
        """A fresh key of a bucket's newest epoch, wrapped under the tenant's key; and the
        epoch of that. To be committed before anything is awaited: who counts what is left under an
        epoch takes what was committed before for all there is.
        """
        tenant_epoch = self.provider.active_epoch(bucket.tenant)
        wrapped = self.keys_of.new_bucket_key(
            bucket.tenant, bucket.bucket_id, bucket.key_epoch, tenant_epoch
        )
        return wrapped, tenant_epoch

    def cipher(self, bucket: BucketId, epoch: int) -> AESGCM:
        """Cipher of the tenant part of the bucket's rows; `RecordKeys` keeps it."""
        return AESGCM(self.sealer(bucket, epoch).record_key)

    def forget(self, bucket: BucketId) -> None:
        """Drop all keys of a bucket."""
        for held in [held for held in self._held if held[0] == bucket]:
            del self._held[held]
        self.records.forget(bucket)

    def forget_all(self) -> None:
        """Drop all keys: one that they are wrapped under was disabled."""
        for bucket in {bucket for bucket, _ in self._held} | self.records.held_buckets():
            self.forget(BucketId(bucket))

    def __repr__(self) -> str:
        return f"BucketKeys({len(self._held)} held)"
