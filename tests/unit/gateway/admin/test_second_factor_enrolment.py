"""The second factor of administrators: how it is enrolled, required, reset and kept, at the command
as well, and that no secret is told.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.admin.second_factors import (
    ENROLMENT_S,
    INVITATION_HOURS,
    WRONG_MAX,
    Begun,
)
from gateway.cli import second_factor_cli
from gateway.cli.client import AdminClient, AdminRefused
from gateway.cli.session_file import SessionFile
from gateway.config_admin import AdminConfig, check_admin
from gateway.meta import administrator_rows as rows
from gateway.meta.kv import RowCorrupt
from gateway.meta.records import seal_document
from gateway.model.second_factor import (
    SecondFactor,
    SecondFactorRule,
)
from gateway.objects.administrators import Administrators
from storaged.base.errors import ConfigError
from tests.support.admin_plane import PEOPLE, AdminPlaneServed, admin_plane_served
from tests.support.second_factors import (
    STARTED_S,
    Authenticators,
    client_of,
    enrolled,
    invited,
)
from tests.unit.gateway.admin.test_admin_cli import CLI, app, options, run, told

WRONG = "the code is not taken"


@pytest.fixture
def clock() -> Authenticators:
    return Authenticators()


@pytest.fixture
def served(tmp_path: Path, clock: Authenticators) -> Iterator[AdminPlaneServed]:
    with admin_plane_served(tmp_path, clock=clock) as found:
        clock.pass_s(STARTED_S)
        yield found


@pytest.mark.proves("A-02")
def test_enrolling_takes_an_invitation_and_a_first_code(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    served.add("bob")
    client, kept = client_of(served, "bob")
    for bad in ("guessed", "x" * 43):
        with pytest.raises(AdminRefused, match="invitation is not taken"):
            client.begin_enrolment(bad)
    first = invited(served, "bob")
    second = invited(served, "bob")  # the one before is over
    with pytest.raises(AdminRefused, match="invitation is not taken"):
        client.begin_enrolment(first)
    of_carole = served.add("carole")
    with pytest.raises(AdminRefused, match="invitation is not taken"):
        of_carole.begin_enrolment(second)
    with pytest.raises(AdminRefused, match="No enrolment"):
        client.confirm_enrolment("123456")
    lost = str(client.begin_enrolment(second)["uri"])
    uri = str(client.begin_enrolment(second)["uri"])  # until it is confirmed, once more
    assert uri != lost
    with pytest.raises(AdminRefused, match=f"(?i){WRONG}"):
        client.confirm_enrolment(clock.code(lost))
    assert client.status() and not kept.token  # it has not taken effect
    clock.pass_s(ENROLMENT_S)
    with pytest.raises(AdminRefused, match="No enrolment"):
        client.confirm_enrolment(clock.code(uri))
    uri = str(client.begin_enrolment(second)["uri"])
    served.certify("bob", *PEOPLE["bob"], file="second")
    with pytest.raises(AdminRefused, match="No enrolment"):
        AdminClient(served.place("second"), kept).confirm_enrolment(clock.code(uri))
    assert client.confirm_enrolment(clock.code(uri))["expires_at_ms"] > clock.now
    factors = served.plane.gate._second_factors
    assert factors is not None and not factors._invitations and not factors._pending
    assert kept.token and client.status()
    with pytest.raises(AdminRefused, match=f"(?i){WRONG}"):
        client.begin_session(clock.code(uri))  # that it was confirmed with
    with pytest.raises(AdminRefused, match="There is a second factor already"):
        client.begin_enrolment(second)
    with pytest.raises(AdminRefused, match="There is a second factor already"):
        invited(served, "bob")
    late = invited(served, "carole")
    clock.pass_s(INVITATION_HOURS * 3600)
    with pytest.raises(AdminRefused, match="invitation is not taken"):
        of_carole.begin_enrolment(late)
    shown = {one["name"]: one for one in served.local.administrators()["administrators"]}
    assert (shown["bob"]["second_factor"], shown["carole"]["second_factor"]) == (True, False)


@pytest.mark.proves("A-02", "A-06")
def test_guessing_an_invitation_locks_out_until_it_ends_or_a_reset(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    served.add("bob")
    client, _ = client_of(served, "bob")
    for _ in range(WRONG_MAX):
        with pytest.raises(AdminRefused, match="invitation is not taken"):
            client.begin_enrolment("guessed")
    invitation = invited(served, "bob")
    with pytest.raises(AdminRefused, match="until=2023-11-14T22:"):
        client.begin_enrolment(invitation)
    assert client.status()  # it is about enrolling alone
    served.local.change_administrator("reset-second-factor", {"name": "bob"})
    with pytest.raises(AdminRefused, match="invitation is not taken"):
        client.begin_enrolment(invitation)  # that one is over as well
    assert client.begin_enrolment(invited(served, "bob"))["uri"]


@pytest.mark.proves("A-02", "A-03")
def test_nobody_invites_or_resets_from_elsewhere(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    _, kept = enrolled(served, clock, "alice")
    alice = AdminClient(served.place("alice"), kept)
    for verb in ("invite", "reset-second-factor"):
        for name in ("alice", "bob"):
            with pytest.raises(AdminRefused, match="may not do this"):
                alice.change_administrator(verb, {"name": name})
    answer = served.local.change_administrator("reset-second-factor", {"name": "alice"})
    assert answer["administrator"]["second_factor"] is False
    assert AdminClient(served.place("alice")).status()  # optional: as before
    uri = str(alice.begin_enrolment(invited(served, "alice"))["uri"])
    clock.pass_s(30)
    kept.token, old = "", kept.token
    alice.confirm_enrolment(clock.code(uri))
    kept.token = old
    with pytest.raises(AdminRefused, match="session is over"):
        alice.status()
    with pytest.raises(AdminRefused, match="no administrator of this name"):
        served.local.change_administrator("reset-second-factor", {"name": "nobody"})
    local = AdminClient(served.folder / "a.sock")
    for ask in (lambda: local.begin_session("1"), lambda: local.begin_enrolment("x")):
        with pytest.raises(AdminRefused, match="The socket has no second factor"):
            ask()


@pytest.mark.proves("A-02")
def test_where_it_is_required_who_has_none_can_only_enrol(
    tmp_path: Path, clock: Authenticators
) -> None:
    required = SecondFactorRule.REQUIRED
    with admin_plane_served(tmp_path, clock=clock, second_factor=required) as served:
        clock.pass_s(STARTED_S)
        bob = served.add("bob")
        for ask in (bob.status, bob.whoami, bob.jobs, bob.end_session):
            with pytest.raises(AdminRefused, match="can only enrol"):
                ask()
        for ask in (lambda: bob.begin_session("1"), lambda: bob.pause("count")):
            with pytest.raises(AdminRefused, match="can only enrol"):
                ask()
        client, _ = client_of(served, "bob")
        uri = str(client.begin_enrolment(invited(served, "bob"))["uri"])
        client.confirm_enrolment(clock.code(uri))
        assert client.pause("count")
        with pytest.raises(AdminRefused, match="A second factor is needed"):
            bob.status()
        assert served.local.status()  # the socket is as it was
        served.local.change_administrator("reset-second-factor", {"name": "bob"})
        with pytest.raises(AdminRefused, match="can only enrol"):
            client.status()
        assert served.local.administrators()["second_factor"] == "required"
        assert not [one for one in served.local.status()["warnings"] if "factor" in one]


@pytest.mark.proves("A-02")
def test_where_it_is_optional_who_has_none_is_warned_of(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    assert AdminConfig(socket=Path("a")).second_factor is SecondFactorRule.OPTIONAL
    enrolled(served, clock, "bob")
    assert served.add("carole").status()
    found = [one for one in served.local.status()["warnings"] if "second factor" in one]
    assert found == ["no second factor (admin.second_factor = optional): carole"]
    served.change("disable", name="carole")
    assert not [one for one in served.local.status()["warnings"] if "second factor" in one]
    without_listener = AdminConfig(socket=Path("a"), second_factor=SecondFactorRule.REQUIRED)
    with pytest.raises(ConfigError, match="for a listener"):
        check_admin(without_listener, {}, {})


@pytest.mark.proves("A-02")
def test_a_row_says_whether_there_is_one_and_a_damaged_one_is_none_of_both(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    enrolled(served, clock, "bob")
    services = served.rig.gateway.services
    stored = rows.read_administrator(services.log, services.records, "bob")
    assert stored is not None and stored.held.second_factor is not None
    row_key = rows.administrator_row("bob")
    value = services.log.read((row_key,))[0]
    assert value is not None and stored.held.second_factor.secret not in value
    whole: dict[str, Any] = {
        "person": "Bob",
        "roles": ["billing"],
        "created_at_ms": 1,
        "changed_at_ms": 1,
        "enabled": True,
        "certificates_from_ms": 0,
    }

    def opened(document: dict[str, Any]) -> Any:
        sealed = seal_document(services.records, services.nonces, row_key, document)
        return rows._opened(services.records, row_key, sealed).held.second_factor

    assert opened(whole) is None  # as it was written before there were any
    for bad in ({}, {"secret": ""}, {"secret": "AAAA", "enrolled_at_ms": 1}, "x", 7):
        with pytest.raises(RowCorrupt):
            opened({**whole, "second_factor": bad})


@pytest.mark.proves("A-02", "L-01")
def test_no_secret_is_told_by_log_journal_answers_or_repr(
    served: AdminPlaneServed, clock: Authenticators, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    served.add("bob")
    client, kept = client_of(served, "bob")
    invitation = invited(served, "bob")
    uri = str(client.begin_enrolment(invitation)["uri"])
    code = clock.code(uri)
    client.confirm_enrolment(code)
    with pytest.raises(AdminRefused):
        client.begin_session("918273")
    with pytest.raises(AdminRefused):
        client.begin_enrolment("a-guess-at-it")
    secret = parse_qs(urlsplit(uri).query)["secret"][0]
    raw = base64.b32decode(secret)
    shown = json.dumps([client.whoami(), client.status(), served.local.administrators()])
    services = served.rig.gateway.services
    held = Administrators(services).find("bob")
    factors = served.plane.gate._second_factors
    assert factors is not None and held.second_factor == SecondFactor(
        secret=raw, enrolled_at_ms=clock.now
    )
    begun = Begun(token=kept.token, expires_at_ms=1)
    held_here = (factors._sessions, factors._pending, factors._invitations, begun)
    told_here = "\n".join((shown, repr(held), repr(vars(factors)), repr(held_here)))
    entries = served.entries()
    kinds = {one.type for one in entries}
    assert {"admin.administrators.invite", "admin.session"} < kinds
    assert {"admin.second-factor.begin", "admin.second-factor.confirm"} < kinds
    journal = "\n".join(json.dumps(one.body) for one in entries)
    for told_text in (told_here, journal, caplog.text):
        for hidden in (secret, repr(raw)[2:-1], raw.hex(), invitation, kept.token, "a-guess-at-it"):
            assert hidden not in told_text
        assert f'"{code}"' not in told_text and "918273" not in told_text


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runtime"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.mark.proves("A-02")
def test_the_command_enrols_asks_for_a_code_and_keeps_the_session(
    served: AdminPlaneServed,
    clock: Authenticators,
    runtime: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    socket = ("--socket", tmp_path / "a.sock")
    served.add("bob")
    remote, out = options(served, "bob"), tmp_path / "bob.otpauth"
    invitation = told("admin", "second-factor", "invite", "bob", *socket)["invitation"]
    assert "--out FILE" in run(*remote, "admin", "second-factor", "enrol", code=2).output
    typed = iter(
        (lambda: invitation, lambda: "000000", lambda: clock.code(out.read_text()))  # one slip
    )
    monkeypatch.setattr(second_factor_cli, "typed_secret", lambda asks: next(typed)())
    done = run(*remote, "admin", "second-factor", "enrol", "--out", out).output
    assert "code is not taken" in done and "otpauth" not in done
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    (kept,) = (runtime / "hexagone").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    token = kept.read_text()
    assert token not in done and told(*remote, "admin", "whoami")["name"] == "bob"
    kept.chmod(0o644)  # others have read it: it counts for none
    assert "A second factor is needed" in run(*remote, "jobs", "list", code=1).output
    clock.pass_s(60)
    uri = out.read_text()
    again = CLI.invoke(app, [*remote, "jobs", "list", "--json"], input=clock.code(uri) + "\n")
    assert again.exit_code == 0 and '"jobs"' in again.stdout
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and kept.read_text() != token
    assert "count" in run(*remote, "jobs", "run", "count").output
    run(*remote, "admin", "logout")
    assert not kept.exists()
    wrong = CLI.invoke(app, [*remote, "jobs", "run", "count"], input="123 456\n")
    assert wrong.exit_code == 1 and "code is not taken" in wrong.stderr
    for line in ("paris-1\n", "12345\n", "1234567\n", "١٢٣٤٥٦\n", ""):  # of something else's input
        other = CLI.invoke(app, [*remote, "jobs", "list"], input=line)
        assert other.exit_code == 1 and "A second factor is needed" in other.stderr
    assert "yes" in run("admin", "list", *socket).output
    run("admin", "second-factor", "reset", "bob", *socket)
    assert told(*remote, "admin", "whoami")["name"] == "bob"
    taken = run(*remote, "admin", "second-factor", "enrol", "--out", out, code=2).output
    assert "exists" in taken and out.read_text() == uri


@pytest.mark.proves("A-02")
def test_the_file_of_a_session_is_of_one_certificate_and_gateway(
    served: AdminPlaneServed, tmp_path: Path
) -> None:
    for name in ("bob", "carole"):
        served.add(name)
    runtime, cache = {"XDG_RUNTIME_DIR": str(tmp_path / "r")}, {"XDG_CACHE_HOME": str(tmp_path)}
    bob, carole = (SessionFile(served.place(name), runtime) for name in ("bob", "carole"))
    assert bob.path() != carole.path() and bob.path().parent == tmp_path / "r" / "hexagone"
    assert SessionFile(served.place("bob"), cache).path().parent == tmp_path / "hexagone"
    assert bob.read() == ""
    bob.keep("token")
    assert (bob.read(), carole.read()) == ("token", "")
    for other in (b"to\r\nken", b"to ken", b"\xff", b"\x00", b"t" * 300, b"", b"token: x"):
        bob.path().write_bytes(other)  # a header holds none of these
        assert bob.read() == ""
    bob.keep("token")
    bob.path().chmod(0o640)
    assert bob.read() == ""
    bob.path().unlink()
    os.mkfifo(bob.path(), 0o600)
    assert bob.read() == ""
    bob.path().unlink()
    bob.path().symlink_to("/dev/zero")
    assert bob.read() == ""
    bob.keep("token")  # in place of what was there
    assert bob.read() == "token" and not bob.path().is_symlink()
    bob.keep("")
    assert bob.read() == "" and not bob.path().exists()
