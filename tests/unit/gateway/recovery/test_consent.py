"""Where approvers are registered in a backup, a quorum of custodians alone brings nothing back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from gateway.approvals.approvers import Approver, ApproverSet
from gateway.approvals.request import (
    Act,
    Request,
    RequestInvalid,
    approvers_item,
    name_check,
    read_request,
    request_id,
)
from gateway.approvals.warrant import approve, encode_approval, encode_warrant
from gateway.cli.approvals_cli import approvals_app
from gateway.cli.approver_keys import write_key
from gateway.config_keys import KeydConfig
from gateway.data.approval_book import APPROVERS_FILE
from gateway.data.cipher import SALT_BYTES
from gateway.data.envelope import seal_secret
from gateway.data.keyring import ROOT_FILE, FileKeyring, RootKey
from gateway.data.passphrase import passphrase_key
from gateway.journal.events import Phase
from gateway.keyd.child import KeydFiles, lay_out_keyd
from gateway.keyd.providers import open_key_provider
from gateway.model.key_states import KeyState
from gateway.recovery import folder as kept
from storaged.base.config import read_config
from tests.support.erasure_rig import PRIVATE, two_of
from tests.support.recovery_rig import ENV, T1, Rig, contents, journal_of, recovery_rig

Change = Callable[[Request], dict[str, object]]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Alice, Bruno and Chloe are registered, of whom two have to approve; then a backup is made."""
    rig = recovery_rig(tmp_path)
    rig.keyring().set_approvers(two_of().document.encode())
    rig.init()
    return rig


def wished(rig: Rig, to: Path, *more: str | Path) -> list[str | Path]:
    """What `request` and `restore` are both told."""
    return ["--backup", rig.copies, "--keys", to / "keys", "--no-journal", *more]


def asked(rig: Rig, to: Path, *more: str | Path, file: str = "request.txt") -> Path:
    out = rig.data.parent / file
    rig.run("request", "--out", out, *(wished(rig, to, *more)), data=to)
    return out


def signed(request: Path, *names: str) -> list[str | Path]:
    """The words of `restore` with approvals of some people."""
    text, words = request.read_text(), ["--request", request]
    for at, name in enumerate(names):
        path = request.parent / f"{request.stem}-{at}-{name}.approval"
        held = {"request": read_request(text).request_id}
        path.write_text(json.dumps(held | encode_approval(approve(text, name, PRIVATE[name]))))
        words += ["--approval", path]
    return words


def restored(rig: Rig, to: Path, *words: str | Path, ok: bool = True) -> str:
    shares = rig.given(1, 3, 5)
    return rig.run("restore", "--yes", *shares, *words, ok=ok, data=to).output


def nothing_in(to: Path) -> bool:
    return not (to / "keys").exists()


@pytest.mark.proves("K-12", "C8")
def test_a_quorum_and_two_approvers_bring_keys_back(rig: Rig, tmp_path: Path) -> None:
    to = tmp_path / "new"
    request = asked(rig, to)
    words = wished(rig, to)
    assert "was not approved" in restored(rig, to, *words, ok=False) and nothing_in(to)
    for names in (("alice",), ("alice", "alice"), ("alice", "mallory")):
        said = restored(rig, to, *words, *signed(request, *names), ok=False)
        assert "was not approved" in said and nothing_in(to)
    rig.run(
        "restore",
        "--yes",
        *rig.given(1, 2),
        *words,
        *signed(request, "alice", "bruno"),
        ok=False,
        data=to,
    )
    assert nothing_in(to)
    restored(rig, to, *words, *signed(request, "alice", "chloe"))
    assert set(contents(to / "keys")) == set(contents(rig.keys))
    assert (to / "keys" / ROOT_FILE).read_bytes() == (rig.keys / ROOT_FILE).read_bytes()
    told = [(kind, body) for _, kind, body in kept.remembered(to / "keys")]
    wanted = read_request(request.read_text()).request_id
    kinds = ["restore", "approved", "approved"]
    assert [kind for kind, _ in told] == [f"command.recovery.{kind}" for kind in kinds]
    assert {body["request"] for _, body in told} == {wanted}
    assert [body["by"] for _, body in told[1:]] == ["alice", "chloe"]


