"""S-01: a machine becomes the node that was invited, with a key that never left it, and nobody else
becomes one: not with another token, another key, too late, or by saying it is elsewhere.
"""

from __future__ import annotations

import hmac
import json
import stat
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from typer.testing import CliRunner, Result

from gateway.main import app
from storaged import enrolment
from storaged.base.ids import datacenter_id, node_id
from storaged.enrolment import (
    EnrolmentRefused,
    InvitationExists,
    RegisterBroken,
    approve,
    invite,
    invited,
    make_request,
    read_register,
    read_request,
    register_head,
    take_back,
)
from storaged.identity import (
    Authority,
    CertificateUnusable,
    create_authority,
    read_node_identity,
    write_public,
)
from storaged.node import NodeIdentity
from storaged.tls import node_server_context
from tests.support.cluster import TestEnv

pytestmark = pytest.mark.proves("S-01", "C13")

PARIS_4 = NodeIdentity(node=node_id("paris-4"), datacenter=datacenter_id("paris"), country="fr")


class ClockEnv(TestEnv):
    """An `Env` whose clock a test turns."""

    hours = 0

    def now_ms(self) -> int:
        return 1_790_000_000_000 + self.hours * 3_600_000


@pytest.fixture
def env() -> ClockEnv:
    return ClockEnv()


@pytest.fixture
def authority(env: ClockEnv) -> Authority:
    return create_authority("x.internal", env)


def asked(folder: Path, token: str, name: str = "paris-4") -> bytes:
    return make_request(name, token, folder / f"{name}.key")[0]


def certified(folder: Path, authority: Authority, raw: bytes, env: ClockEnv) -> NodeIdentity:
    certificate = approve(folder, authority, read_request(raw), env)
    path = folder / "node.pem"
    write_public(path, certificate.public_bytes(serialization.Encoding.PEM))
    return read_node_identity(path)


def test_the_invited_node_gets_the_identity_it_was_invited_as(
    tmp_path: Path, authority: Authority, env: ClockEnv
) -> None:
    token = invite(tmp_path, PARIS_4, env)
    raw = asked(tmp_path, token)
    held = invited(tmp_path, read_request(raw), env)
    assert "token" not in repr(held) and repr(held.token_key) not in repr(held)
    assert token.encode() not in raw and b"PRIVATE" not in raw
    assert stat.S_IMODE((tmp_path / "paris-4.key").stat().st_mode) == 0o600
    assert certified(tmp_path, authority, raw, env) == PARIS_4
    authority_path = tmp_path / "authority.pem"
    write_public(authority_path, authority.certificate.public_bytes(serialization.Encoding.PEM))
    node_server_context(tmp_path / "node.pem", tmp_path / "paris-4.key", authority_path)
    env.hours = 100  # the same key again, whenever: the answer was lost
    assert certified(tmp_path, authority, raw, env) == PARIS_4
    with pytest.raises(EnrolmentRefused, match="used for another key"):
        approve(tmp_path, authority, read_request(asked(tmp_path, token)), env)
    for path in tmp_path.rglob("*.json"):
        assert token not in path.read_text()


def test_who_was_not_invited_is_refused(
    tmp_path: Path, authority: Authority, env: ClockEnv
) -> None:
    token = invite(tmp_path, PARIS_4, env)
    for raw, said in (
        (asked(tmp_path, token[:-1] + "7"), "another one"),
        (asked(tmp_path, ""), "another one"),
        (asked(tmp_path, token, "lyon-9"), "nobody has invited"),
    ):
        with pytest.raises(EnrolmentRefused, match=said):
            approve(tmp_path, authority, read_request(raw), env)
    moved = json.loads(asked(tmp_path, token, "lyon-9")) | {"node": "paris-4"}
    with pytest.raises(EnrolmentRefused, match="another one"):
        approve(tmp_path, authority, read_request(json.dumps(moved).encode()), env)
    raw = asked(tmp_path, token)
    env.hours = 48
    with pytest.raises(EnrolmentRefused, match="has ended"):
        approve(tmp_path, authority, read_request(raw), env)
    invite(tmp_path, PARIS_4, env)
    with pytest.raises(EnrolmentRefused, match="another one"):  # that of the first invitation
        approve(tmp_path, authority, read_request(raw), env)
    assert [entry["what"] for entry in read_register(tmp_path)] == ["invited", "invited"]


