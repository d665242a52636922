"""The CA's side of renewal: a certificate of the same identity for the next key, once; and a CA
that takes another one's place while both are trusted.

Not for who asks (`storaged.renewal`). What was renewed is in `renewed/`, who is renewed no more in
`retired/` of the CA's folder; each renewal is a line of its register before anything is signed.
A CA that follows another one has that one's certificate as `former.crt` until it is withdrawn, and
renews what it has issued; `authority.pem` is what holders are to trust at that time.

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
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import DatacenterId, NodeId
from storaged.enrolment import register, register_head, show_register
from storaged.identity import (
    CA_KEY_FILE,
    CERTIFICATE_DAYS,
    CLOCK_SKEW,
    Authority,
    CertificateUnusable,
    certificate_for,
    create_authority,
    read_authority,
    write_authority,
    write_public,
)
from storaged.node import NodeIdentity
from storaged.renewal import (
    ANSWERS,
    ASKS,
    FORM,
    RenewalRefused,
    is_issued_by,
    life_of,
    message_of,
    short_name,
)

ISSUED, RETIRED = "renewed", "retired"
FORMER, TRUSTED = "former.crt", "authority.pem"
REQUEST_BYTES_MAX = 32 * 1024
SPOOL_FILES_MAX = 10_000
_CA = NodeIdentity(node=NodeId("ca"), datacenter=DatacenterId("-"), country="-")
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
    if not is_issued_by(held, _trusted(folder, authority)):
        raise RenewalRefused(reason="the certificate is not of this CA")
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
        "ends_ms": life_of(made)[1],
        "issuer_sha256": _fingerprint(authority.certificate),
    }
    (folder / ISSUED).mkdir(mode=0o700, exist_ok=True)
    replace_file(folder / ISSUED / f"{name}.json", json.dumps(state, sort_keys=True).encode())
    return name, made


def renew_spool(
    folder: Path, authority: Authority, spool: Path, env: Env, *, days: int = CERTIFICATE_DAYS
) -> list[tuple[str, x509.Certificate | StorageError]]:
    """Answer all requests in a spool; those that are refused stay. A copy of the register is left
    there, too. Raises: OSError.
    """
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
    show_register(folder, spool)
    return found


def retire(folder: Path, name: str, env: Env) -> None:
    """Never renew an identity again: it ends with its certificate. Raises: OSError."""
    who = NodeIdentity(node=NodeId(name), datacenter=DatacenterId("-"), country="-")
    register(folder, "retired", who, {}, env)
    (folder / RETIRED).mkdir(mode=0o700, exist_ok=True)
    replace_file(folder / RETIRED / name, b"")


class SuccessionRefused(StorageError):
    """The CA does not change."""

    kind = Kind.CONFLICT
    hint = 'docs/residency.md, "Another CA", has the order of the steps'


def succeed(old: Path, folder: Path, env: Env) -> Authority:
    """Make a CA that takes the place of another one: of the same domain, with what that one has
    renewed and retired. Holders are to trust both (`authority.pem`) before it renews anything.

    Raises: SuccessionRefused, CertificateUnusable, RegisterBroken, OSError.
    """
    former = read_authority(old)
    if folder.absolute() == old.absolute() or (folder / CA_KEY_FILE).exists():
        raise SuccessionRefused(reason="there is a CA in this folder", directory=folder)
    if (old / FORMER).exists():
        raise SuccessionRefused(reason="it has not taken its own former's place yet", directory=old)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for kept in (ISSUED, RETIRED):
        for path in sorted((old / kept).glob("*")):
            (folder / kept).mkdir(mode=0o700, exist_ok=True)
            replace_file(folder / kept / path.name, path.read_bytes())
    authority = create_authority(former.domain, env)
    public = former.certificate.public_bytes(serialization.Encoding.PEM)
    write_public(folder / FORMER, public)
    own = authority.certificate.public_bytes(serialization.Encoding.PEM)
    write_public(folder / TRUSTED, own + public)
    about = {"ca_sha256": _fingerprint(authority.certificate)}
    register(old, "succeeded", _CA, about, env)
    about |= {"former_sha256": _fingerprint(former.certificate), "former_head": register_head(old)}
    register(folder, "succeeds", _CA, about, env)
    write_authority(authority, folder)  # last: with its key the CA is there
    return authority


def trusted_pem(folder: Path, authority: Authority) -> bytes:
    """What holders of a CA's certificates are to trust. Raises: CertificateUnusable."""
    found = _trusted(folder, authority)
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in found)


def left_behind(folder: Path, authority: Authority, env: Env) -> list[str]:
    """Holders whose last renewed certificate the former CA has issued, and that is still good."""
    own, found = _fingerprint(authority.certificate), []
    for path in sorted((folder / ISSUED).glob("*.json")):
        try:
            state = json.loads(path.read_bytes())
            ends_ms = state.get("ends_ms", int(state["at_ms"]) + CERTIFICATE_DAYS * 86_400_000)
            is_moved = state.get("issuer_sha256") == own or int(ends_ms) <= env.now_ms()
        except _MALFORMED as error:
            raise RenewalRefused(reason="what was issued is damaged", name=path.stem) from error
        if not is_moved and not (folder / RETIRED / path.stem).exists():
            found.append(path.stem)
    return found


def withdraw_former(folder: Path, authority: Authority, env: Env, *, cut: bool = False) -> None:
    """Trust the former CA no more: `authority.pem` is that of this one alone.

    Args:
        cut: also where holders are left behind, who are out then.

    Raises: SuccessionRefused, RenewalRefused, CertificateUnusable, RegisterBroken, OSError.
    """
    former = _former(folder)
    if former is None:
        raise SuccessionRefused(reason="there is no former CA")
    left = left_behind(folder, authority, env)
    if left and not cut:
        raise SuccessionRefused(reason="it has issued what holders still show", names=left)
    register(folder, "withdrew", _CA, {"former_sha256": _fingerprint(former)}, env)
    (folder / FORMER).unlink()
    write_public(folder / TRUSTED, trusted_pem(folder, authority))


def _former(folder: Path) -> x509.Certificate | None:
    """Raises: CertificateUnusable."""
    path = folder / FORMER
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CertificateUnusable(path=path, reason=type(error).__name__) from error


def _trusted(folder: Path, authority: Authority) -> list[x509.Certificate]:
    former = _former(folder)
    return [authority.certificate] if former is None else [authority.certificate, former]


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
