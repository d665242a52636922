"""A key that was destroyed after a backup was made does not come back with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.data.keyring import FileKeyring, RootKey
from gateway.journal.events import Phase
from gateway.model.key_states import KeyState
from gateway.recovery import folder as kept
from gateway.recovery.kept_epochs import owner_of
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


@pytest.mark.proves("C8", "K-11")
@pytest.mark.parametrize("told_by", ["keyring", "journal", "act", "newer backup"])
@pytest.mark.parametrize("is_rotated", [False, True])
def test_a_destroyed_epoch_of_a_named_key_does_not_come_back(
    rig: Rig, tmp_path: Path, told_by: str, is_rotated: bool
) -> None:
    """Made before the key was rotated, or after."""
    ring = rig.keyring()
    ring.create_named_key(T1, "letters")
    if is_rotated:
        ring.add_named_epoch(T1, "letters")
    rig.init()
    (tmp_path / "old").mkdir()
    (rig.copies / "recovery-000001.hxb").rename(tmp_path / "old" / "recovery-000001.hxb")
    ring = rig.keyring()
    assert ring.add_named_epoch(T1, "letters") == 2
    for epoch, state in ((2, "ACTIVE"), (1, "DISABLED"), (1, "DESTROYED")):
        ring.set_named_epoch(T1, "letters", epoch, KeyState(state))
    owner, to = owner_of(T1.hex(), b"letters"), tmp_path / "new"
    words: tuple[str | Path, ...] = ("--backup", tmp_path / "old", *rig.given(1, 2, 3))
    if told_by == "keyring":
        to = rig.data
        words += ("--no-journal",)
    elif told_by == "journal":
        event = ("recovery.destroyed", Phase.NOTE, {"tenant": owner, "epoch": 1})
        words += ("--journal", journal_of(rig, [event]))
    elif told_by == "act":
        fields = {"named_key": "letters", "epoch": "1", "request": "R"}
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
    assert f"{owner}/1" in result.output
    found = rig.ask("restore", "--yes", "--without-destroyed", *words, data=to)
    assert found["left_out"] == [f"{owner}/1"]
    ring = FileKeyring(to / "keys", RootKey.load(to / "keys"), ENV)
    assert ring.named_epochs(T1, "letters")[0].state is KeyState.DESTROYED
    assert ring.tenant_epochs(T1)[0].state is KeyState.ACTIVE


def test_named_keys_that_went_with_their_tenants_key_are_not_told_one_by_one(rig: Rig) -> None:
    for name in ("letters", "bills"):
        rig.keyring().create_named_key(T1, name)
    rig.init()
    owners = {one.tenant for one in kept.collect(rig.keys, {}).epochs}
    assert {T1.hex(), owner_of(T1.hex(), b"letters"), owner_of(T1.hex(), b"bills")} <= owners
    destroy_epoch(rig.keyring(), T1, 1)
    found = kept.collect(rig.keys, {})
    assert found.destroyed == {(T1.hex(), 1)}
    assert not [one for one in found.epochs if one.tenant.startswith(T1.hex() + ".")]


@pytest.mark.proves("K-11")
def test_older_backups_that_have_a_destroyed_named_key_go(rig: Rig) -> None:
    """Also the one from before its first rotation, whose manifest does not tell of it."""
    rig.keyring().create_named_key(T1, "letters")
    rig.init()
    ring = rig.keyring()
    ring.add_named_epoch(T1, "letters")
    ring.set_named_epoch(T1, "letters", 2, KeyState.ACTIVE)
    rig.ask("backup")
    assert len(list(rig.copies.glob("*.hxb"))) == 2
    for state in (KeyState.DISABLED, KeyState.DESTROYED):
        rig.keyring().set_named_epoch(T1, "letters", 1, state)
    rig.ask("backup")
    (left,) = rig.copies.glob("*.hxb")
    assert left.name == "recovery-000003.hxb"
    rig.keyring().create_named_key(T1, "bills")
    rig.ask("backup")
    assert len(list(rig.copies.glob("*.hxb"))) == 2


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
