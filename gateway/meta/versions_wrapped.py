"""The wrapped DEK inside the tenant part of a version row, taken out and put in as bytes.

Not for reading versions: `gateway.meta.records` opens all of a row, which takes several times as
long; a rotation of keys goes over every version there is. Pure.
"""

from __future__ import annotations

from struct import Struct

from gateway.meta.kv import RowCorrupt
from gateway.model.names import ObjectUuid, TenantId

# Of a DEK that the bucket's key alone wraps; under a window of it.
PLAIN_WRAPPED_BYTES = frozenset({105, 121})

# Owner and bytes of the wrapped DEK, at their place among the fixed fields.
_OWNER = Struct(">61x16sH")
_FIXED_BYTES = 87
_LENGTH_AT = _OWNER.size - 2
_UUID_AT = 17


def owner_and_wrapped(row_key: bytes, tenant: bytes) -> tuple[TenantId, bytes, bool]:
    """Owner and wrapped DEK of a version, b"" for a delete marker; whether another key than the
    bucket's wraps it too. Raises: RowCorrupt.
    """
    if len(tenant) < _FIXED_BYTES:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure")
    owner, wrapped_bytes = _OWNER.unpack_from(tenant)
    wrapped = tenant[_FIXED_BYTES : _FIXED_BYTES + wrapped_bytes]
    if len(wrapped) != wrapped_bytes:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure")
    return TenantId(owner), wrapped, wrapped_bytes not in (0, *PLAIN_WRAPPED_BYTES)


def object_uuid_of(cluster: bytes) -> ObjectUuid:
    """The object uuid in a cluster part that says where bytes are."""
    return ObjectUuid(cluster[_UUID_AT : _UUID_AT + 16])


def with_wrapped(tenant: bytes, wrapped: bytes) -> bytes:
    """The tenant part with another wrapped DEK."""
    held_bytes = int.from_bytes(tenant[_LENGTH_AT : _OWNER.size], "big")
    return b"".join(
        (
            tenant[:_LENGTH_AT],
            len(wrapped).to_bytes(2, "big"),
            tenant[_OWNER.size : _FIXED_BYTES],
            wrapped,
            tenant[_FIXED_BYTES + held_bytes :],
        )
    )
