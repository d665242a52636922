"""Backups of a keys folder: what brings it back, and what does not."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from gateway.cli import keys_app
from gateway.data.keyring import ROOT_FILE, TENANTS_FILE, FileKeyring, RootKey
from gateway.journal.events import Phase
from gateway.recovery import folder as kept
from gateway.recovery.backup import BackupInvalid, open_backup, read_manifest, seal_backup
from gateway.recovery.recipient import RecipientInvalid
from gateway.recovery.shares import join_shares, make_shares, read_share
from gateway.recovery.writing import write_back
from tests.support.key_states import destroy_epoch
from tests.support.recovery_rig import ENV, T1, T2, Rig, contents, journal_of, recovery_rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return recovery_rig(tmp_path)


@pytest.mark.proves("K-12", "C8")
def test_a_quorum_brings_the_whole_folder_back(rig: Rig, tmp_path: Path) -> None:
    rig.init()
    wrapped = rig.keyring().wrap_bucket_key(T1, b"b" * 16, 1, b"k" * 32)
    rig.restored(tmp_path / "new", places=(2, 4, 5))
    new = tmp_path / "new" / "keys"
    assert contents(new) == contents(rig.keys)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in new.rglob("*.key"))
    ring = FileKeyring(new, RootKey.load(new), ENV)
    assert ring.unwrap_bucket_key(T1, b"b" * 16, 1, wrapped) == b"k" * 32
    # The act waits for the journal of the next start.
    kinds = [kind for _, kind, _ in kept.remembered(new)]
    assert kinds == ["command.recovery.restore"]


@pytest.mark.proves("K-12")
def test_fewer_shares_bring_nothing_back(rig: Rig, tmp_path: Path) -> None:
    rig.init()
    result = rig.restored(tmp_path / "new", ok=False, places=(1, 2))
    assert "fewer shares" in result.output and not (tmp_path / "new" / "keys").exists()


def test_shares_are_files_of_their_owner_and_nothing_else_has_them(rig: Rig) -> None:
    rig.init()
    for place in range(1, 6):
        path = rig.shares / f"share-{place}.txt"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        share = read_share(path.read_text())
        for other in [*rig.data.rglob("*"), *rig.copies.rglob("*")]:
            if other.is_file():
                content = other.read_bytes()
                assert share.secret not in content and share.encode().encode() not in content


def test_a_backup_tells_nothing_without_shares(rig: Rig) -> None:
    rig.init()
    (path,) = rig.copies.iterdir()
    content = path.read_bytes()
    for secret in contents(rig.keys).values():
        assert secret not in content or b"hexagone-recovery/1" in secret
    manifest = read_manifest(content)
    assert {one.tenant for one in manifest.epochs} == {T1.hex(), T2.hex()}
    assert (rig.data / "copies" / path.name).read_bytes() == content


@pytest.mark.proves("C8")
def test_every_changed_byte_of_a_backup_is_seen(rig: Rig) -> None:
    rig.init()
    (path,) = rig.copies.iterdir()
    content = path.read_bytes()
    record = kept.read_recovery(rig.keys).record
    key = join_shares(
        [read_share((rig.shares / f"share-{n}.txt").read_text()) for n in (1, 2, 3)], record
    )
    open_backup(content, key)
    for at in range(0, len(content), max(1, len(content) // 300)):
        altered = content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :]
        with pytest.raises((BackupInvalid, RecipientInvalid)):
            open_backup(altered, key)


@pytest.mark.proves("K-12", "C8")
def test_who_knows_the_public_key_only_cannot_plant_a_backup(rig: Rig, tmp_path: Path) -> None:
    """Another root key, encrypted to the right recipient, under the right cluster's name."""
    rig.init()
    record = kept.read_recovery(rig.keys).record
    RootKey.create(tmp_path / "theirs", ENV)
    theirs = kept.collect(tmp_path / "theirs", {})
    planted = seal_backup(theirs, record, number=9, now_ms=1)
    (rig.copies / "recovery-000009.hxb").write_bytes(planted)
    result = rig.restored(tmp_path / "new", ok=False)
    assert "another cluster" in result.output and not (tmp_path / "new" / "keys").exists()
    # Nor does it help to have the manifest say another cluster: the shares name theirs.
    _, others = make_shares(theirs.cluster, count=3, threshold=2, env=ENV)
    assert others[0].set_id != record.set_id


