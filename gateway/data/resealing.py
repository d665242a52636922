"""Many records of `gateway.data.envelope` under another key, in one loop. Pure.

A rotation does this for every version there is. To open and to seal a record derives a key for each
with HKDF, and most of that is HMAC: here its key is taken once, and no call is made for each step.
What comes out is what `open_secret` and `seal_secret` take and make.

Source: RFC 5869 § 2.3; docs/data-layout.md, "Sealed keys".
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.hmac import HMAC

from gateway.data.cipher import COMMITMENT_BYTES, KEY_BYTES, SALT_BYTES
from gateway.data.envelope import SUITE
from gateway.limits import TAG_BYTES
from gateway.model.encoding import enc_start

WINDOW_SUITE = 2
WINDOW_ID_BYTES = 16

_NONCE_AT, _COMMITMENT_AT = KEY_BYTES, KEY_BYTES + 12
_OKM_END = _COMMITMENT_AT + COMMITMENT_BYTES
_SALT_LENGTH = SALT_BYTES.to_bytes(4, "big")


def expanded(keyed: HMAC, info: bytes) -> bytes:
    """As `gateway.data.cipher.expand`: 76 bytes, of an HMAC-SHA512 that has taken nothing but its
    key.
    """
    code = keyed.copy()
    code.update(info + b"\x01")
    first = code.finalize()
    code = keyed.copy()
    code.update(b"%b%b\x02" % (first, info))
    return (first + code.finalize())[:_OKM_END]


def keyed_by(key: bytes) -> HMAC:
    """What `expanded` takes of a key of 32 bytes."""
    return HMAC(key, SHA512())


def resealed(
    key_of: Callable[[bytes], bytes],
    sealing: tuple[bytes, bytes],
    label: str,
    heads: tuple[bytes, bytes],
    tails: Sequence[bytes],
    records: Sequence[bytes],
    salts: bytes,
) -> list[bytes | None]:
    """Records under another key; None for one that does not open.

    Args:
        key_of: the key under which a window's records are sealed; of b"", the bucket's key.
        sealing: what a record begins with, and the key it is sealed under.
        heads, tails: how contexts begin, before and after, and how that of each record ends.
        salts: SALT_BYTES random bytes for each record, never used again.
    """
    assert len(salts) == SALT_BYTES * len(records)
    info, associated = enc_start(label, 2), enc_start("aad", 3, SUITE, label)
    before, after = heads
    start, seal_keyed = sealing[0], keyed_by(sealing[1])
    window, open_keyed, salt_at, sealed_at = b"none", seal_keyed, 0, 0
    found: list[bytes | None] = []
    at = -SALT_BYTES
    for tail, record in zip(tails, records, strict=True):
        at += SALT_BYTES
        its_window = _window_of(record)
        if its_window is None:
            found.append(None)
            continue
        if its_window != window:  # those that lie together were mostly sealed in one window
            window, open_keyed = its_window, keyed_by(key_of(its_window))
            salt_at = 1 + len(window)
            sealed_at = salt_at + SALT_BYTES + COMMITMENT_BYTES
        context = _field(before + tail)
        salt = record[salt_at : salt_at + SALT_BYTES]
        okm = expanded(open_keyed, b"".join((info, context, _SALT_LENGTH, salt)))
        # Also false for a record that is cut short.
        if not hmac.compare_digest(okm[_COMMITMENT_AT:], record[salt_at + SALT_BYTES : sealed_at]):
            found.append(None)
            continue
        try:
            opening = AESGCM(okm[:KEY_BYTES])
            nonce = okm[_NONCE_AT:_COMMITMENT_AT]
            secret = opening.decrypt(nonce, record[sealed_at:], associated + context)
        except InvalidTag:
            found.append(None)
            continue
        context = _field(after + tail)
        salt = salts[at : at + SALT_BYTES]
        okm = expanded(seal_keyed, b"".join((info, context, _SALT_LENGTH, salt)))
        nonce = okm[_NONCE_AT:_COMMITMENT_AT]
        sealed = AESGCM(okm[:KEY_BYTES]).encrypt(nonce, secret, associated + context)
        found.append(b"".join((start, salt, okm[_COMMITMENT_AT:], sealed)))
    return found


def _window_of(record: bytes) -> bytes | None:
    """The window of a record, b"" for none; None where it is no record."""
    suite = record[:1]
    if suite == b"\x02":
        window = record[1 : 1 + WINDOW_ID_BYTES]
        return window if len(record) > WINDOW_ID_BYTES + TAG_BYTES else None
    return b"" if suite == b"\x01" else None


def _field(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw
