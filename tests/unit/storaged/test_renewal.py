"""Certificates renew themselves: the same identity, another key, once; none that has ended."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from storaged.base.env import RealEnv
from storaged.base.ids import datacenter_id, node_id
from storaged.enrolment import read_register
from storaged.identity import (
    Authority,
    create_authority,
    issue_gateway,
    issue_node,
    read_node_identity,
    write_authority,
    write_issued,
    write_public,
)
from storaged.node import NodeIdentity
from storaged.renewal import (
    CURRENT,
    CURRENT_KEY,
    NEXT_KEY,
    Pair,
    RenewalConfig,
    RenewalRefused,
    Renewer,
    days_left,
    make_renewal,
    pair_in_use,
)
from storaged.renewal_ca import renew, renew_spool, retire

DAY_MS = 86_400_000
PARIS = NodeIdentity(
    node=node_id("paris-1"), datacenter=datacenter_id("paris"), country="fr", operator="alpha"
)


class Clock(RealEnv):
    """The machine's, some days ahead."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@dataclass
class Rig:
    folder: Path
    env: Clock = field(default_factory=lambda: Clock(threads_max=1))

    def __post_init__(self) -> None:
        self.ca = self.folder / "ca"
        self.authority: Authority = create_authority("tests.internal", self.env)
        write_authority(self.authority, self.ca)
        self.tls = self.folder / "tls"
        self.tls.mkdir()
        self.pem = self.tls / "authority.pem"
        write_public(self.pem, self.authority.certificate.public_bytes(serialization.Encoding.PEM))
        self.given = Pair(certificate=self.tls / "n.pem", key=self.tls / "n.key")
        write_issued(
            issue_node(self.authority, PARIS, self.env), self.given.certificate, self.given.key
        )
        self.config = RenewalConfig(folder=self.folder / "own", spool=self.folder / "spool")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.renewer = self.again()

    def again(self) -> Renewer:
        """As after a restart."""
        return Renewer(self.given, self.pem, self.config, [self.context], self.env)

    def pass_days(self, days: float) -> None:
        self.env.ahead_ms += int(days * DAY_MS)

    def look(self) -> None:
        asyncio.run(self.renewer.step())

    def answered(self) -> list[object]:
        return [
            made for _, made in renew_spool(self.ca, self.authority, self.config.spool, self.env)
        ]

    @property
    def pair(self) -> Pair:
        return pair_in_use(self.given, self.config.folder)

    def left(self) -> float:
        return days_left(self.renewer.life()[1], self.env.now_ms())


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def key_of(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def certificate_of(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.proves("K-10", "C6", "C13")
def test_it_lives_for_a_week_and_is_renewed_for_months(rig: Rig) -> None:
    assert 6.9 < rig.left() <= 7
    rig.look()
    assert not rig.config.spool.exists()  # too early
    keys = {rig.given.key.read_bytes()}
    for round_count in range(1, 12):
        rig.pass_days(4)
        rig.look()
        (made,) = rig.answered()
        assert isinstance(made, x509.Certificate)
        rig.look()
        assert 6.9 < rig.left() <= 7
        # The identity is the same, the key is not, and it never left the machine.
        assert read_node_identity(rig.pair.certificate) == PARIS
        assert key_of(rig.pair.key).public_key() == made.public_key()
        keys.add(rig.pair.key.read_bytes())
        assert len(keys) == round_count + 1
        assert [path.name for path in rig.config.spool.iterdir()] == ["register.jsonl"]
        rig.renewer = rig.again()
    assert rig.pair.key.stat().st_mode & 0o777 == 0o600
    lines = read_register(rig.ca)
    assert [line["what"] for line in lines] == ["renewed"] * 11


@pytest.mark.proves("K-10", "CRY-16")
def test_a_crash_at_each_step_leaves_a_pair_that_fits(rig: Rig) -> None:
    rig.pass_days(4)
    rig.look()
    asked = next(rig.config.spool.glob("*.renewal")).read_bytes()
    rig.renewer = rig.again()
    rig.look()  # before the answer: the same key is asked for
    assert next(rig.config.spool.glob("*.renewal")).read_bytes() == asked
    assert rig.pair == rig.given
    (made,) = rig.answered()
    assert isinstance(made, x509.Certificate)
    # The certificate is there, its key still has the other name.
    write_public(rig.config.folder / CURRENT, made.public_bytes(serialization.Encoding.PEM))
    pair = rig.pair
    assert pair.certificate.name == CURRENT and pair.key.name == CURRENT_KEY
    rig.context.load_cert_chain(pair.certificate, pair.key)
    assert not (rig.config.folder / NEXT_KEY).exists()
    rig.look()
    assert rig.left() > 6.9


def test_a_pair_that_does_not_fit_is_not_used(rig: Rig) -> None:
    rig.pass_days(4)
    rig.look()
    rig.answered()
    rig.look()
    (rig.config.folder / CURRENT_KEY).write_bytes(rig.given.key.read_bytes())
    assert rig.pair == rig.given
    (rig.config.folder / CURRENT).write_bytes(b"rot")
    assert rig.pair == rig.given


def test_what_an_operator_installs_by_hand_wins(rig: Rig) -> None:
    rig.pass_days(4)
    rig.look()
    rig.answered()
    rig.look()
    assert rig.pair != rig.given
    moved = NodeIdentity(
        node=node_id("paris-1"), datacenter=datacenter_id("lyon"), country="fr", operator="alpha"
    )
    write_issued(
        issue_node(rig.authority, moved, rig.env, days=1), rig.given.certificate, rig.given.key
    )
    assert rig.pair == rig.given
    rig.pass_days(0.6)
    rig.look()
    (made,) = rig.answered()
    assert isinstance(made, x509.Certificate)


def asking(rig: Rig) -> bytes:
    rig.pass_days(4)
    rig.look()
    return next(rig.config.spool.glob("*.renewal")).read_bytes()


@pytest.mark.proves("C13", "K-10")
def test_what_has_ended_or_was_retired_is_not_renewed(rig: Rig) -> None:
    raw = asking(rig)
    name = next(rig.config.spool.glob("*.renewal")).name.removesuffix(".renewal")
    retire(rig.ca, name, rig.env)
    with pytest.raises(RenewalRefused, match="retired"):
        renew(rig.ca, rig.authority, raw, rig.env)
    (rig.ca / "retired" / name).unlink()
    rig.pass_days(4)
    with pytest.raises(RenewalRefused, match="ended"):
        renew(rig.ca, rig.authority, raw, rig.env)
    ((_, refused),) = renew_spool(rig.ca, rig.authority, rig.config.spool, rig.env)
    assert isinstance(refused, RenewalRefused)


@pytest.mark.proves("C13")
def test_a_copy_of_a_certificate_is_renewed_for_one_key_only(rig: Rig) -> None:
    raw = asking(rig)
    _, first = renew(rig.ca, rig.authority, raw, rig.env)
    _, again = renew(rig.ca, rig.authority, raw, rig.env)  # the answer was lost
    assert first.public_key() == again.public_key()
    held, key = certificate_of(rig.given.certificate), key_of(rig.given.key)
    thief = make_renewal(held, key, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(RenewalRefused, match="another key"):
        renew(rig.ca, rig.authority, thief, rig.env)
    rig.answered()
    rig.look()
    rig.pass_days(3.6)
    rig.look()
    raw = next(rig.config.spool.glob("*.renewal")).read_bytes()
    renew(rig.ca, rig.authority, raw, rig.env)
    stale = make_renewal(certificate_of(rig.pair.certificate), key_of(rig.pair.key), key)
    with pytest.raises(RenewalRefused, match="another key"):
        renew(rig.ca, rig.authority, stale, rig.env)


@pytest.mark.proves("C13")
def test_a_request_proves_both_keys_and_names_nobody_else(rig: Rig) -> None:
    raw = asking(rig)
    document = json.loads(raw)
    other = issue_node(
        rig.authority,
        NodeIdentity(node=node_id("lyon-1"), datacenter=datacenter_id("lyon"), country="fr"),
        rig.env,
    )
    theirs = x509.load_pem_x509_certificate(other.certificate_pem)
    der = theirs.public_bytes(serialization.Encoding.DER).hex()
    held, key = certificate_of(rig.given.certificate), key_of(rig.given.key)
    stranger = create_authority("tests.internal", rig.env)
    foreign = issue_node(stranger, PARIS, rig.env)
    foreign_key = serialization.load_pem_private_key(foreign.key_pem, None)
    assert isinstance(foreign_key, ec.EllipticCurvePrivateKey)
    next_key = ec.generate_private_key(ec.SECP256R1())
    for bad in (
        json.dumps({**document, "certificate": der}).encode(),
        json.dumps({**document, "signature": document["signature"][:-2] + "00"}).encode(),
        json.dumps({**document, "form": "other"}).encode(),
        make_renewal(held, key, key),
        make_renewal(held, ec.generate_private_key(ec.SECP256R1()), next_key),
        make_renewal(
            x509.load_pem_x509_certificate(foreign.certificate_pem), foreign_key, next_key
        ),
        b"",
        b"[]",
        b"x" * 40_000,
    ):
        with pytest.raises(RenewalRefused):
            renew(rig.ca, rig.authority, bad, rig.env)
    renew(rig.ca, rig.authority, raw, rig.env)


def test_a_wrong_answer_is_not_used(rig: Rig) -> None:
    asking(rig)
    name = next(rig.config.spool.glob("*.renewal")).name.removesuffix(".renewal")
    answer = rig.config.spool / f"{name}.renewed"
    stranger = create_authority("tests.internal", rig.env)
    for made in (
        issue_node(stranger, PARIS, rig.env),
        issue_node(rig.authority, PARIS, rig.env),  # for another key
        issue_gateway(rig.authority, "paris-1", rig.env),
    ):
        answer.write_bytes(made.certificate_pem)
        with pytest.raises(RenewalRefused):
            rig.look()
        assert rig.pair == rig.given
    answer.unlink()
    rig.answered()
    rig.look()
    assert rig.pair != rig.given


@pytest.mark.proves("C13")
def test_a_gateways_certificate_is_renewed_as_well(rig: Rig) -> None:
    issued = issue_gateway(rig.authority, "gateway-1", rig.env)
    write_issued(issued, rig.given.certificate, rig.given.key)
    rig.pass_days(4)
    rig.look()
    (made,) = rig.answered()
    assert isinstance(made, x509.Certificate)
    rig.look()
    assert rig.left() > 6.9
