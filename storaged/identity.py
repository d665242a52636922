"""Who is who inside the cluster: the internal CA and the certificates it issues.

A node's certificate carries exactly one URI name,
`spiffe://<domain>/operator/<operator>/country/<cc>/site/<datacenter>/node/<id>`, without operator
where none is named; a gateway's `spiffe://<domain>/gateway/<id>`. Nothing else says who a peer is.

Not for S3 credentials or encryption keys. Private keys are written with mode 0600 and never logged.

Source: RFC 5280; the SPIFFE-ID and X509-SVID documents (form of the URI, one URI per certificate).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from storaged.base.certificates import key_pem, key_usage
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import InvalidId, datacenter_id, node_id, operator_id
from storaged.node import NodeIdentity

AUTHORITY_DAYS = 3653
CERTIFICATE_DAYS = 7  # of nodes and gateways, renewed by themselves (`storaged.renewal`)
CLOCK_SKEW = timedelta(hours=1)  # made here, valid also on a machine whose clock is behind
NAME_BYTES_MAX = 512

CA_CERTIFICATE_FILE = "ca.crt"
CA_KEY_FILE = "ca.key"

_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,98}[a-z0-9])?\Z")
_NODE_URI = re.compile(
    r"spiffe://([^/]+)(?:/operator/([^/]+))?/country/([a-z]{2})/site/([^/]+)/node/([^/]+)\Z"
)
_GATEWAY_URI = re.compile(r"spiffe://([^/]+)/gateway/([^/]+)\Z")


class CertificateRefused(StorageError):
    """The peer's certificate does not name whom we expect."""

    kind = Kind.DENIED


class CertificateUnusable(StorageError):
    """A certificate or key file cannot be used."""

    kind = Kind.INVALID


class NoAuthority(CertificateUnusable):
    """There is no CA in this folder."""

    hint = "`hexagone ca init --dir DIR` makes one; a cluster has one CA, in one folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayIdentity:
    """Who a gateway is, by its certificate."""

    gateway: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The internal CA of one cluster."""

    domain: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate and its private key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


def node_uri(domain: str, identity: NodeIdentity) -> str:
    """The URI name of a node."""
    operator = f"/operator/{identity.operator}" if identity.operator else ""
    return (
        f"spiffe://{domain}{operator}/country/{identity.country}"
        f"/site/{identity.datacenter}/node/{identity.node}"
    )


def gateway_uri(domain: str, gateway: str) -> str:
    """The URI name of a gateway."""
    return f"spiffe://{domain}/gateway/{node_id(gateway)}"


def create_authority(domain: str, env: Env) -> Authority:
    """A CA for one cluster: P-256 (every S3 client can verify it), valid ten years.

    Raises:
        CertificateUnusable: the domain is not a lower-case DNS name of at most 100 characters.
    """
    if not _DOMAIN.match(domain):
        raise CertificateUnusable(reason="domain", domain=domain[:100])
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject(f"Hexagone CA {domain}"[:64])
    builder = _builder(name, name, key.public_key(), env, AUTHORITY_DAYS)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{domain}")]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return Authority(domain=domain, certificate=certificate, key=key)


def issue_node(
    authority: Authority, identity: NodeIdentity, env: Env, *, days: int = CERTIFICATE_DAYS
) -> Issued:
    """A certificate that makes its holder this node. It serves; it cannot be a client."""
    checked = checked_node(identity)
    uri = x509.UniformResourceIdentifier(node_uri(authority.domain, checked))
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    return issue(authority, [uri], usage, f"node {checked.node}", env, days)


def checked_node(identity: NodeIdentity) -> NodeIdentity:
    """The identity, if a certificate can name it. Raises InvalidId, CertificateUnusable."""
    return NodeIdentity(
        node=node_id(identity.node),
        datacenter=datacenter_id(identity.datacenter),
        country=_country(identity.country),
        operator=operator_id(identity.operator),
    )


def certify_node(
    authority: Authority,
    identity: NodeIdentity,
    key: ec.EllipticCurvePublicKey,
    env: Env,
    *,
    days: int = CERTIFICATE_DAYS,
) -> x509.Certificate:
    """A certificate that makes the holder of a key this node; the private key stays where it is."""
    checked = checked_node(identity)
    uri = x509.UniformResourceIdentifier(node_uri(authority.domain, checked))
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    return certificate_for(authority, [uri], usage, f"node {checked.node}", key, env, days)


def issue_gateway(
    authority: Authority, gateway: str, env: Env, *, days: int = CERTIFICATE_DAYS
) -> Issued:
    """A certificate that makes its holder this gateway. It is a client; it cannot serve."""
    uri = x509.UniformResourceIdentifier(gateway_uri(authority.domain, gateway))
    usage = ExtendedKeyUsageOID.CLIENT_AUTH
    return issue(authority, [uri], usage, f"gateway {gateway}", env, days)


def write_authority(authority: Authority, directory: Path) -> None:
    """Write ca.crt and ca.key into `directory` (made with mode 0700 when it is missing)."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(directory / CA_KEY_FILE, key_pem(authority.key))
    write_public(
        directory / CA_CERTIFICATE_FILE,
        authority.certificate.public_bytes(serialization.Encoding.PEM),
    )


