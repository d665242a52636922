"""What an administrator's certificate says: account, person, roles, when it was made.

    subject   CN = the person, one OU for each role
    SAN       exactly one URI, spiffe://<domain>/administrator/<account>

Not for verifying its chain: TLS has done that against the admin CA alone, before a byte of HTTP.
A role counts only if the account has it too, so neither who holds the CA nor who runs the
gateway's machine makes an administrator by himself.

Requirements: A-01, A-02.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.model.administrators import GIVEN_ROLES, Role
from storaged.base.errors import Kind, StorageError

CLOCK_SKEW = timedelta(hours=1)  # a certificate is valid so long before it is made
TEXT_CHARACTERS_MAX = 256

_URI = re.compile(r"spiffe://([a-z0-9.-]{1,100})/administrator/([a-z0-9][a-z0-9.-]{0,63})\Z")


class CertificateNotTaken(StorageError):
    """The client certificate is no administrator's who may come in."""

    kind = Kind.DENIED
    hint = "`hexagone admin list` on the gateway's machine shows the accounts"

    def __init__(self, *, reason: str, shown_name: str) -> None:
        self.shown_name = shown_name
        super().__init__(reason=reason, account=shown_name or "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a certificate says; `fingerprint` is the SHA-256 of all of it."""

    name: str
    person: str
    roles: frozenset[Role]
    issued_at_ms: int
    serial: int
    fingerprint: str


def administrator_uri(domain: str, name: str) -> str:
    """The URI name of an account."""
    return f"spiffe://{domain}/administrator/{name}"


def read_shown(der: bytes | None) -> Shown:
    """What a verified certificate says. Raises: CertificateNotTaken."""
    if not der:
        raise CertificateNotTaken(reason="no certificate", shown_name="")
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CertificateNotTaken(reason="no name of an account in it", shown_name="") from error
    match = _URI.match(uris[0]) if len(uris) == 1 else None
    if match is None:
        raise CertificateNotTaken(reason="not an administrator's certificate", shown_name="")
    people = _texts(certificate, NameOID.COMMON_NAME)
    if len(people) != 1:
        raise CertificateNotTaken(reason="it names not one person", shown_name=match[2])
    named = _texts(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)
    issued = certificate.not_valid_before_utc + CLOCK_SKEW
    return Shown(
        name=match[2],
        person=people[0],
        roles=frozenset(Role(role) for role in named if role in GIVEN_ROLES),
        issued_at_ms=int(issued.timestamp() * 1000),
        serial=certificate.serial_number,
        fingerprint=sha256(der).hexdigest(),
    )


def _texts(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    found = certificate.subject.get_attributes_for_oid(oid)
    return [str(one.value)[:TEXT_CHARACTERS_MAX] for one in found]
