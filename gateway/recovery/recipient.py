"""Whom recovery backups are encrypted to: a key pair of ML-KEM-768 and X25519 together, made from
32 bytes that nobody has alone.

Not for splitting those bytes (`gateway.recovery.shares`). Whoever can break one of the two problems
opens nothing; X25519 alone would not outlast backups that are kept.

Source: RFC 9180; draft-ietf-hpke-pq (MLKEM768-X25519: both private keys are SHAKE256 of one seed);
FIPS 203; NIST SP 800-38D.
"""

from __future__ import annotations

from hashlib import sha256, shake_256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from storaged.base.errors import Kind, StorageError

SEED_BYTES = 32
MLKEM_SEED_BYTES, MLKEM_PUBLIC_BYTES, X25519_BYTES = 64, 1184, 32
PUBLIC_BYTES = MLKEM_PUBLIC_BYTES + X25519_BYTES
SUITE_NAME = "HPKE MLKEM768-X25519, HKDF-SHA512, AES-256-GCM"
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA512, AEAD.AES_256_GCM)


class RecipientInvalid(StorageError):
    """What was encrypted for recovery does not open, or the public key is no such key."""

    kind = Kind.CORRUPT
    hint = "take another copy of the backup"


class Recipient:
    """The public half. `public`: ML-KEM-768 encapsulation key 1184 ‖ X25519 32.

    Raises (on construction): RecipientInvalid.
    """

    __slots__ = ("_key", "public")

    def __init__(self, public: bytes) -> None:
        if len(public) != PUBLIC_BYTES:
            raise RecipientInvalid(public_bytes=len(public))
        try:
            self._key = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(public[:MLKEM_PUBLIC_BYTES]),
                X25519PublicKey.from_public_bytes(public[MLKEM_PUBLIC_BYTES:]),
            )
        except ValueError as error:
            raise RecipientInvalid(reason="no public key") from error
        self.public = public

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key, as hex."""
        return sha256(self.public).hexdigest()

    def seal(self, plain: bytes, info: bytes) -> bytes:
        """Encrypt; 1,136 bytes longer. `info` has to be the same to open."""
        return _SUITE.encrypt(plain, self._key, info)


class RecipientKey:
    """The private half. Its `repr` shows nothing of it."""

    __slots__ = ("_key", "recipient")

    def __init__(self, seed: bytes) -> None:
        assert len(seed) == SEED_BYTES
        expanded = shake_256(seed).digest(MLKEM_SEED_BYTES + X25519_BYTES)
        lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:MLKEM_SEED_BYTES])
        curve = X25519PrivateKey.from_private_bytes(expanded[MLKEM_SEED_BYTES:])
        self._key = MLKEM768X25519PrivateKey(lattice, curve)
        self.recipient = Recipient(
            lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        )

    def __repr__(self) -> str:
        return "RecipientKey(…)"

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """What `Recipient.seal` encrypted. Raises: RecipientInvalid."""
        try:
            return _SUITE.decrypt(sealed, self._key, info)
        except (InvalidTag, ValueError) as error:
            raise RecipientInvalid() from error
