"""A key service on a real socket in a thread of its own, and clients of it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.data.envelope import KeyProvider
from gateway.data.keyring import FileKeyring
from gateway.keyd.client import KeydClient
from gateway.keyd.keys import KeydKeys
from gateway.keyd.line import unix_connect
from gateway.keyd.secret import KeydSecret
from gateway.keyd.server import KeydServer
from gateway.keyd.service import KeyService
from storaged.base.env import Env, RealEnv

CLUSTER = b"cluster-".ljust(16, b".")
SECRET = KeydSecret(b"s" * 32, CLUSTER)
DEADLINE_S = 5.0


class KeydRig:
    """Serves a provider until `stop`; `start` again is a restart with the same provider."""

    def __init__(self, provider: KeyProvider, path: Path, env: Env, **settings: object) -> None:
        values: dict[str, object] = {"cache_s": 300.0, "provider_name": "file", **settings}
        self.users = values.pop("users", (os.geteuid(),))
        self.is_slow = bool(values.pop("is_slow", False))
        self.service = KeyService(provider, CLUSTER, env, **values)  # type: ignore[arg-type]
        self.path = path
        self._env = env
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve, from a thread."""
        ready = threading.Event()
        failed: list[BaseException] = []

        async def main() -> None:
            self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
            server = KeydServer(
                self.service,
                self._env,
                users=self.users,  # type: ignore[arg-type]
                is_slow=self.is_slow,
            )
            await server.listen_unix(self.path)
            ready.set()
            await self._stopping.wait()
            await server.close()

        def run() -> None:
            try:
                asyncio.run(main())
            except OSError as error:
                failed.append(error)
                ready.set()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert ready.wait(10) and not failed, failed

    def stop(self) -> None:
        """Close all connections and the socket."""
        if self._thread is not None and self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
            self._thread = None

    def client(self, env: Env, deadline_s: float = DEADLINE_S) -> KeydClient:
        """A client that has not connected yet."""
        return KeydClient(unix_connect(self.path), CLUSTER, env, deadline_s=deadline_s)


@contextmanager
def keyd(folder: Path, **settings: object) -> Iterator[tuple[KeydRig, KeydKeys]]:
    """A key service over a sealed file, and the keys as a gateway sees them."""
    env = RealEnv(threads_max=2)
    folder.mkdir(parents=True, exist_ok=True)
    rig = KeydRig(FileKeyring(folder, SECRET, env), folder / "s", env, **settings)
    rig.start()
    keys = KeydKeys(rig.client(env), env, cache_s=300.0)
    try:
        yield rig, keys
    finally:
        keys.close()
        rig.stop()
        env.close()
