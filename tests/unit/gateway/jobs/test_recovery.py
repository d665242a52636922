"""Job `recovery`: what changes in the keys folder is in a backup at once, and in the journal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.data.keyring import FileKeyring, RootKey
from gateway.jobs.recovery import RecoveryKeeper
from gateway.journal.events import read_line
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.opening import journal_keys
from gateway.journal.store import read_lines
from gateway.recovery import folder as kept
from gateway.recovery.later import read_later
from gateway.recovery.shares import make_shares
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from tests.support.key_states import destroy_epoch

TENANT = b"1" * 16


def events_of(folder: Path) -> list[tuple[str, str]]:
    lines = list(read_lines(folder / "logs" / "cluster", 0, 1000))
    found = [read_line(line, seq) for seq, line in enumerate(lines)]
    return [(one.type, one.phase) for one in found if one.type.startswith(("rec", "command"))]


@pytest.mark.proves("C8", "K-12")
def test_a_key_is_in_a_backup_soon_after_it_was_made(tmp_path: Path) -> None:
    async def main() -> None:
        env = RealEnv(threads_max=1)
        keys, copies = tmp_path / "keys", tmp_path / "copies"
        root = RootKey.create(keys, env)
        ring = FileKeyring(keys, root, env)
        ring.create_tenant_key(TENANT)
        config = JournalConfig(folder=tmp_path / "journal")
        journal = Journal(config, journal_keys(root.cluster_id, root.derive), env)
        journal.start()
        keeper = RecoveryKeeper(keys, journal, env)
        await keeper.step()
        assert keeper.progress().done == 0  # nobody has made shares
        record, _ = make_shares(root.cluster_id, count=3, threshold=2, env=env)
        kept.write_recovery(keys, kept.Recovery(record=record, to=(copies,)))
        kept.remember(keys, "command.recovery.init", {"set": "x"}, env)
        await keeper.step()
        assert keeper.progress().done == 1 and kept.remembered(keys) == []
        await keeper.step()
        assert keeper.progress().done == 1  # nothing has changed
        ring.add_tenant_epoch(TENANT)
        await keeper.step()
        assert [number for number, _ in kept.backups_in(copies)] == [1, 2]
        destroy_epoch(ring, TENANT, 1)
        await keeper.step()
        assert [number for number, _ in kept.backups_in(copies)] == [3]
        # After a restart nothing has to be made again.
        again = RecoveryKeeper(keys, journal, env)
        await again.step()
        assert again.progress().done == 0 and not again.warnings()
        await journal.close()
        made = [("recovery.backup", "intent"), ("recovery.backup", "outcome")]
        told = [made[0], ("recovery.destroyed", "note"), made[1]]
        expected = [("command.recovery.init", "note"), *made, *made, *told]
        assert events_of(tmp_path / "journal") == expected
        later = read_later(tmp_path / "journal")
        assert set(later.destroyed) == {(TENANT.hex(), 1)}
        assert (later.number, later.set_id) == (3, record.set_id.hex())

    asyncio.run(main())


def test_a_backup_that_cannot_be_made_is_warned_of(tmp_path: Path) -> None:
    async def main() -> None:
        env = RealEnv(threads_max=1)
        keys = tmp_path / "keys"
        root = RootKey.create(keys, env)
        record, _ = make_shares(root.cluster_id, count=3, threshold=2, env=env)
        (tmp_path / "file").write_text("")
        kept.write_recovery(keys, kept.Recovery(record=record, to=(tmp_path / "file",)))
        keeper = RecoveryKeeper(keys, None, env)
        with pytest.raises(StorageError):
            await keeper.step()
        (warning,) = keeper.warnings()
        assert "older than the newest key" in warning
        (tmp_path / "file").unlink()
        await keeper.step()
        assert not keeper.warnings() and keeper.progress().done == 1

    asyncio.run(main())