def read_authority(directory: Path) -> Authority:
    """The CA that `write_authority` wrote. Raises NoAuthority, CertificateUnusable."""
    try:
        certificate = x509.load_pem_x509_certificate((directory / CA_CERTIFICATE_FILE).read_bytes())
        key = serialization.load_pem_private_key((directory / CA_KEY_FILE).read_bytes(), None)
    except FileNotFoundError as error:
        raise NoAuthority(missing=error.filename) from error
    except (OSError, ValueError) as error:
        raise CertificateUnusable(directory=directory, reason=type(error).__name__) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateUnusable(directory=directory, reason="key type")
    if key.public_key() != certificate.public_key():
        raise CertificateUnusable(directory=directory, reason="key is of another certificate")
    return Authority(domain=certificate_domain(certificate), certificate=certificate, key=key)


def write_issued(issued: Issued, certificate_path: Path, key_path: Path) -> None:
    """Write a certificate (0644) and its key (0600); an existing pair is replaced, key first."""
    write_private(key_path, issued.key_pem)
    write_public(certificate_path, issued.certificate_pem)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one of mode 0600, durably; it is never readable by others in between."""
    replace_file(path, content, mode=0o600)


def write_public(path: Path, content: bytes) -> None:
    """Replace a file by one of mode 0644, durably."""
    replace_file(path, content, mode=0o644)


def certificate_domain(certificate: x509.Certificate) -> str:
    """The cluster's domain: the host of the certificate's one URI. Raises CertificateRefused."""
    return _one_uri(certificate).removeprefix("spiffe://").split("/", 1)[0]


def read_domain(certificate_path: Path) -> str:
    """The cluster's domain, of any certificate of the internal CA. Raises CertificateUnusable."""
    return certificate_domain(_read_certificate(certificate_path))


def read_node_identity(certificate_path: Path) -> NodeIdentity:
    """Who this node is. Raises CertificateUnusable, CertificateRefused."""
    certificate = _read_certificate(certificate_path)
    return _node_of(_one_uri(certificate), certificate_domain(certificate))


def read_gateway_identity(certificate_path: Path) -> GatewayIdentity:
    """Who this gateway is. Raises CertificateUnusable, CertificateRefused."""
    certificate = _read_certificate(certificate_path)
    return _gateway_of(_one_uri(certificate), certificate_domain(certificate))


def check_node_peer(der: bytes | None, *, domain: str, expected: NodeIdentity) -> None:
    """Hold a peer's certificate (DER, its chain already verified) against the expected node.

    One that names an operator where none is expected will do: certificates are renewed first.

    Raises: CertificateRefused: none, not exactly one URI, another domain, node, site, country or
        operator.
    """
    identity = _node_of(_one_uri(_parse(der)), domain)
    wanted = expected if expected.operator else replace(expected, operator=identity.operator)
    if identity != wanted:
        raise CertificateRefused(named=node_uri(domain, identity))


def check_gateway_peer(der: bytes | None, *, domain: str) -> GatewayIdentity:
    """The gateway that a peer's certificate (DER, its chain already verified) names.

    Raises:
        CertificateRefused: no certificate, not exactly one URI, another domain, not a gateway.
    """
    return _gateway_of(_one_uri(_parse(der)), domain)


def _parse(der: bytes | None) -> x509.Certificate:
    if not der:
        raise CertificateRefused(reason="no certificate")
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise CertificateRefused(reason="malformed") from error


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateUnusable(path=path, reason=type(error).__name__) from error


def _one_uri(certificate: x509.Certificate) -> str:
    """The only URI name of a certificate.

    Raises CertificateRefused when there is none or another.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise CertificateRefused(reason="no alternative names") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise CertificateRefused(reason="not exactly one URI", uris=len(uris))
    if len(uris[0]) > NAME_BYTES_MAX:
        raise CertificateRefused(reason="URI too long")
    return uris[0]


def _node_of(uri: str, domain: str) -> NodeIdentity:
    match = _NODE_URI.match(uri)
    if match is None or match[1] != domain:
        raise CertificateRefused(reason="not a node of this cluster", uri=uri[:100])
    try:
        return NodeIdentity(
            node=node_id(match[5]),
            datacenter=datacenter_id(match[4]),
            country=match[3],
            operator=operator_id(match[2]) if match[2] is not None else "",
        )
    except InvalidId as error:
        raise CertificateRefused(reason="not a node of this cluster", uri=uri[:100]) from error


def _gateway_of(uri: str, domain: str) -> GatewayIdentity:
    match = _GATEWAY_URI.match(uri)
    if match is None or match[1] != domain:
        raise CertificateRefused(reason="not a gateway of this cluster", uri=uri[:100])
    try:
        return GatewayIdentity(gateway=node_id(match[2]))
    except InvalidId as error:
        raise CertificateRefused(reason="not a gateway of this cluster", uri=uri[:100]) from error


def _country(text: str) -> str:
    if not re.match(r"[a-z]{2}\Z", text):
        raise CertificateUnusable(reason="country is not two lower-case letters", country=text[:16])
    return text


def issue(
    authority: Authority,
    names: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    common_name: str,
    env: Env,
    days: int,
) -> Issued:
    """A key and a certificate of exactly these names for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = certificate_for(authority, names, usage, common_name, key.public_key(), env, days)
    return Issued(
        certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
        key_pem=key_pem(key),
    )


def certificate_for(
    authority: Authority,
    names: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    common_name: str,
    key: ec.EllipticCurvePublicKey,
    env: Env,
    days: int,
) -> x509.Certificate:
    """A certificate of exactly these names for a key."""
    builder = _builder(_subject(common_name[:64]), authority.certificate.subject, key, env, days)
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    env: Env,
    days: int,
) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(env.now_ms() // 1000, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(int.from_bytes(env.random_bytes(19), "big") + 1)
        .not_valid_before(start - CLOCK_SKEW)
        .not_valid_after(start + timedelta(days=days))
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
