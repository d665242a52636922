"""Records of a bucket's access log, of 26 fields each, in Amazon's own format.

Not for where they go (`gateway.objects.log_spool`). What clients choose is written so that no
record can forge another: keys and paths are percent-encoded, quotes and line ends never stand.

A copy and a delete of many keys are logged as AWS logs them, and besides as REST.PUT.OBJECT and
REST.POST.DELETE_MULTI_OBJECT, which is what clients of other servers look for.

Source: Amazon S3 User Guide, "Amazon S3 server access log format".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

ABSENT = "-"
FIELD_CHARACTERS_MAX = 1024
_UNSAFE = re.compile(r'[\x00-\x1f"\x7f]')

# Resource types of operations where they are not the words of the operation's name.
_RESOURCES: dict[str, str] = {
    "AbortMultipartUpload": "UPLOAD",
    "CompleteMultipartUpload": "UPLOAD",
    "CreateBucket": "BUCKET",
    "CreateMultipartUpload": "UPLOADS",
    "DeleteBucket": "BUCKET",
    "DeleteBucketLifecycle": "LIFECYCLE",
    "DeleteObjects": "MULTI_OBJECT_DELETE",
    "GetBucketAccelerateConfiguration": "ACCELERATE",
    "GetBucketLifecycleConfiguration": "LIFECYCLE",
    "GetBucketLogging": "LOGGING_STATUS",
    "GetBucketNotificationConfiguration": "NOTIFICATION",
    "GetBucketRequestPayment": "REQUEST_PAYMENT",
    "GetObjectLockConfiguration": "OBJECT_LOCK",
    "HeadBucket": "BUCKET",
    "ListMultipartUploads": "UPLOADS",
    "ListObjectVersions": "BUCKETVERSIONS",
    "ListObjects": "BUCKET",
    "ListObjectsV2": "BUCKET",
    "ListParts": "UPLOAD",
    "OptionsObject": "PREFLIGHT",
    "PutBucketAccelerateConfiguration": "ACCELERATE",
    "PutBucketLifecycleConfiguration": "LIFECYCLE",
    "PutBucketLogging": "LOGGING_STATUS",
    "PutBucketNotificationConfiguration": "NOTIFICATION",
    "PutBucketRequestPayment": "REQUEST_PAYMENT",
    "PutObjectLockConfiguration": "OBJECT_LOCK",
    "SelectObjectContent": "SELECT",
    "UploadPart": "PART",
}
# Those whose verb is not the method of the request.
_VERBS: dict[str, str] = {
    "CopyObject": "COPY.OBJECT",
    "RenameObject": "RENAME.OBJECT",
    "UploadPartCopy": "COPY.PART",
}
_SOURCES: dict[str, str] = {
    "CopyObject": "REST.COPY.OBJECT_GET",
    "RenameObject": "REST.RENAME.OBJECT_DELETE",
    "UploadPartCopy": "REST.COPY.PART_GET",
}
_OF_OBJECT = frozenset({"Acl", "LegalHold", "Retention", "Torrent", "Attributes", "Restore"})
_WORDS = re.compile(r"[A-Z][a-z]*")


class LogRecord(NamedTuple):
    """What is known of an answered request; None or "" = absent.

    Args:
        at_ms: when it came.
        turnaround_ms: until the answer began; None: not measured.
    """

    owner: str
    bucket: str
    at_ms: int
    remote: str
    requester: str
    request_id: str
    operation: str
    key: str
    request_line: str
    status: int
    code: str
    bytes_sent: int
    object_bytes: int | None
    total_ms: int
    turnaround_ms: int | None
    referrer: str
    user_agent: str
    version_id: str
    host_id: str
    signature: str
    cipher: str
    auth_type: str
    host: str
    tls: str


def operation_names(operation: str, method: str) -> tuple[str, ...]:
    """What an operation is called in the log; several names: a record each."""
    verb = _VERBS.get(operation)
    if verb == "COPY.OBJECT":
        return ("REST.COPY.OBJECT", "REST.PUT.OBJECT")
    if verb is not None:
        return (f"REST.{verb}",)
    return (f"REST.{method}.{_resource(operation)}",)


def source_operation(operation: str) -> str:
    """What a copy or a rename is called in the log of its source."""
    return _SOURCES[operation]


BATCH_DELETES = ("BATCH.DELETE.OBJECT", "REST.POST.DELETE_MULTI_OBJECT")


def _resource(operation: str) -> str:
    known = _RESOURCES.get(operation)
    if known is not None:
        return known
    words = _WORDS.findall(operation)[1:]
    if words[:1] == ["Bucket"] and len(words) > 1 and words[1] != "Policy":
        words = words[1:]
    if words[:2] == ["Bucket", "Policy"]:
        words = ["BucketPolicy", *words[2:]]
    if words[:1] == ["Object"] and "".join(words[1:]) in _OF_OBJECT:
        words = words[1:]
    return "_".join(words).upper() or ABSENT


def record_line(record: LogRecord) -> str:
    """The record, ASCII, with its line feed."""
    at = datetime.fromtimestamp(record.at_ms / 1000, UTC)
    fields = (
        record.owner or ABSENT,
        record.bucket,
        f"[{at:%d/%b/%Y:%H:%M:%S} +0000]",
        record.remote or ABSENT,
        record.requester or ABSENT,
        record.request_id,
        record.operation,
        quote(record.key, safe="/") or ABSENT,
        _quoted(record.request_line),
        str(record.status),
        record.code or ABSENT,
        str(record.bytes_sent) if record.bytes_sent else ABSENT,
        ABSENT if record.object_bytes is None else str(record.object_bytes),
        str(record.total_ms),
        ABSENT if record.turnaround_ms is None else str(record.turnaround_ms),
        _quoted(record.referrer),
        _quoted(record.user_agent),
        quote(record.version_id, safe="") or ABSENT,  # as sent, which may be anything
        record.host_id,
        record.signature or ABSENT,
        record.cipher or ABSENT,
        record.auth_type or ABSENT,
        quote(record.host, safe=":.-_[]") or ABSENT,
        record.tls or ABSENT,
        ABSENT,  # access point
        ABSENT,  # whether an ACL was needed
    )
    return " ".join(fields) + "\n"


def _quoted(text: str) -> str:
    """In quotes, ASCII, without what would end them."""
    short = text[:FIELD_CHARACTERS_MAX].encode("ascii", "backslashreplace").decode()
    return f'"{_UNSAFE.sub(_escaped, short) or ABSENT}"'


def _escaped(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"
