"""Names of S3 and ids of what they name: buckets, keys, versions, uploads, tenants. Validated once,
on the way in.

Not for nodes, stripes or shards: those ids are in `storaged.base.ids`.

Source: Amazon S3 User Guide, "Bucket naming rules", "Object key naming"; docs/data-layout.md,
"Identifiers".
"""

from __future__ import annotations

import re
from typing import NewType

from gateway.limits import KEY_BYTES_MAX
from gateway.model.errors import (
    InvalidArgument,
    InvalidBucketName,
    KeyTooLong,
    NoSuchUpload,
    NoSuchVersion,
)

UUID_BYTES = 16

BucketName = NewType("BucketName", str)
ObjectKey = NewType("ObjectKey", bytes)
BucketId = NewType("BucketId", bytes)
TenantId = NewType("TenantId", bytes)
ObjectUuid = NewType("ObjectUuid", bytes)
VersionId = NewType("VersionId", bytes)
UploadId = NewType("UploadId", bytes)

NULL_VERSION = VersionId(bytes(UUID_BYTES))  # the version of a bucket without versioning: "null"
NULL_VERSION_TEXT = "null"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_BROKEN_LABELS = re.compile(r"\.[.-]|-\.")  # as names of hosts they would not resolve
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+\Z")
_FORBIDDEN_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_FORBIDDEN_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_HEX_UUID = re.compile(r"[0-9a-f]{32}\Z")


def bucket_name(text: str) -> BucketName:
    """Validate a bucket name by the rules for general purpose buckets.

    Raises: InvalidBucketName.
    """
    if (
        not _BUCKET.match(text)
        or _BROKEN_LABELS.search(text)
        or _IPV4.match(text)
        or text.startswith(_FORBIDDEN_STARTS)
        or text.endswith(_FORBIDDEN_ENDS)
    ):
        raise InvalidBucketName(bucket=text[:64])
    return BucketName(text)


def object_key(raw: bytes) -> ObjectKey:
    """Validate an object key: 1–1,024 bytes of UTF-8 without NUL.

    NUL is refused because it ends the key inside row keys; XML 1.0 could not name such an object
    either.

    Raises: KeyTooLong, InvalidArgument.
    """
    if len(raw) > KEY_BYTES_MAX:
        raise KeyTooLong(size_bytes=len(raw), max_size_bytes=KEY_BYTES_MAX)
    if not raw or 0 in raw:
        raise InvalidArgument(message="The object key must not be empty or contain a NUL byte.")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(message="The object key is not valid UTF-8.") from error
    return ObjectKey(bytes(raw))


def version_id_text(version: VersionId) -> str:
    """What S3 prints: "null" for the null version, else 32 hexadecimal digits."""
    return NULL_VERSION_TEXT if version == NULL_VERSION else version.hex()


def version_id(text: str) -> VersionId:
    """Parse what `version_id_text` prints.

    Raises: NoSuchVersion: no version of ours can have this id.
    """
    if text == NULL_VERSION_TEXT:
        return NULL_VERSION
    if not _HEX_UUID.match(text):
        raise NoSuchVersion(version_id=text[:64])
    return VersionId(bytes.fromhex(text))


def upload_id_text(upload: UploadId) -> str:
    """What S3 prints: 32 hexadecimal digits."""
    return upload.hex()


def upload_id(text: str) -> UploadId:
    """Parse what `upload_id_text` prints.

    Raises: NoSuchUpload: no upload of ours can have this id.
    """
    if not _HEX_UUID.match(text):
        raise NoSuchUpload(upload_id=text[:64])
    return UploadId(bytes.fromhex(text))
