"""The key that statements about places are signed with: drawn, kept under the root key's seal.

Not for what is signed (`gateway.admin.attestation`). `attestation.key`, beside the root key:

    "HXT" ‖ 1 ‖ what `seal_secret` makes of: seed 32 ‖ u64 ms when it was drawn

Where there is no such file the key is the one that clusters of before began with, derived from the
root key: it goes on until it is rotated.

Source: docs/data-layout.md, "Keys". Requirement: K-07.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from gateway.data.cipher import KEY_BYTES, SALT_BYTES
from gateway.data.envelope import SealInvalid, open_secret, seal_secret
from gateway.data.root_key import RootKey
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

ATTESTATION_FILE = "attestation.key"
_MAGIC = b"HXT\x01"
_LABEL = "attestation"
_FORM = struct.Struct(">32sQ")
_FILE_BYTES_MAX = 1024


class AttestationKeyInvalid(StorageError):
    """The key that statements are signed with is not usable."""

    kind = Kind.CORRUPT
    hint = "restore attestation.key into the keys folder, from a recovery backup"


class AttestationKey(NamedTuple):
    """The seed of an Ed25519 key, 32 bytes. `drawn_at_ms`: 0 where it follows from the root key."""

    seed: bytes
    drawn_at_ms: int

    @property
    def is_drawn(self) -> bool:
        return self.drawn_at_ms > 0

    def __repr__(self) -> str:
        return "AttestationKey(…)"


def create_cluster_keys(folder: Path, env: Env) -> RootKey:
    """Make the keys that a cluster begins with. Raises: as `RootKey.create`; OSError."""
    root = RootKey.create(folder, env)
    keep_attestation_key(folder, root, draw_attestation_key(env), env)
    return root


def draw_attestation_key(env: Env) -> AttestationKey:
    """Another one, kept nowhere yet."""
    return AttestationKey(env.random_bytes(KEY_BYTES), max(env.now_ms(), 1))


def keep_attestation_key(folder: Path, root: RootKey, key: AttestationKey, env: Env) -> None:
    """Put it into the place of the one that is there. Raises: OSError."""
    salt = env.random_bytes(SALT_BYTES)
    sealed = seal_secret(_seal_key(root), _LABEL, root.cluster_id, _FORM.pack(*key), salt)
    replace_file(folder / ATTESTATION_FILE, _MAGIC + sealed)


def load_attestation_key(folder: Path, root: RootKey) -> AttestationKey:
    """The one in use. Raises: AttestationKeyInvalid, OSError."""
    path = folder / ATTESTATION_FILE
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX)
    except FileNotFoundError:
        return AttestationKey(root.derive("attestation"), 0)
    try:
        if not content.startswith(_MAGIC):
            raise SealInvalid(label=_LABEL)
        opened = open_secret(_seal_key(root), _LABEL, root.cluster_id, content[len(_MAGIC) :])
        return AttestationKey(*_FORM.unpack(opened))
    except (SealInvalid, struct.error) as error:
        raise AttestationKeyInvalid(path=path) from error


def _seal_key(root: RootKey) -> bytes:
    return root.derive("attestation-seal")
