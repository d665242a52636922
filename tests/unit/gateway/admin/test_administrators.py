"""Administrators: who may what, roles that exclude each other, what the local root may, and what
the journal keeps of all of it.
"""

from __future__ import annotations

import http.client
import os
import re
import struct
from pathlib import Path

import pytest

from gateway.admin import gate
from gateway.admin.rates import ACTORS_MAX, Rates
from gateway.admin.routes import TABLE
from gateway.cli.client import AdminClient, AdminRefused
from gateway.model.administrators import (
    EXCLUSIVE,
    GIVEN_ROLES,
    AdministratorInvalid,
    Role,
    RolesExcludeEachOther,
    checked_account_name,
    checked_person,
    checked_roles,
)
from storaged.base.env import RealEnv
from tests.support.admin_plane import PEOPLE, AdminPlaneServed, admin_plane_served
from tests.support.gateway import BUCKET, TENANT

FIELD = {"epoch": "1", "first": "0", "count": "1", "seq": "0", "from_hour": "1", "to_hour": "2"}


def tried(served: AdminPlaneServed, client: AdminClient) -> dict[str, bool]:
    """Every route of the table that the rig has, and whether it was let through: whatever the
    handler says of fields that mean nothing, only the gate says "may not do this".
    """
    found = {}
    for entry in TABLE.entries:
        if entry.path.startswith(("/v1/administrators/", "/v1/jobs/")) and entry.acts:
            continue  # these would do something
        query = "&".join(
            f"{field}={FIELD.get(field, 'none')}" for field in entry.query if "?" not in field
        )
        try:
            served.ask(client, entry.method, f"{entry.path}?{query}", {} if entry.body else None)
            found[entry.name] = True
        except AdminRefused as error:
            if error.said_title:  # else the rig does not have the route
                found[entry.name] = "may not do this" not in error.text
    return found


@pytest.mark.proves("A-03")
@pytest.mark.parametrize("name", sorted(PEOPLE))
def test_each_role_opens_its_routes_and_no_other(tmp_path: Path, name: str) -> None:
    with admin_plane_served(tmp_path) as served:
        client, role = served.add(name), PEOPLE[name][1]
        found = tried(served, client)
        assert len(found) > 60
        for entry in TABLE.entries:
            if entry.name in found:
                assert found[entry.name] == (role in entry.roles), entry.name
        assert client.whoami()["may"] == [e.name for e in TABLE.entries if role in e.roles]


@pytest.mark.proves("A-03")
def test_a_route_without_a_line_is_denied_to_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with admin_plane_served(tmp_path) as served:
        monkeypatch.delitem(served.plane.gate.table._by_name, ("GET", "/v1/jobs"))
        clients = [served.local, *(served.add(name) for name in PEOPLE)]
        for client in clients:
            with pytest.raises(AdminRefused, match="Nobody may do this"):
                client.jobs()


@pytest.mark.proves("A-03")
def test_exclusive_roles_are_refused_at_assignment(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path, listens=False) as served:
        change = served.local.change_administrator
        for pair in EXCLUSIVE:
            with pytest.raises(AdminRefused, match="cannot hold both"):
                change("add", {"name": "alice", "person": "A M", "roles": ",".join(sorted(pair))})
        change("add", {"name": "alice", "person": "Alice Martin", "roles": "custodian"})
        with pytest.raises(AdminRefused, match="cannot hold both"):
            change("grant", {"name": "alice", "roles": "auditor"})
        # A second account of hers, however she is spelt, also while the first one is disabled.
        change("disable", {"name": "alice"})
        for spelt in ("Alice Martin", "alice  MARTIN", "ＡLICE Martin"):
            with pytest.raises(AdminRefused, match="cannot hold both"):
                change("add", {"name": "am", "person": spelt, "roles": "storage-admin"})
        change("revoke", {"name": "alice", "roles": "custodian"})
        made = change("add", {"name": "am", "person": "alice martin", "roles": "storage-admin"})
        assert made["administrator"]["roles"] == ["storage-admin"]
        with pytest.raises(AdminRefused, match="cannot hold both"):
            change("grant", {"name": "alice", "roles": "custodian"})
        assert [one["name"] for one in served.local.administrators()["administrators"]] == [
            "alice",
            "am",
        ]


@pytest.mark.proves("A-05")
@pytest.mark.parametrize(
    "name", ["admin", "root", "ops", "local-root", "", "A", "a b", "é", "a" * 65]
)
def test_accounts_are_one_persons(name: str) -> None:
    with pytest.raises(AdministratorInvalid):
        checked_account_name(name)


