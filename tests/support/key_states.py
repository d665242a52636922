"""Keys on their way out, as a gateway takes them there."""

from __future__ import annotations

from gateway.data.envelope import KeyProvider
from gateway.model.key_states import KeyState


def destroy_epoch(provider: KeyProvider, tenant: bytes, epoch: int, warrant: bytes = b"") -> None:
    """Disable an epoch of a tenant's key, and destroy it."""
    provider.set_tenant_epoch(tenant, epoch, KeyState.DISABLED)
    provider.set_tenant_epoch(tenant, epoch, KeyState.DESTROYED, warrant)
