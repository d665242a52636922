"""What is sealed under a bucket's key, whoever holds that key: this process or the key service.

A gateway that asks the key service never has the key itself. It gets the key of rows, which is
derived from it, opens one DEK at a time, and seals its own under a *window*: a key derived from the
bucket's and a random id, with which it can open nothing but what it has sealed itself.

Under a window, a record is 2 ‖ window id 16 ‖ what `seal_secret` makes under the window's key,
without its first byte. Not for unwrapping bucket keys: that is the provider's.

Source: docs/data-layout.md, "Sealed keys"; docs/key-service.md.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from gateway.data.cipher import KEY_BYTES, SALT_BYTES, expand
from gateway.data.envelope import SUITE, KeyProvider, SealInvalid, open_secret, seal_secret
from gateway.data.resealing import WINDOW_ID_BYTES, WINDOW_SUITE, resealed
from gateway.model.encoding import enc
from storaged.base.env import Env

RECORD_KEY_LABEL = b"hexagone/v1/record"

T = TypeVar("T")


class BucketSealer(Protocol):
    """One epoch of a bucket's key in use.

    Attributes:
        record_key: 32 bytes; the cipher of the tenant part of the bucket's rows.
    """

    @property
    def record_key(self) -> bytes: ...

    def seal(self, label: str, context: bytes, secret: bytes, salt: bytes) -> bytes:
        """Seal a secret. `salt`: 24 random bytes, never used again. Raises: as the provider."""
        ...

    def open(self, label: str, context: bytes, record: bytes) -> bytes:
        """The secret. Raises: SealInvalid, as the provider."""
        ...

    def prepare(self) -> None:
        """Have at hand what `seal` needs. Raises: as the provider."""
        ...


@runtime_checkable
class AskedApart(Protocol):
    """A provider that may take long: another process, and a device behind it. Its calls block; who
    can wait makes them through `apart`, so that nothing else waits with him.
    """

    async def apart(self, call: Callable[[], T], *, is_long: bool = False) -> T:
        """What a function that calls the provider returns. It may be called twice, by another
        thread the second time: what it does beside its calls does no harm then.

        Args:
            is_long: it has much to ask for, and is called by another thread only.

        Raises: as the function, and as the provider where it has too much to do.
        """
        ...


async def asked_apart(provider: object, call: Callable[[], T]) -> T:
    """What a function that calls a provider returns, apart where it may take long."""
    return await provider.apart(call) if isinstance(provider, AskedApart) else call()


class Reseal(NamedTuple):
    """Records that are sealed under one bucket key, to be sealed under another.

    Args:
        heads: how the context of each begins that it is bound to, and is to be bound to.
        tails: how the context of each ends, before and after.
    """

    old: BucketSealer
    new: BucketSealer
    label: str
    heads: tuple[bytes, bytes]
    tails: Sequence[bytes]
    records: Sequence[bytes]

    def __repr__(self) -> str:
        return f"Reseal({len(self.records)} records)"


@runtime_checkable
class BucketKeysOf(Protocol):
    """Makes bucket keys, and opens them for use, without showing them.

    Raises (all): TenantKeyMissing, TenantKeyDisabled, SealInvalid.
    """

    def new_bucket_key(
        self, tenant_id: bytes, bucket_id: bytes, epoch: int, tenant_epoch: int
    ) -> bytes:
        """A fresh key, wrapped under an epoch of the tenant's key. Idempotent: no."""
        ...

    def rewrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        wrapped: bytes,
        tenant_epoch: int,
        to_epoch: int,
    ) -> bytes:
        """A bucket key under another epoch of the tenant's key."""
        ...

    def bucket_sealer(
        self, tenant_id: bytes, bucket_id: bytes, epoch: int, wrapped: bytes, tenant_epoch: int
    ) -> BucketSealer:
        """A bucket key in use."""
        ...

    def reseal(self, wanted: Reseal) -> list[bytes | None]:
        """Records under another bucket key, in their order; None for one that does not open."""
        ...


def record_key_of(bucket_key: bytes) -> bytes:
    """The key of the tenant part of rows: HMAC-SHA256(bucket key, label)."""
    return hmac.digest(bucket_key, RECORD_KEY_LABEL, "sha256")


def window_key(bucket_key: bytes, window_id: bytes) -> bytes:
    """The key of a window."""
    assert len(window_id) == WINDOW_ID_BYTES
    return expand(bucket_key, enc("dek-window", window_id))[:KEY_BYTES]


