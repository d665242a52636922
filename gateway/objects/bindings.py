"""What keys and ciphertext of an object are bound to. Pure.

The wrapped DEK is bound to the object key, so a row moved to another name does not open; the body
is not, so that a rename would move no shard.

Source: docs/data-layout.md, "Contexts".
"""

from __future__ import annotations

from gateway.data.cipher import KEY_BYTES, expand
from gateway.model.encoding import enc, enc_start, encoded
from gateway.model.names import UUID_BYTES, BucketId, ObjectKey, ObjectUuid, TenantId

_UUID_LENGTH = UUID_BYTES.to_bytes(4, "big")
WHOLE_OBJECT = 1  # part number of an object that was put whole


def dek_context(
    cluster_id: bytes,
    tenant: TenantId,
    bucket: BucketId,
    key_epoch: int,
    key: ObjectKey,
    uuid: ObjectUuid,
) -> bytes:
    """What a wrapped DEK is bound to."""
    return dek_context_head(cluster_id, tenant, bucket, key_epoch) + dek_context_tail(key, uuid)


def dek_context_head(
    cluster_id: bytes, tenant: TenantId, bucket: BucketId, key_epoch: int
) -> bytes:
    """How that begins, for all DEKs of a bucket's epoch."""
    return enc_start("dek", 6, cluster_id, tenant, bucket, key_epoch)


def dek_context_tail(key: ObjectKey, uuid: ObjectUuid) -> bytes:
    """How that ends, whatever the epoch."""
    return b"%b%b%b%b" % (len(key).to_bytes(4, "big"), key, _UUID_LENGTH, uuid)


def body_context(cluster_id: bytes, tenant: TenantId, uuid: ObjectUuid, part_number: int) -> bytes:
    """What the frames of one part are bound to."""
    return enc_start("body", 4, cluster_id, tenant) + encoded(uuid) + encoded(part_number)


def customer_wrapping_key(key: bytes, cluster_id: bytes) -> bytes:
    """What wraps DEKs in place of a client's own key, which is used for nothing else."""
    return expand(key, enc("customer-wrap", cluster_id))[:KEY_BYTES]