def test_an_invitation_is_one_and_can_be_withdrawn(
    tmp_path: Path, authority: Authority, env: ClockEnv
) -> None:
    token = invite(tmp_path, PARIS_4, env)
    with pytest.raises(InvitationExists):
        invite(tmp_path, PARIS_4, env)
    assert take_back(tmp_path, "paris-4", env) and not take_back(tmp_path, "paris-4", env)
    with pytest.raises(EnrolmentRefused, match="nobody has invited"):
        approve(tmp_path, authority, read_request(asked(tmp_path, token)), env)
    for country in ("FR", "fr/site/x", ""):
        wrong = NodeIdentity(node=PARIS_4.node, datacenter=PARIS_4.datacenter, country=country)
        with pytest.raises(CertificateUnusable):
            invite(tmp_path, wrong, env)


def request_of(key: CertificateIssuerPrivateKeyTypes, token: str, *, flip: bool = False) -> bytes:
    """A request as somebody else's program could make it, with a MAC that holds."""
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    raw = bytearray(csr.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    if flip:
        raw[-1] ^= 1
    token_key = sha256(b"hexagone/v1/enrolment-token\0" + token.encode()).digest()
    mac = hmac.digest(token_key, b"paris-4\0" + raw, "sha256")
    document = {
        "form": enrolment.FORM,
        "node": "paris-4",
        "request": raw.hex(),
        "mac": mac.hex(),
    }
    return json.dumps(document).encode()


def test_a_key_that_nobody_shows_to_have_is_refused(
    tmp_path: Path, authority: Authority, env: ClockEnv
) -> None:
    token = invite(tmp_path, PARIS_4, env)
    curve = ec.generate_private_key(ec.SECP256R1())
    for raw in (
        request_of(curve, token, flip=True),
        request_of(ec.generate_private_key(ec.SECP384R1()), token),
        request_of(rsa.generate_private_key(65537, 2048), token),
        b"",
        b"{}",
        b"[" * 9000,
        b"x" * 20_000,
        json.dumps({"form": enrolment.FORM, "node": "../x", "request": "", "mac": ""}).encode(),
    ):
        with pytest.raises(EnrolmentRefused):
            read_request(raw)
    assert certified(tmp_path, authority, request_of(curve, token), env) == PARIS_4


def test_a_register_that_was_changed_is_seen(
    tmp_path: Path, authority: Authority, env: ClockEnv
) -> None:
    token = invite(tmp_path, PARIS_4, env)
    approve(tmp_path, authority, read_request(asked(tmp_path, token)), env)
    take_back(tmp_path, "paris-4", env)  # too late: it was used
    path = tmp_path / enrolment.REGISTER_FILE
    whole = path.read_bytes()
    assert [entry["what"] for entry in read_register(tmp_path)] == ["invited", "approved"]
    first, second = whole.splitlines(keepends=True)
    for other in (second, second + first, first + first, whole[:-1], b"x\n" + whole):
        path.write_bytes(other)
        with pytest.raises(RegisterBroken):
            read_register(tmp_path)
    path.write_bytes(first.replace(b"paris", b"lille") + second)
    with pytest.raises(RegisterBroken):
        read_register(tmp_path)
    path.write_bytes(whole)
    head = register_head(tmp_path)
    path.write_bytes(first)  # cut off: only who has written the head down sees it
    assert read_register(tmp_path) and register_head(tmp_path) != head


def _run(*words: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=typed)


def test_the_commands_go_through_it(tmp_path: Path) -> None:
    ca, node, out = tmp_path / "ca", tmp_path / "node", tmp_path / "out"
    _run("ca", "init", "--dir", ca)
    who = ("--dir", ca, "--id", "paris-4")
    invitation = _run("ca", "invite", *who, "--datacenter", "paris", "--json")
    token_file = tmp_path / "token"
    token_file.write_text(json.loads(invitation.stdout)["token"] + "\n")
    made = _run("ca", "request", "--id", "paris-4", "--token", token_file, "--out", node)
    assert made.exit_code == 0 and "key sha256" in made.stdout
    words = ("ca", "approve", "--dir", ca, "--out", out, node / "paris-4.request")
    assert _run(*words, typed="paris-5\n").exit_code == 1 and not out.exists()
    assert _run(*words, typed="paris-4\n").exit_code == 0
    assert read_node_identity(out / "paris-4.pem").country == "fr"
    node_server_context(out / "paris-4.pem", node / "paris-4.key", out / "authority.pem")
    assert _run("ca", "withdraw", *who).exit_code == 1
    shown = _run("ca", "register", "--dir", ca)
    assert shown.exit_code == 0 and "approved   paris-4 paris fr" in shown.stdout
    (ca / enrolment.REGISTER_FILE).write_text("{}\n")
    assert _run("ca", "register", "--dir", ca).exit_code == 1
