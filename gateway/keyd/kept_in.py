"""Where keys of tenants are, in words for people."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from gateway.config_keys import KeydConfig, KeydProvider
from gateway.data.envelope import KeyProvider
from gateway.keyd.keys import KeydKeys


@runtime_checkable
class Moves(Protocol):
    """A provider on its way from one place to another."""

    def move_status(self) -> dict[str, Any]:
        """What is still where it was."""
        ...


def kept_by_keyd(config: KeydConfig) -> str:
    """What a key service of this configuration says of itself."""
    if config.provider is KeydProvider.PKCS11 and config.pkcs11 is not None:
        return f"HSM, token {config.pkcs11.token}"
    return config.provider.value


def kept_in(provider: KeyProvider) -> str:
    """Where a gateway's provider has the keys. Raises: KeydUnavailable."""
    if isinstance(provider, KeydKeys):
        return f"key service: {provider.status().get('provider', '')}"
    return "gateway: file"