def seal_in_window(
    window_id: bytes, key: bytes, label: str, context: bytes, secret: bytes, salt: bytes
) -> bytes:
    """Seal a secret under a window's key."""
    record = seal_secret(key, label, context, secret, salt)
    return b"%c%b%b" % (WINDOW_SUITE, window_id, record[1:])


def window_of(record: bytes) -> bytes | None:
    """The id of the window that a record is sealed under; None: under the bucket's key itself."""
    if record[:1] != b"\x02" or len(record) <= 1 + WINDOW_ID_BYTES:
        return None
    return bytes(record[1 : 1 + WINDOW_ID_BYTES])


def open_in_window(key: bytes, label: str, context: bytes, record: bytes) -> bytes:
    """The secret of a record of which `window_of` names the window. Raises: SealInvalid."""
    return open_secret(key, label, context, b"%c%b" % (SUITE, record[1 + WINDOW_ID_BYTES :]))


class HeldBucketKey:
    """A `BucketSealer` whose key is in this process."""

    __slots__ = ("_key", "_window", "record_key")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise SealInvalid(label="wrap-bucket", secret_bytes=len(key))
        self._key = key
        self._window = b"", b""  # id and key of the last one: one value, for threads open too
        self.record_key = record_key_of(key)

    def __repr__(self) -> str:
        return "HeldBucketKey(…)"

    def seal(self, label: str, context: bytes, secret: bytes, salt: bytes) -> bytes:
        """See the port."""
        return seal_secret(self._key, label, context, secret, salt)

    def open(self, label: str, context: bytes, record: bytes) -> bytes:
        """See the port. Records that lie together were mostly sealed in one window."""
        window_id = window_of(record)
        if window_id is None:
            return open_secret(self._key, label, context, record)
        held_id, key = self._window
        if window_id != held_id:
            key = window_key(self._key, window_id)
            self._window = window_id, key
        return open_in_window(key, label, context, record)

    def resealed(
        self, wanted: Reseal, sealing: tuple[bytes, bytes], salts: bytes
    ) -> list[bytes | None]:
        """Records under another key. Args: see `gateway.data.resealing.resealed`."""
        _, _, label, heads, tails, records = wanted
        return resealed(self._key_of, sealing, label, heads, tails, records, salts)

    def _key_of(self, window_id: bytes) -> bytes:
        return window_key(self._key, window_id) if window_id else self._key

    def sealing(self, window_id: bytes = b"") -> tuple[bytes, bytes]:
        """What a record begins with that is sealed under this key, or in a window of it; and the
        key that it is sealed under.
        """
        if window_id:
            return b"%c%b" % (WINDOW_SUITE, window_id), window_key(self._key, window_id)
        return b"%c" % SUITE, self._key

    def prepare(self) -> None:
        """See the port: the key is all it takes."""

    def window(self, window_id: bytes) -> bytes:
        """The key of a window."""
        return window_key(self._key, window_id)


class HeldBucketKeys:
    """`BucketKeysOf` a provider in this process."""

    def __init__(self, provider: KeyProvider, env: Env) -> None:
        self._provider = provider
        self._env = env

    def new_bucket_key(
        self, tenant_id: bytes, bucket_id: bytes, epoch: int, tenant_epoch: int
    ) -> bytes:
        """See the port."""
        key = self._env.random_bytes(KEY_BYTES)
        return self._provider.wrap_bucket_key(tenant_id, bucket_id, epoch, key, tenant_epoch)

    def rewrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        wrapped: bytes,
        tenant_epoch: int,
        to_epoch: int,
    ) -> bytes:
        """See the port."""
        provider = self._provider
        key = provider.unwrap_bucket_key(tenant_id, bucket_id, epoch, wrapped, tenant_epoch)
        return provider.wrap_bucket_key(tenant_id, bucket_id, epoch, key, to_epoch)

    def bucket_sealer(
        self, tenant_id: bytes, bucket_id: bytes, epoch: int, wrapped: bytes, tenant_epoch: int
    ) -> HeldBucketKey:
        """See the port."""
        return HeldBucketKey(
            self._provider.unwrap_bucket_key(tenant_id, bucket_id, epoch, wrapped, tenant_epoch)
        )

    def reseal(self, wanted: Reseal) -> list[bytes | None]:
        """See the port."""
        old, new = wanted.old, wanted.new
        assert isinstance(old, HeldBucketKey) and isinstance(new, HeldBucketKey)
        salts = self._env.random_bytes(SALT_BYTES * len(wanted.records))
        return old.resealed(wanted, new.sealing(), salts)
