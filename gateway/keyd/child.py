"""The key service of a cluster on one machine: its files, and its process as a child of `hexagone
up`: started, started again when it dies, ended with its parent, whatever ends that.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import tomli_w

from gateway.config_keys import (
    KeydBudgetsConfig,
    KeydConfig,
    KeydPkcs11Config,
    KeysConfig,
    KeysFrom,
)
from gateway.keyd.line import unix_connect
from gateway.keyd.secret import SECRET_FILE, KeydSecret, KeydSecretLost
from storaged.base.config import effective_values, read_config
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.log import Log

READY_S = 60.0
STOP_S = 10.0
CONNECT_S = 1.0
AGAIN_FIRST_S, AGAIN_MAX_S = 0.1, 5.0

_LOG = Log("gateway.keyd")


class KeydDidNotStart(StorageError):
    """The key service did not become ready."""

    kind = Kind.UNAVAILABLE
    hint = "keyd.log in the folder of the cluster says why"


class KeydFiles:
    """Where the key service's files are in a cluster's folder."""

    def __init__(self, cluster: Path) -> None:
        self.config = cluster / "keyd.toml"
        self.folder = cluster / "keyd"
        self.socket = cluster / "keyd.sock"
        self.log = cluster / "keyd.log"
        self.pid = cluster / "keyd.pid"


def lay_out_keyd(
    files: KeydFiles,
    former_keys: Path,
    cluster_id: bytes,
    env: Env,
    *,
    unsafe_sigv2: bool,
    hsm: KeydPkcs11Config | None = None,
) -> None:
    """Make the secret, if there has never been one, and write `keyd.toml`.

    Raises: KeydSecretInvalid, KeydSecretLost: there has been one.
    """
    settings: dict[str, object] = {
        "folder": str(files.folder),
        "cluster_id": cluster_id.hex(),
        "socket": str(files.socket),
        "former_keys": str(former_keys),
        "unsafe_sigv2": unsafe_sigv2,
    }
    before = read_config(KeydConfig, files.config) if files.config.exists() else None
    if before is not None:  # whoever runs the cluster has said so, and takes it back
        if before.budgets != KeydBudgetsConfig():
            settings["budgets"] = effective_values(before.budgets)
        if before.metrics is not None:
            settings["metrics"] = effective_values(before.metrics)
    if hsm is not None:
        settings |= {"provider": "pkcs11", "pkcs11": effective_values(hsm)}
        if before is not None and before.from_file:
            settings["from_file"] = True
    if not (files.folder / SECRET_FILE).exists():
        if files.config.exists():
            raise KeydSecretLost(path=files.folder / SECRET_FILE)
        KeydSecret.create(files.folder, cluster_id, env, None)
    os.chmod(files.folder, 0o700)
    replace_file(files.config, tomli_w.dumps(settings).encode())


@asynccontextmanager
async def keyd_beside(keys: KeysConfig, env: Env) -> AsyncIterator[None]:
    """The key service of a cluster on this machine that is stopped, running for a command. One that
    runs already, or is elsewhere, is left alone.
    """
    if keys.provider is not KeysFrom.KEYD or keys.socket is None:
        yield
        return
    files = KeydFiles(keys.socket.parent)
    if not is_of(files, keys.socket) or is_there(keys.socket):
        yield
        return
    child = KeydProcess(files, env)
    await child.start()
    try:
        yield
    finally:
        await child.stop()


@asynccontextmanager
async def keyd_child(files: KeydFiles, env: Env, *, wanted: bool) -> AsyncIterator[None]:
    """The key service of a cluster that runs, if it is to have one. Raises: KeydDidNotStart."""
    if not wanted:
        yield
        return
    child = KeydProcess(files, env)
    try:
        await child.start()
        yield
    finally:
        await child.stop()


def is_of(files: KeydFiles, path: Path) -> bool:
    """Whether a socket is that of a cluster's own key service, which `hexagone up` starts."""
    return path == files.socket and files.config.exists()


def is_there(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    try:
        unix_connect(path)(CONNECT_S).close()
    except OSError:
        return False
    return True


class KeydProcess:
    """The child. It ends when the pipe to its standard input closes, so it outlives nobody."""

    def __init__(self, files: KeydFiles, env: Env) -> None:
        self._files = files
        self._env = env
        self._child: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and have it started again from here on. Raises: KeydDidNotStart."""
        await self._start()
        self._watcher = asyncio.create_task(self._watch())

    async def _start(self) -> None:
        with self._files.log.open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway.main",
                "keyd",
                "--config",
                str(self._files.config),
                "--while-stdin",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._child = child
        assert child.stdout is not None
        try:
            async with asyncio.timeout(READY_S):
                if b"ready" not in await child.stdout.readline():
                    raise KeydDidNotStart(code=await child.wait())
        except TimeoutError as error:
            child.kill()
            raise KeydDidNotStart(after_s=READY_S) from error
        replace_file(self._files.pid, f"{child.pid}\n".encode())

    async def _watch(self) -> None:
        wait_s = AGAIN_FIRST_S
        while True:
            assert self._child is not None
            code = await self._child.wait()
            _LOG.error("key service ended, started again", code=code)
            await self._env.sleep(wait_s)
            try:
                await self._start()
                wait_s = AGAIN_FIRST_S
            except (KeydDidNotStart, OSError) as error:
                _LOG.error("key service cannot be started", reason=str(error))
                wait_s = min(AGAIN_MAX_S, wait_s * 2)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL. Idempotent."""
        if self._watcher is not None:
            self._watcher.cancel()
        child = self._child
        if child is None or child.returncode is not None:
            return
        child.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(child.wait(), STOP_S)
        except TimeoutError:
            child.kill()
            await child.wait()
