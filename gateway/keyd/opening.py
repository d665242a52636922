"""Where a gateway's keys come from: its own file, or the key service."""

from __future__ import annotations

from pathlib import Path

from gateway.config_keys import KeysConfig, KeysFrom
from gateway.data.envelope import KeyProvider
from gateway.data.keyring import FileKeyring, RootKey
from gateway.keyd.client import KeydClient
from gateway.keyd.keys import KeydKeys
from gateway.keyd.line import unix_connect
from gateway.keyd.refusals import KeydUnavailable
from storaged.base.env import Env
from storaged.base.errors import ConfigError

START_S, AGAIN_S = 30.0, 0.1


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


async def await_keys(provider: KeyProvider, env: Env) -> None:
    """Wait until the key service answers: after a power cut it may be later than the gateway.

    Raises: KeydUnavailable: not within START_S; KeydOtherCluster.
    """
    if not isinstance(provider, KeydKeys):
        return
    until_s = env.monotonic_s() + START_S
    while True:
        try:
            provider.status()
            return
        except KeydUnavailable:
            if env.monotonic_s() > until_s:
                raise
        await env.sleep(AGAIN_S)
