"""How a machine becomes a node: an invitation, a request of the invited, an approval.

The CA invites a node of a name, datacenter, country and operator, and gives out a token, once. On
the machine a key is made that never leaves it; the request carries its public half, proof that the
private half is there, and a MAC under the token, which itself does not travel. The CA approves: it
certifies the *invited* identity for that key, whatever the request says of itself. An invitation is
good for one key and until its end.

Each step is a line of the CA's register, chained to the line before it.

Not for the journal of a running cluster: the CA's folder is on a machine that serves nobody. A copy
of the register goes out with renewals, and the gateway's job `enrolments` tells the journal of it.
Requirement: S-01.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storaged.base.durable import replace_file, sync_directory
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import InvalidId, datacenter_id, node_id, operator_id
from storaged.identity import (
    Authority,
    certify_node,
    checked_node,
    write_private,
    write_public,
)
from storaged.node import NodeIdentity

TOKEN_BYTES = 20
REQUEST_BYTES_MAX = 16 * 1024
REGISTER_BYTES_MAX = 64 * 1024 * 1024
HOURS = 48
INVITATIONS = "invitations"
REGISTER_FILE = "register.jsonl"
FORM = "hexagone/enrolment/v1"
_FIRST = "0" * 64
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


class EnrolmentRefused(StorageError):
    """The request does not make anybody a node."""

    kind = Kind.DENIED
    hint = "invite the node again, and make a fresh request with the token of that invitation"


class InvitationExists(StorageError):
    """The node is invited already."""

    kind = Kind.CONFLICT
    hint = "approve its request, or take the invitation back first"


class RegisterBroken(StorageError):
    """The register of the CA is not as it was written."""

    kind = Kind.CORRUPT
    hint = "compare it with a copy: somebody has changed, dropped or added a line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Who is invited. `used_by`: SHA-256 of the key that has been certified, "" = none yet."""

    identity: NodeIdentity
    expires_at_ms: int
    token_key: bytes = field(repr=False)  # who has it can make requests
    used_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a machine asks: to be the node of an invitation with this key."""

    name: str
    key: ec.EllipticCurvePublicKey
    raw: bytes  # the certificate signing request, DER
    mac: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key, as hex: what people compare."""
        encoded = self.key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return sha256(encoded).hexdigest()


def invite(folder: Path, identity: NodeIdentity, env: Env, *, hours: int = HOURS) -> str:
    """Invite a node; returns the token, which is kept nowhere.

    Raises: InvitationExists, InvalidId, CertificateUnusable, OSError.
    """
    identity = checked_node(identity)
    path = _invitation_path(folder, identity.node)
    held = _read_invitation(path)
    if held is not None and not held.used_by and env.now_ms() < held.expires_at_ms:
        raise InvitationExists(node=identity.node)
    token = base64.b32encode(env.random_bytes(TOKEN_BYTES)).decode("ascii").lower()
    invitation = Invitation(
        identity=identity,
        expires_at_ms=env.now_ms() + hours * 3_600_000,
        token_key=_token_key(token),
    )
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _write_invitation(path, invitation)
    register(folder, "invited", identity, {"expires_at_ms": invitation.expires_at_ms}, env)
    return token


def take_back(folder: Path, name: str, env: Env) -> bool:
    """Take an invitation back; whether there was one that nobody had used. Raises InvalidId."""
    path = _invitation_path(folder, name)
    held = _read_invitation(path)
    if held is None or held.used_by:
        return False
    path.unlink()
    sync_directory(path.parent)
    register(folder, "taken back", held.identity, {}, env)
    return True


def make_request(name: str, token: str, key_path: Path) -> tuple[bytes, str]:
    """Make a key of mode 0600, and the request for it.

    Returns: the request, which is no secret, and the key's fingerprint.

    Raises: InvalidId, OSError.
    """
    checked = node_id(name)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"node {checked}")])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject)
    raw = signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    document = {
        "form": FORM,
        "node": checked,
        "request": raw.hex(),
        "mac": _mac(_token_key(token.strip().lower()), checked, raw).hex(),
    }
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(key_path, pem)
    encoded = json.dumps(document, sort_keys=True).encode("ascii") + b"\n"
    return encoded, read_request(encoded).fingerprint


def read_request(raw: bytes) -> Request:
    """A request as it came; its key is there, as it has signed. Raises EnrolmentRefused."""
    if len(raw) > REQUEST_BYTES_MAX:
        raise EnrolmentRefused(reason="the request is too long")
    try:
        document = json.loads(raw)
        if document["form"] != FORM:
            raise EnrolmentRefused(reason="the request is of another form")
        encoded = bytes.fromhex(document["request"])
        asked = x509.load_der_x509_csr(encoded)
        name, mac = node_id(document["node"]), bytes.fromhex(document["mac"])
        key = asked.public_key()
        is_whole = asked.is_signature_valid
    except (*_MALFORMED, InvalidId) as error:
        raise EnrolmentRefused(reason="the request is not of the form") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise EnrolmentRefused(reason="the key is no P-256 key")
    if not is_whole:
        raise EnrolmentRefused(reason="whoever asks does not have the key")
    return Request(name=name, key=key, raw=encoded, mac=mac)


