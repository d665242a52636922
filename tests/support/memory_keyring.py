"""A key provider that keeps nothing: keys come of ids and names."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from gateway.data.envelope import (
    KeyChangeRefused,
    NamedKeyDisabled,
    NamedKeyMissing,
    TenantKeyDisabled,
    TenantKeyMissing,
    open_secret,
    seal_secret,
)
from gateway.data.named_form import parted, with_epoch
from gateway.model.encoding import enc
from gateway.model.key_states import FIRST_EPOCH, REFUSING, KeyEpoch, KeyState, become, may_become


class MemoryKeyring:
    """Tenant keys made from their ids, named keys from their names."""

    def __init__(self) -> None:
        self.named: set[tuple[bytes, str]] = set()
        self.epochs: dict[bytes, list[KeyEpoch]] = {}
        self.of_names: dict[tuple[bytes, str], list[KeyEpoch]] = {}
        self._salts = 0

    def create_tenant_key(self, tenant_id: bytes) -> None:
        """Nothing to do."""

    def create_named_key(self, tenant_id: bytes, name: str) -> None:
        """See `KeyProvider`."""
        self.named.add((tenant_id, name))

    def has_named_key(self, tenant_id: bytes, name: str) -> bool:
        """See `KeyProvider`."""
        return (tenant_id, name) in self.named

    def named_keys(self, tenant_id: bytes) -> list[str]:
        """See `KeyProvider`."""
        return sorted(name for held, name in self.named if held == tenant_id)

    def wrap_named(self, tenant_id: bytes, name: str, context: bytes, secret: bytes) -> bytes:
        """See `KeyProvider`."""
        self._salts += 1
        salt, epoch = self._salts.to_bytes(24, "big"), 0
        for about in self.named_epochs(tenant_id, name):
            epoch = about.epoch if about.state is KeyState.ACTIVE else epoch
        key = self._named_key(tenant_id, name, epoch)
        return with_epoch(epoch, seal_secret(key, "named", context, secret, salt))

    def unwrap_named(self, tenant_id: bytes, name: str, context: bytes, wrapped: bytes) -> bytes:
        """See `KeyProvider`."""
        epoch, sealed = parted(wrapped)
        return open_secret(self._named_key(tenant_id, name, epoch), "named", context, sealed)

    def _named_key(self, tenant_id: bytes, name: str, epoch: int) -> bytes:
        states = {one.epoch: one.state for one in self.named_epochs(tenant_id, name)}
        if epoch not in states:
            raise NamedKeyMissing(name=name, epoch=epoch)
        if states[epoch] in REFUSING:
            raise NamedKeyDisabled(name=name, epoch=epoch)
        return sha256(b"named" + tenant_id + name.encode() + bytes(epoch - 1)).digest()

    def named_epochs(self, tenant_id: bytes, name: str) -> list[KeyEpoch]:
        """See `KeyProvider`."""
        if (tenant_id, name) not in self.named:
            return []
        return self.of_names.setdefault((tenant_id, name), [KeyEpoch(epoch=FIRST_EPOCH)])

    def add_named_epoch(self, tenant_id: bytes, name: str) -> int:
        """See `KeyProvider`."""
        held = self.named_epochs(tenant_id, name)
        if not held:
            raise NamedKeyMissing(name=name)
        if held[-1].state is not KeyState.PENDING:
            held.append(KeyEpoch(epoch=held[-1].epoch + 1, state=KeyState.PENDING))
        return held[-1].epoch

    def set_named_epoch(
        self, tenant_id: bytes, name: str, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """See `KeyProvider`."""
        held = self.named_epochs(tenant_id, name)
        for at, about in enumerate(held):
            if about.epoch == epoch and about.state is not KeyState.DESTROYED:
                held[at] = become(about, state, 0) if about.state is not state else about
                return
        raise NamedKeyMissing(name=name, epoch=epoch)

    def tenant_epochs(self, tenant_id: bytes) -> list[KeyEpoch]:
        """See `KeyProvider`."""
        return self.epochs.setdefault(tenant_id, [KeyEpoch(epoch=FIRST_EPOCH)])

    def active_epoch(self, tenant_id: bytes) -> int:
        """See `KeyProvider`."""
        held = self.tenant_epochs(tenant_id)
        return max(one.epoch for one in held if one.state is KeyState.ACTIVE)

    def add_tenant_epoch(self, tenant_id: bytes) -> int:
        """See `KeyProvider`."""
        held = self.tenant_epochs(tenant_id)
        if held[-1].state is not KeyState.PENDING:
            held.append(KeyEpoch(epoch=held[-1].epoch + 1, state=KeyState.PENDING))
        return held[-1].epoch

    def set_tenant_epoch(
        self, tenant_id: bytes, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """See `KeyProvider`."""
        held = self.tenant_epochs(tenant_id)
        was = held[epoch - 1]
        if was.state is KeyState.DESTROYED:
            raise TenantKeyMissing
        if was.state is not state and not may_become(was, state):
            raise KeyChangeRefused(was=was.state.value, wanted=state.value)
        if was.state is not state:
            held[epoch - 1] = replace(was, state=state, before=was.state)

    def wrap_bucket_key(
        self, tenant_id: bytes, bucket_id: bytes, epoch: int, key: bytes, tenant_epoch: int = 1
    ) -> bytes:
        """See `KeyProvider`."""
        salt = sha256(bucket_id + bytes((epoch, tenant_epoch))).digest()[:24]
        wrapping = self._tenant_key(tenant_id, tenant_epoch)
        return seal_secret(wrapping, "bucket", enc("b", bucket_id, epoch), key, salt)

    def unwrap_bucket_key(
        self, tenant_id: bytes, bucket_id: bytes, epoch: int, wrapped: bytes, tenant_epoch: int = 1
    ) -> bytes:
        """See `KeyProvider`."""
        wrapping = self._tenant_key(tenant_id, tenant_epoch)
        return open_secret(wrapping, "bucket", enc("b", bucket_id, epoch), wrapped)

    def _tenant_key(self, tenant_id: bytes, epoch: int) -> bytes:
        if self.tenant_epochs(tenant_id)[epoch - 1].state in REFUSING:
            raise TenantKeyDisabled
        return sha256(b"tenant" + tenant_id + bytes((epoch,))).digest()

    def export_sealed(self) -> bytes:
        """Nothing."""
        return b""

    def is_whole(self, sealed: bytes) -> bool:
        """Keys of memory are not kept."""
        return True

    def import_sealed(self, sealed: bytes) -> None:
        """Nothing."""
