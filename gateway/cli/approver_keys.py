"""The file of an approver's private key: a line with his name, then PKCS #8 as PEM.

Not for what he signs. The file must be readable by its owner only; with a passphrase it is sealed
as well.

Source: docs/erasure.md, "Approvals"; RFC 5958.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.approvals.approvers import NAME, Approver
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

FILE_BYTES_MAX = 16 * 1024
PASSPHRASE_BYTES_MIN = 8
SEED_BYTES = 32
_HEAD = b"hexagone approver "


class KeyFileInvalid(StorageError):
    """The approver's key is not usable."""

    kind = Kind.INVALID
    hint = "`hexagone approver keygen` makes such a file, which only its owner may read (chmod 600)"


def write_key(path: Path, name: str, passphrase: bytes | None, env: Env) -> Approver:
    """Make a key. Raises: KeyFileInvalid, OSError (there is such a file)."""
    if not NAME.fullmatch(name):
        raise KeyFileInvalid(reason="names are of small letters, digits, dots and dashes")
    sealed: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        if len(passphrase) < PASSPHRASE_BYTES_MIN:
            raise KeyFileInvalid(reason="the passphrase is too short")
        sealed = BestAvailableEncryption(passphrase)
    key = Ed25519PrivateKey.from_private_bytes(env.random_bytes(SEED_BYTES))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(_HEAD + name.encode() + b"\n" + pem)
    return Approver(name=name, public=key.public_key().public_bytes_raw())


def read_key(path: Path, ask: Callable[[], bytes]) -> tuple[str, Ed25519PrivateKey]:
    """Name and key of a file; `ask` says the passphrase if one is needed.

    Raises: KeyFileInvalid, OSError.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        content = file.read(FILE_BYTES_MAX)
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077 or status.st_uid != os.geteuid():
        raise KeyFileInvalid(path=path, mode=f"{mode:04o}", reason="others can read it")
    head, _, pem = content.partition(b"\n")
    name = head.removeprefix(_HEAD).decode("ascii", "replace")
    if not head.startswith(_HEAD) or not NAME.fullmatch(name):
        raise KeyFileInvalid(path=path, reason="no file of `approver keygen`")
    passphrase = ask() if b"ENCRYPTED" in pem else None
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError) as error:
        raise KeyFileInvalid(path=path, reason="wrong passphrase, or another file") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileInvalid(path=path, reason="no Ed25519 key")
    return name, key
