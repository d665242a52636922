"""What a key service keeps comes back as well: its secret, its keyring, an HSM's stand-in."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from gateway.config_keys import KeydConfig
from gateway.data.keyring import FileKeyring, RootKey
from gateway.jobs.recovery import RecoveryKeeper
from gateway.journal.events import Phase
from gateway.keyd.child import KeydFiles, lay_out_keyd
from gateway.keyd.providers import open_key_provider
from gateway.model.key_states import KeyState
from gateway.recovery import folder as kept
from gateway.recovery.backup import read_manifest
from gateway.recovery.folder import BackupNotWritten
from storaged.base.config import read_config
from tests.support.key_states import destroy_epoch
from tests.support.recovery_rig import ENV, T1, T2, Rig, journal_of, recovery_rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A cluster whose key service has taken the keys over."""
    rig = recovery_rig(tmp_path)
    service(rig.data)
    assert not (rig.keys / "tenants.sealed").exists()
    return rig


def service(data: Path) -> FileKeyring:
    files = KeydFiles(data)
    cluster = RootKey.load(data / "keys").cluster_id
    lay_out_keyd(files, data / "keys", cluster, ENV, unsafe_sigv2=False)
    provider = open_key_provider(read_config(KeydConfig, files.config), ENV)
    assert isinstance(provider, FileKeyring)
    return provider


@pytest.mark.proves("K-12", "C8")
def test_the_services_secret_and_keys_come_back(rig: Rig, tmp_path: Path) -> None:
    wrapped = service(rig.data).wrap_bucket_key(T1, b"b" * 16, 1, b"k" * 32)
    rig.init()
    (path,) = rig.copies.iterdir()
    manifest = read_manifest(path.read_bytes())
    assert {one.tenant for one in manifest.epochs} == {T1.hex(), T2.hex()}
    assert not manifest.is_opaque
    assert rig.ask("verify", *rig.given(1, 2, 3))["differ"] == []
    rig.restored(tmp_path / "new")
    shutil.rmtree(rig.data)
    new = service(tmp_path / "new")
    assert new.unwrap_bucket_key(T1, b"b" * 16, 1, wrapped) == b"k" * 32


@pytest.mark.proves("K-06", "C8")
def test_the_service_makes_the_backups_and_the_gateway_only_watches(rig: Rig) -> None:
    async def main() -> None:
        rig.init()
        watching = RecoveryKeeper(rig.keys, None, ENV)
        keeping = RecoveryKeeper(rig.keys, None, ENV, is_service=True)
        await keeping.step()
        assert keeping.progress().done == 0
        service(rig.data).create_tenant_key(b"3" * 16)
        await watching.step()
        assert watching.progress().done == 0 and not watching.warnings()
        late = ENV.now_ms() + 60_000
        watching._env = type("Later", (), {"now_ms": lambda _: late, "offload": ENV.offload})()  # type: ignore[assignment]
        await watching.step()
        assert watching.warnings()
        await keeping.step()
        assert keeping.progress().done == 1
        await watching.step()
        assert not watching.warnings()
        assert [number for number, _ in kept.backups_in(rig.copies)] == [1, 2]
        # What the service does is told to the journal by the gateway.
        kinds = [kind for _, kind, _ in kept.remembered(rig.keys)]
        assert kinds[-1] == "recovery.backup"

    asyncio.run(main())


@pytest.mark.proves("C7", "C8")
def test_a_key_that_the_service_has_destroyed_does_not_come_back(rig: Rig, tmp_path: Path) -> None:
    rig.init()
    (rig.data.parent / "old").mkdir()
    (rig.copies / "recovery-000001.hxb").rename(tmp_path / "old" / "recovery-000001.hxb")
    destroy_epoch(service(rig.data), T1, 1)
    event = ("recovery.destroyed", Phase.NOTE, {"tenant": T1.hex(), "epoch": 1})
    words = ("--backup", tmp_path / "old", "--journal", journal_of(rig, [event]))
    said = ("restore", "--yes", *words, *rig.given(1, 2, 3))
    to = tmp_path / "new"
    assert T1.hex() in rig.run(*said, ok=False, data=to).output
    rig.run(*said, "--without-destroyed", data=to)
    shutil.rmtree(rig.data)
    assert service(to).tenant_epochs(T1)[0].state is KeyState.DESTROYED
    assert service(to).active_epoch(T2) == 1


@pytest.mark.proves("C7", "C8")
def test_what_was_destroyed_in_an_hsm_since_is_asked_about(rig: Rig, tmp_path: Path) -> None:
    """Nobody can look into the copy of a token, so the time of the backup decides."""
    (rig.data / "keyd" / "hsm.sealed").write_bytes(b"a record")
    rig.init()
    event = ("recovery.destroyed", Phase.NOTE, {"tenant": "9" * 32, "epoch": 4})
    words = ("--backup", rig.copies, "--journal", journal_of(rig, [event]))
    said = ("restore", "--yes", *words, *rig.given(1, 2, 3))
    rig.run(*said, data=tmp_path / "before")  # that event is from long before the backup
    path = rig.data.parent / "some-journal"
    shutil.rmtree(path)
    journal_of(rig, [event], at_ms=ENV.now_ms() + 1000)
    for more in ((), ("--without-destroyed",)):
        assert "9999/4" in rig.run(*said, *more, ok=False, data=tmp_path / "new").output
    rig.run(*said, "--bring-back", f"{'9' * 32}/4", data=tmp_path / "new")


@pytest.mark.proves("K-12")
def test_a_folder_that_is_not_mounted_costs_no_backup_that_has_it(rig: Rig, tmp_path: Path) -> None:
    """Of what nobody can look into one backup stays: none without the token comes in its place."""

    async def main() -> None:
        token = tmp_path / "tokens"
        (token / "one").mkdir(parents=True)
        (token / "one" / "object").write_bytes(b"a key of the token")
        (rig.data / "keyd" / "hsm.sealed").write_bytes(b"a record")
        rig.ask(
            *("init", "--shares", "5", "--threshold", "3", "--out", rig.shares),
            *("--to", rig.copies, "--also", f"token={token}"),
        )
        keeping = RecoveryKeeper(rig.keys, None, ENV, is_service=True)
        token.rename(tmp_path / "away")
        token.mkdir()
        with pytest.raises(BackupNotWritten):
            await keeping.step()
        assert keeping.warnings()
        (number, path) = kept.backups_in(rig.copies)[-1]
        assert number == 1
        names = {name for name, _ in read_manifest(path.read_bytes()).files}
        assert "also/token/one/object" in names

    asyncio.run(main())
