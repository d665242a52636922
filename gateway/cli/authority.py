"""The admin CA: a CA of its own for administrators and the admin listener, beside the nodes' and
the S3 endpoint's, so that no credential of one is any use for the others.

Not for what a certificate's names mean (`gateway.admin.certificates`), and no place to keep the
CA's key: that belongs on a machine that serves nobody.

Requirements: A-01, A-02, A-08.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.admin.certificates import CLOCK_SKEW, administrator_uri
from gateway.model.administrators import Role, check_roles, checked_account_name, checked_person
from storaged.base.certificates import key_pem, key_usage
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

ADMIN_DOMAIN = "admin.hexagone.internal"
AUTHORITY_DAYS = 3653
ADMINISTRATOR_DAYS = 90
ADMINISTRATOR_DAYS_MAX = 397
LISTENER_DAYS = 397
CA_CERTIFICATE_FILE = "admin-ca.crt"
CA_KEY_FILE = "admin-ca.key"

_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,98}[a-z0-9])?\Z")


class AdminAuthorityUnusable(StorageError):
    """The admin CA, or what it is to sign, cannot be used."""

    kind = Kind.INVALID
    hint = "`hexagone ca admin init` makes the CA, `hexagone ca admin request NAME` what it signs"


class AdminAuthorityExists(StorageError):
    """There is an admin CA in this folder."""

    kind = Kind.CONFLICT
    hint = "administrators and gateways trust it; take another folder for another cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAuthority:
    """The CA of the administrators of one cluster."""

    domain: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its private key, both PEM; no key where that stays elsewhere."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False, default=b"")


def create_admin_authority(domain: str, env: Env) -> AdminAuthority:
    """A CA, valid for ten years. Raises: AdminAuthorityUnusable."""
    if not _DOMAIN.match(domain):
        raise AdminAuthorityUnusable(reason="not a lower-case DNS name", domain=domain[:100])
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Hexagone admin CA {domain}"[:64])])
    uri = x509.UniformResourceIdentifier(f"spiffe://{domain}")
    certificate = (
        _builder(name, name, key.public_key(), env, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return AdminAuthority(domain=domain, certificate=certificate, key=key)


def write_admin_authority(authority: AdminAuthority, folder: Path) -> None:
    """Write the CA into a folder, its key with mode 0600. Raises: AdminAuthorityExists, OSError."""
    if (folder / CA_KEY_FILE).exists() or (folder / CA_CERTIFICATE_FILE).exists():
        raise AdminAuthorityExists(directory=folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(folder / CA_KEY_FILE, key_pem(authority.key), mode=0o600)
    replace_file(folder / CA_CERTIFICATE_FILE, authority.certificate_pem, mode=0o644)


def read_admin_authority(folder: Path) -> AdminAuthority:
    """The CA that was written there. Raises: AdminAuthorityUnusable."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / CA_CERTIFICATE_FILE).read_bytes())
        key = serialization.load_pem_private_key((folder / CA_KEY_FILE).read_bytes(), None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise AdminAuthorityUnusable(directory=folder, reason=type(error).__name__) from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    is_pair = isinstance(key, ec.EllipticCurvePrivateKey) and (
        key.public_key() == certificate.public_key()
    )
    if not is_pair or not isinstance(key, ec.EllipticCurvePrivateKey) or len(uris) != 1:
        raise AdminAuthorityUnusable(directory=folder, reason="key and certificate do not match")
    domain = uris[0].removeprefix("spiffe://")
    return AdminAuthority(domain=domain, certificate=certificate, key=key)


def issue_administrator(
    authority: AdminAuthority,
    name: str,
    person: str,
    roles: frozenset[Role],
    env: Env,
    *,
    days: int = ADMINISTRATOR_DAYS,
    request_pem: bytes = b"",
) -> Pair:
    """A certificate that makes its holder this administrator, for the roles at most.

    Args:
        request_pem: a signing request made where the private key stays; only its public key is
            taken. b"": a key is made here.

    Raises: AdministratorInvalid, RolesExcludeEachOther, AdminAuthorityUnusable.
    """
    check_roles(roles)
    if not 1 <= days <= ADMINISTRATOR_DAYS_MAX:
        raise AdminAuthorityUnusable(reason=f"days are 1 to {ADMINISTRATOR_DAYS_MAX}")
    account = checked_account_name(name)
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, checked_person(person))]
    subject += [
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role.value) for role in sorted(roles)
    ]
    uri = x509.UniformResourceIdentifier(administrator_uri(authority.domain, account))
    usage = ExtendedKeyUsageOID.CLIENT_AUTH
    if request_pem:
        public = _requested_key(request_pem)
        return Pair(certificate_pem=_certified(authority, subject, [uri], usage, public, env, days))
    key = ec.generate_private_key(ec.SECP256R1())
    pem = _certified(authority, subject, [uri], usage, key.public_key(), env, days)
    return Pair(certificate_pem=pem, key_pem=key_pem(key))


def issue_listener(authority: AdminAuthority, names: Sequence[str], env: Env) -> Pair:
    """A certificate for the admin listener: DNS names and IP addresses. It cannot be a client.

    Raises: AdminAuthorityUnusable.
    """
    if not names:
        raise AdminAuthorityUnusable(reason="no names")
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    pem = _certified(authority, subject, alternatives, usage, key.public_key(), env, LISTENER_DAYS)
    return Pair(certificate_pem=pem, key_pem=key_pem(key))


def signing_request(name: str) -> tuple[bytes, bytes]:
    """(request, private key), both PEM, for an account; made where the key is to stay.

    Raises: AdministratorInvalid.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, checked_account_name(name))])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM), key_pem(key)


def write_pair(pair: Pair, certificate: Path, key: Path) -> None:
    """Write a certificate (0644) and, where there is one, its key (0600), the key first."""
    certificate.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if pair.key_pem:
        replace_file(key, pair.key_pem, mode=0o600)
    replace_file(certificate, pair.certificate_pem, mode=0o644)


def _requested_key(request_pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(request_pem)
        is_signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, InvalidSignature) as error:
        raise AdminAuthorityUnusable(reason="not a signing request") from error
    if not is_signed or not isinstance(key, ec.EllipticCurvePublicKey):
        raise AdminAuthorityUnusable(reason="a request is signed by the elliptic key it is for")
    return key


def _certified(
    authority: AdminAuthority,
    subject: list[x509.NameAttribute[str]],
    names: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    key: ec.EllipticCurvePublicKey,
    env: Env,
    days: int,
) -> bytes:
    certificate = (
        _builder(x509.Name(subject), authority.certificate.subject, key, env, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, env: Env, days: int
) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(env.now_ms() // 1000, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(int.from_bytes(env.random_bytes(19), "big") + 1)
        .not_valid_before(start - CLOCK_SKEW)
        .not_valid_after(start + timedelta(days=days))
    )