def test_the_command_of_approvers_signs_it_offline(rig: Rig, tmp_path: Path) -> None:
    people: list[Approver] = []
    for name in ("anne", "benoit"):
        people.append(write_key(tmp_path / f"{name}.key", name, None, ENV))
    wanted = ApproverSet(version=2, threshold=2, approvers=tuple(people))
    register(rig, wanted)
    rig.run("backup")
    to = tmp_path / "new"
    request, words = asked(rig, to), wished(rig, to)
    app = Typer()
    app.add_typer(approvals_app, name="approvals")
    files: list[str | Path] = []
    for name in ("anne", "benoit"):
        out = tmp_path / f"{name}.approval"
        line = ["approvals", "sign", str(request), "--key", str(tmp_path / f"{name}.key")]
        wrong = CliRunner().invoke(app, [*line, "--out", str(out)], input="backup/1\n")
        assert wrong.exit_code == 1 and not out.exists()
        result = CliRunner().invoke(app, [*line, "--out", str(out)], input="backup/2\n")
        assert result.exit_code == 0, result.output
        assert str(to / "keys") in result.output and "Lost for ever" not in result.output
        files += ["--approval", out]
    found = rig.ask(
        "restore", "--yes", *rig.given(2, 3, 4), *words, "--request", request, *files, data=to
    )
    assert found["approved_by"] == ["anne", "benoit"]


def register(rig: Rig, wanted: ApproverSet) -> None:
    nonce = f"{wanted.version:032x}"
    request = Request(
        act=Act.SET_APPROVERS,
        cluster=RootKey.load(rig.keys).cluster_id.hex(),
        about="approvers",
        name_check=name_check(nonce, "approvers"),
        objects=0,
        size_bytes=0,
        requester="operator",
        created_ms=ENV.now_ms() - 1,
        not_before_ms=ENV.now_ms() - 1,
        expires_ms=ENV.now_ms() + 60_000,
        nonce=nonce,
        permits=(approvers_item(wanted.digest),),
    )
    approvals = [approve(request.text, name, PRIVATE[name]) for name in ("alice", "bruno")]
    rig.keyring().set_approvers(wanted.document.encode(), encode_warrant(request.text, approvals))


CHANGES: dict[str, Callable[[Request], dict[str, object]]] = {
    "expired": lambda one: {
        "created_ms": 1,
        "not_before_ms": 1,
        "expires_ms": 2,
    },
    "too early": lambda one: {"not_before_ms": one.not_before_ms + 3_600_000},
    "another cluster": lambda one: {"cluster": "a" * 32},
    "another backup": lambda one: {"permits": (f"backup/{'b' * 64}", *one.permits[1:])},
    "another place": lambda one: {
        "permits": (one.permits[0], f"into/{'c' * 64}", *one.permits[2:])
    },
    "other words": lambda one: {"about": one.about.replace("backup 1", "backup 2")},
    "another name": lambda one: {"name_check": name_check(one.nonce, "backup/2")},
    "a journal": lambda one: {"permits": (*one.permits[:2], "journal/1")},
    "no word of a journal": lambda one: {"permits": one.permits[:2]},
    "more": lambda one: {"permits": (*one.permits, f"bring-back/{T1.hex()}/1")},
    "by who asks": lambda one: {"requester": "alice"},
}


@pytest.mark.proves("K-12", "C8")
@pytest.mark.parametrize("why", CHANGES)
def test_what_was_approved_otherwise_brings_nothing_back(
    rig: Rig, tmp_path: Path, why: str
) -> None:
    to = tmp_path / "new"
    path = asked(rig, to)
    request = read_request(path.read_text())
    path.write_text(replace(request, **CHANGES[why](request)).text)  # type: ignore[arg-type]
    words = (*wished(rig, to), *signed(path, "alice", "bruno"))
    said = restored(rig, to, *words, ok=False)
    assert "was not approved" in said and nothing_in(to), said