def test_people_and_roles_are_checked() -> None:
    assert checked_person("  Alice \t Martin ") == "Alice Martin"
    for bad in ("", " ", "a\x00b", "x" * 65):
        with pytest.raises(AdministratorInvalid):
            checked_person(bad)
    assert checked_roles(["billing", "tenant-admin"]) == {Role.BILLING, Role.TENANT_ADMIN}
    for bad in ("local-root", "Custodian", "", "everything"):
        with pytest.raises(AdministratorInvalid):
            checked_roles([bad])
    with pytest.raises(RolesExcludeEachOther):
        checked_roles(sorted(GIVEN_ROLES))


@pytest.mark.proves("A-01", "A-02")
def test_an_account_and_a_certificate_are_both_needed(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path) as served:
        alice = served.add("alice")
        assert alice.whoami()["person"] == "Alice Martin"
        # More roles in the certificate than in the account, and the other way round.
        more = served.certify("alice", "Alice Martin", Role.AUDITOR, file="more")
        for ask in (more.status, more.whoami):
            with pytest.raises(AdminRefused, match="may not do this"):
                ask()
        other = served.certify("alice", "Mallory", Role.CUSTODIAN, file="other")
        with pytest.raises(AdminRefused, match="another person"):
            other.status()
        assert served.local.change_administrator("distrust", {"name": "alice"})
        old = served.certify("alice", "Alice Martin", Role.CUSTODIAN, file="new")
        assert old.status()["tier"]["name"] == "FULL"
        served.change("disable", name="alice")
        with pytest.raises(AdminRefused, match="account is disabled"):
            old.status()


@pytest.mark.proves("A-02")
def test_what_is_taken_away_is_gone_for_open_connections(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path) as served:
        served.add("alice")
        connection = served.place("alice").connection(10)
        connection.request("GET", "/v1/status")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        served.change("disable", name="alice")
        try:
            connection.request("GET", "/v1/status")
            assert connection.getresponse().status == 403
        except http.client.HTTPException:
            pytest.fail("the connection was kept")
        finally:
            connection.close()


@pytest.mark.proves("L-01")
def test_the_journal_names_no_bucket_whose_limits_are_set(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path) as served:
        for verb in ("set", "clear"):
            fields = {"subject": "bucket", "name": BUCKET, "limits": '{"stored_bytes": 1000000000}'}
            if verb == "clear":
                del fields["limits"]
            served.local.metering("POST", f"quotas/{verb}", fields)
        held = served.entries(TENANT.hex())
        found = [one for one in held if one.type.startswith("admin.metering")]
    assert len(found) == 4
    told = [{**one.body, "subject": ""} for one in found]
    assert not [body for body in told if BUCKET in body.values()]
    assert all(re.fullmatch(r"[0-9a-f]{16,64}", str(one.body["bucket"])) for one in found)


@pytest.mark.proves("A-05", "L-01")
def test_the_journal_names_who_acted_in_which_role_from_where(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path) as served:
        bob = served.add("bob")
        bob.pause("count")
        with pytest.raises(AdminRefused):
            bob.pause("nothing")
        fields = {"name": "alice", "person": "Alice Martin", "roles": "custodian"}
        served.local.change_administrator("add", fields)
        found = [one for one in served.entries() if one.type.startswith("admin.")]
    assert [(one.type, one.phase) for one in found] == [
        (kind, phase)
        for kind in (
            "admin.jobs.count.pause",
            "admin.jobs.nothing.pause",
            "admin.administrators.add",
        )
        for phase in ("intent", "outcome")
    ]
    for one in found[:4]:
        assert (one.body["who"], one.body["acting_as"]) == ("admin:bob", "storage-admin")
        assert re.fullmatch(r"tls:127\.0\.0\.1,serial=[0-9a-f]{20,40}", str(one.body["from"]))
    added = found[4].body
    assert (added["who"], added["name"], added["roles"]) == (
        "admin:local-root",
        "alice",
        "custodian",
    )
    assert added["person"] == "Alice Martin"


@pytest.mark.proves("L-01")
def test_every_act_has_one_event_before_and_one_after_and_every_refusal_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "DENIALS_AT_ONCE", 1000)
    with admin_plane_served(tmp_path) as served:
        tried_here, kinds = [], []
        acting = [entry for entry in TABLE.entries if entry.is_recorded]
        for entry in acting:
            path = entry.path.replace("{name}", "count")
            query = "&".join(f"{field.removesuffix('?')}=none" for field in entry.query)
            body = {field.removesuffix("?"): "none" for field in entry.body}
            if path.endswith("/tenant/create"):
                body = {"name": "mairie"}  # else the others would be about it, and in its log
            try:
                served.ask(served.local, entry.method, f"{path}?{query}", body or None)
            except AdminRefused as error:
                if not error.said_title:
                    continue  # the rig does not have the route
            tried_here.append(entry)
            kinds.append("admin." + path.removeprefix("/v1/").replace("/", "."))
        done = [(one.type, one.phase) for one in served.entries() if one.type in kinds]
        assert done == [(kind, phase) for kind in kinds for phase in ("intent", "outcome")]
        assert len(kinds) > 30
        carole = served.add("carole")
        tried_here = [entry for entry in tried_here if not entry.own]  # nobody is denied these
        for entry in tried_here:
            with pytest.raises(AdminRefused, match="may not do this"):
                served.ask(carole, entry.method, entry.path.replace("{name}", "count"))
        found = [one for one in served.entries() if one.type == "admin.denied"]
    assert [one.body["route"] for one in found] == [entry.name for entry in tried_here]


