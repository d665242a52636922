"""The key service as a process: opened, listening, `ready`, ended by SIGTERM or SIGINT.

Not for the command line (`gateway.keyd.cli`).
"""

from __future__ import annotations

import asyncio
import fcntl
import grp
import os
import pwd
import signal
import sys
from pathlib import Path

from gateway.config_keys import KeydConfig, KeydProvider
from gateway.jobs.recovery import RecoveryKeeper
from gateway.keyd.kept_in import kept_by_keyd
from gateway.keyd.metrics import KeydMetrics
from gateway.keyd.providers import cluster_id_of, open_key_provider
from gateway.keyd.secret import KeydSecretInvalid
from gateway.keyd.server import KeydServer
from gateway.keyd.service import KeyService
from storaged import renewal
from storaged.base.env import Env, RealEnv
from storaged.base.errors import ConfigError, Kind, StorageError
from storaged.base.jobs import Job, Scheduler
from storaged.base.log import Log
from storaged.base.notify import READY, STOPPING, ignore_stop_signals, notify_systemd
from storaged.metrics import MetricsServer
from storaged.tls import node_server_context

OWN_S, AGAIN_S = 10.0, 0.1  # one that is just ending is waited for
_LOG = Log("gateway.keyd")


class KeydFolderTaken(StorageError):
    """Another key service has this folder open."""

    kind = Kind.CONFLICT
    hint = "one at a time: two would lose each other's keys"


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
    owned = await own_folder(config.folder, env)
    try:
        await _serve(config, env, stopping, users, group)
    finally:
        os.close(owned)
        ignore_stop_signals(loop)


async def own_folder(folder: Path, env: Env) -> int:
    """A descriptor; until it is closed no other process owns the folder. Two that keep keys there
    would each write what it knows over what the other one does.

    Raises: KeydFolderTaken; KeydSecretInvalid: there is no such folder.
    """
    until_s = env.monotonic_s() + OWN_S
    try:
        found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KeydSecretInvalid(path=folder, reason=error.strerror) from error
    while True:
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return found
        except BlockingIOError as error:
            if env.monotonic_s() > until_s:
                os.close(found)
                raise KeydFolderTaken(path=folder) from error
        await env.sleep(AGAIN_S)


async def _serve(
    config: KeydConfig, env: RealEnv, stopping: asyncio.Event, users: set[int], group: int | None
) -> None:
    service = KeyService(
        open_key_provider(config, env),
        cluster_id_of(config),
        env,
        cache_s=config.cache_s,
        provider_name=kept_by_keyd(config),
        allows_v2=config.unsafe_sigv2,
        budgets=config.budgets,
    )
    is_slow = config.provider is not KeydProvider.FILE
    server = KeydServer(service, env, users=users, is_slow=is_slow)
    scheduler = Scheduler(env)
    endpoint = MetricsServer(KeydMetrics(service, env).render, lambda: True)
    if config.former_keys is not None:
        # So that no key of a tenant goes through the gateway for a recovery backup.
        scheduler.add(RecoveryKeeper(config.former_keys, None, env, is_service=True))
    try:
        if config.socket is not None:
            await server.listen_unix(config.socket, group)
        if config.listen is not None:
            scheduler.add(await _listen_tls(server, config, env))
        if config.metrics is not None:
            await endpoint.start(config.metrics.host, config.metrics.port)
        scheduler.start()
        _LOG.info("serving", provider=config.provider.value, socket=str(config.socket))
        print("ready", flush=True)
        notify_systemd(READY)
        await stopping.wait()
        notify_systemd(STOPPING)
    finally:
        await endpoint.close()
        await scheduler.close()
        await server.close()


async def _end_with_stdin(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    class Watched(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stopping.set()

    await loop.connect_read_pipe(Watched, sys.stdin)


async def _listen_tls(server: KeydServer, config: KeydConfig, env: RealEnv) -> Job:
    """Answer over TLS; what keeps the certificate fresh."""
    listen = config.listen
    assert listen is not None
    given = renewal.Pair(certificate=listen.certificate, key=listen.key)
    where = None
    if listen.renewal is not None:
        where = renewal.RenewalConfig(folder=listen.renewal.folder, spool=listen.renewal.spool)
    pair = renewal.pair_in_use(given, None if where is None else where.folder)
    context = node_server_context(pair.certificate, pair.key, listen.authority)
    renewer = renewal.Renewer(given, listen.authority, where, [context], env)
    port = await server.listen_tls(
        listen.host, listen.port, context, domain=listen.domain, gateways=listen.gateways
    )
    _LOG.info("serving over TLS", host=listen.host, port=port)
    return renewer


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
