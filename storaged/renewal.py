"""Certificates that live for days and are renewed by themselves.

Who has one makes another key on its machine, before half of its life is over, and asks for a
certificate of the same identity: the request carries the present certificate, is signed with its
key, and lies in a folder, the *spool*, until the CA has answered there. The CA may be another
machine, off line but for a look into the spool: `hexagone ca renew`. It certifies exactly what the
present certificate says, for one key only: of two machines that show the same certificate the
second one is refused, and so found.

Not for the CA (`storaged.renewal_ca`), nor for a first certificate (`storaged.enrolment`).

In the holder's own folder: `next.key`, then `current.pem` and `current.key`, which are used instead
of the configured pair while they are valid for longer. In the spool: `NAME.renewal` and
`NAME.renewed`.

Requirements: K-10, C6, C13. Source: docs/residency.md, "Renewal".
"""

from __future__ import annotations

import json
import ssl
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storaged.base.certificates import key_pem
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Progress
from storaged.base.log import Log
from storaged.identity import (
    CertificateUnusable,
    write_private,
    write_public,
)

_LOG = Log("storaged.renewal")

FORM = "hexagone/renewal/v1"
ASKS, ANSWERS = ".renewal", ".renewed"
NEXT_KEY, CURRENT, CURRENT_KEY = "next.key", "current.pem", "current.key"
ASK_AFTER, WARN_AFTER = 1 / 2, 2 / 3  # of a certificate's life
LOOK_S, WAITING_S = 60.0, 5.0
_LABEL = b"hexagone/v1/renewal\0"


class RenewalRefused(StorageError):
    """The certificate is not renewed."""

    kind = Kind.DENIED
    hint = "look who asks: a holder whose certificate has ended, or was copied, is enrolled anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalConfig:
    """Where a certificate is renewed.

    Args:
        folder: the holder's own, for keys that are made here; no other program reads it.
        spool: what goes to the CA and comes back; no secret is in it.
    """

    folder: Path
    spool: Path


def pair_in_use(given: Pair, folder: Path | None) -> Pair:
    """The configured pair, or the renewed one if that is valid for longer. Raises:
    CertificateUnusable.
    """
    if folder is None:
        return given
    renewed = Pair(certificate=folder / CURRENT, key=folder / CURRENT_KEY)
    if not renewed.certificate.exists():
        return given
    try:
        made = _certificate_in(renewed.certificate)
        _finish(folder, made)
        if _key_in(renewed.key).public_key() != made.public_key():
            return given
        if not given.certificate.exists():
            return renewed
        configured = _certificate_in(given.certificate)
    except (CertificateUnusable, OSError):
        return given
    # Another identity, or a later one by hand, is what the operator wants.
    is_same = _names(configured) == _names(made)
    return (
        renewed if is_same and made.not_valid_after_utc > configured.not_valid_after_utc else given
    )


class Renewer:
    """Job `renewal`: keeps one certificate fresh, and follows the CAs that are trusted.

    Args:
        authority: certificates of the CAs that are trusted: one, or two while it changes.
        contexts: of TLS; connections that are made from then on show the new certificate, those
            that are there go on.
    """

    name = "renewal"

    def __init__(
        self,
        given: Pair,
        authority: Path,
        config: RenewalConfig | None,
        contexts: list[ssl.SSLContext],
        env: Env,
    ) -> None:
        self._given = given
        self._authority = authority
        self._config = config
        self._contexts = contexts
        self._env = env
        self._renewed = 0
        self._detail = ""
        self._trusts = _digest_of(authority)

    async def step(self) -> float:
        """Ask, or take the answer. Raises: RenewalRefused, CertificateUnusable, OSError."""
        is_waiting = await self._env.offload(self._look)
        return WAITING_S if is_waiting else LOOK_S

    def progress(self) -> Progress:
        """How often the certificate was renewed since the start."""
        return Progress(done=self._renewed, total=0, unit="certificates", detail=self._detail)

    def life(self) -> tuple[int, int]:
        """When the certificate in use begins and ends, UTC in ms. Raises: CertificateUnusable."""
        return life_of(_certificate_in(self._pair().certificate))

    async def certificate_life(self) -> tuple[int, int]:
        """As `life`."""
        return self.life()

    def _pair(self) -> Pair:
        return pair_in_use(self._given, self._config.folder if self._config else None)

    def _look(self) -> bool:
        """Whether the CA is to answer."""
        self._follow_authority()
        pair, now_ms = self._pair(), self._env.now_ms()
        held = _certificate_in(pair.certificate)
        begins_ms, ends_ms = life_of(held)
        self._detail = f"ends in {days_left(ends_ms, now_ms):.1f} days"
        if self._config is None or now_ms < begins_ms + (ends_ms - begins_ms) * ASK_AFTER:
            return False
        name = short_name(held)
        self._config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._config.spool.mkdir(mode=0o755, parents=True, exist_ok=True)
        answer = self._config.spool / f"{name}{ANSWERS}"
        if answer.exists():
            self._take(answer, held)
            return False
        self._ask(pair, held, name)
        return True

    def _follow_authority(self) -> None:
        """CAs that were added to the file are trusted by connections that are made from then on.
        One that was taken out is, until the process starts again. Raises: CertificateUnusable.
        """
        digest = _digest_of(self._authority)
        if digest == self._trusts:
            return
        found = _certificates_in(self._authority)
        for context in self._contexts:
            context.load_verify_locations(cafile=self._authority)
        self._trusts = digest
        _LOG.info("the CAs that are trusted have changed", count=len(found))

    def _ask(self, pair: Pair, held: x509.Certificate, name: str) -> None:
        assert self._config is not None
        next_key = self._config.folder / NEXT_KEY
        if not next_key.exists():
            write_private(next_key, key_pem(ec.generate_private_key(ec.SECP256R1())))
        request = make_renewal(held, _key_in(pair.key), _key_in(next_key))
        path = self._config.spool / f"{name}{ASKS}"
        if not path.exists():
            write_public(path, request)
            _LOG.info("renewal of the certificate asked for", request=path.name)

    def _take(self, answer: Path, held: x509.Certificate) -> None:
        """Use what the CA has answered. Raises: RenewalRefused: it is for something else."""
        assert self._config is not None
        folder = self._config.folder
        made = _certificate_in(answer)
        if not is_issued_by(made, _certificates_in(self._authority)):
            raise RenewalRefused(reason="the answer is not of our CA", path=answer)
        if _names(made) != _names(held) or life_of(made)[1] <= life_of(held)[1]:
            if life_of(made)[1] <= life_of(held)[1]:
                answer.unlink()  # of before, taken already
            raise RenewalRefused(reason="the answer is of another identity, or old", path=answer)
        if _key_in(folder / NEXT_KEY).public_key() != made.public_key():
            raise RenewalRefused(reason="the answer is for another key", path=answer)
        write_public(folder / CURRENT, made.public_bytes(serialization.Encoding.PEM))
        _finish(folder, made)
        pair = self._pair()
        for context in self._contexts:
            context.load_cert_chain(pair.certificate, pair.key)
        answer.unlink()
        (self._config.spool / f"{short_name(held)}{ASKS}").unlink(missing_ok=True)
        self._renewed += 1
        _LOG.info("certificate renewed", ends_at=made.not_valid_after_utc.isoformat())


