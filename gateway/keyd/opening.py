"""Where a gateway's keys come from: its own file, or the key service."""

from __future__ import annotations

import ssl

from gateway.config import GatewayConfig
from gateway.config_keys import KeysFrom
from gateway.data.envelope import KeyProvider
from gateway.data.keyring import FileKeyring, RootKey
from gateway.keyd.client import KeydClient
from gateway.keyd.keys import KeydKeys
from gateway.keyd.line import Connect, is_named, tls_connect, unix_connect
from gateway.keyd.refusals import KeydUnavailable
from storaged.base.env import Env
from storaged.base.errors import ConfigError

START_S, AGAIN_S = 30.0, 0.1


def open_keys(
    config: GatewayConfig, root: RootKey, env: Env, context: ssl.SSLContext | None
) -> KeyProvider:
    """The provider of a gateway; a key service is not asked anything yet.

    Args:
        context: with the certificate of [node_tls], for a key service elsewhere.

    Raises: ConfigError, KeyringInvalid.
    """
    keys = config.keys
    if keys.provider is KeysFrom.FILE:
        return FileKeyring(config.storage.keys, root, env)
    deadline_s = keys.deadline_ms / 1000
    client = KeydClient(_connect(config, context), root.cluster_id, env, deadline_s=deadline_s)
    return KeydKeys(client, env, cache_s=keys.cache_s)


def _connect(config: GatewayConfig, context: ssl.SSLContext | None) -> Connect:
    """Raises: ConfigError."""
    keys = config.keys
    if (keys.socket is None) is (keys.address is None):
        raise ConfigError(key="keys", reason="either `socket` or `address` of the key service")
    if keys.socket is not None:
        return unix_connect(keys.socket)
    assert keys.address is not None
    host, _, port = keys.address.rpartition(":")
    if context is None or keys.service is None or not host or not port.isdecimal():
        raise ConfigError(
            key="keys.address", reason="host:port, with `service` and the certificate of [node_tls]"
        )
    return tls_connect(host, int(port), context, is_named(keys.service))


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
