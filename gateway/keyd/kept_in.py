"""Where keys of tenants are, in words for people."""

from __future__ import annotations

from gateway.config_keys import KeydConfig, KeydProvider
from gateway.data.envelope import KeyProvider
from gateway.keyd.keys import KeydKeys


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