def invited(folder: Path, request: Request, env: Env) -> Invitation:
    """The invitation that a request is entitled to. Raises EnrolmentRefused."""
    held = _read_invitation(_invitation_path(folder, request.name))
    if held is None:
        raise EnrolmentRefused(reason="nobody has invited this node", node=request.name)
    wanted = _mac(held.token_key, request.name, request.raw)
    if not hmac.compare_digest(wanted, request.mac):
        raise EnrolmentRefused(reason="the token is another one", node=request.name)
    if held.used_by and held.used_by != request.fingerprint:
        raise EnrolmentRefused(reason="the invitation was used for another key", node=request.name)
    if not held.used_by and env.now_ms() >= held.expires_at_ms:
        raise EnrolmentRefused(reason="the invitation has ended", node=request.name)
    return held


def approve(folder: Path, authority: Authority, request: Request, env: Env) -> x509.Certificate:
    """Certify the invited identity for the key of a request. For the same key again: another
    certificate of the same identity, as after a crash.

    Raises: EnrolmentRefused, OSError.
    """
    held = invited(folder, request, env)
    used = Invitation(
        identity=held.identity,
        expires_at_ms=held.expires_at_ms,
        token_key=held.token_key,
        used_by=request.fingerprint,
    )
    # Spent before anything is signed: a crash in between costs a second approval of the same key.
    _write_invitation(_invitation_path(folder, request.name), used)
    certificate = certify_node(authority, held.identity, request.key, env)
    about = {
        "key_sha256": request.fingerprint,
        "certificate_sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }
    register(folder, "approved", held.identity, about, env)
    return certificate


def read_register(folder: Path) -> list[dict[str, Any]]:
    """All lines of the register, oldest first, each chained to the one before.

    Raises: RegisterBroken, OSError.
    """
    return [entry for entry, _ in register_lines(folder)]


def register_lines(folder: Path) -> list[tuple[dict[str, Any], str]]:
    """As `read_register`, each line with its SHA-256; of a copy that has come from the CA as well.

    Raises: RegisterBroken, OSError.
    """
    path = folder / REGISTER_FILE
    if not path.exists():
        return []
    if path.stat().st_size > REGISTER_BYTES_MAX:
        raise RegisterBroken(reason="too long")
    previous = _FIRST
    entries: list[tuple[dict[str, Any], str]] = []
    *lines, rest = path.read_bytes().split(b"\n")
    if rest or not lines:  # none begins empty
        raise RegisterBroken(line=len(lines) + 1)
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            is_next = entry["number"] == number and entry["previous"] == previous
        except _MALFORMED as error:
            raise RegisterBroken(line=number) from error
        if not is_next:
            raise RegisterBroken(line=number)
        previous = sha256(line).hexdigest()
        entries.append((entry, previous))
    return entries


def register_head(folder: Path) -> str:
    """SHA-256 of the last line: who wrote it down sees whether lines before it were changed, or it
    was cut off.
    """
    path = folder / REGISTER_FILE
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return sha256(lines[-1]).hexdigest() if lines else _FIRST


def show_register(folder: Path, spool: Path) -> None:
    """Leave a copy of the register in a spool, for the cluster's journal. Raises: OSError."""
    path, copy = folder / REGISTER_FILE, spool / REGISTER_FILE
    if not (path.exists() and spool.is_dir()):
        return
    content = path.read_bytes()
    if not copy.exists() or copy.read_bytes() != content:
        write_public(copy, content)


def register(
    folder: Path, what: str, identity: NodeIdentity, about: Mapping[str, object], env: Env
) -> None:
    """Append a line to the register, durably. Raises: RegisterBroken, OSError."""
    number = len(read_register(folder)) + 1
    entry = {
        "number": number,
        "at_ms": env.now_ms(),
        "what": what,
        "node": identity.node,
        "datacenter": identity.datacenter,
        "country": identity.country,
        "operator": identity.operator,
        "by": os.getuid(),
        **about,
        "previous": register_head(folder),
    }
    line = json.dumps(entry, sort_keys=True).encode("ascii") + b"\n"
    path = folder / REGISTER_FILE
    held = path.read_bytes() if path.exists() else b""
    replace_file(path, held + line)


def _token_key(token: str) -> bytes:
    return sha256(b"hexagone/v1/enrolment-token\0" + token.encode("utf-8")).digest()


def _mac(key: bytes, name: str, raw: bytes) -> bytes:
    return hmac.digest(key, name.encode("ascii") + b"\0" + raw, "sha256")


def _invitation_path(folder: Path, name: str) -> Path:
    return folder / INVITATIONS / f"{node_id(name)}.json"


def _write_invitation(path: Path, invitation: Invitation) -> None:
    identity = invitation.identity
    document = {
        "node": identity.node,
        "datacenter": identity.datacenter,
        "country": identity.country,
        "operator": identity.operator,
        "expires_at_ms": invitation.expires_at_ms,
        "token_key": invitation.token_key.hex(),
        "used_by": invitation.used_by,
    }
    write_private(path, json.dumps(document, sort_keys=True).encode("ascii"))


def _read_invitation(path: Path) -> Invitation | None:
    """Raises EnrolmentRefused."""
    try:
        document = json.loads(path.read_bytes())
        identity = NodeIdentity(
            node=node_id(document["node"]),
            datacenter=datacenter_id(document["datacenter"]),
            country=document["country"],
            operator=operator_id(document.get("operator", "")),
        )
        return Invitation(
            identity=identity,
            expires_at_ms=int(document["expires_at_ms"]),
            token_key=bytes.fromhex(document["token_key"]),
            used_by=document["used_by"],
        )
    except FileNotFoundError:
        return None
    except (*_MALFORMED, InvalidId) as error:
        raise EnrolmentRefused(reason="the invitation is damaged", path=path) from error
