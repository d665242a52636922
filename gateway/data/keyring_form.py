"""The keys of tenants as one sealed secret: what `tenants.sealed` and its copy in the log hold.

Not for keeping them: `gateway.data.keyring`. Pure.

"HXK" ‖ form u8 ‖ a sealed list. Form 1: tenant id 16 ‖ key 32. Form 2, with named keys: tenant
id 16 ‖ u8 length of name ‖ name ‖ key 32, where "" names the tenant key. Form 3, once a tenant key
was rotated: as form 2, but between name and key u32 epoch ‖ u8 state ‖ u8 state before it was
disabled ‖ u64 created at ‖ u64 changed at, in milliseconds. The lowest form that can say everything
is written. A destroyed key is 32 zeros.

Source: docs/data-layout.md, "Keys".
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple, Protocol

from gateway.data.cipher import KEY_BYTES
from gateway.data.envelope import SealInvalid, open_secret, seal_secret
from gateway.model.encoding import enc
from gateway.model.key_states import FIRST_EPOCH, KeyEpoch, KeyState

TENANT_ID_BYTES = 16
TENANT_KEY = b""  # the name of the key that wraps bucket keys

_TENANTS_MAGIC, _NAMED_MAGIC, _EPOCHS_MAGIC = b"HXK\x01", b"HXK\x02", b"HXK\x03"
_CONTEXTS = {
    _TENANTS_MAGIC: "tenants",
    _NAMED_MAGIC: "named-keys",
    _EPOCHS_MAGIC: "key-epochs",
}
_LABEL = "tenant-keys"
_EPOCH = Struct(">IBBQQ")
_STATES = tuple(KeyState)


class HeldKey(NamedTuple):
    """A key and what it may be used for; `key` is b"" once it was destroyed."""

    key: bytes
    about: KeyEpoch

    def __repr__(self) -> str:
        return f"HeldKey(…, {self.about!r})"


KeyId = tuple[bytes, bytes, int]
"""Tenant id, name and epoch."""

Keys = dict[KeyId, HeldKey]


class SealingRoot(Protocol):
    """What a keyring's file is sealed under: the root key, or the key service's own secret."""

    @property
    def cluster_id(self) -> bytes:
        """16 bytes that name the cluster; no secret."""
        ...

    def derive(self, label: str) -> bytes:
        """A 32-byte key for one purpose."""
        ...


def seal_keys(sealing_key: bytes, cluster_id: bytes, keys: Keys, salt: bytes) -> bytes:
    """The keys as they are stored. `salt`: 24 random bytes."""
    held = sorted(keys.items())
    if not all(_is_first(one) for one in keys.values()):
        magic = _EPOCHS_MAGIC
        plain = b"".join(
            b"%b%c%b%b%b" % (tenant, len(name), name, _packed(one.about), _secret_of(one))
            for (tenant, name, _), one in held
        )
    elif any(name != TENANT_KEY for _, name, _ in keys):
        magic = _NAMED_MAGIC
        plain = b"".join(
            b"%b%c%b%b" % (tenant, len(name), name, one.key) for (tenant, name, _), one in held
        )
    else:
        magic = _TENANTS_MAGIC
        plain = b"".join(tenant + one.key for (tenant, _, _), one in held)
    context = enc(_CONTEXTS[magic], cluster_id)
    return magic + seal_secret(sealing_key, _LABEL, context, plain, salt)


def open_keys(sealing_key: bytes, cluster_id: bytes, sealed: bytes) -> Keys:
    """What `seal_keys` wrote. Raises SealInvalid."""
    magic = bytes(sealed[:4])
    if magic not in _CONTEXTS:
        raise SealInvalid(label=_LABEL)
    context = enc(_CONTEXTS[magic], cluster_id)
    plain = open_secret(sealing_key, _LABEL, context, bytes(sealed[4:]))
    keys: Keys = {}
    at = 0
    try:
        while at < len(plain):
            tenant, at = plain[at : at + TENANT_ID_BYTES], at + TENANT_ID_BYTES
            name, about = TENANT_KEY, KeyEpoch(epoch=FIRST_EPOCH)
            if magic != _TENANTS_MAGIC:
                length, at = plain[at], at + 1
                name, at = plain[at : at + length], at + length
            if magic == _EPOCHS_MAGIC:
                about, at = _unpacked(plain, at), at + _EPOCH.size
            key, at = plain[at : at + KEY_BYTES], at + KEY_BYTES
            if about.state is KeyState.DESTROYED:
                key = b""
            keys[tenant, name, about.epoch] = HeldKey(key, about)
    except (IndexError, ValueError) as error:
        raise SealInvalid(label=_LABEL, secret_bytes=len(plain)) from error
    if at != len(plain):
        raise SealInvalid(label=_LABEL, secret_bytes=len(plain))
    return keys


def _is_first(held: HeldKey) -> bool:
    return held.about.epoch == FIRST_EPOCH and held.about.state is KeyState.ACTIVE


def _secret_of(held: HeldKey) -> bytes:
    return held.key or bytes(KEY_BYTES)


def _packed(about: KeyEpoch) -> bytes:
    return _EPOCH.pack(
        about.epoch,
        _STATES.index(about.state),
        _STATES.index(about.before),
        about.created_at_ms,
        about.changed_at_ms,
    )


def _unpacked(plain: bytes, at: int) -> KeyEpoch:
    if len(plain) < at + _EPOCH.size:
        raise ValueError("cut short")
    epoch, state, before, created_at_ms, changed_at_ms = _EPOCH.unpack_from(plain, at)
    return KeyEpoch(
        epoch=epoch,
        state=_STATES[state],
        before=_STATES[before],
        created_at_ms=created_at_ms,
        changed_at_ms=changed_at_ms,
    )
