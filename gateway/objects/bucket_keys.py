"""Bucket keys in use, for a while: what wraps DEKs and opens the tenant part of rows.

Not for making or storing keys: the rows are `gateway.meta.buckets`', unwrapping the provider's;
where that is the key service, no bucket key is ever in this process.

A provider that may take long is asked apart: a request waits in `warm` for the keys of its bucket,
and keys in use are asked for again before their time is over, so that `sealer`, which blocks, finds
them there. What a thread asks for that way may call `sealer` there: an answer that comes after the
key was disabled is not kept.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.data.bucket_sealing import AskedApart, BucketKeysOf, BucketSealer, HeldBucketKeys
from gateway.data.envelope import KeyProvider
from gateway.data.named_form import newest_active
from gateway.meta import bucket_key_rows
from gateway.meta.bucket_key_rows import StoredBucketKey
from gateway.meta.kv import MetaStore
from gateway.meta.sealing import RecordKeys
from gateway.model.bucket import Bucket
from gateway.model.errors import KmsKeyDestroyed, KmsKeyDisabled, OperationAborted
from gateway.model.key_states import KeyState
from gateway.model.names import BucketId, TenantId
from storaged.base.env import Env
from storaged.base.errors import StorageError

KEYS_MAX = 4096
KEY_TTL_S = 300.0
RENEWED_AT = 2 / 3  # of that time
AGAIN_AT = 1 / 30  # of that time: a renewal that failed is tried again after so long
WARM_EPOCHS_MAX = (
    4  # the newest that anything can be under: two, and more only where rows do not open
)
LOOKS_MAX = 4
FAILED_S = 0.25  # a key that could not be had fails at once for so long

T = TypeVar("T")

_Key = tuple[bytes, int]


def _keys_of(provider: KeyProvider, env: Env) -> BucketKeysOf:
    return provider if isinstance(provider, BucketKeysOf) else HeldBucketKeys(provider, env)


class BucketKeys:
    """Bucket keys in use by (bucket, epoch), at most KEYS_MAX for at most `ttl_s` each.

    Attributes:
        is_remote: the provider is asked apart.
        is_copy_kept: the log has a copy of every key of the provider.
        warm_names: until when `warm_bucket` has nothing to do for a bucket of this name, monotonic;
            a request asks this first, for it costs next to nothing.
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
        self.is_copy_kept = True
        self._env = env
        self._lock = threading.Lock()  # for changes of what is held
        self._ttl_s = ttl_s
        self._held: OrderedDict[_Key, tuple[float, float, BucketSealer]] = OrderedDict()
        self._failed: OrderedDict[_Key, tuple[float, StorageError]] = OrderedDict()
        self._opening: dict[_Key, asyncio.Task[None]] = {}
        self._warm: dict[bytes, float] = {}
        self.warm_names: dict[str, float] = {}
        self._forgotten = 0
        self._epochs_changed = 0
        self._newest_named: dict[tuple[TenantId, str], int] = {}
        self.provider = provider
        self.records = RecordKeys(cluster_key, self.cipher)

    @property
    def provider(self) -> KeyProvider:
        """Keeps the keys of tenants."""
        return self._provider

    @provider.setter
    def provider(self, provider: KeyProvider) -> None:
        self._provider = provider
        self._newest_named = {}
        self.keys_of = _keys_of(provider, self._env)
        self._asked = provider if isinstance(provider, AskedApart) else None
        self.is_remote = self._asked is not None

    async def apart(self, call: Callable[[], T], *, is_long: bool = False) -> T:
        """What a function that calls the provider returns. See `AskedApart.apart`."""
        return call() if self._asked is None else await self._asked.apart(call, is_long=is_long)

    def is_cold(self, bucket: BucketId) -> bool:
        """A key of a bucket may have to be asked for, and `warm` has not been waited for."""
        return self._warm.get(bucket, 0.0) <= self._env.monotonic_s()

    def note_name(self, name: str, bucket: BucketId) -> None:
        """A bucket that was found by its name has its keys in use for as long as `warm` has said.
        A name that goes to another bucket meanwhile is not noticed: that one's key is asked for
        where it is needed.
        """
        until_s = self._warm.get(bucket)
        if until_s is not None:
            if len(self.warm_names) >= KEYS_MAX:
                self.warm_names.clear()
            self.warm_names[name] = until_s

    async def warm(self, bucket: BucketId) -> None:
        """Have the keys of a bucket in use that something can be under. What cannot be had fails
        where it is needed, and at once.
        """
        if self._asked is None:
            return
        held = bucket_key_rows.scan_bucket_keys(self._store, self.records, bucket)
        wanted = [one for one in held if one.about.state is KeyState.ACTIVE][-WARM_EPOCHS_MAX:]
        now_s = self._env.monotonic_s()
        until_s, tasks = now_s + self._ttl_s, []
        for stored in wanted:
            key = (bucket, stored.about.epoch)
            known = self._held.get(key)
            if known is not None and known[0] > now_s:
                until_s = min(until_s, known[0])
            elif (failed := self._failed.get(key)) is not None and failed[0] > now_s:
                until_s = min(until_s, failed[0])
            else:
                tasks.append(self._begin_opening(bucket, stored))
        forgotten = self._forgotten
        if tasks:
            await asyncio.wait(tasks)
        if forgotten == self._forgotten:
            for key in [(bucket, stored.about.epoch) for stored in wanted]:
                if not self._is_held(key):
                    failed = self._failed.get(key)
                    until_s = 0.0 if failed is None else min(until_s, failed[0])
            if len(self._warm) >= KEYS_MAX:
                self._warm.clear()
            self._warm[bucket] = until_s

    def _begin_opening(self, bucket: BucketId, stored: StoredBucketKey) -> asyncio.Task[None]:
        """One at a time for each key, however many wait for it."""
        key = (bucket, stored.about.epoch)
        task = self._opening.get(key)
        if task is None:
            task = asyncio.create_task(self._open_apart(bucket, stored))
            self._opening[key] = task
            task.add_done_callback(lambda _: self._opening.pop(key, None))
        return task

    async def _open_apart(self, bucket: BucketId, stored: StoredBucketKey) -> None:
        key, forgotten = (bucket, stored.about.epoch), self._forgotten

        def call() -> BucketSealer:
            sealer = self._opened(bucket, stored)
            sealer.prepare()
            return sealer

        try:
            sealer = await self.apart(call)
        except StorageError as error:
            self._note_failed(key, error, forgotten)
        else:
            self._keep(key, sealer, forgotten)

    def _is_held(self, key: _Key) -> bool:
        held = self._held.get(key)
        return held is not None and held[0] > self._env.monotonic_s()

    def _note_failed(self, key: _Key, error: StorageError, forgotten: int) -> None:
        """A key could not be had; one that is held goes on."""
        now_s = self._env.monotonic_s()
        with self._lock:
            if forgotten != self._forgotten or self._is_held(key):
                return
            failed = self._failed
            failed[key] = (now_s + FAILED_S, error)
            failed.move_to_end(key)
            while next(iter(failed.values()))[0] < now_s:
                failed.popitem(last=False)

    def _keep(self, key: _Key, sealer: BucketSealer, forgotten: int) -> None:
        """Keep a key, but what was disabled since `forgotten` does not come back."""
        now_s = self._env.monotonic_s()
        with self._lock:
            if forgotten != self._forgotten:
                return
            self._failed.pop(key, None)
            self._held[key] = (now_s + self._ttl_s, now_s + self._ttl_s * RENEWED_AT, sealer)
            self._held.move_to_end(key)
            if len(self._held) > KEYS_MAX:
                self._held.popitem(last=False)

    def _renew(self, bucket: BucketId, epoch: int) -> None:
        """Ask for a key in use again, while the one that is there goes on."""
        again_s = self._env.monotonic_s() + self._ttl_s * AGAIN_AT
        with self._lock:
            held = self._held.get((bucket, epoch))
            if held is None:
                return  # it was disabled just then
            self._held[bucket, epoch] = (held[0], again_s, held[2])
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return  # a thread: the next one who uses it will do it
        if self._asked is not None:
            stored = bucket_key_rows.read_bucket_key(self._store, self.records, bucket, epoch)
            self._begin_opening(bucket, stored)

    def sealer(self, bucket: BucketId, epoch: int) -> BucketSealer:
        """The key of a bucket's epoch, for use.

        Raises: RowCorrupt (no such row), KmsKeyDisabled, KmsKeyDestroyed, and what the provider
            raises for a key it may not open.
        """
        now_s = self._env.monotonic_s()
        held = self._held.get((bucket, epoch))
        if held is not None and held[0] > now_s:
            if held[1] <= now_s:
                self._renew(bucket, epoch)
            return held[2]
        failed = self._failed.get((bucket, epoch))
        if failed is not None and failed[0] > now_s:
            raise type(failed[1])(**failed[1].fields)
        forgotten = self._forgotten
        stored = bucket_key_rows.read_bucket_key(self._store, self.records, bucket, epoch)
        sealer = self._opened(bucket, stored)
        self._keep((bucket, epoch), sealer, forgotten)
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

    async def make_key(self, bucket: Bucket) -> tuple[bytes, int]:
        """As new_key, apart. Raises, too: OperationAborted: the tenant's key is being rotated."""
        for _ in range(LOOKS_MAX):
            before = self._epochs_changed
            found = await self.apart(lambda: self.new_key(bucket))
            if before == self._epochs_changed:
                return found
        raise OperationAborted(bucket=bucket.name)

    def note_epochs_change(self) -> None:
        """Another epoch of a tenant's key begins to wrap, or has begun to: said before and after.
        A key that was made meanwhile may be under the one before, and is made again.
        """
        self._epochs_changed += 1

    def newest_named(self, tenant: TenantId, name: str) -> int:
        """The epoch of a named key that wraps, 0 where none does. Raises: as the provider."""
        newest = self._newest_named.get((tenant, name))
        if newest is None:
            newest = newest_active(self.provider.named_epochs(tenant, name))
            if len(self._newest_named) >= KEYS_MAX:
                self._newest_named.clear()
            self._newest_named[tenant, name] = newest
        return newest

    def note_named_change(self) -> None:
        """Another epoch of a named key begins to wrap, or has begun to: said before and after."""
        self._newest_named.clear()

    def cipher(self, bucket: BucketId, epoch: int) -> AESGCM:
        """Cipher of the tenant part of the bucket's rows; `RecordKeys` keeps it."""
        return AESGCM(self.sealer(bucket, epoch).record_key)

    def forget(self, bucket: BucketId) -> None:
        """Drop all keys of a bucket."""
        self._warm.pop(bucket, None)
        self.warm_names.clear()
        with self._lock:
            self._forgotten += 1
            for held in [held for held in self._held if held[0] == bucket]:
                del self._held[held]
            for held in [held for held in tuple(self._failed) if held[0] == bucket]:
                self._failed.pop(held, None)
        self.records.forget(bucket)

    def forget_all(self) -> None:
        """Drop all keys: one that they are wrapped under was disabled."""
        self._warm.clear()
        self.warm_names.clear()
        with self._lock:
            self._forgotten += 1
            self._held.clear()
            self._failed.clear()
        self.records.forget_all()

    def __repr__(self) -> str:
        return f"BucketKeys({len(self._held)} held)"
