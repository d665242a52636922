"""Records sealed in a window of a bucket's key: one AES key for some thousand of them. Pure.

A window's key is HKDF-Expand(bucket key, window id), see `gateway.data.bucket_sealing`. Of it come
an AES-256 key and a key for HMAC: `expand(window key, enc("window-keys"))` = AES key 32 ‖ HMAC key
32. A record is 3 ‖ window id 16 ‖ salt 24 ‖ commitment 32 ‖ ciphertext and tag. The commitment is
HMAC-SHA256 of enc(label, context, salt); its first 12 bytes are the nonce, all of it is the
associated data. So the commitment, which no other key and no other context has, is compared in
constant time before anything is opened, and nobody chooses a nonce.

Records of suite 2, which programs before this one made, are 2 ‖ window id 16 ‖ what `seal_secret`
makes under the window's key, without its first byte. They are read (`open_former`).

Invariants: D4 (in a window of up to WINDOW_RECORDS_MAX records two nonces are alike once in 2^65
windows; who seals counts them), D5.
Source: docs/data-layout.md, "Sealed keys"; docs/decisions/0008; RFC 2104; NIST SP 800-38D.
"""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from gateway.data.cipher import COMMITMENT_BYTES, KEY_BYTES, SALT_BYTES, expand
from gateway.data.envelope import SUITE, SealInvalid, open_secret
from gateway.limits import TAG_BYTES
from gateway.model.encoding import enc, enc_start, encoded

WINDOW_ID_BYTES = 16
WINDOW_RECORDS_MAX = 65_536

_SUITE, _FORMER_SUITE = b"\x03", b"\x02"
_SALT_AT = 1 + WINDOW_ID_BYTES
_COMMITMENT_AT = _SALT_AT + SALT_BYTES
_SEALED_AT = _COMMITMENT_AT + COMMITMENT_BYTES
_NONCE_BYTES = 12
_KEYS_INFO = enc("window-keys")
_SALT_LENGTH = SALT_BYTES.to_bytes(4, "big")


def window_key(bucket_key: bytes, window_id: bytes) -> bytes:
    """The key of a window."""
    assert len(window_id) == WINDOW_ID_BYTES
    return expand(bucket_key, enc("dek-window", window_id))[:KEY_BYTES]


def window_of(record: bytes) -> bytes | None:
    """The id of the window that a record is sealed in; None: under the bucket's key itself."""
    if record[:1] not in (_SUITE, _FORMER_SUITE) or len(record) <= _SALT_AT:
        return None
    return bytes(record[1:_SALT_AT])


def is_former(record: bytes) -> bool:
    """Whether a record is of suite 2."""
    return record[:1] == _FORMER_SUITE


def open_former(key: bytes, label: str, context: bytes, record: bytes) -> bytes:
    """The secret of a record of suite 2; `key`: see `window_key`. Raises: SealInvalid."""
    return open_secret(key, label, context, b"%c%b" % (SUITE, record[_SALT_AT:]))


class Window:
    """One window, ready for use by any thread.

    Attributes:
        start: what its records begin with.

    Args:
        key: see `window_key`.
    """

    __slots__ = ("_aead", "_keyed", "id", "start")

    def __init__(self, window_id: bytes, key: bytes) -> None:
        assert len(window_id) == WINDOW_ID_BYTES
        okm = expand(key, _KEYS_INFO)
        self.id = window_id
        self.start = _SUITE + window_id
        self._aead = AESGCM(okm[:KEY_BYTES])
        self._keyed = HMAC(okm[KEY_BYTES : 2 * KEY_BYTES], SHA256())

    def __repr__(self) -> str:
        return "Window(…)"

    def seal(self, label: str, context: bytes, secret: bytes, salt: bytes) -> bytes:
        """Seal a secret. `salt`: 24 random bytes, never used again.

        Returns:
            The record, 89 bytes longer than `secret`.
        """
        assert len(salt) == SALT_BYTES
        return self.sealed(enc_start(label, 2) + encoded(context), secret, salt)

    def sealed(self, bound: bytes, secret: bytes, salt: bytes) -> bytes:
        """As `seal`, of the start of its `enc`."""
        code = self._keyed.copy()
        code.update(b"%b%b%b" % (bound, _SALT_LENGTH, salt))
        commitment = code.finalize()
        sealed = self._aead.encrypt(commitment[:_NONCE_BYTES], secret, commitment)
        return b"".join((self.start, salt, commitment, sealed))

    def open(self, label: str, context: bytes, record: bytes) -> bytes:
        """The secret of a record of this window. Raises: SealInvalid."""
        secret = self.opened(enc_start(label, 2) + encoded(context), record)
        if secret is None:
            raise SealInvalid(label=label)
        return secret

    def opened(self, bound: bytes, record: bytes) -> bytes | None:
        """As `open`, of the start of its `enc`; None: it does not open."""
        if not record.startswith(self.start) or len(record) < _SEALED_AT + TAG_BYTES:
            return None
        code = self._keyed.copy()
        code.update(b"%b%b%b" % (bound, _SALT_LENGTH, record[_SALT_AT:_COMMITMENT_AT]))
        commitment = code.finalize()
        if not hmac.compare_digest(commitment, record[_COMMITMENT_AT:_SEALED_AT]):
            return None
        try:
            return self._aead.decrypt(commitment[:_NONCE_BYTES], record[_SEALED_AT:], commitment)
        except InvalidTag:
            return None
