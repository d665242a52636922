"""Certificates: exactly one name, checked against who is expected; keys only for their owner."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from storaged.base.ids import DatacenterId, NodeId, datacenter_id, node_id
from storaged.endpoint_certificate import issue_server
from storaged.identity import (
    CA_CERTIFICATE_FILE,
    CA_KEY_FILE,
    Authority,
    CertificateRefused,
    CertificateUnusable,
    NoAuthority,
    check_gateway_peer,
    check_node_peer,
    create_authority,
    issue_gateway,
    issue_node,
    read_authority,
    read_domain,
    read_gateway_identity,
    read_node_identity,
    write_authority,
    write_issued,
)
from storaged.node import NodeIdentity
from storaged.tls import node_client_context, node_server_context, s3_server_context

DOMAIN = "cluster.test"
ENV = RealEnv()
P1 = NodeIdentity(node=node_id("p1"), datacenter=datacenter_id("paris"), country="fr")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_authority(DOMAIN, ENV)


def _der(pem: bytes) -> bytes:
    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.public_bytes(serialization.Encoding.DER)


def test_a_node_certificate_names_one_node_and_serves_only(authority: Authority) -> None:
    certificate = x509.load_pem_x509_certificate(issue_node(authority, P1, ENV).certificate_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["spiffe://cluster.test/country/fr/site/paris/node/p1"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    certificate.verify_directly_issued_by(authority.certificate)


@pytest.mark.parametrize(
    "other",
    [
        NodeIdentity(node=NodeId("p2"), datacenter=P1.datacenter, country="fr"),
        NodeIdentity(node=P1.node, datacenter=DatacenterId("lyon"), country="fr"),
        NodeIdentity(node=P1.node, datacenter=P1.datacenter, country="de"),
    ],
)
def test_a_peer_must_be_the_expected_node(authority: Authority, other: NodeIdentity) -> None:
    der = _der(issue_node(authority, P1, ENV).certificate_pem)
    check_node_peer(der, domain=DOMAIN, expected=P1)
    for domain, expected in ((DOMAIN, other), ("other.test", P1)):
        with pytest.raises(CertificateRefused):
            check_node_peer(der, domain=domain, expected=expected)
    with pytest.raises(CertificateRefused):
        check_gateway_peer(der, domain=DOMAIN)


def test_a_gateway_is_a_gateway_of_this_domain_only(authority: Authority) -> None:
    der = _der(issue_gateway(authority, "g1", ENV).certificate_pem)
    assert check_gateway_peer(der, domain=DOMAIN).gateway == "g1"
    with pytest.raises(CertificateRefused):
        check_gateway_peer(der, domain="cluster.tes")
    with pytest.raises(CertificateRefused):
        check_node_peer(der, domain=DOMAIN, expected=P1)


@pytest.mark.parametrize("der", [None, b"", b"\x30\x03abc"])
def test_no_certificate_is_no_peer(der: bytes | None) -> None:
    with pytest.raises(CertificateRefused):
        check_gateway_peer(der, domain=DOMAIN)


def test_names_that_could_forge_a_path_are_not_issued(authority: Authority) -> None:
    for identity in (
        NodeIdentity(node=NodeId("a/b"), datacenter=P1.datacenter, country="fr"),
        NodeIdentity(node=P1.node, datacenter=DatacenterId("x/node/y"), country="fr"),
        NodeIdentity(node=P1.node, datacenter=P1.datacenter, country="fr/site/x"),
        NodeIdentity(node=P1.node, datacenter=P1.datacenter, country="FR"),
    ):
        with pytest.raises(StorageError):
            issue_node(authority, identity, ENV)
    with pytest.raises(StorageError):
        issue_gateway(authority, "g1/../../country/fr", ENV)
    for domain in ("", "Upper.test", "a/b", "-x", "x" * 101):
        with pytest.raises(CertificateUnusable):
            create_authority(domain, ENV)


def test_files_come_back_and_keys_are_private(authority: Authority, tmp_path: Path) -> None:
    write_authority(authority, tmp_path / "ca")
    again = read_authority(tmp_path / "ca")
    assert (again.domain, again.certificate) == (DOMAIN, authority.certificate)
    write_issued(issue_node(again, P1, ENV), tmp_path / "n.crt", tmp_path / "n.key")
    write_issued(issue_node(again, P1, ENV), tmp_path / "n.crt", tmp_path / "n.key")
    write_issued(issue_gateway(again, "g1", ENV), tmp_path / "g.crt", tmp_path / "g.key")
    assert read_node_identity(tmp_path / "n.crt") == P1
    assert read_domain(tmp_path / "n.crt") == DOMAIN
    assert read_gateway_identity(tmp_path / "g.crt").gateway == "g1"
    for key in (tmp_path / "ca" / "ca.key", tmp_path / "n.key", tmp_path / "g.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ca",
        "g.crt",
        "g.key",
        "n.crt",
        "n.key",
    ]


def test_no_private_key_is_in_a_repr(authority: Authority) -> None:
    issued = issue_node(authority, P1, ENV)
    assert "PRIVATE" not in repr(issued) and "key=" not in repr(authority)


def test_a_foreign_key_is_noticed(authority: Authority, tmp_path: Path) -> None:
    write_authority(authority, tmp_path)
    (tmp_path / "ca.key").write_bytes(issue_gateway(authority, "g1", ENV).key_pem)
    with pytest.raises(CertificateUnusable):
        read_authority(tmp_path)
    with pytest.raises(CertificateUnusable):
        read_authority(tmp_path / "missing")


@pytest.mark.parametrize("missing", [CA_CERTIFICATE_FILE, CA_KEY_FILE])
def test_a_folder_without_a_ca_is_told_as_such(
    authority: Authority, tmp_path: Path, missing: str
) -> None:
    write_authority(authority, tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(NoAuthority) as told:
        read_authority(tmp_path)
    assert str(tmp_path / missing) in str(told.value) and "ca init" in told.value.hint


def test_contexts_have_the_versions_they_should(authority: Authority, tmp_path: Path) -> None:
    write_authority(authority, tmp_path)
    pair = (tmp_path / "n.crt", tmp_path / "n.key")
    write_issued(issue_server(authority, ["s3.test", "*.s3.test", "127.0.0.1", "::1"], ENV), *pair)
    for make in (node_server_context, node_client_context):
        context = make(*pair, tmp_path / "ca.crt")
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
        with pytest.raises(CertificateUnusable):
            make(*pair, tmp_path / "missing.crt")
    s3 = s3_server_context(*pair)
    assert s3.minimum_version is ssl.TLSVersion.TLSv1_2
    assert s3.maximum_version is not ssl.TLSVersion.TLSv1_2
    assert all("GCM" in c["name"] or "CHACHA" in c["name"] for c in s3.get_ciphers())
    with pytest.raises(CertificateUnusable):
        s3_server_context(tmp_path / "n.crt", tmp_path / "ca.key")
    with pytest.raises(CertificateUnusable):
        issue_server(authority, [], ENV)
