"""Job `key-use`: keep, beside the index, when each access key was last used.

Not for counting or for rights. A file and no row: it is for whoever rotates a key and may be lost,
so it costs no commit. Times of uses since the last minute are lost by a crash.
"""

from __future__ import annotations

import json
from pathlib import Path

from gateway.objects.context import Services
from storaged.base.durable import replace_file
from storaged.base.jobs import Progress

FILE = "access-keys-used.json"
EVERY_S = 60.0
KEYS_MAX = 100_000  # the latest of them
BYTES_MAX = 16 << 20


class KeyUse:
    """Reads the file at the first step, writes it when something has changed."""

    name = "key-use"

    def __init__(self, services: Services, folder: Path) -> None:
        self._services = services
        self._path = folder / FILE
        self._written: dict[str, int] | None = None

    async def step(self) -> float:
        """Bring the file up to date. Raises: OSError."""
        await self.finish()
        return EVERY_S

    async def finish(self) -> None:
        """As `step`, also before the gateway stops. Raises: OSError."""
        uses, env = self._services.credentials.uses, self._services.env
        if self._written is None:
            self._written = await env.offload(self._read)
            for key, at_ms in self._written.items():
                uses.setdefault(key, at_ms)
        latest = sorted(uses.items(), key=lambda item: item[1])[-KEYS_MAX:]
        held = dict(latest)
        if held == self._written:
            return
        content = json.dumps(held).encode("ascii")
        await env.offload(lambda: replace_file(self._path, content))
        self._written = held

    def progress(self) -> Progress:
        """How many access keys have been used."""
        return Progress(done=len(self._services.credentials.uses), total=0, unit="access keys")

    def _read(self) -> dict[str, int]:
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(BYTES_MAX))
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {str(key): at for key, at in found.items() if isinstance(at, int)}
