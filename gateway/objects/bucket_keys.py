"""Bucket keys in the clear, for a while: what wraps DEKs and opens the tenant part of rows.

Not for making or storing keys: the rows are `gateway.meta.buckets`', unwrapping the provider's.
"""

from __future__ import annotations

from collections import OrderedDict

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.data.envelope import KeyProvider
from gateway.meta import bucket_key_rows
from gateway.meta.bucket_key_rows import StoredBucketKey
from gateway.meta.kv import MetaStore
from gateway.meta.sealing import RecordKeys, record_cipher
from gateway.model.bucket import Bucket
from gateway.model.errors import KmsKeyDestroyed, KmsKeyDisabled
from gateway.model.key_states import KeyState
from gateway.model.names import BucketId
from storaged.base.env import Env

KEYS_MAX = 4096
KEY_TTL_S = 300.0


class BucketKeys:
    """Unwrapped bucket keys by (bucket, epoch), at most KEYS_MAX for at most KEY_TTL_S each.

    Attributes:
        provider: keeps the keys of tenants.
        is_copy_kept: the log has a copy of every key of the provider.
    """

    def __init__(
        self, store: MetaStore, provider: KeyProvider, cluster_key: bytes, env: Env
    ) -> None:
        self._store = store
        self.provider = provider
        self.is_copy_kept = True
        self._env = env
        self._held: OrderedDict[tuple[bytes, int], tuple[float, bytes]] = OrderedDict()
        self.records = RecordKeys(cluster_key, self.cipher)

    def key(self, bucket: BucketId, epoch: int) -> bytes:
        """The 32-byte key of a bucket's epoch.

        Raises: RowCorrupt (no such row), KmsKeyDisabled, KmsKeyDestroyed, and what the provider
            raises for a key it may not open.
        """
        now_s = self._env.monotonic_s()
        held = self._held.get((bucket, epoch))
        if held is not None and held[0] > now_s:
            return held[1]
        stored = bucket_key_rows.read_bucket_key(self._store, self.records, bucket, epoch)
        key = self.unwrapped(bucket, stored)
        self._held[bucket, epoch] = (now_s + KEY_TTL_S, key)
        self._held.move_to_end((bucket, epoch))
        if len(self._held) > KEYS_MAX:
            self._held.popitem(last=False)
        return key

    def unwrapped(self, bucket: BucketId, stored: StoredBucketKey) -> bytes:
        """A bucket key that was read. Raises: as key."""
        epoch, state = stored.about.epoch, stored.about.state
        if state is KeyState.DISABLED:
            raise KmsKeyDisabled(epoch=epoch)
        if state is KeyState.DESTROYED:
            raise KmsKeyDestroyed(epoch=epoch)
        return self.provider.unwrap_bucket_key(
            stored.tenant, bucket, epoch, stored.wrapped, stored.tenant_epoch
        )

    def wrap(self, bucket: Bucket, key: bytes) -> tuple[bytes, int]:
        """A fresh 32-byte key of a bucket's newest epoch, wrapped under the tenant's key; and the
        epoch of that. To be committed before anything is awaited: who counts what is left under an
        epoch takes what was committed before for all there is.
        """
        tenant_epoch = self.provider.active_epoch(bucket.tenant)
        wrapped = self.provider.wrap_bucket_key(
            bucket.tenant, bucket.bucket_id, bucket.key_epoch, key, tenant_epoch
        )
        return wrapped, tenant_epoch

    def cipher(self, bucket: BucketId, epoch: int) -> AESGCM:
        """Cipher of the tenant part of the bucket's rows; `RecordKeys` keeps it."""
        return record_cipher(self.key(bucket, epoch))

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
