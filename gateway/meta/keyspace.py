"""Row keys: family u8 ‖ partition 16 ‖ …, ordered as S3 lists. One builder, range and parser per
family.

Not for values (`gateway.meta.records`). Pure bytes. S3 keys hold no NUL, so 0x00 ends a key that
something follows, and no key sorts between a key and its own rows.

Source: docs/data-layout.md, "Row keys".
"""

from __future__ import annotations

from gateway.meta.kv import PARTITION_BYTES, RowCorrupt
from gateway.model.names import (
    UUID_BYTES,
    BucketId,
    BucketName,
    ObjectKey,
    ObjectUuid,
    TenantId,
    UploadId,
)
from storaged.base.ids import STRIPE_ID_BYTES, InvalidId, StripeId

ACCESS_KEY = b"A"
BUCKET = b"B"  # the open row: every batch of an object checks that it exists
BUCKET_DOCUMENT = b"F"  # cold documents: lifecycle rules, CORS, …
CLOSED_BUCKET = b"C"  # where the open row goes while a bucket is being deleted
BUCKET_KEY = b"K"
NONCURRENT = b"N"
CURRENT = b"O"
GARBAGE = b"G"  # rows of parts and annotations, to be taken away in batches of their own
PART = b"P"
KEYRING = b"R"
STRIPE = b"S"
HOUR = b"H"  # what a bucket was metered for in an hour
LIMIT = b"Q"  # limits of tenants, buckets, access keys and addresses; plans of tenants
IDENTITY = b"I"  # users, groups, roles and policies of a tenant
SESSION = b"Y"  # names of tokens of sessions, which are sealed as rows are and never stored
ADMINISTRATOR = b"D"  # of the cluster; in no tenant
TENANT = b"T"
UPLOAD = b"U"
CLUSTER = b"X"
EVENT = b"E"  # queues: notifications to be sent, lines of access logs, versions to be replicated
LOG_LINES = b"L"
REPLICA = b"M"
ANNOTATION = b"a"
BUCKET_NAME = b"b"
BUCKET_OF_TENANT = b"t"

CLUSTER_PARTITION = bytes(PARTITION_BYTES)

QUEUES = (EVENT, LOG_LINES, REPLICA)

HEAD_BYTES = 1 + PARTITION_BYTES
SEQUENCE_MAX = (1 << 64) - 1

Range = tuple[bytes, bytes]
"""First row key inside and first one beyond."""


def partition_of(row_key: bytes) -> bytes:
    """16 bytes; a key too short to have a partition counts for the cluster's."""
    partition = row_key[1:HEAD_BYTES]
    return partition if len(partition) == PARTITION_BYTES else CLUSTER_PARTITION


def successor(prefix: bytes) -> bytes:
    """The least key above every key that starts with `prefix`. The prefix must hold a byte below
    0xFF.
    """
    stem = prefix.rstrip(b"\xff")
    assert stem, "nothing sorts above a prefix of 0xFF only"
    return stem[:-1] + bytes((stem[-1] + 1,))


def after(row_key: bytes) -> bytes:
    """The least key above `row_key`: where the next page of a scan starts."""
    return row_key + b"\x00"


def family_range(family: bytes, partition: bytes) -> Range:
    """All rows of a family in a partition."""
    head = family + partition
    return head, successor(head)


def _bucket_of(row_key: bytes, family: bytes, rest_min: int) -> BucketId:
    if row_key[:1] != family or len(row_key) < HEAD_BYTES + rest_min:
        raise RowCorrupt(row_key=row_key[:64].hex())
    return BucketId(row_key[1:HEAD_BYTES])


# Current versions: O ‖ bucket ‖ key


def current_row(bucket: BucketId, key: ObjectKey) -> bytes:
    """Row key of the current version of an object."""
    return CURRENT + bucket + key


def parse_current(row_key: bytes) -> tuple[BucketId, ObjectKey]:
    """Bucket and key of a current row. Raises: RowCorrupt."""
    return _bucket_of(row_key, CURRENT, 1), ObjectKey(row_key[HEAD_BYTES:])


def object_prefix_range(bucket: BucketId, prefix: bytes) -> Range:
    """Current rows whose key starts with `prefix` (b"" = all)."""
    start = CURRENT + bucket + prefix
    return start, successor(start)


def after_object(bucket: BucketId, key: bytes) -> bytes:
    """First possible current row above an object key: where a listing goes on after `key`."""
    return CURRENT + bucket + key + b"\x00"


def after_common_prefix(bucket: BucketId, common_prefix: bytes) -> bytes:
    """First possible current row above all keys with the prefix: a delimiter listing seeks here."""
    return successor(CURRENT + bucket + common_prefix)


# Noncurrent versions: N ‖ bucket ‖ key ‖ 0x00 ‖ ~sequence, so the newest comes first


def noncurrent_row(bucket: BucketId, key: ObjectKey, sequence: int) -> bytes:
    """Row key of a noncurrent version."""
    return NONCURRENT + bucket + key + b"\x00" + (SEQUENCE_MAX - sequence).to_bytes(8, "big")


def parse_noncurrent(row_key: bytes) -> tuple[BucketId, ObjectKey, int]:
    """Bucket, key and sequence of a noncurrent row. Raises: RowCorrupt."""
    bucket = _bucket_of(row_key, NONCURRENT, 10)
    if row_key[-9] != 0:
        raise RowCorrupt(row_key=row_key[:64].hex())
    sequence = SEQUENCE_MAX - int.from_bytes(row_key[-8:], "big")
    return bucket, ObjectKey(row_key[HEAD_BYTES:-9]), sequence


def noncurrent_range(bucket: BucketId, key: ObjectKey) -> Range:
    """Noncurrent versions of one key, newest first."""
    return NONCURRENT + bucket + key + b"\x00", NONCURRENT + bucket + key + b"\x01"


def noncurrent_prefix_range(bucket: BucketId, prefix: bytes) -> Range:
    """Noncurrent versions of keys that start with `prefix`."""
    start = NONCURRENT + bucket + prefix
    return start, successor(start)


# Uploads: U ‖ bucket ‖ key ‖ 0x00 ‖ upload id


def upload_row(bucket: BucketId, key: ObjectKey, upload: UploadId) -> bytes:
    """Row key of an upload."""
    return UPLOAD + bucket + key + b"\x00" + upload


def parse_upload(row_key: bytes) -> tuple[BucketId, ObjectKey, UploadId]:
    """Bucket, key and upload id of an upload row. Raises: RowCorrupt."""
    bucket = _bucket_of(row_key, UPLOAD, 18)
    if row_key[-17] != 0:
        raise RowCorrupt(row_key=row_key[:64].hex())
    return bucket, ObjectKey(row_key[HEAD_BYTES:-17]), UploadId(row_key[-16:])


def upload_prefix_range(bucket: BucketId, prefix: bytes) -> Range:
    """Uploads of keys that start with `prefix` (b"" = all)."""
    start = UPLOAD + bucket + prefix
    return start, successor(start)


def after_upload_prefix(bucket: BucketId, common_prefix: bytes) -> bytes:
    """First possible upload row above all keys with the prefix."""
    return successor(UPLOAD + bucket + common_prefix)


def after_uploads_of(bucket: BucketId, key: bytes) -> bytes:
    """First possible upload row above all uploads of exactly this key."""
    return UPLOAD + bucket + key + b"\x01"


# Parts: P ‖ bucket ‖ object uuid ‖ part number u16


def part_row(bucket: BucketId, uuid: ObjectUuid, number: int) -> bytes:
    """Row key of a part."""
    return PART + bucket + uuid + number.to_bytes(2, "big")


def parse_part(row_key: bytes) -> tuple[BucketId, ObjectUuid, int]:
    """Bucket, object uuid and number of a part row. Raises: RowCorrupt."""
    bucket = _bucket_of(row_key, PART, 18)
    if len(row_key) != HEAD_BYTES + 18:
        raise RowCorrupt(row_key=row_key[:64].hex())
    return bucket, ObjectUuid(row_key[17:33]), int.from_bytes(row_key[33:], "big")


def part_range(bucket: BucketId, uuid: ObjectUuid) -> Range:
    """All parts of an object or upload, by number."""
    head = PART + bucket + uuid
    return head, head + b"\xff\xff\xff"


# Annotations: a ‖ bucket ‖ object uuid ‖ name


def annotation_row(bucket: BucketId, uuid: ObjectUuid, name: bytes) -> bytes:
    """Row key of an annotation of a version; `name` 1–512 bytes."""
    return ANNOTATION + bucket + uuid + name


def parse_annotation(row_key: bytes) -> tuple[BucketId, ObjectUuid, bytes]:
    """Bucket, object uuid and name of an annotation's row. Raises: RowCorrupt."""
    bucket = _bucket_of(row_key, ANNOTATION, UUID_BYTES + 1)
    end = HEAD_BYTES + UUID_BYTES
    return bucket, ObjectUuid(row_key[HEAD_BYTES:end]), row_key[end:]


def annotation_range(bucket: BucketId, uuid: ObjectUuid, prefix: bytes = b"") -> Range:
    """Annotations of a version whose names start with `prefix`, by name."""
    start = ANNOTATION + bucket + uuid + prefix
    return start, successor(start)


# Garbage: G ‖ bucket ‖ object uuid


def garbage_row(bucket: BucketId, uuid: ObjectUuid) -> bytes:
    """Row that says which rows under an object's uuid nobody names any longer."""
    return GARBAGE + bucket + uuid


def parse_garbage(row_key: bytes) -> tuple[BucketId, ObjectUuid]:
    """Bucket and object uuid of a garbage row. Raises: RowCorrupt."""
    bucket = _bucket_of(row_key, GARBAGE, 16)
    return bucket, ObjectUuid(row_key[HEAD_BYTES:])


def garbage_range() -> Range:
    """Garbage of all buckets."""
    return GARBAGE, successor(GARBAGE)


# Queues: E, L or M ‖ bucket ‖ time in ms u64 ‖ 8 random bytes


def queue_row(family: bytes, bucket: BucketId, at_ms: int, tail: bytes) -> bytes:
    """Row of something to be done; `tail` 8 bytes."""
    return family + bucket + at_ms.to_bytes(8, "big") + tail


def parse_queue(row_key: bytes) -> tuple[BucketId, int]:
    """Bucket and time of a row of a queue. Raises: RowCorrupt."""
    bucket = _bucket_of(row_key, row_key[:1], 16)
    if row_key[:1] not in QUEUES or len(row_key) != HEAD_BYTES + 16:
        raise RowCorrupt(row_key=row_key[:64].hex())
    return bucket, int.from_bytes(row_key[HEAD_BYTES : HEAD_BYTES + 8], "big")


# Stripes: S ‖ zeros ‖ stripe id


def stripe_row(stripe: StripeId) -> bytes:
    """Row key of a stripe."""
    return STRIPE + CLUSTER_PARTITION + stripe.encode()


def parse_stripe(row_key: bytes) -> StripeId:
    """Stripe id of a stripe row. Raises: RowCorrupt."""
    if row_key[:HEAD_BYTES] != STRIPE + CLUSTER_PARTITION:
        raise RowCorrupt(row_key=row_key[:64].hex())
    try:
        return StripeId.decode(row_key[HEAD_BYTES : HEAD_BYTES + STRIPE_ID_BYTES + 1])
    except InvalidId as error:
        raise RowCorrupt(row_key=row_key[:64].hex()) from error


def stripe_range() -> Range:
    """All stripes: family, epoch, counter order."""
    return family_range(STRIPE, CLUSTER_PARTITION)


# Buckets, their names and their keys


def bucket_row(bucket: BucketId) -> bytes:
    """The open row of a bucket."""
    return BUCKET + bucket


def closed_bucket_row(bucket: BucketId) -> bytes:
    """Where the open row goes while the bucket is being deleted."""
    return CLOSED_BUCKET + bucket


def bucket_name_row(name: BucketName) -> bytes:
    """Row that makes a bucket name unique in the cluster."""
    return BUCKET_NAME + CLUSTER_PARTITION + name.encode("ascii")


