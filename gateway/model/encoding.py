"""Canonical encoding of what a key or a seal is bound to: injective.

Not for stored records: it is hashed or authenticated, never decoded.

Form: "hexagone/v1/" ‖ label ‖ 0x00 ‖ u16 field count ‖ for each field: u32 length ‖ bytes.
Big-endian; strings as UTF-8 without normalisation, integers as u64, UUIDs as their 16 bytes.

Source: docs/data-layout.md, "Canonical encoding".
"""

from __future__ import annotations

from functools import lru_cache

PREFIX = b"hexagone/v1/"
FIELDS_MAX = 0xFFFF

Field = bytes | str | int


_LENGTHS = tuple(length.to_bytes(4, "big") for length in range(256))


def enc(label: str, *fields: Field) -> bytes:
    """Encode a labelled list of fields.

    Args:
        label: what the result is for, ASCII without NUL; one label never has two meanings.
        fields: bytes and strings of less than 4 GiB, integers from 0 to 2^64 − 1.

    Returns:
        Bytes that no other label or list of field bytes has.
    """
    return _head(label, len(fields)) + b"".join([encoded(field) for field in fields])


@lru_cache(maxsize=4096)
def enc_start(label: str, field_count: int, *fields: Field) -> bytes:
    """The start of an `enc` of `field_count` fields, with the first of them; `encoded` makes the
    others. For fields that many encodings share: the last 4,096 starts are kept.
    """
    return _head(label, field_count) + b"".join([encoded(field) for field in fields])


def encoded(field: Field) -> bytes:
    """One field of an `enc`."""
    if isinstance(field, int):
        return b"\x00\x00\x00\x08" + field.to_bytes(8, "big")
    raw = field.encode() if isinstance(field, str) else field
    length = len(raw)
    return (_LENGTHS[length] if length < 256 else length.to_bytes(4, "big")) + raw


@lru_cache(maxsize=256)
def _head(label: str, field_count: int) -> bytes:
    raw = label.encode("ascii")
    assert raw and b"\x00" not in raw, "a label is plain text"
    return PREFIX + raw + b"\x00" + field_count.to_bytes(2, "big")
