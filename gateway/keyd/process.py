"""The key service as a process: opened, listening, `ready`, ended by SIGTERM or SIGINT.

Not for the command line (`gateway.keyd.cli`).
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import signal
import sys

from gateway.config_keys import KeydConfig, KeydProvider
from gateway.jobs.recovery import RecoveryKeeper
from gateway.keyd.kept_in import kept_by_keyd
from gateway.keyd.providers import cluster_id_of, open_key_provider
from gateway.keyd.server import KeydServer
from gateway.keyd.service import KeyService
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError, StorageError
from storaged.base.log import Log
from storaged.base.notify import READY, STOPPING, ignore_stop_signals, notify_systemd
from storaged.tls import node_server_context

BACKUP_AGAIN_S = 10.0

_LOG = Log("gateway.keyd")


async def serve_keys(config: KeydConfig, env: RealEnv, *, while_stdin: bool = False) -> None:
    """Open the provider, print `ready`, serve until a signal, or the end of standard input.

    Raises: ConfigError, OSError.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    if while_stdin:
        await _end_with_stdin(stopping)
    if config.socket is None and config.listen is None:
        raise ConfigError(key="socket", reason="neither a socket nor [listen]: nobody could call")
    users, group = _users(config), _group(config)
    service = KeyService(
        open_key_provider(config, env),
        cluster_id_of(config),
        env,
        cache_s=config.cache_s,
        provider_name=kept_by_keyd(config),
        allows_v2=config.unsafe_sigv2,
    )
    is_slow = config.provider is not KeydProvider.FILE
    server = KeydServer(service, env, users=users, is_slow=is_slow)
    try:
        if config.socket is not None:
            await server.listen_unix(config.socket, group)
        if config.listen is not None:
            await _listen_tls(server, config)
        backing_up = asyncio.create_task(_keep_recoverable(config, env))
        _LOG.info("serving", provider=config.provider.value, socket=str(config.socket))
        print("ready", flush=True)
        notify_systemd(READY)
        await stopping.wait()
        notify_systemd(STOPPING)
        backing_up.cancel()
    finally:
        await server.close()
        ignore_stop_signals(loop)


async def _keep_recoverable(config: KeydConfig, env: RealEnv) -> None:
    """Back up for the recovery recipient what changes, where the gateway's folder is here too: no
    key of a tenant goes through the gateway for that.
    """
    if config.former_keys is None:
        return
    keeper = RecoveryKeeper(config.former_keys, None, env, is_service=True)
    while True:
        wait_s = BACKUP_AGAIN_S
        try:
            wait_s = await keeper.step()
        except (StorageError, OSError) as error:
            _LOG.warning("no recovery backup could be made", reason=str(error))
        await env.sleep(wait_s)


async def _end_with_stdin(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    class Watched(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stopping.set()

    await loop.connect_read_pipe(Watched, sys.stdin)


async def _listen_tls(server: KeydServer, config: KeydConfig) -> None:
    listen = config.listen
    assert listen is not None
    context = node_server_context(listen.certificate, listen.key, listen.authority)
    port = await server.listen_tls(
        listen.host, listen.port, context, domain=listen.domain, gateways=listen.gateways
    )
    _LOG.info("serving over TLS", host=listen.host, port=port)


def _users(config: KeydConfig) -> set[int]:
    """User ids that may call; our own among them. Raises: ConfigError."""
    try:
        return {os.geteuid(), *(pwd.getpwnam(name).pw_uid for name in config.users)}
    except KeyError as error:
        raise ConfigError(key="users", reason=str(error)) from error


def _group(config: KeydConfig) -> int | None:
    """Raises: ConfigError."""
    if config.group is None:
        return None
    try:
        return grp.getgrnam(config.group).gr_gid
    except KeyError as error:
        raise ConfigError(key="group", reason=str(error)) from error