def test_verify_compares_and_tells_nothing(rig: Rig) -> None:
    rig.init()
    found = rig.ask("verify", *rig.given(5, 4, 1))
    assert found["compared"] is True and found["differ"] == [] and found["keys"] == 2
    rig.keyring().create_tenant_key(b"3" * 16)
    result = rig.run("verify", "--json", *rig.given(1, 2, 3), ok=False)
    assert json.loads(result.stdout)["differ"] == [TENANTS_FILE]
    number = rig.ask("backup")["backup"]
    found = rig.ask("verify", *rig.given(1, 2, 3))
    assert found["backup"] == number == 2 and found["differ"] == []
    root = (rig.keys / ROOT_FILE).read_bytes().hex()
    assert root not in result.output


@pytest.mark.proves("K-12")
def test_an_altered_share_is_named_by_the_command(rig: Rig) -> None:
    rig.init()
    path = rig.shares / "share-2.txt"
    share = read_share(path.read_text()).encode()
    path.write_text(f"share: {share[:-1]}{'A' if share[-1] != 'A' else 'C'}\n")
    result = rig.run("verify", *rig.given(1, 2, 3), ok=False)
    assert "a character is wrong" in result.output and share not in result.output


@pytest.mark.proves("K-12", "C8")
def test_shares_of_before_a_reshare_open_nothing_made_since(rig: Rig, tmp_path: Path) -> None:
    rig.init()
    old = (rig.copies / "recovery-000001.hxb").read_bytes()
    again = tmp_path / "again"
    words = ("reshare", "--yes", "--shares", "3", "--threshold", "2", "--out", again)
    rig.run(*words, *rig.given(1, 2), ok=False)  # no quorum
    found = rig.ask(*words, *rig.given(1, 2, 4))
    assert found["backup"] == 2
    assert [path.name for path in rig.copies.iterdir()] == ["recovery-000002.hxb"]
    result = rig.restored(tmp_path / "new", ok=False)
    assert "of another set" in result.output
    rig.run("reshare", "--yes", *words[2:-1], tmp_path / "third", *rig.given(1, 2, 3), ok=False)
    # The old backup with its old shares, where the folder or the journal knows of newer ones.
    (tmp_path / "old.hxb").write_bytes(old)
    replayed = ("restore", "--yes", "--backup", tmp_path / "old.hxb", *rig.given(1, 2, 3))
    assert "another set" in rig.run(*replayed, "--no-journal", ok=False).output
    journal = journal_of(
        rig, [("recovery.backup", Phase.OUTCOME, {"number": 2, "set": found["set"]})]
    )
    to = ("--keys", tmp_path / "new" / "keys", "--journal", journal)
    assert "another set" in rig.run(*replayed, *to, ok=False).output
    words = ("restore", "--yes", "--backup", rig.copies, "--keys", tmp_path / "new" / "keys")
    rig.run(*words, *rig.given(1, 3, folder=again), "--journal", journal)
    assert contents(tmp_path / "new" / "keys") == contents(rig.keys)


def test_backups_with_a_destroyed_key_are_taken_away(rig: Rig) -> None:
    rig.init()
    rig.keyring().create_tenant_key(b"3" * 16)
    rig.run("backup")
    assert len(list(rig.copies.iterdir())) == 2
    destroy_epoch(rig.keyring(), T1, 1)
    rig.run("backup")
    assert [path.name for path in rig.copies.iterdir()] == ["recovery-000003.hxb"]
    for number in (4, 5, 6, 7):
        assert rig.ask("backup")["backup"] == number
    assert [number for number, _ in kept.backups_in(rig.copies)] == [5, 6, 7]


def test_a_backup_goes_everywhere_or_counts_as_none(rig: Rig, tmp_path: Path) -> None:
    rig.init()
    rig.keyring().create_tenant_key(b"3" * 16)
    recovery = kept.read_recovery(rig.keys)
    (tmp_path / "file").write_text("")
    kept.write_recovery(
        rig.keys, kept.Recovery(record=recovery.record, to=(rig.copies, tmp_path / "file"))
    )
    assert "could not be written" in rig.run("backup", ok=False).output
    status = rig.ask("status")
    assert status["backup"] == {**status["backup"], "number": 1, "is_current": False}  # type: ignore[dict-item]
    assert len(list(rig.copies.iterdir())) == 2  # the older one stays


