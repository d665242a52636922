"""What pack stripes say of themselves: checkpoint segments, and bodies with a sealed directory of
the rows that name them.

Pure. Source: docs/data-layout.md, "Pack stripes".
"""

from __future__ import annotations

import struct
from enum import IntEnum

from storaged.base.errors import Kind, StorageError
from storaged.base.ids import StripeFamily, StripeId

MARKER = b"HXP\x01"
_COMMON = struct.Struct(">4sB3xI")


class PackInvalid(StorageError):
    """A pack stripe is not of a known form."""

    kind = Kind.CORRUPT


class PackKind(IntEnum):
    """What a pack stripe holds."""

    BODIES = 1
    SEGMENT = 2


def encode_pack_head(kind: PackKind, directory_bytes: int) -> bytes:
    """`common` of the shards of a pack stripe. The directory is the end of the payload."""
    return _COMMON.pack(MARKER, kind, directory_bytes)


def decode_pack_head(raw: bytes) -> tuple[PackKind, int]:
    """Kind and directory_bytes. Raises PackInvalid."""
    if len(raw) != _COMMON.size:
        raise PackInvalid(common_bytes=len(raw))
    marker, kind, directory_bytes = _COMMON.unpack(raw)
    if marker != MARKER or kind not in (PackKind.BODIES, PackKind.SEGMENT):
        raise PackInvalid(marker=marker.hex(), kind=kind)
    return PackKind(kind), directory_bytes


def pack_nonce(stripe: StripeId) -> bytes:
    """12 bytes: writer epoch u32 ‖ counter u64. A pack stripe is sealed once, so it is used once
    (D4).
    """
    assert stripe.family is StripeFamily.PACK
    return stripe.epoch.to_bytes(4, "big") + stripe.counter.to_bytes(8, "big")
