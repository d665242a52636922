"""The CA's side of renewal: a certificate of the same identity for the next key, once.

Not for who asks (`storaged.renewal`). What was renewed is in `renewed/`, who is renewed no more in
`retired/` of the CA's folder; each renewal is a line of its register before anything is signed.

Requirements: K-10, C6, C13.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.ids import DatacenterId, NodeId
from storaged.enrolment import register
from storaged.identity import (
    CERTIFICATE_DAYS,
    CLOCK_SKEW,
    Authority,
    certificate_for,
    write_public,
)
from storaged.node import NodeIdentity
from storaged.renewal import ANSWERS, ASKS, FORM, RenewalRefused, life_of, message_of, short_name

ISSUED, RETIRED = "renewed", "retired"
REQUEST_BYTES_MAX = 32 * 1024
SPOOL_FILES_MAX = 10_000
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


def renew(
    folder: Path, authority: Authority, raw: bytes, env: Env, *, days: int = CERTIFICATE_DAYS
) -> tuple[str, x509.Certificate]:
    """The identity's name, and a certificate of the same identity for the next key. The same
    request again: another certificate for the same key.

    Raises: RenewalRefused, OSError.
    """
    held, asked = _read_renewal(raw)
    key = asked.public_key()
    now = datetime.fromtimestamp(env.now_ms() / 1000, UTC)
    try:
        held.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise RenewalRefused(reason="the certificate is not of this CA") from error
    if not held.not_valid_before_utc <= now < held.not_valid_after_utc:
        raise RenewalRefused(reason="the certificate has ended", ended=held.not_valid_after_utc)
    name = short_name(held)
    if (folder / RETIRED / name).exists():
        raise RenewalRefused(reason="it was retired", name=name)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    _check_latest(folder, name, held, key)
    names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = next(iter(held.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value))
    subject = str(held.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    about = {"key_sha256": _key_digest(key), "from_sha256": _fingerprint(held)}
    who = NodeIdentity(node=NodeId(name), datacenter=DatacenterId("-"), country="-")
    register(folder, "renewed", who, about, env)
    made = certificate_for(authority, list(names), usage, subject, key, env, days)
    state = {
        "at_ms": env.now_ms(),
        "from": _fingerprint(held),
        "key_sha256": _key_digest(key),
        "certificate_sha256": _fingerprint(made),
    }
    (folder / ISSUED).mkdir(mode=0o700, exist_ok=True)
    replace_file(folder / ISSUED / f"{name}.json", json.dumps(state, sort_keys=True).encode())
    return name, made


def renew_spool(
    folder: Path, authority: Authority, spool: Path, env: Env, *, days: int = CERTIFICATE_DAYS
) -> list[tuple[str, x509.Certificate | StorageError]]:
    """Answer all requests in a spool; those that are refused stay. Raises: OSError."""
    found: list[tuple[str, x509.Certificate | StorageError]] = []
    for path in sorted(spool.glob(f"*{ASKS}"))[:SPOOL_FILES_MAX]:
        try:
            with path.open("rb") as file:
                name, made = renew(
                    folder, authority, file.read(REQUEST_BYTES_MAX + 1), env, days=days
                )
            answer = spool / f"{name}{ANSWERS}"
            write_public(answer, made.public_bytes(serialization.Encoding.PEM))
            path.unlink()
            found.append((name, made))
        except StorageError as error:
            found.append((path.name.removesuffix(ASKS), error))
    return found


def retire(folder: Path, name: str, env: Env) -> None:
    """Never renew an identity again: it ends with its certificate. Raises: OSError."""
    who = NodeIdentity(node=NodeId(name), datacenter=DatacenterId("-"), country="-")
    register(folder, "retired", who, {}, env)
    (folder / RETIRED).mkdir(mode=0o700, exist_ok=True)
    replace_file(folder / RETIRED / name, b"")


def _check_latest(
    folder: Path, name: str, held: x509.Certificate, key: ec.EllipticCurvePublicKey
) -> None:
    """A certificate is renewed once, by whoever holds its key."""
    try:
        state = json.loads((folder / ISSUED / f"{name}.json").read_bytes())
        latest, before, key_digest = (
            state[field] for field in ("certificate_sha256", "from", "key_sha256")
        )
        at_ms = int(state["at_ms"])
    except FileNotFoundError:
        return
    except _MALFORMED as error:
        raise RenewalRefused(reason="what was issued is damaged", name=name) from error
    shown = _fingerprint(held)
    if shown == before and _key_digest(key) != key_digest:
        raise RenewalRefused(reason="this certificate was renewed for another key", name=name)
    issued_at_ms = life_of(held)[0] + CLOCK_SKEW / timedelta(milliseconds=1)
    if shown not in (latest, before) and issued_at_ms < at_ms:  # later ones were issued by hand
        raise RenewalRefused(reason="there is a later certificate", name=name)


def _read_renewal(raw: bytes) -> tuple[x509.Certificate, x509.CertificateSigningRequest]:
    """Raises: RenewalRefused."""
    if len(raw) > REQUEST_BYTES_MAX:
        raise RenewalRefused(reason="the request is too long")
    try:
        document = json.loads(raw)
        if document["form"] != FORM:
            raise RenewalRefused(reason="the request is of another form")
        der, csr = bytes.fromhex(document["certificate"]), bytes.fromhex(document["request"])
        signature = bytes.fromhex(document["signature"])
        held, asked = x509.load_der_x509_certificate(der), x509.load_der_x509_csr(csr)
        key, next_key, is_whole = held.public_key(), asked.public_key(), asked.is_signature_valid
    except _MALFORMED as error:
        raise RenewalRefused(reason="the request is not of the form") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise RenewalRefused(reason="the key is no P-256 key")
    if not isinstance(next_key, ec.EllipticCurvePublicKey) or next_key.curve.name != "secp256r1":
        raise RenewalRefused(reason="the key is no P-256 key")
    try:
        key.verify(signature, message_of(der, csr), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise RenewalRefused(reason="whoever asks does not have the certificate's key") from error
    if not is_whole or _key_digest(next_key) == _key_digest(key):
        raise RenewalRefused(reason="the next key is not there, or is the present one")
    return held, asked


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _key_digest(key: ec.EllipticCurvePublicKey) -> str:
    encoded = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return sha256(encoded).hexdigest()