def test_nothing_that_is_there_is_overwritten(rig: Rig, tmp_path: Path) -> None:
    rig.init()
    RootKey.create(tmp_path / "new" / "keys", ENV)
    before = contents(tmp_path / "new" / "keys")
    result = rig.restored(tmp_path / "new", ok=False)
    assert "Something else" in result.output and contents(tmp_path / "new" / "keys") == before


def test_a_dry_run_writes_nothing(rig: Rig, tmp_path: Path) -> None:
    rig.init()
    rig.restored(tmp_path / "new", "--dry-run")
    assert not (tmp_path / "new" / "keys").exists()


def test_a_restore_says_what_it_does_not_know(rig: Rig, tmp_path: Path) -> None:
    rig.init()
    app = Typer()
    keys_app.add_commands(app)
    line = [
        "keys",
        "recovery",
        "restore",
        "--backup",
        str(rig.copies),
        "--data",
        str(tmp_path / "new"),
    ]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 2 and "--no-journal" in result.output


def test_what_lies_elsewhere_comes_along(rig: Rig, tmp_path: Path) -> None:
    """The folder of an HSM's stand-in, and a secret that a service gets from elsewhere."""
    token = tmp_path / "tokens"
    (token / "0001").mkdir(parents=True)
    (token / "0001" / "token.object").write_bytes(b"object")
    (tmp_path / "passphrase").write_bytes(b"secret words")
    (token / "link").symlink_to(rig.keys / ROOT_FILE)
    rig.ask(
        *("init", "--shares", "2", "--threshold", "2", "--out", rig.shares, "--to", rig.copies),
        *("--also", f"token={token}", "--also", f"passphrase={tmp_path / 'passphrase'}"),
    )
    rig.restored(tmp_path / "new", places=(1, 2))
    found = contents(tmp_path / "new" / "keys")
    assert found["also/token/0001/token.object"] == b"object"
    assert found["also/passphrase"] == b"secret words" and "also/token/link" not in found


def test_shares_do_not_go_where_the_cluster_is(rig: Rig) -> None:
    for folder in (rig.keys / "shares", rig.copies / "shares", rig.data):
        words = ("init", "--shares", "3", "--threshold", "2", "--to", rig.copies, "--out", folder)
        assert "do not belong there" in rig.run(*words, ok=False).output
    assert not (rig.keys / kept.RECORD).exists()


def test_a_file_name_in_a_backup_does_not_lead_out(rig: Rig, tmp_path: Path) -> None:
    rig.init()
    held = kept.collect(rig.keys, {})
    for name in ("../evil", "/etc/evil", "a/../../evil"):
        with pytest.raises(BackupInvalid):
            write_back(
                tmp_path / "new",
                type(held)({**held.files, name: b""}, held.cluster, held.epochs),
                ENV,
            )
    assert not (tmp_path / "new").exists()


@pytest.mark.proves("K-17")
def test_a_ceremony_leaves_a_transcript_that_the_journal_names(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "ceremony.jsonl"
    found = rig.ask(
        *("ceremony", "--yes", "--shares", "5", "--threshold", "3", "--out", rig.shares),
        *("--to", rig.copies, "--transcript", file, "--witness", "Anne", "--where", "Lyon"),
    )
    content = file.read_text()
    for place in range(1, 6):
        assert read_share((rig.shares / f"share-{place}.txt").read_text()).encode() not in content
    ((_, kind, body),) = [one for one in kept.remembered(rig.keys) if "ceremony" in one[1]]
    assert body == {"transcript": found["digest"]}
    journal = journal_of(rig, [(kind, Phase.NOTE, body)])
    checked = rig.ask("transcript", file, "--journal", journal)
    assert checked["in_journal"] is True and checked["digest"] == found["digest"]
    assert checked["steps"] == [
        "opened",
        "shares made",
        "backed up",
        "opened with a quorum and compared",
        "closed",
    ]
    lines = content.splitlines(keepends=True)
    for altered in (content.replace("Lyon", "Nice"), "".join(lines[1:]), content[:-1]):
        file.write_text(altered)
        rig.run("transcript", file, "--journal", journal, ok=False)
    file.write_text("".join(lines[:-1]))  # a whole chain, but not the one that the journal has
    rig.run("transcript", file, "--journal", journal, ok=False)
