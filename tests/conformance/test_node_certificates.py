"""Who may talk to whom: every certificate but the right one is refused, on both sides. S-01: a node
whose certificate names another country or datacenter than the configuration is given nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from storaged.base.env import RealEnv
from storaged.endpoint_certificate import issue_server
from storaged.identity import (
    Authority,
    Issued,
    issue_gateway,
    issue_node,
    node_uri,
    write_issued,
)
from storaged.memory import MemoryNode
from storaged.node import NodeUnavailable
from storaged.server import NodeServer
from tests.support.node_link import (
    DOMAIN,
    LYON_1,
    PARIS_1,
    Certificates,
    make_certificates,
    remote,
    shard,
)

pytestmark = pytest.mark.proves("S-01", "NOD-04", "C13")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def _forge(authority: Authority, names: list[str], usage: x509.ObjectIdentifier) -> Issued:
    """A certificate of the CA with any URIs, as a careless operator of the CA could make one."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.now(UTC) - timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(77)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name) for name in names]),
            critical=True,
        )
    )
    return Issued(
        certificate_pem=builder.sign(authority.key, hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM
        ),
        key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _store(certificates: Certificates, issued: Issued, name: str) -> str:
    write_issued(issued, certificates.folder / f"{name}.crt", certificates.folder / f"{name}.key")
    return name


async def _refused(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> str:
    """Both sides start; the call must fail. Returns the reason that the client gives."""
    node = MemoryNode(PARIS_1)
    server = NodeServer(node, ssl_context=server_context, domain=DOMAIN, env=RealEnv())
    client = remote(await server.start("127.0.0.1", 0), client_context)
    try:
        with pytest.raises(NodeUnavailable) as caught:
            await client.put(shard(1), b"a", b"b", fence=None, retain_until_ms=0)
        assert (await node.status()).shard_count == 0
        return str(caught.value)
    finally:
        await client.close()
        await server.close()


def test_a_gateway_knows_the_certificate_that_a_node_has_shown(certificates: Certificates) -> None:
    async def main() -> None:
        server = NodeServer(
            MemoryNode(PARIS_1), ssl_context=certificates.server(), domain=DOMAIN, env=RealEnv()
        )
        client = remote(await server.start("127.0.0.1", 0), certificates.client())
        try:
            assert client.certificate_sha256 is None
            await client.status()
            pem = (certificates.folder / "node.crt").read_bytes()
            der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
            assert client.certificate_sha256 == sha256(der).hexdigest()
        finally:
            await client.close()
            await server.close()

    asyncio.run(main())


def _node_certificate(kind: str, certificates: Certificates) -> Issued:
    env, authority = RealEnv(), certificates.authority
    uri = node_uri(DOMAIN, PARIS_1)
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    match kind:
        case "another node":
            return issue_node(authority, LYON_1, env)
        case "another country":
            return issue_node(authority, replace(PARIS_1, country="us"), env)
        case "another datacenter":
            return issue_node(authority, replace(PARIS_1, datacenter=LYON_1.datacenter), env)
        case "two URIs":
            return _forge(authority, [uri, node_uri(DOMAIN, LYON_1)], usage)
        case "another domain":
            return _forge(authority, [node_uri("other.test", PARIS_1)], usage)
        case "a longer path":
            return _forge(authority, [uri + "/x"], usage)
        case "no URI":
            return issue_server(authority, ["localhost", "127.0.0.1"], env)
        case _:
            return issue_gateway(authority, "g1", env)


@pytest.mark.parametrize(
    "kind",
    [
        "another node",
        "another country",
        "another datacenter",
        "two URIs",
        "another domain",
        "a longer path",
        "no URI",
        "a gateway",
    ],
)
def test_a_gateway_refuses_a_node_with(kind: str, certificates: Certificates) -> None:
    name = _store(certificates, _node_certificate(kind, certificates), "wrong-node")
    reason = asyncio.run(_refused(certificates.server(name), certificates.client()))
    assert "NodeUnavailable" not in reason


@pytest.mark.parametrize("kind", ["a node", "two URIs", "another domain"])
def test_a_node_refuses_a_gateway_with(kind: str, certificates: Certificates) -> None:
    usage = ExtendedKeyUsageOID.CLIENT_AUTH
    issued = {
        "a node": lambda: _forge(certificates.authority, [node_uri(DOMAIN, LYON_1)], usage),
        "two URIs": lambda: _forge(
            certificates.authority,
            [f"spiffe://{DOMAIN}/gateway/g1", f"spiffe://{DOMAIN}/gateway/g2"],
            usage,
        ),
        "another domain": lambda: _forge(
            certificates.authority, ["spiffe://other.test/gateway/g1"], usage
        ),
    }[kind]()
    name = _store(certificates, issued, "wrong-gateway")
    asyncio.run(_refused(certificates.server(), certificates.client(name)))


@pytest.mark.proves("A-08")
def test_a_nodes_own_certificate_is_no_ticket_to_other_nodes(certificates: Certificates) -> None:
    asyncio.run(_refused(certificates.server(), certificates.client("node")))


def test_another_ca_is_refused_on_both_sides(certificates: Certificates, tmp_path: Path) -> None:
    other = make_certificates(tmp_path)
    assert "CERTIFICATE_VERIFY_FAILED" in asyncio.run(
        _refused(other.server(), certificates.client())
    )
    context = other.client()
    context.load_verify_locations(cafile=certificates.folder / "ca.crt")
    asyncio.run(_refused(certificates.server(), context))


def test_no_client_certificate_is_refused(certificates: Certificates) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cafile=certificates.folder / "ca.crt")
    asyncio.run(_refused(certificates.server(), context))


@pytest.mark.proves("K-15")
def test_tls_1_2_is_refused(certificates: Certificates) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cafile=certificates.folder / "ca.crt")
    context.load_cert_chain(
        certificates.folder / "gateway.crt", certificates.folder / "gateway.key"
    )
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    asyncio.run(_refused(certificates.server(), context))
