"""Job `recovery`: a fresh recovery backup whenever something in the keys folder has changed.

Not for shares: it needs the recipient's public key only. Where nobody has made shares, or the keys
folder belongs to another process, it does nothing. Where a key service keeps tenants' keys it runs
in that process, so that the gateway never sees them; the gateway watches. Also here: what was done
to keys while no gateway was running goes into the journal.
"""

from __future__ import annotations

from pathlib import Path

from gateway.journal.events import CLUSTER, Event, Phase, Value
from gateway.journal.journal import Journal
from gateway.recovery.backup import SERVICE, Manifest
from gateway.recovery.folder import (
    TAKEN,
    LastBackup,
    Recovery,
    collect,
    forget_taken,
    marks,
    read_recovery,
    read_state,
    remember,
    remembered,
    take_remembered,
    write_backup,
)
from gateway.recovery.later import BACKUP, DESTROYED
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Progress

LOOK_S = 2.0  # how long a key that was just made is in no backup
LATE_MS = 30_000  # after which the other process is said to make none


class RecoveryKeeper:
    """Looks at the files' dates; reads them when one has changed.

    Args:
        journal: None: acts are kept for the gateway's.
        is_service: this is the key service's process.
    """

    name = "recovery"

    def __init__(
        self, keys: Path, journal: Journal | None, env: Env, *, is_service: bool = False
    ) -> None:
        self._keys = keys
        self._is_service = is_service
        self._journal = journal
        self._env = env
        self._seen: object = None
        self._made = 0
        self._trouble = ""
        self._destroyed: set[tuple[str, int]] | None = None

    async def step(self) -> float:
        """Make a backup if there is need of one. Raises: StorageError, when it cannot be made."""
        await self._record_remembered()
        try:
            recovery = await self._env.offload(lambda: read_recovery(self._keys))
        except StorageError as error:
            if error.kind is not Kind.NOT_FOUND:
                self._trouble = error.message()
            return LOOK_S
        except PermissionError:
            return LOOK_S  # another process keeps the keys, and backs them up
        if (SERVICE in recovery.also) is not self._is_service:
            await self._watch(recovery)
            return LOOK_S
        seen = await self._env.offload(lambda: marks(self._keys, recovery.also))
        if seen != self._seen:
            await self._keep(recovery)
            self._seen = seen
        return LOOK_S

    async def back_up(self) -> Manifest:
        """Make a backup now. Raises: NoRecovery, BackupNotWritten, KeysInvalid,
        JournalUnavailable.
        """
        recovery = await self._env.offload(lambda: read_recovery(self._keys))
        return await self._write(recovery)

    def progress(self) -> Progress:
        """Backups since the start."""
        return Progress(done=self._made, total=0, unit="backups", detail=self._trouble)

    def warnings(self) -> list[str]:
        """Why what is in the keys folder might not come back, if it was lost at this moment."""
        if not self._trouble:
            return []
        return [f"the recovery backup is older than the newest key: {self._trouble}"]

    async def _watch(self, recovery: Recovery) -> None:
        """Of what the other process backs up, look at dates only: no key comes in here."""
        try:
            seen = await self._env.offload(lambda: marks(self._keys, recovery.also))
        except PermissionError:
            return
        last = await self._env.offload(lambda: read_state(self._keys))
        newest_ms = max((mark[2] // 1_000_000 for mark in seen), default=0)
        is_late = newest_ms > last.made_at_ms and self._env.now_ms() > newest_ms + LATE_MS
        self._trouble = "the key service has made none since" if is_late else ""

    async def _keep(self, recovery: Recovery) -> None:
        env, keys = self._env, self._keys

        def is_kept() -> bool:
            last: LastBackup = read_state(keys)
            held = collect(keys, recovery.also)
            if self._destroyed is None:
                self._destroyed = held.destroyed
            same_set = last.set_id == recovery.record.set_id.hex()
            return same_set and last.fingerprint == held.fingerprint()

        try:
            if not await env.offload(is_kept):
                await self._write(recovery)
        except OSError as error:
            self._trouble = error.strerror or type(error).__name__
            return
        except StorageError as error:
            self._trouble = error.message()
            raise
        self._trouble = ""

    async def _write(self, recovery: Recovery) -> Manifest:
        env, journal = self._env, self._journal
        held = await env.offload(lambda: collect(self._keys, recovery.also))
        body: dict[str, Value] = {"set": recovery.record.set_id.hex(), "files": len(held.files)}
        await self._record(BACKUP, Phase.INTENT, body)
        for tenant, epoch in sorted(held.destroyed - (self._destroyed or set())):
            # Who restores an older backup learns from this that the key is not to come back.
            await self._record(DESTROYED, Phase.NOTE, {"tenant": tenant, "epoch": epoch})
        self._destroyed = held.destroyed
        folder = None if journal is None else journal.folder
        manifest, written = await env.offload(
            lambda: write_backup(self._keys, recovery, held, env, journal=folder)
        )
        self._made += 1
        done = {**body, "number": manifest.number, "copies": len(written), "status": 200}
        await self._record(BACKUP, Phase.OUTCOME, done)
        return manifest

    async def _record(self, kind: str, phase: Phase, body: dict[str, Value]) -> None:
        if self._journal is not None:
            await self._journal.record(CLUSTER, Event(self._env.now_ms(), kind, phase, body))
        elif phase is not Phase.INTENT:
            await self._env.offload(lambda: remember(self._keys, kind, body, self._env))

    async def _record_remembered(self) -> None:
        """Acts of others, and of before the start, in the journal before they are forgotten."""
        if self._journal is None:
            return
        keys, offload = self._keys, self._env.offload
        try:
            await offload(lambda: take_remembered(keys))
            found = await offload(lambda: remembered(keys, TAKEN))
            for at_ms, kind, body in found:
                await self._record(kind, Phase.NOTE, {**body, "done_at_ms": at_ms})
            if found:
                await offload(lambda: forget_taken(keys))
        except PermissionError:
            return  # another process keeps the keys