@pytest.mark.proves("K-12", "C8")
def test_a_text_that_was_altered_brings_nothing_back(rig: Rig, tmp_path: Path) -> None:
    to = tmp_path / "new"
    path = asked(rig, to)
    words, text = signed(path, "alice", "bruno"), path.read_text()
    for altered in (
        text[:-1],
        text + "permits: without/journal\n",
        text.replace('requester: "', 'requester: "x'),
    ):
        path.write_text(altered)
        assert "was not approved" in restored(rig, to, *wished(rig, to), *words, ok=False)
        # As if somebody had put the id of the altered text into the approvals as well.
        for file in words[3::2]:
            held = json.loads(Path(file).read_text())
            Path(file).write_text(json.dumps(held | {"request": request_id(altered)}))
        assert "was not approved" in restored(rig, to, *wished(rig, to), *words, ok=False)
    assert nothing_in(to)


@pytest.mark.proves("K-12", "C8")
def test_approvals_are_for_one_backup_and_one_place(rig: Rig, tmp_path: Path) -> None:
    to, other = tmp_path / "new", tmp_path / "other"
    words = signed(asked(rig, to), "alice", "bruno")
    assert "another place" in restored(rig, other, *wished(rig, other), *words, ok=False)
    rig.keyring().create_tenant_key(b"3" * 16)
    rig.run("backup")
    assert "another backup" in restored(rig, to, *wished(rig, to), *words, ok=False)
    assert nothing_in(to) and nothing_in(other)


@pytest.mark.proves("K-12", "C8")
def test_approvals_of_a_restore_are_used_once(rig: Rig, tmp_path: Path) -> None:
    to = tmp_path / "new"
    words = (*wished(rig, to), *signed(asked(rig, to), "alice", "bruno"))
    restored(rig, to, *words)
    before = contents(to / "keys")
    assert "used already" in restored(rig, to, *words, ok=False)
    assert contents(to / "keys") == before
    # It died before the root key was there: the same approvals end it.
    (to / "keys" / ROOT_FILE).unlink()
    restored(rig, to, *words)
    # Where everything was taken away the journal knows.
    ((_, kind, body), *_) = kept.remembered(to / "keys")
    journal = journal_of(rig, [(kind, Phase.NOTE, dict(body))])
    third = tmp_path / "third"
    told = ["--backup", rig.copies, "--keys", third / "keys", "--journal", journal]
    rig.run("request", "--out", tmp_path / "third.txt", *told, data=third)
    path = tmp_path / "third.txt"
    restored(rig, third, *told, *signed(path, "alice", "bruno"))
    (third / "keys").rename(tmp_path / "away")
    event = (kind, Phase.NOTE, {**body, "request": request_id(path.read_text())})
    (rig.data.parent / "some-journal").rename(tmp_path / "first-journal")
    journal_of(rig, [event])
    said = restored(rig, third, *told, *signed(path, "alice", "bruno"), ok=False)
    assert "used already" in said and nothing_in(third)


@pytest.mark.proves("K-12", "C8")
def test_who_was_removed_from_the_book_approves_no_restore(rig: Rig, tmp_path: Path) -> None:
    to, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    (rig.copies / "recovery-000001.hxb").rename(old / "recovery-000001.hxb")
    register(rig, two_of("alice", "chloe", "denis", version=2))
    rig.run("backup")
    request = asked(rig, to)
    said = restored(rig, to, *wished(rig, to), *signed(request, "alice", "bruno"), ok=False)
    assert "is no approver" in said and nothing_in(to)
    # Nor does an older backup help, where the newer book is still there.
    back = ("--backup", old / "recovery-000001.hxb", "--keys", rig.keys, "--no-journal")
    rig.run("request", "--out", tmp_path / "old.txt", *back)
    path = tmp_path / "old.txt"
    assert "is no approver" in restored(
        rig, rig.data, *back, *signed(path, "alice", "bruno"), ok=False
    )
    restored(rig, rig.data, *back, *signed(path, "alice", "denis"))
    assert (
        rig.keyring().approvers() == two_of("alice", "chloe", "denis", version=2).document.encode()
    )


