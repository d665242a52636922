"""Rows of inventory reports, in CSV. Pure.

Source: Amazon S3 User Guide, "Amazon S3 Inventory list".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import quote_plus

from gateway.model.attributes import CUSTOMER, KMS, KMS_DSSE
from gateway.model.names import NULL_VERSION, version_id_text
from gateway.model.version import Version

_ENCRYPTIONS = {KMS: "SSE-KMS", KMS_DSSE: "DSSE-KMS", CUSTOMER: "SSE-C"}


def _time(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def _encryption(version: Version) -> str:
    chosen = version.attributes.encryption
    return "SSE-S3" if chosen is None else _ENCRYPTIONS.get(chosen.kind, "SSE-S3")


def _bucket_key(version: Version) -> str:
    chosen = version.attributes.encryption
    return "ENABLED" if chosen is not None and chosen.bucket_key else "DISABLED"


def _retain_until(version: Version) -> str:
    held = version.attributes
    return _time(held.retain_until_ms) if held.retention_mode else ""


FIELDS: dict[str, Callable[[Version], str]] = {
    "Size": lambda version: str(version.content_bytes),
    "LastModifiedDate": lambda version: _time(version.created_at_ms),
    "StorageClass": lambda version: version.storage_class,
    "ETag": lambda version: version.etag,
    "IsMultipartUploaded": lambda version: "true" if version.is_multipart else "false",
    "ReplicationStatus": lambda version: version.attributes.replication,
    "EncryptionStatus": _encryption,
    "ObjectLockRetainUntilDate": _retain_until,
    "ObjectLockMode": lambda version: version.attributes.retention_mode,
    "ObjectLockLegalHoldStatus": lambda version: "ON" if version.attributes.legal_hold else "OFF",
    "IntelligentTieringAccessTier": lambda _: "",
    "BucketKeyStatus": _bucket_key,
    "ChecksumAlgorithm": lambda version: (
        "" if version.checksum is None else version.checksum.algorithm
    ),
    "ObjectOwner": lambda version: version.attributes.owner_id,
}


def columns(fields: Sequence[str], *, with_versions: bool) -> list[str]:
    """Names of the columns, as a manifest's `fileSchema` lists them."""
    ids = ["VersionId", "IsLatest", "IsDeleteMarker"] if with_versions else []
    return ["Bucket", "Key", *ids, *fields]


def csv_row(
    bucket: str,
    key: str,
    version: Version,
    fields: Sequence[str],
    *,
    with_versions: bool,
    is_latest: bool,
) -> str:
    """One line; the key percent-encoded, every value in quotes."""
    values = [bucket, quote_plus(key, safe="/")]
    if with_versions:
        is_null = version.version_id == NULL_VERSION
        values.append("" if is_null else version_id_text(version.version_id))
        values.append("true" if is_latest else "false")
        values.append("true" if version.is_delete_marker else "false")
    for name in fields:
        told = version.is_delete_marker and name not in ("LastModifiedDate", "ObjectOwner")
        values.append("" if told else FIELDS[name](version))
    return ",".join('"' + value.replace('"', '""') + '"' for value in values) + "\n"