@pytest.mark.proves("A-01")
def test_the_socket_is_for_the_gateways_user_whatever_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with admin_plane_served(tmp_path) as served:

        class OtherUser:
            @staticmethod
            def unpack(told: bytes) -> tuple[int, int, int]:
                return 77, os.geteuid() + 4711, 4711

        monkeypatch.setattr(gate, "PEER", OtherUser)
        monkeypatch.setattr(OtherUser, "size", struct.calcsize("3i"), raising=False)
        with pytest.raises(AdminRefused, match="the user that runs the gateway"):
            served.local.status()
        monkeypatch.undo()
        assert served.local.status()
        denied = [one for one in served.entries() if one.type == "admin.denied"]
    assert [one.body["who"] for one in denied] == [f"admin:uid-{os.geteuid() + 4711}"]


@pytest.mark.proves("A-01")
def test_a_web_page_cannot_act_with_the_certificate_in_a_browser(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path) as served:
        served.add("bob")
        for name, value in (("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")):
            connection = served.place("bob").connection(10)
            connection.request("POST", "/v1/jobs/count/pause", headers={name: value})
            answer = connection.getresponse()
            assert answer.status == 403 and b"web page" in answer.read()
            connection.close()
        job = next(one for one in served.local.jobs()["jobs"] if one["name"] == "count")
        assert job["state"] != "paused"


@pytest.mark.proves("L-01")
def test_refusals_are_recorded_and_cannot_fill_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with admin_plane_served(tmp_path) as served:
        monkeypatch.setattr(served.plane.gate._denials, "_per_s", 0.0)
        denis = served.add("denis")
        nobody = served.certify("nobody", "No Body", Role.AUDITOR)
        for _ in range(gate.DENIALS_AT_ONCE + 30):
            with pytest.raises(AdminRefused, match="may not do this"):
                denis.pause("count")
        with pytest.raises(AdminRefused, match="no such account"):
            nobody.status()
        assert (
            next(j for j in served.local.jobs()["jobs"] if j["name"] == "count")["state"]
            != "paused"
        )
        found = [one for one in served.entries() if one.type.startswith("admin.")]
        assert served.plane.gate.denials == gate.DENIALS_AT_ONCE + 31  # the alarm counts all
    assert {one.type for one in found} == {"admin.denied"}
    of_denis = [one for one in found if one.body["who"] == "admin:denis"]
    assert len(of_denis) == gate.DENIALS_AT_ONCE
    assert of_denis[0].body["route"] == "POST /v1/jobs/{name}/pause"
    assert (of_denis[0].body["acting_as"], of_denis[0].body["error"]) == ("billing", "NotPermitted")
    last = found[-1].body
    assert (last["who"], last["error"]) == ("admin:nobody", "CertificateNotTaken")
    missed = sum(int(str(one.body.get("more_denials", 0))) for one in found)
    assert missed + len(of_denis) == gate.DENIALS_AT_ONCE + 30


@pytest.mark.proves("L-01")
def test_acts_are_bounded_before_they_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with admin_plane_served(tmp_path) as served:
        monkeypatch.setattr(served.plane.gate._acts, "_at_once", 3)
        monkeypatch.setattr(served.plane.gate._acts, "_per_s", 0.0)
        for _ in range(3):
            served.local.pause("count")
        for _ in range(5):
            with pytest.raises(AdminRefused, match="too much at once") as refused:
                served.local.resume("count")
            assert refused.value.fields["status"] == 429
        assert served.local.status()
        bob = served.add("bob")
        assert bob.pause("count")
        found = [one.type for one in served.entries() if one.phase == "intent"]
    assert found == ["admin.jobs.count.pause"] * 4


def test_rates_are_kept_for_so_many_and_no_more() -> None:
    rates = Rates(RealEnv(threads_max=1), per_s=0.0, at_once=1)
    assert rates.take("first") and not rates.take("first")
    for number in range(ACTORS_MAX):
        assert rates.take(f"n{number}")
    assert len(rates._held) == ACTORS_MAX
    assert rates.take("first")
