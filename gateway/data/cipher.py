"""Body cipher: a part is sealed in frames of 64 KiB with AES-256-GCM, under keys of its own.

Not for wrapping keys or records: those are in `gateway.data.envelope` and `gateway.meta.records`.

okm = HKDF-Expand-SHA512(DEK, context ‖ salt, 76) = body key 32 ‖ base nonce 12 ‖ commitment 32. The
commitment is compared before any open, so no ciphertext opens under two keys. Nonce of frame i =
base nonce XOR i in the last 8 bytes. Associated data = sha256(context) ‖ i u64 ‖ last u8, so
truncation, reordering and foreign frames are seen.

Invariants: D4 (a salt is fresh for each attempt, so a nonce is used once under a key).
Source: RFC 5869 § 2.3, NIST SP 800-38D; after C2SP chunked-encryption with a larger frame.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gateway.limits import FRAME_BYTES, SEALED_FRAME_BYTES, TAG_BYTES
from storaged.base.errors import Kind, StorageError
from storaged.node import Buffer

KEY_BYTES = 32
SALT_BYTES = 24
COMMITMENT_BYTES = 32
OKM_BYTES = 76

_SHA512 = SHA512()


class FrameCorrupt(StorageError):
    """A frame fails its tag."""

    kind = Kind.CORRUPT


class WrongKey(StorageError):
    """The key does not match the commitment stored with the ciphertext."""

    kind = Kind.CORRUPT


def expand(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand with SHA-512: 76 bytes bound to `info`, from a uniform 32-byte key."""
    assert len(key) == KEY_BYTES
    return HKDFExpand(_SHA512, OKM_BYTES, info).derive(key)


class KeyMaterial(NamedTuple):
    """What the keys of one part are made of: a tenth of their size, for those who keep many."""

    okm: bytes
    salt: bytes
    context_digest: bytes

    def __repr__(self) -> str:
        return "KeyMaterial(…)"

    @classmethod
    def derive(cls, dek: bytes, salt: bytes, context: bytes) -> KeyMaterial:
        """Derive the material of one part attempt.

        Args:
            dek: 32-byte key of the version.
            salt: 24 random bytes, never used for another attempt.
            context: `enc("body", cluster id, tenant id, object uuid, part number)`.
        """
        assert len(dek) == KEY_BYTES and len(salt) == SALT_BYTES
        return cls(expand(dek, context + salt), salt, sha256(context).digest())

    def keys(self) -> PartKeys:
        """The keys themselves."""
        okm = self.okm
        return PartKeys(
            AESGCM(okm[:32]),
            int.from_bytes(okm[32:44], "big"),
            okm[44:76],
            self.salt,
            self.context_digest,
        )


class PartKeys(NamedTuple):
    """What seals and opens one part; made of `KeyMaterial` only."""

    body_key: AESGCM
    base_nonce: int
    commitment: bytes
    salt: bytes
    context_digest: bytes

    def __repr__(self) -> str:
        return "PartKeys(…)"

    @classmethod
    def derive(cls, dek: bytes, salt: bytes, context: bytes) -> PartKeys:
        """Derive the keys of one part attempt. Args: see `KeyMaterial.derive`."""
        return KeyMaterial.derive(dek, salt, context).keys()


def check_commitment(keys: PartKeys, commitment: bytes) -> None:
    """Compare the stored commitment with the key's, in constant time; call it before any open.

    Raises:
        WrongKey: another key sealed this part.
    """
    if not hmac.compare_digest(keys.commitment, commitment):
        raise WrongKey


def seal_frames_into(
    keys: PartKeys, first_index: int, plaintext: memoryview, last: bool, out: memoryview
) -> int:
    """Seal a run of frames.

    Args:
        first_index: index of the run's first frame in the part.
        plaintext: a whole number of frames; with `last`, the final one may be shorter (or empty, if
            it is frame 0 of an empty part).
        last: the run ends with the part's last frame.
        out: room for the plaintext and 16 bytes for each frame.

    Returns:
        Sealed bytes written at the start of `out`.

    Invariants: D4: the caller seals an index once.
    """
    seal, base, digest = keys.body_key.encrypt_into, keys.base_nonce, keys.context_digest
    length = plaintext.nbytes
    assert last or (length and length % FRAME_BYTES == 0), "only the last frame may be short"
    index, position = first_index, 0
    for start in range(0, length or 1, FRAME_BYTES):
        frame = plaintext[start : start + FRAME_BYTES]
        final = last and start + FRAME_BYTES >= length
        end = position + frame.nbytes + TAG_BYTES
        seal(
            (base ^ index).to_bytes(12, "big"),
            frame,
            digest + index.to_bytes(8, "big") + (b"\x01" if final else b"\x00"),
            out[position:end],
        )
        position = end
        index += 1
    return position


def open_frames(
    keys: PartKeys,
    first_index: int,
    sealed: Buffer,
    last_index: int,
    out: bytearray | memoryview | None = None,
) -> memoryview:
    """Authenticate and open a run of frames; nothing is returned before every tag is verified.

    Args:
        first_index: index of the run's first frame in the part.
        sealed: whole sealed frames; only frame `last_index` may be shorter than 65,552 bytes.
        last_index: index of the part's last frame.
        out: room for the plaintext, reused between calls; by default a fresh buffer.

    Returns:
        The plaintext of the run, in `out`.

    Raises:
        FrameCorrupt: a tag does not match, or the length is not that of whole frames.
    """
    view = memoryview(sealed)
    length = view.nbytes
    count = -(-length // SEALED_FRAME_BYTES)
    short = length % SEALED_FRAME_BYTES
    final_index = first_index + count - 1
    if not length or final_index > last_index or (short and final_index != last_index):
        raise FrameCorrupt(frame=final_index, sealed_bytes=length)
    if 0 < short < TAG_BYTES:
        raise FrameCorrupt(frame=final_index, sealed_bytes=length)
    plain_bytes = length - count * TAG_BYTES
    plain = memoryview(bytearray(plain_bytes) if out is None else out)[:plain_bytes]
    opened, base, digest = keys.body_key.decrypt_into, keys.base_nonce, keys.context_digest
    index = first_index
    try:
        for start in range(0, length, SEALED_FRAME_BYTES):
            frame = view[start : start + SEALED_FRAME_BYTES]
            target = (index - first_index) * FRAME_BYTES
            opened(
                (base ^ index).to_bytes(12, "big"),
                frame,
                digest + index.to_bytes(8, "big") + (b"\x01" if index == last_index else b"\x00"),
                plain[target : target + frame.nbytes - TAG_BYTES],
            )
            index += 1
    except InvalidTag as error:
        raise FrameCorrupt(frame=index) from error
    return plain