@pytest.mark.proves("K-12", "C8")
def test_a_destroyed_key_comes_back_by_name_and_with_approvals(rig: Rig, tmp_path: Path) -> None:
    to, name = tmp_path / "new", f"{T1.hex()}/1"
    event = ("recovery.destroyed", Phase.NOTE, {"tenant": T1.hex(), "epoch": 1})
    told = ["--backup", rig.copies, "--keys", to / "keys", "--journal", journal_of(rig, [event])]
    plain, named = tmp_path / "plain.txt", tmp_path / "named.txt"
    rig.run("request", "--out", plain, *told, data=to)
    rig.run("request", "--out", named, *told, "--bring-back", name, data=to)
    assert f"permits: bring-back/{name}\n" in named.read_text()
    back = (*told, "--bring-back", name)
    assert "other keys" in restored(rig, to, *back, *signed(plain, "alice", "bruno"), ok=False)
    said = restored(
        rig, to, *told, *signed(named, "alice", "bruno"), "--without-destroyed", ok=False
    )
    assert "other keys" in said and nothing_in(to)
    restored(rig, to, *back, *signed(named, "bruno", "chloe"))
    ring = FileKeyring(to / "keys", RootKey.load(to / "keys"), ENV)
    assert ring.tenant_epochs(T1)[0].state is KeyState.ACTIVE
    kind, body = [(kind, body) for _, kind, body in kept.remembered(to / "keys")][-1]
    assert kind == "command.recovery.bring-back" and body["key"] == name


@pytest.mark.proves("K-12", "C8")
def test_a_journal_that_tells_less_than_was_said_is_refused(rig: Rig, tmp_path: Path) -> None:
    """A folder with nothing in it is no journal, nor is one that is shorter than was said."""
    to, empty, folder = tmp_path / "new", tmp_path / "empty", tmp_path / "some-journal"
    empty.mkdir()
    events = [("recovery.backup", Phase.NOTE, {"number": 1})] * 3

    def told(journal: Path) -> list[str | Path]:
        return ["--backup", rig.copies, "--keys", to / "keys", "--journal", journal]

    journal_of(rig, events)  # type: ignore[arg-type]
    path = tmp_path / "request.txt"
    rig.run("request", "--out", path, *told(folder), data=to)
    assert "journal of 3 events" in path.read_text()
    words = signed(path, "alice", "bruno")
    folder.rename(tmp_path / "three")
    journal_of(rig, events[:2])  # type: ignore[arg-type]
    for shorter in (folder, empty):
        assert "journal" in restored(rig, to, *told(shorter), *words, ok=False)
    assert "journal" in restored(rig, to, *wished(rig, to), *words, ok=False) and nothing_in(to)
    folder.rename(tmp_path / "two")
    journal_of(rig, [*events, *events])  # type: ignore[arg-type]
    restored(rig, to, *told(folder), *words)


def test_a_dry_run_says_who_has_to_approve(rig: Rig, tmp_path: Path) -> None:
    to = tmp_path / "new"
    words = ("restore", "--dry-run", *rig.given(1, 2, 3), *wished(rig, to))
    assert rig.ask(*words, data=to)["approvals_needed"] == ["2 of alice, bruno, chloe"]
    found = rig.ask(*words, *signed(asked(rig, to), "alice", "chloe"), data=to)
    assert found["approved_by"] == ["alice", "chloe"] and nothing_in(to)
    rig.run(*words, *signed(asked(rig, to), "alice"), ok=False, data=to)
    out = tmp_path / "shown.txt"
    told = rig.ask("request", "--dry-run", "--out", out, *wished(rig, to), data=to)
    assert told["has_approvers"] is True and told["name"] == "backup/1" and not out.exists()


