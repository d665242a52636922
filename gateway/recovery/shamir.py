"""Shamir's secret sharing over GF(256): any m of n shares give the secret, fewer give nothing.

Not for what a share looks like (`gateway.recovery.shares`). Our own, because the libraries there
are either share 16 bytes only, or bring a format with a generator of randomness of their own; it is
one polynomial. A secret byte never chooses a memory address: a share's place is public, and bytes
are multiplied by it as whole buffers, through one table of 256 bytes for each factor.

The field is that of AES (x^8 + x^4 + x^3 + x + 1); place 0 has the secret.

Source: A. Shamir, "How to share a secret", 1979; FIPS 197 §4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

PLACES_MAX = 255

_REDUCTION = 0x11B


def _times(left: int, right: int) -> int:
    product = 0
    for bit in range(8):
        product ^= (left << bit) * (right >> bit & 1)
    for bit in range(14, 7, -1):
        product ^= (_REDUCTION << bit - 8) * (product >> bit & 1)
    return product


@cache
def _table(factor: int) -> bytes:
    """Every byte times `factor`. Made when it is needed: all of them take a tenth of a second."""
    return bytes(_times(factor, byte) for byte in range(256))


def _inverse(factor: int) -> int:
    return _table(factor).index(1)


def _add(left: bytes, right: bytes) -> bytes:
    total = int.from_bytes(left, "big") ^ int.from_bytes(right, "big")
    return total.to_bytes(len(left), "big")


def split(secret: bytes, *, places: int, threshold: int, randomness: bytes) -> dict[int, bytes]:
    """Shares of a secret by their place, from 1.

    Args:
        randomness: (threshold - 1) * len(secret) random bytes, the other coefficients.
    """
    length = len(secret)
    assert 2 <= threshold <= places <= PLACES_MAX and length
    assert len(randomness) == (threshold - 1) * length
    above = [randomness[at : at + length] for at in range(0, len(randomness), length)]
    shares = {}
    for place in range(1, places + 1):
        value = bytes(length)
        for coefficient in (*reversed(above), secret):
            value = _add(value.translate(_table(place)), coefficient)
        shares[place] = value
    return shares


def join(shares: Mapping[int, bytes]) -> bytes:
    """The secret of as many shares as the threshold; of fewer, or of altered ones, noise."""
    assert shares and all(1 <= place <= PLACES_MAX for place in shares)
    total = bytes(len(next(iter(shares.values()))))
    for place, share in shares.items():
        factor = 1
        for other in shares:
            if other != place:
                # Lagrange at 0; in this field, to subtract is to add.
                factor = _table(factor)[_table(other)[_inverse(other ^ place)]]
        total = _add(total, share.translate(_table(factor)))
    return total
