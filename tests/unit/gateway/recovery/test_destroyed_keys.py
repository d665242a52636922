"""A key that was destroyed after a backup was made does not come back with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.data.keyring import FileKeyring, RootKey
from gateway.journal.events import Phase
from gateway.model.key_states import KeyState
from gateway.recovery import folder as kept
from tests.support.key_states import destroy_epoch
from tests.support.recovery_rig import ENV, T1, T2, Rig, journal_of, recovery_rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return recovery_rig(tmp_path)


def destroyed(rig: Rig) -> None:
    """The first tenant's key goes, after a backup that has it."""
    rig.init()
    (rig.data.parent / "old").mkdir()
    (rig.copies / "recovery-000001.hxb").rename(rig.data.parent / "old" / "recovery-000001.hxb")
    rig.keyring().set_tenant_epoch(T1, 1, KeyState.DISABLED)
    destroy_epoch(rig.keyring(), T1, 1)


@pytest.mark.proves("C7", "C8", "K-11")
@pytest.mark.parametrize("told_by", ["keyring", "journal", "act", "erasure", "newer backup"])
def test_a_destroyed_key_does_not_come_back(rig: Rig, tmp_path: Path, told_by: str) -> None:
    destroyed(rig)
    name, to = f"{T1.hex()}/1", tmp_path / "new"
    words: tuple[str | Path, ...] = ("--backup", tmp_path / "old", *rig.given(1, 2, 3))
    if told_by == "keyring":
        to = rig.data
        words += ("--no-journal",)
    elif told_by == "journal":
        event = ("recovery.destroyed", Phase.NOTE, {"tenant": T1.hex(), "epoch": 1})
        words += ("--journal", journal_of(rig, [event]))
    elif told_by == "erasure":
        item = {"item": f"tenant-key/{name}", "erasure": "E"}
        words += ("--journal", journal_of(rig, [("erasure.destroy", Phase.OUTCOME, item)]))
    elif told_by == "act":
        fields = {"tenant": "mairie", "epoch": "1", "request": "R"}
        act = "admin.key-epochs.destroy"
        events = [
            (act, Phase.INTENT, fields),
            (act, Phase.OUTCOME, {"request": "R", "status": 200}),
        ]
        words += ("--journal", journal_of(rig, events, T1.hex()))
    else:
        number = rig.ask("backup")["backup"]
        words += ("--no-journal", "--newer", rig.copies / f"recovery-{number:06d}.hxb")
    result = rig.run("restore", "--yes", *words, ok=False, data=to)
    assert name in result.output
    rig.run("restore", "--yes", *words, "--bring-back", f"{T2.hex()}/1", ok=False, data=to)
    found = rig.ask("restore", "--yes", "--without-destroyed", *words, data=to)
    assert found["left_out"] == [name]
    keys = to / "keys"
    ring = FileKeyring(keys, RootKey.load(keys), ENV)
    assert ring.tenant_epochs(T1)[0].state is KeyState.DESTROYED
    assert ring.tenant_epochs(T2)[0].state is KeyState.ACTIVE


def test_who_may_brings_it_back_by_its_name(rig: Rig, tmp_path: Path) -> None:
    destroyed(rig)
    event = ("recovery.destroyed", Phase.NOTE, {"tenant": T1.hex(), "epoch": 1})
    words = ("--backup", tmp_path / "old", "--journal", journal_of(rig, [event]))
    to = tmp_path / "new"
    said = ("restore", "--yes", "--bring-back", f"{T1.hex()}/1", *words, *rig.given(1, 2, 3))
    rig.run(*said, data=to)
    ring = FileKeyring(to / "keys", RootKey.load(to / "keys"), ENV)
    assert ring.tenant_epochs(T1)[0].state is KeyState.ACTIVE
    (_, _, body), (_, _, back) = kept.remembered(to / "keys")
    assert back == {"key": f"{T1.hex()}/1"}
    assert body["brought_back"] == f"{T1.hex()}/1"


def test_an_event_of_an_act_that_failed_destroys_nothing(rig: Rig, tmp_path: Path) -> None:
    rig.init()
    act = "admin.key-epochs.destroy"
    fields = {"tenant": "mairie", "epoch": "1", "request": "R"}
    events = [(act, Phase.INTENT, fields), (act, Phase.OUTCOME, {"request": "R", "status": 409})]
    words = ("--backup", rig.copies, "--journal", journal_of(rig, events, T1.hex()))
    rig.run("restore", "--yes", *words, *rig.given(1, 2, 3), data=tmp_path / "new")
