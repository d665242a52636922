"""The second factor of administrators: codes, sessions and the limit of wrong codes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.admin.gate import DENIALS_AT_ONCE, OWN_AT_ONCE
from gateway.admin.second_factors import (
    LOCKED_MAX_S,
    LOCKED_S,
    SESSION_HOURS,
    SESSIONS_MAX,
    WRONG_MAX,
    SecondFactors,
    Who,
)
from gateway.cli.client import AdminClient, AdminRefused
from gateway.model.second_factor import SecondFactor, SecondFactorRule
from gateway.model.second_factor_errors import (
    CodeNotTaken,
    CodesTooEarly,
    SecondFactorLocked,
    SecondFactorMissing,
    SecondFactorNeeded,
    SecondFactorThere,
)
from gateway.model.totp import code_of, matching_step, provisioning_uri
from gateway.objects.administrators import Administrators
from tests.support.admin_plane import PEOPLE, AdminPlaneServed, admin_plane_served
from tests.support.second_factors import (
    STARTED_S,
    Authenticators,
    MemoryToken,
    client_of,
    enrolled,
)

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
@pytest.mark.parametrize(
    ("at_s", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_codes_are_those_of_rfc_6238(at_s: int, code: str) -> None:
    secret = b"12345678901234567890"
    assert matching_step(secret, code, at_s * 1000) == at_s // 30
    assert code_of(secret, at_s // 30) == code
    for late_s, is_taken in ((-60, False), (-30, True), (30, True), (60, False)):
        assert (matching_step(secret, code, (at_s + late_s) * 1000) is not None) is is_taken
    for other in ("", code[:-1], code + "0", "é" * 6, "٢٨٧٠٨٢"):
        assert matching_step(secret, other, at_s * 1000) is None


@pytest.mark.proves("A-02")
def test_the_uri_is_what_every_authenticator_reads() -> None:
    secret = bytes(range(20))
    uri = urlsplit(provisioning_uri(secret, "alice", "Hexagone-demo"))
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Hexagone-demo:alice")
    assert parse_qs(uri.query) == {
        "secret": [base64.b32encode(secret).decode()],
        "issuer": ["Hexagone-demo"],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }


@pytest.mark.proves("A-02")
def test_who_has_a_second_factor_can_do_nothing_with_the_certificate_alone(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    uri, kept = enrolled(served, clock, "bob")
    assert AdminClient(served.place("bob"), kept).pause("count")
    alone = AdminClient(served.place("bob"))
    asked: list[Any] = [
        alone.status,
        alone.whoami,
        alone.jobs,
        alone.api_document,
        alone.end_session,
        lambda: alone.pause("count"),
        lambda: alone.begin_enrolment("x"),
        lambda: alone.confirm_enrolment("123456"),
        lambda: served.ask(alone, "GET", "/v1/journal"),  # of other roles: not even that is said
    ]
    for ask in asked:
        with pytest.raises(AdminRefused, match="A second factor is needed") as refused:
            ask()
        assert refused.value.fields["status"] == 403
    # The client begins a session by itself when there is somebody with a code.
    client, again = client_of(served, "bob")
    again.codes = [clock.code(uri)]
    assert client.whoami()["name"] == "bob" and again.token
    assert client.status() and not again.codes
    denied = [one.body for one in served.entries() if one.type == "admin.denied"]
    assert {one["error"] for one in denied} == {"SecondFactorNeeded"}
    assert {one["who"] for one in denied} == {"admin:bob"}


@pytest.mark.proves("A-02")
def test_a_code_is_taken_once(served: AdminPlaneServed, clock: Authenticators) -> None:
    uri, _ = enrolled(served, clock, "bob")
    client, kept = client_of(served, "bob")
    code, before, after = (clock.code(uri, steps=steps) for steps in (0, -1, 1))
    assert "token" not in client.begin_session(code) and kept.token
    for used in (code, before, code + "0"):
        with pytest.raises(AdminRefused, match=f"(?i){WRONG}"):
            client.begin_session(used)
    with pytest.raises(AdminRefused, match="code is needed"):
        client.begin_session("")
    client.begin_session(after)  # clocks differ
    for used in (code, after):
        with pytest.raises(AdminRefused, match=f"(?i){WRONG}"):
            client.begin_session(used)


@pytest.mark.proves("A-02")
def test_a_token_is_good_for_nobody_else_and_no_other_certificate(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    _, kept = enrolled(served, clock, "bob")
    _, of_carole = enrolled(served, clock, "carole")
    person, role = PEOPLE["bob"]
    served.certify("bob", person, role, file="second")
    assert AdminClient(served.place("bob"), kept).status()
    for place, token in (("second", kept.token), ("bob", of_carole.token), ("bob", "guessed")):
        stolen = MemoryToken()
        stolen.token = token
        with pytest.raises(AdminRefused, match="session is over"):
            AdminClient(served.place(place), stolen).status()
    # Nor does it help who has no second factor where none is required: it changes nothing there.
    served.add("emma")
    assert AdminClient(served.place("emma"), kept).whoami()["name"] == "emma"
    served.ask(AdminClient(served.place("emma"), kept), "POST", "/v1/session/end")
    assert AdminClient(served.place("bob"), kept).status()
    # A session is ended by its owner alone.
    AdminClient(served.place("carole"), of_carole).end_session()
    assert AdminClient(served.place("bob"), kept).status()
    with pytest.raises(AdminRefused, match="no session"):
        AdminClient(served.place("carole"), of_carole).status()


@pytest.mark.proves("A-02")
def test_a_session_is_of_the_second_factor_that_began_it(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    _, kept = enrolled(served, clock, "bob")
    accounts = served.plane.gate._administrators
    assert isinstance(accounts, Administrators)
    other = SecondFactor(secret=bytes(20), enrolled_at_ms=clock.now)
    with pytest.raises(SecondFactorThere):
        served.run(accounts.enrol("bob", other))
    served.run(accounts.enrol("bob", None))  # as if the reset had ended after its commit
    served.run(accounts.enrol("bob", other))
    with pytest.raises(AdminRefused, match="session is over"):
        AdminClient(served.place("bob"), kept).status()


@pytest.mark.proves("A-01", "A-02")
def test_a_web_page_begins_no_session_and_no_cache_keeps_one(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    uri, _ = enrolled(served, clock, "bob")
    body = json.dumps({"code": clock.code(uri)})
    for headers, status, cached in (
        ({"Origin": "https://evil.example"}, 403, None),
        ({}, 200, "no-store"),
    ):
        connection = served.place("bob").connection(10)
        connection.request("POST", "/v1/session", body, headers)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Cache-Control"]) == (status, cached)
        assert (b"token" in answer.read()) is (status == 200)
        connection.close()


@pytest.mark.proves("A-02", "L-01")
def test_a_text_that_is_none_is_refused_and_ends_nothing(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    enrolled(served, clock, "bob")
    client, _ = client_of(served, "bob")
    for field in ("bucket", "key", "name", "\ud800", "code"):
        with pytest.raises(AdminRefused, match="not usable"):
            served.ask(client, "POST", "/v1/session", {"subject": "bucket", field: "\ud800"})
    with pytest.raises(AdminRefused, match="it is no text"):
        client.begin_session("\ud800")
    assert served.journal is not None and not served.journal.failure
    assert [one for one in served.entries() if one.type == "admin.session"]


@pytest.mark.proves("A-02")
def test_a_session_ends(served: AdminPlaneServed, clock: Authenticators) -> None:
    uri, first = enrolled(served, clock, "bob")
    client = AdminClient(served.place("bob"), first)
    token = first.token
    client.end_session()
    assert first.token == ""
    first.token = token
    with pytest.raises(AdminRefused, match="session is over"):
        client.status()
    client.begin_session(clock.code(uri))
    clock.pass_s(SESSION_HOURS * 3600 - 1)
    assert client.status()
    clock.pass_s(1)
    with pytest.raises(AdminRefused, match="session is over"):
        client.status()
    kept = []
    for _ in range(SESSIONS_MAX + 1):
        clock.pass_s(60)
        one, memory = client_of(served, "bob")
        one.begin_session(clock.code(uri))
        kept.append(memory)
    with pytest.raises(AdminRefused, match="session is over"):
        AdminClient(served.place("bob"), kept[0]).status()
    for memory in kept[1:]:
        assert AdminClient(served.place("bob"), memory).status()
    served.change("disable", name="bob")
    with pytest.raises(AdminRefused, match="account is disabled"):
        AdminClient(served.place("bob"), kept[-1]).status()


@pytest.mark.proves("A-02", "A-06")
def test_wrong_codes_lock_out_for_a_while_which_is_told(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    uri, session = enrolled(served, clock, "bob")
    enrolled(served, clock, "carole")
    client, _ = client_of(served, "bob")
    for _ in range(WRONG_MAX):
        with pytest.raises(AdminRefused, match=f"(?i){WRONG}"):
            client.begin_session("000000")
    until = "2023-11-14T22:" if clock.now < 1_700_002_800_000 else "2023-11-14T23:"
    for code in ("000000", clock.code(uri)):  # the right one no more than another
        with pytest.raises(AdminRefused, match=f"until={until}") as refused:
            client.begin_session(code)
        assert refused.value.fields["status"] == 429
    assert AdminClient(served.place("bob"), session).status()  # who is in stays in
    of_carole, _ = client_of(served, "carole")
    with pytest.raises(AdminRefused, match=f"(?i){WRONG}"):
        of_carole.begin_session("000000")
    assert served.plane.gate.denials == WRONG_MAX + 3  # what the alert counts
    clock.pass_s(LOCKED_S)
    client.begin_session(clock.code(uri))
    found = [one for one in served.entries() if one.body.get("who") == "admin:bob"]
    wrong = [one for one in found if one.body.get("error") == CodeNotTaken.__name__]
    assert [(one.type, one.phase) for one in wrong] == [("admin.session", "outcome")] * WRONG_MAX
    denied = [one.body["error"] for one in found if one.type == "admin.denied"]
    assert denied == ["SecondFactorLocked"] * 2
    # A right code begins the count anew.
    for _ in range(WRONG_MAX - 1):
        with pytest.raises(AdminRefused, match=f"(?i){WRONG}"):
            client.begin_session("000000")
    clock.pass_s(60)
    client.begin_session(clock.code(uri))
    with pytest.raises(AdminRefused, match=f"(?i){WRONG}"):
        client.begin_session("000000")


@pytest.mark.proves("A-02", "A-06")
def test_a_lock_out_is_twice_as_long_each_time_and_is_of_one_certificate(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    uri, _ = enrolled(served, clock, "bob")
    served.certify("bob", *PEOPLE["bob"], file="second")
    client, second = client_of(served, "bob")[0], AdminClient(served.place("second"))
    tried = 0
    for locked_s in (LOCKED_S, 2 * LOCKED_S, 4 * LOCKED_S):
        for _ in range(WRONG_MAX):
            with pytest.raises(AdminRefused, match=f"(?i){WRONG}"):
                client.begin_session("000000")
        clock.pass_s(locked_s - 1)
        with pytest.raises(AdminRefused, match="Too many wrong codes"):
            client.begin_session(clock.code(uri))
        warned = [one for one in served.local.status()["warnings"] if "wrong codes" in one]
        assert warned == ["too many wrong codes of second factors, none is taken for now: bob"]
        clock.pass_s(1)
    assert not [one for one in served.local.status()["warnings"] if "wrong codes" in one]
    for _ in range(WRONG_MAX):
        with pytest.raises(AdminRefused, match=f"(?i){WRONG}"):
            client.begin_session("000000")
    second.begin_session(clock.code(uri))  # whoever has stolen one keeps nobody out with another
    with pytest.raises(AdminRefused, match="Too many wrong codes"):
        client.begin_session(clock.code(uri))
    factors, who = served.plane.gate._second_factors, Who("bob", "f" * 64)
    assert factors is not None
    for _ in range(365):  # somebody tries all that he can for a year
        while True:
            try:
                factors.begin(who, "000000")
            except CodeNotTaken:
                tried += 1
            except SecondFactorLocked:
                break
        clock.pass_s(LOCKED_MAX_S)
    assert tried <= 365 * WRONG_MAX
    factors.begin(who, clock.code(uri))
    with pytest.raises(CodeNotTaken):
        factors.begin(who, "000000")  # a right code begins the count anew


@pytest.mark.proves("A-02", "L-01")
@pytest.mark.parametrize("has_one", [False, True])
def test_a_certificate_alone_does_not_fill_the_journal(
    served: AdminPlaneServed, clock: Authenticators, has_one: bool
) -> None:
    if has_one:
        uri, _ = enrolled(served, clock, "bob")
    else:
        served.add("bob")
    client, _ = client_of(served, "bob")
    before = len(served.entries())
    bodies = ({}, {"code": ""}, {"code": "000000"}, {"x": "y"}, [], {"invitation": "x"})
    for path in ("/v1/session", "/v1/second-factor/begin", "/v1/second-factor/confirm"):
        for body in bodies * 10:
            with pytest.raises(AdminRefused):
                served.ask(client, "POST", path, body)
    found = [one for one in served.entries()[before:] if one.body.get("who") == "admin:bob"]
    assert len(found) <= DENIALS_AT_ONCE + 2 * OWN_AT_ONCE
    # Nor does it keep its owner out who has another one.
    if has_one:
        served.certify("bob", *PEOPLE["bob"], file="second")
        AdminClient(served.place("second")).begin_session(clock.code(uri))


@pytest.mark.proves("A-02")
def test_after_a_restart_no_session_is_left_and_no_code_counts_again(
    served: AdminPlaneServed, clock: Authenticators
) -> None:
    uri, kept = enrolled(served, clock, "bob")
    client = AdminClient(served.place("bob"), kept)
    ahead = clock.code(uri, steps=1)
    client.begin_session(ahead)  # the furthest that can be used before it
    services = served.rig.gateway.services

    async def restarted() -> None:
        who = Who("bob", "f" * 64)
        again = SecondFactors(services.env, Administrators(services), SecondFactorRule.OPTIONAL)
        with pytest.raises(SecondFactorNeeded):
            again.check(who, kept.token, is_enrolment=False, is_session=False)
        for _ in range(WRONG_MAX + 1):  # nobody is locked out for having been early
            with pytest.raises(CodesTooEarly) as early:
                again.begin(who, ahead)
        wait_s = early.value.fields["wait_s"]
        assert isinstance(wait_s, int) and 30 <= wait_s <= 60
        clock.pass_s(wait_s)
        with pytest.raises(CodeNotTaken):
            again.begin(who, ahead)
        begun = again.begin(who, clock.code(uri))
        again.check(who, begun.token, is_enrolment=False, is_session=False)
        with pytest.raises(SecondFactorMissing):
            await again.reset("bob")
            again.begin(who, clock.code(uri))

    served.run(restarted())