def test_an_approval_of_another_request_is_named(rig: Rig, tmp_path: Path) -> None:
    to = tmp_path / "new"
    first, second = asked(rig, to), asked(rig, to, file="second.txt")
    words = [*signed(first, "alice"), *signed(second, "bruno")[2:]]
    assert "another request" in restored(rig, to, *wished(rig, to), *words, ok=False)
    (tmp_path / "none.approval").write_text("[]")
    words = ["--request", first, "--approval", tmp_path / "none.approval"]
    assert "approvals sign" in restored(rig, to, *wished(rig, to), *words, ok=False)
    assert "--request" in restored(rig, to, *wished(rig, to), *words[2:], ok=False)


@pytest.mark.proves("K-12", "C8")
def test_where_nobody_is_registered_a_quorum_is_enough(tmp_path: Path) -> None:
    rig = recovery_rig(tmp_path)
    rig.init()
    to = tmp_path / "new"
    assert rig.ask("request", "--out", tmp_path / "r", *wished(rig, to))["has_approvers"] is False
    found = rig.ask("restore", "--yes", *rig.given(1, 2, 3), *wished(rig, to), data=to)
    assert "approved_by" not in found and "approvals_needed" not in found
    assert not (to / "keys" / APPROVERS_FILE).exists()


@pytest.mark.proves("K-12", "C8")
@pytest.mark.parametrize("passphrase", [False, True])
def test_the_book_of_a_key_service_counts(tmp_path: Path, passphrase: bool) -> None:
    rig = recovery_rig(tmp_path)
    files, cluster = KeydFiles(rig.data), RootKey.load(rig.keys).cluster_id
    rig.keyring().set_approvers(two_of().document.encode())
    lay_out_keyd(files, rig.keys, cluster, ENV, unsafe_sigv2=False)
    provider = open_key_provider(read_config(KeydConfig, files.config), ENV)
    assert provider.approvers() and not (rig.keys / APPROVERS_FILE).exists()  # type: ignore[attr-defined]
    if passphrase:
        sealed_with_a_passphrase(rig, cluster)
    rig.init()
    to = tmp_path / "new"
    words = wished(rig, to)
    assert "was not approved" in restored(rig, to, *words, ok=False)
    said = (*words, *signed(asked(rig, to), "alice", "bruno"))
    if passphrase:
        assert "cannot be read" in restored(rig, to, *said, ok=False) and nothing_in(to)
        said = (*said, "--keyd-passphrase", tmp_path / "passphrase")
    restored(rig, to, *said)
    assert "used already" in restored(rig, to, *said, ok=False)
    assert (to / "keyd" / APPROVERS_FILE).exists()


def sealed_with_a_passphrase(rig: Rig, cluster: bytes) -> None:
    """The service's secret, as one with a passphrase that is not in the backup."""
    path = rig.data / "keyd" / "keyd.key"
    salt = ENV.random_bytes(SALT_BYTES)
    key = passphrase_key(b"secret words", salt)
    sealed = seal_secret(key, "keyd-secret", b"", path.read_bytes(), ENV.random_bytes(SALT_BYTES))
    path.write_bytes(b"HXP\x01" + salt + sealed)
    (rig.data.parent / "passphrase").write_text("secret words\n")


def test_an_approval_to_restore_destroys_nothing(rig: Rig, tmp_path: Path) -> None:
    request = read_request(asked(rig, tmp_path / "new").read_text())
    with pytest.raises(RequestInvalid):
        replace(request, permits=(f"tenant-key/{T1.hex()}/1",))
    with pytest.raises(RequestInvalid):
        replace(request, act=Act.DESTROY_KEY)
