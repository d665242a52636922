"""One row value of each family, the keys that seal it and where it lies.

Not for rows in a store: what is here was never committed.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.meta import keyspace as ks
from gateway.meta import records, sealing
from gateway.model.layout import Geometry, Layout, Packed, Striped, StripeRow, Tier
from gateway.model.names import BucketId, ObjectKey, ObjectUuid, TenantId, UploadId, VersionId
from gateway.model.version import Checksum, Part, PartSeal, Upload, Version
from storaged.base.ids import StripeFamily, StripeId

BUCKET = BucketId(b"\x11" * 16)
OTHER = BucketId(b"\x12" * 16)
KEY = ObjectKey(b"some/prefix/object")
ROW = ks.current_row(BUCKET, KEY)
STRIPE = StripeId(StripeFamily.COMMIT, 3, 99)
PACKED = Packed(stripe=STRIPE, offset=77, sealed_bytes=4112)
STRIPED = Striped(
    first=StripeId(StripeFamily.DATA, 3, 8), stripe_count=9, stripe_bytes=4195328, sealed_bytes=1
)


def bucket_cipher(bucket: BucketId, epoch: int) -> AESGCM:
    return sealing.record_cipher(bucket + epoch.to_bytes(16, "big"))


KEYS = sealing.RecordKeys(b"c" * 32, bucket_cipher)
NONCES = sealing.NonceSource(5)
VERSION = Version(
    version_id=VersionId(b"\x21" * 16),
    object_uuid=ObjectUuid(b"\x22" * 16),
    sequence=7,
    created_at_ms=1_700_000_000_123,
    content_bytes=4096,
    etag="9b2cf535f27731c974343645a3985328",
    is_delete_marker=False,
    storage_class="STANDARD",
    headers=(("content-type", "text/plain"),),
    user_metadata=(("mtime", "17"), ("empty", "")),
    tags=(("a", "b"),),
    checksum=Checksum(algorithm="CRC32C", type="FULL_OBJECT", value="yZRlqg=="),
    wrapped_dek=b"w" * 97,
    key_epoch=3,
    owner=TenantId(b"\x23" * 16),
    seal=PartSeal(plain_bytes=4096, salt=b"s" * 24, commitment=b"m" * 32),
)
PART = Part(
    number=17,
    seal=PartSeal(plain_bytes=5, salt=b"s" * 24, commitment=b"m" * 32),
    etag="9b2cf535f27731c974343645a3985328",
    checksum=None,
    created_at_ms=9,
)
PART_ROW = ks.part_row(BUCKET, ObjectUuid(b"\x22" * 16), 17)
ANNOTATION_ROW = ks.annotation_row(BUCKET, ObjectUuid(b"\x22" * 16), b"name")
UPLOAD = Upload(
    upload_id=UploadId(b"\x31" * 16),
    key=KEY,
    object_uuid=ObjectUuid(b"\x22" * 16),
    created_at_ms=9,
    storage_class="STANDARD",
    headers=(("content-type", "é\udcff"),),
    user_metadata=(("n", "v"),),
    tags=(),
    checksum_algorithm="CRC32",
    checksum_type="COMPOSITE",
    wrapped_dek=b"w" * 97,
    key_epoch=3,
    owner=TenantId(b"\x23" * 16),
)
UPLOAD_ROW = ks.upload_row(BUCKET, KEY, UPLOAD.upload_id)
STRIPE_ROW = StripeRow(
    stripe=STRIPE,
    geometry=Geometry(4, 2),
    cell_bytes=1000,
    payload_bytes=3999,
    nodes=(1, 2, 3, 0, 65535, 6),
    tier=Tier.FULL,
    live_bytes=5,
    retain_until_ms=1 << 41,
)


def seal(version: Version = VERSION, layout: Layout | None = PACKED, row_key: bytes = ROW) -> bytes:
    return records.seal_version(KEYS, NONCES, row_key, version, layout)