def tenant_bucket_row(tenant: TenantId, name: BucketName) -> bytes:
    """Row that lists a bucket under its tenant, by name."""
    return BUCKET_OF_TENANT + CLUSTER_PARTITION + tenant + name.encode("ascii")


def tenant_bucket_range(tenant: TenantId, prefix: str = "") -> Range:
    """The tenant's buckets whose name starts with `prefix`, by name."""
    start = BUCKET_OF_TENANT + CLUSTER_PARTITION + tenant + prefix.encode()
    return start, successor(start)


def bucket_key_row(bucket: BucketId, epoch: int) -> bytes:
    """Row of the wrapped bucket key of an epoch."""
    return BUCKET_KEY + bucket + epoch.to_bytes(4, "big")


def bucket_key_range(bucket: BucketId) -> Range:
    """All key epochs of a bucket, oldest first."""
    return BUCKET_KEY + bucket, BUCKET_KEY + bucket + b"\xff\xff\xff\xff\xff"


def parse_bucket_key(row_key: bytes) -> tuple[BucketId, int]:
    """Bucket and epoch of the row of a bucket key. Raises: RowCorrupt."""
    return _bucket_of(row_key, BUCKET_KEY, 4), int.from_bytes(row_key[HEAD_BYTES:], "big")


def bucket_document_row(bucket: BucketId, name: str) -> bytes:
    """Row of one document of a bucket."""
    return BUCKET_DOCUMENT + bucket + name.encode()


# Accounts and the cluster's own rows


def tenant_row(tenant: TenantId) -> bytes:
    """Row of a tenant."""
    return TENANT + CLUSTER_PARTITION + tenant


def access_key_row(access_key: str) -> bytes:
    """Row of an access key."""
    return ACCESS_KEY + CLUSTER_PARTITION + access_key.encode()


def access_key_range() -> Range:
    """Access keys of all tenants, by id."""
    return family_range(ACCESS_KEY, CLUSTER_PARTITION)


def identity_row(tenant: TenantId, kind: bytes, name: str) -> bytes:
    """Row of a user, a group, a role or a policy; `kind` 1 byte."""
    return IDENTITY + CLUSTER_PARTITION + tenant + kind + name.encode()


def identity_range(tenant: TenantId, kind: bytes) -> Range:
    """Users, groups, roles or policies of a tenant, by name."""
    start = IDENTITY + CLUSTER_PARTITION + tenant + kind
    return start, successor(start)


def session_row(access_key: str) -> bytes:
    """What the token of a session is sealed as."""
    return SESSION + CLUSTER_PARTITION + access_key.encode()


def limit_row(name: str) -> bytes:
    """Row of the limits or the plan of somebody; `name` says whose."""
    return LIMIT + CLUSTER_PARTITION + name.encode()


def hour_row(tenant: TenantId, bucket: BucketId, hour: int) -> bytes:
    """Row of what a bucket was metered for in an hour since the epoch."""
    return HOUR + CLUSTER_PARTITION + tenant + bucket + hour.to_bytes(4, "big")


def parse_hour(row_key: bytes) -> tuple[TenantId, BucketId, int]:
    """Tenant, bucket and hour of such a row. Raises: RowCorrupt."""
    if row_key[:HEAD_BYTES] != HOUR + CLUSTER_PARTITION or len(row_key) != HEAD_BYTES + 36:
        raise RowCorrupt(row_key=row_key[:64].hex())
    rest = row_key[HEAD_BYTES:]
    return TenantId(rest[:16]), BucketId(rest[16:32]), int.from_bytes(rest[32:], "big")


def hour_range(tenant: TenantId, bucket: BucketId, first: int, end: int) -> Range:
    """Rows of a bucket from hour `first` to before `end`."""
    return hour_row(tenant, bucket, first), hour_row(tenant, bucket, end)


def cluster_row(name: str) -> bytes:
    """Row of one cluster-wide setting."""
    return CLUSTER + CLUSTER_PARTITION + name.encode("ascii")


def keyring_row() -> bytes:
    """Row of the sealed copy of the tenant keys."""
    return KEYRING + CLUSTER_PARTITION