def make_renewal(
    held: x509.Certificate, key: ec.EllipticCurvePrivateKey, next_key: ec.EllipticCurvePrivateKey
) -> bytes:
    """A request: the present certificate, the next key's, signed with the present one."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "renewal")])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject)
    asked = signed.sign(next_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    der = held.public_bytes(serialization.Encoding.DER)
    document = {
        "form": FORM,
        "certificate": der.hex(),
        "request": asked.hex(),
        "signature": key.sign(message_of(der, asked), ec.ECDSA(hashes.SHA256())).hex(),
    }
    return json.dumps(document, sort_keys=True).encode("ascii") + b"\n"


def is_issued_by(certificate: x509.Certificate, issuers: list[x509.Certificate]) -> bool:
    """Whether one of these CAs has signed a certificate."""
    for issuer in issuers:
        with suppress(ValueError, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(issuer)
            return True
    return False


def life_of(certificate: x509.Certificate) -> tuple[int, int]:
    """When a certificate begins and ends, UTC in ms."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return int(begin.timestamp() * 1000), int(end.timestamp() * 1000)


def days_left(ends_ms: int, now_ms: int) -> float:
    return (ends_ms - now_ms) / 86_400_000


def is_late(begins_ms: int, ends_ms: int, now_ms: int) -> bool:
    """Whether a certificate should have been renewed by now."""
    return now_ms > begins_ms + (ends_ms - begins_ms) * WARN_AFTER


def message_of(certificate: bytes, request: bytes) -> bytes:
    """What the present key signs."""
    return _LABEL + sha256(certificate).digest() + sha256(request).digest()


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """What a certificate says who its holder is, and for what."""
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return (*map(repr, names), *(one.dotted_string for one in usage))


def short_name(certificate: x509.Certificate) -> str:
    """A file's name for an identity: the last part of its one URI, and a digest of all of it.

    Raises: RenewalRefused.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise RenewalRefused(reason="only nodes and gateways are renewed") from error
    last = uri.rpartition("/")[2]
    if len(list(names)) != 1 or not last.replace("-", "").isalnum() or not last.isascii():
        raise RenewalRefused(reason="only nodes and gateways are renewed")
    return f"{last[:64]}-{sha256(uri.encode()).hexdigest()[:8]}"


def _finish(folder: Path, made: x509.Certificate) -> None:
    """The key that a certificate is for takes its place; also after a crash in between."""
    with suppress(CertificateUnusable):
        if _key_in(folder / NEXT_KEY).public_key() == made.public_key():
            (folder / NEXT_KEY).replace(folder / CURRENT_KEY)


def _certificate_in(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateUnusable(path=path, reason=type(error).__name__) from error


def _certificates_in(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateUnusable(path=path, reason=type(error).__name__) from error


def _digest_of(path: Path) -> bytes:
    """b"" where there is no such file."""
    try:
        return sha256(path.read_bytes()).digest()
    except OSError:
        return b""


def _key_in(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateUnusable(path=path, reason=type(error).__name__) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateUnusable(path=path, reason="key type")
    return key
