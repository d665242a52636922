"""Epochs of keys as backups and journals tell of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from gateway.approvals.request import NAME_DIGEST_BYTES
from gateway.data.keyring_form import TENANT_KEY
from gateway.model.key_states import KeyState

KeyOf = tuple[str, int]
"""Whose key, as `owner_of` writes it, and its epoch."""


def owner_of(tenant: str, name: bytes) -> str:
    """Whose key one is: the tenant's id as hex; of a named key, with a digest of its name."""
    if name == TENANT_KEY:
        return tenant
    return f"{tenant}.{sha256(name).digest()[:NAME_DIGEST_BYTES].hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEpoch:
    """That a backup has, or tells the end of, an epoch of a key. `tenant`: see `owner_of`."""

    tenant: str
    epoch: int
    state: KeyState
    created_at_ms: int
    changed_at_ms: int

    @property
    def key(self) -> KeyOf:
        return self.tenant, self.epoch
