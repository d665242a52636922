"""A key from a passphrase, by scrypt.

Source: RFC 7914; docs/data-layout.md, "Keys".
"""

from __future__ import annotations

from hashlib import scrypt

from gateway.data.cipher import KEY_BYTES

SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 15, 8, 1
SCRYPT_MEMORY_BYTES = 64 * 1024 * 1024


def passphrase_key(passphrase: bytes, salt: bytes) -> bytes:
    """32 bytes by scrypt: a few ten milliseconds and 32 MiB."""
    return scrypt(
        passphrase,
        salt=salt,
        n=SCRYPT_N,
        r=SCRYPT_R,
        p=SCRYPT_P,
        maxmem=SCRYPT_MEMORY_BYTES,
        dklen=KEY_BYTES,
    )
