"""Where a gateway's keys come from: its own file, or the key service."""

from __future__ import annotations

from pathlib import Path

from gateway.config_keys import KeysConfig, KeysFrom
from gateway.data.envelope import KeyProvider
from gateway.data.keyring import FileKeyring, RootKey
from gateway.keyd.client import KeydClient
from gateway.keyd.keys import KeydKeys
from gateway.keyd.line import unix_connect
from storaged.base.env import Env
from storaged.base.errors import ConfigError


def open_keys(config: KeysConfig, folder: Path, root: RootKey, env: Env) -> KeyProvider:
    """The provider of a gateway.

    Args:
        folder: of the root key, and of a keyring that is kept here.

    Raises: ConfigError, KeyringInvalid.
    """
    if config.provider is KeysFrom.FILE:
        return FileKeyring(folder, root, env)
    if config.socket is None:
        raise ConfigError(key="keys.socket", reason="where is the key service?")
    client = KeydClient(
        unix_connect(config.socket),
        root.cluster_id,
        env,
        deadline_s=config.deadline_ms / 1000,
    )
    return KeydKeys(client, env, cache_s=config.cache_s)
