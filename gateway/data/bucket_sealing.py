"""What is sealed under a bucket's key, whoever holds that key: this process or the key service.

A gateway that asks the key service never has the key itself. It gets the key of rows, which is
derived from it, opens one DEK at a time, and seals its own in a *window* (`gateway.data.window`): a
key derived from the bucket's and a random id, with which it can open nothing but what it has sealed
itself. Who moves many records to another key seals them in a window, too.

Not for unwrapping bucket keys: that is the provider's.

Source: docs/data-layout.md, "Sealed keys"; docs/key-service.md.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from gateway.data.cipher import KEY_BYTES, SALT_BYTES
from gateway.data.envelope import KeyProvider, SealInvalid, open_secret, seal_secret
from gateway.data.window import (
    WINDOW_ID_BYTES,
    WINDOW_RECORDS_MAX,
    Window,
    is_former,
    open_former,
    window_key,
    window_of,
)
from gateway.model.encoding import enc_start
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


class HeldBucketKey:
    """A `BucketSealer` whose key is in this process."""

    __slots__ = ("_key", "_last", "record_key")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise SealInvalid(label="wrap-bucket", secret_bytes=len(key))
        self._key = key
        self._last: Window | None = None  # records that lie together were mostly sealed in one
        self.record_key = record_key_of(key)

    def __repr__(self) -> str:
        return "HeldBucketKey(…)"

    def seal(self, label: str, context: bytes, secret: bytes, salt: bytes) -> bytes:
        """See the port."""
        return seal_secret(self._key, label, context, secret, salt)

    def open(self, label: str, context: bytes, record: bytes) -> bytes:
        """See the port."""
        window_id = window_of(record)
        if window_id is None:
            return open_secret(self._key, label, context, record)
        if is_former(record):
            return open_former(self.window_key(window_id), label, context, record)
        return self._window(window_id).open(label, context, record)

    def resealed(self, wanted: Reseal, into: Window, salts: bytes) -> list[bytes | None]:
        """Records in a window of another key; None for one that does not open.

        Args:
            salts: SALT_BYTES random bytes for each record, never used again.
        """
        _, _, label, (before, after), tails, records = wanted
        assert len(salts) == SALT_BYTES * len(records) and len(records) <= WINDOW_RECORDS_MAX
        start, at = enc_start(label, 2), 0
        found: list[bytes | None] = []
        window = self._last
        for tail, record in zip(tails, records, strict=True):
            context = before + tail
            secret: bytes | None
            if window is not None and record.startswith(window.start):
                bound = b"%b%b%b" % (start, len(context).to_bytes(4, "big"), context)
                secret = window.opened(bound, record)
            else:
                secret = self._opened_or_none(label, context, record)
                window = self._last
            if secret is None:
                found.append(None)
            else:
                context = after + tail
                bound = b"%b%b%b" % (start, len(context).to_bytes(4, "big"), context)
                found.append(into.sealed(bound, secret, salts[at : at + SALT_BYTES]))
            at += SALT_BYTES
        return found

    def prepare(self) -> None:
        """See the port: the key is all it takes."""

    def window_key(self, window_id: bytes) -> bytes:
        """The key of a window."""
        return window_key(self._key, window_id)

    def _opened_or_none(self, label: str, context: bytes, record: bytes) -> bytes | None:
        try:
            return self.open(label, context, record)
        except SealInvalid:
            return None

    def _window(self, window_id: bytes) -> Window:
        window = self._last
        if window is None or window.id != window_id:
            window = self._last = Window(window_id, self.window_key(window_id))
        return window


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
        window_id = self._env.random_bytes(WINDOW_ID_BYTES)
        return old.resealed(wanted, Window(window_id, new.window_key(window_id)), salts)
