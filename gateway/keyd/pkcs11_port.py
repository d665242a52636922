"""What the PKCS#11 provider needs of a token, and what goes wrong with one.

Not for PKCS#11 itself: `gateway.keyd.pkcs11_token` is the only module that knows the binding.

A key is named by its CKA_ID, 16 random bytes; a handle is good for one session only and never
leaves the token's thread. No nonce is chosen by a caller (CRY-08).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from storaged.base.errors import ConfigError, Kind, StorageError

KEY_ID_BYTES = 16
NONCE_BYTES = 12
GCM_TAG_BYTES = 16
SLOW_FACTOR = 10


class HsmUnavailable(StorageError):
    """The HSM does not answer, or its token is not there."""

    kind = Kind.UNAVAILABLE
    hint = "`hexagone keyd token-check` says what is missing; once it is back nothing is to be done"


class HsmPinRefused(StorageError):
    """The token refuses the PIN."""

    kind = Kind.UNAVAILABLE
    hint = "no second try is made, or the token would lock: put the right PIN into the PIN's file"


class HsmFull(StorageError):
    """The token has no room for another key."""

    kind = Kind.EXHAUSTED
    hint = "destroy keys that nothing is under, or use a larger token"


class HsmKeyMissing(StorageError):
    """The token lacks a key."""

    kind = Kind.UNAVAILABLE
    hint = "is it the right token? a backup of it may have the key, if it was not destroyed"


class HsmKeyUnfit(StorageError):
    """The token holds another key than the one that is meant, or with more rights than it had."""

    kind = Kind.CORRUPT
    hint = "somebody has written to the token: nothing is wrapped or unwrapped with this key"


class WrapLimitReached(StorageError):
    """The key has wrapped as often as one key may."""

    kind = Kind.EXHAUSTED
    hint = "`hexagone keys rotate` makes another epoch of it"


class HsmRefused(StorageError):
    """The token does not open a ciphertext; it may be to blame, or the ciphertext."""

    kind = Kind.UNAVAILABLE


class HsmUnusable(ConfigError):
    """The PKCS#11 module or its token cannot be used as configured."""

    kind = Kind.UNAVAILABLE
    hint = "`hexagone keyd token-check` says what is missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """A key that lies in a token: its CKA_ID and CKA_LABEL."""

    key_id: bytes
    label: str


class Token(Protocol):
    """A token that is logged in to as a user, and logged in to again when it was away.

    Any thread may call; each call ends within the deadline that the token was opened with, those
    that make, find or erase keys within SLOW_FACTOR times as long.
    Raises (all): HsmUnavailable, HsmPinRefused.
    """

    label: str

    def ready(self) -> None:
        """Log in, unless this was done. Raises: HsmUnusable: as configured it never can be.
        Idempotent: yes.
        """
        ...

    def ensure_key(self, key_id: bytes, label: str) -> None:
        """Make an AES-256 key that never leaves the token, for encrypting and decrypting only.

        Raises: HsmFull; HsmKeyUnfit: there are several of this id, or one of another kind.
        Idempotent: by key id. Durable when: it returns. Cancelled: the key may be there.
            Concurrent: any number.
        """
        ...

    def encrypt(self, key_id: bytes, associated: bytes, plain: bytes) -> bytes:
        """AES-256-GCM: nonce 12 ‖ ciphertext ‖ tag 16, the nonce random for each call.

        Args:
            associated: associated data, never empty.

        Raises: HsmKeyMissing, HsmKeyUnfit.
        Idempotent: no, each answer differs. Concurrent: any number.
        """
        ...

    def decrypt(self, key_id: bytes, associated: bytes, sealed: bytes) -> bytes:
        """What `encrypt` made.

        Raises: HsmRefused: the token does not open it; HsmKeyMissing, HsmKeyUnfit.
        Idempotent: yes. Concurrent: any number.
        """
        ...

    def destroy_key(self, key_id: bytes) -> None:
        """Erase a key from the token, and look that it is gone.

        Idempotent: by key id. Durable when: it returns. Cancelled: the key may be gone.
            Concurrent: any number.
        """
        ...

    def keys(self, label_prefix: str) -> list[TokenKey]:
        """Secret keys whose label begins so."""
        ...

    def lost(self) -> None:
        """Begin anew at the next call: log in, look for keys. Never raises."""
        ...
