"""Signed notes and checkpoints: what a log's owner, and its witnesses, put their names to.

Not for keeping keys. A note is text, an empty line and signature lines; a checkpoint is a note
whose text is a log's origin, its size and its root. Signatures are Ed25519 and, beside it,
ML-DSA-65, under the type byte 0xff with the identifier "ML-DSA-65": C2SP gives that algorithm no
byte of its own.

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature; FIPS 204.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from gateway.journal.tree import HASH_BYTES
from storaged.base.errors import Kind, StorageError

NOTE_BYTES_MAX = 128 * 1024  # 16 signatures, post-quantum ones included
SIGNATURES_MAX = 16
SEED_BYTES = 32
KEY_ID_BYTES = 4
EXTENSION_LINES_MAX = 8

ED25519 = b"\x01"
COSIGNATURE = b"\x04"
MLDSA65 = b"\xffML-DSA-65"
_TYPES = (ED25519, COSIGNATURE, MLDSA65)
_KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, MLDSA65: 1952}
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_NAME = re.compile(r"[!-*,-~]{1,200}")  # printable ASCII without spaces and plus signs
_DASH = "— "


class NoteInvalid(StorageError):
    """The signed note is not usable."""

    kind = Kind.CORRUPT


class _Signing(Protocol):
    def sign(self, message: bytes) -> bytes: ...


class _Verifying(Protocol):
    def verify(self, signature: bytes, data: bytes) -> None: ...


def decode_base64(text: str) -> bytes:
    """Bytes of standard base64 in the one form that encodes them. Raises: NoteInvalid."""
    try:
        found = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise NoteInvalid(reason="no base64") from error
    if base64.b64encode(found).decode() != text:
        raise NoteInvalid(reason="no canonical base64")
    return found


def key_id(name: str, kind: bytes, public: bytes) -> bytes:
    """The 4 bytes by which a signature line names its key."""
    return sha256(name.encode() + b"\n" + kind + public).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under a name; `text` is its form for people and files."""

    name: str
    kind: bytes
    public: bytes

    @property
    def id(self) -> bytes:
        return key_id(self.name, self.kind, self.public)

    @property
    def text(self) -> str:
        encoded = base64.b64encode(self.kind + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    def named(self, name: str) -> VerifierKey:
        """The same key under another name: all logs of a journal share theirs."""
        return VerifierKey(name, self.kind, self.public)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raises: NoteInvalid."""
        key: _Verifying
        try:
            if self.kind == MLDSA65:
                key = MLDSA65PublicKey.from_public_bytes(self.public)
            else:
                key = Ed25519PublicKey.from_public_bytes(self.public)
            key.verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise NoteInvalid(reason=f"a signature of {self.name} is wrong") from error


def read_verifier_key(text: str) -> VerifierKey:
    """A public key from its text. Raises: NoteInvalid."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]):
        raise NoteInvalid(reason="no verifier key: NAME+ID+KEY is wanted")
    encoded = decode_base64(parts[2])
    for kind in _TYPES:
        if encoded.startswith(kind) and len(encoded) == len(kind) + _KEY_BYTES[kind]:
            key = VerifierKey(parts[0], kind, encoded[len(kind) :])
            if key.id.hex() != parts[1]:
                raise NoteInvalid(reason="the id of a verifier key is not that of its bytes")
            return key
    raise NoteInvalid(reason="a verifier key of an unknown type")


class SignerKey:
    """A private key of 32 seed bytes. Its `repr` shows nothing of them."""

    __slots__ = ("_key", "kind", "public")

    def __init__(self, kind: bytes, seed: bytes) -> None:
        assert len(seed) == SEED_BYTES
        self.kind = kind
        self._key: _Signing
        if kind == MLDSA65:
            quantum_safe = MLDSA65PrivateKey.from_seed_bytes(seed)
            self._key, self.public = quantum_safe, quantum_safe.public_key().public_bytes_raw()
        else:
            classic = Ed25519PrivateKey.from_private_bytes(seed)
            self._key, self.public = classic, classic.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "SignerKey(…)"

    def verifier(self, name: str) -> VerifierKey:
        return VerifierKey(name, self.kind, self.public)

    def line(self, name: str, message: bytes, before: bytes = b"") -> str:
        """The signature line of a message; `before` stands between key id and signature."""
        signed = key_id(name, self.kind, self.public) + before + self._key.sign(message)
        return f"{_DASH}{name} {base64.b64encode(signed).decode()}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedNote:
    """Text with its signatures: (key name, key id ‖ signature)."""

    text: str
    signatures: tuple[tuple[str, bytes], ...]

    def encode(self) -> bytes:
        lines = [f"{_DASH}{name} {base64.b64encode(s).decode()}\n" for name, s in self.signatures]
        return (self.text + "\n" + "".join(lines)).encode()

    def by(self, key: VerifierKey) -> bytes | None:
        """What a key has signed with, without its id; None when it has not signed."""
        wanted = key.id
        for name, signature in self.signatures:
            if name == key.name and signature[:KEY_ID_BYTES] == wanted:
                return signature[KEY_ID_BYTES:]
        return None


def read_note(content: bytes) -> SignedNote:
    """A note from its bytes; nothing is verified. Raises: NoteInvalid."""
    if len(content) > NOTE_BYTES_MAX:
        raise NoteInvalid(note_bytes=len(content), most=NOTE_BYTES_MAX)
    try:
        decoded = content.decode()
    except UnicodeDecodeError as error:
        raise NoteInvalid(reason="no UTF-8") from error
    if any(c < " " and c != "\n" for c in decoded):
        raise NoteInvalid(reason="control characters")
    text, gap, tail = decoded.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise NoteInvalid(reason="no signatures")
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteInvalid(signatures=len(lines), most=SIGNATURES_MAX)
    return SignedNote(text=text + "\n", signatures=tuple(map(_signature, lines)))


def _signature(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not _NAME.fullmatch(name):
        raise NoteInvalid(reason="no signature line")
    signature = decode_base64(encoded)
    if len(signature) <= KEY_ID_BYTES:
        raise NoteInvalid(reason="an empty signature")
    return name, signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log at one moment. `extensions`: further lines of the text."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode())
        return "".join(f"{line}\n" for line in (*lines, *self.extensions))


def read_checkpoint(text: str) -> Checkpoint:
    """A checkpoint from the text of a note. Raises: NoteInvalid."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or len(lines) > 4 + EXTENSION_LINES_MAX:
        raise NoteInvalid(reason="no checkpoint: origin, size and root are wanted")
    origin, size, encoded = lines[:3]
    root = decode_base64(encoded)
    if not _NAME.fullmatch(origin) or not _SIZE.fullmatch(size) or len(root) != HASH_BYTES:
        raise NoteInvalid(reason="no checkpoint: origin, size and root are wanted")
    if not all(lines[3:-1]):
        raise NoteInvalid(reason="an empty extension line")
    return Checkpoint(origin=origin, size=int(size), root=root, extensions=tuple(lines[3:-1]))


def sign_checkpoint(checkpoint: Checkpoint, keys: Iterable[SignerKey]) -> bytes:
    """The note, signed by every key under the name of the log."""
    message = checkpoint.text.encode()
    lines = [key.line(checkpoint.origin, message) for key in keys]
    return message + b"\n" + "".join(lines).encode()


def open_checkpoint(content: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
    """A checkpoint that every one of the keys has signed under the name of its log.

    Args:
        keys: of the journal, under any name; at least one.

    Raises:
        NoteInvalid: another form, or a signature is missing or wrong.
    """
    assert keys
    note = read_note(content)
    checkpoint = read_checkpoint(note.text)
    for key in keys:
        named = key.named(checkpoint.origin)
        signature = note.by(named)
        if signature is None:
            raise NoteInvalid(reason=f"not signed by {named.name}+{named.id.hex()}")
        named.verify(signature, note.text.encode())
    return checkpoint


def cosigned_message(text: str, at_s: int) -> bytes:
    """What a witness signs: the checkpoint and when it was seen."""
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def cosignature_line(key: SignerKey, name: str, text: str, at_s: int) -> str:
    """A witness's signature line over the text of a checkpoint."""
    assert key.kind == COSIGNATURE
    return key.line(name, cosigned_message(text, at_s), at_s.to_bytes(8, "big"))


def check_cosignature(note: SignedNote, witness: VerifierKey) -> int:
    """When a witness has seen a checkpoint, seconds UTC. Raises: NoteInvalid."""
    signature = note.by(witness)
    if signature is None or len(signature) != 8 + 64:
        raise NoteInvalid(reason=f"not cosigned by {witness.name}")
    at_s = int.from_bytes(signature[:8], "big")
    witness.verify(signature[8:], cosigned_message(note.text, at_s))
    return at_s
