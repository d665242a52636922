"""Records of access logs: their format, their operations' names, and that none forges another."""

from __future__ import annotations

import pytest

from gateway.s3.actions import Operation
from gateway.s3.server_log import LogRecord, operation_names, record_line

RECORD = LogRecord(
    owner="owner",
    bucket="bucket",
    at_ms=1_549_411_238_000,
    remote="192.0.2.3",
    requester="",
    request_id="3E57427F3EXAMPLE",
    operation="REST.GET.VERSIONING",
    key="",
    request_line="GET /bucket?versioning HTTP/1.1",
    status=200,
    code="",
    bytes_sent=113,
    object_bytes=None,
    total_ms=7,
    turnaround_ms=None,
    referrer="",
    user_agent="S3Console/0.4",
    version_id="",
    host_id="s9lzHYrFp76=",
    signature="SigV4",
    cipher="",
    auth_type="AuthHeader",
    host="bucket.s3.example:9000",
    tls="",
)


def test_format() -> None:
    assert record_line(RECORD) == (
        "owner bucket [06/Feb/2019:00:00:38 +0000] 192.0.2.3 - 3E57427F3EXAMPLE "
        'REST.GET.VERSIONING - "GET /bucket?versioning HTTP/1.1" 200 - 113 - 7 - "-" '
        '"S3Console/0.4" - s9lzHYrFp76= SigV4 - AuthHeader bucket.s3.example:9000 - - -\n'
    )


def test_what_clients_choose_forges_nothing() -> None:
    evil = '" 200\nowner bucket'
    line = record_line(
        RECORD._replace(key=evil, user_agent=evil, referrer=evil, host=evil, request_line=evil)
    )
    assert line.count("\n") == 1 and line.endswith("\n")
    assert line.count('"') == 6
    assert line.isascii()


@pytest.mark.parametrize(
    ("operation", "method", "name"),
    [
        ("GetBucketVersioning", "GET", "REST.GET.VERSIONING"),
        ("GetBucketPolicy", "GET", "REST.GET.BUCKETPOLICY"),
        ("ListObjectsV2", "GET", "REST.GET.BUCKET"),
        ("PutObjectTagging", "PUT", "REST.PUT.OBJECT_TAGGING"),
        ("GetBucketTagging", "GET", "REST.GET.TAGGING"),
        ("PutObjectAcl", "PUT", "REST.PUT.ACL"),
        ("CompleteMultipartUpload", "POST", "REST.POST.UPLOAD"),
        ("HeadObject", "HEAD", "REST.HEAD.OBJECT"),
        ("PostObject", "POST", "REST.POST.OBJECT"),
    ],
)
def test_names(operation: str, method: str, name: str) -> None:
    assert operation_names(operation, method) == (name,)


def test_every_operation_has_a_name() -> None:
    for operation in Operation:
        for name in operation_names(operation.value, "GET"):
            assert name.isupper() and not name.endswith("-") and " " not in name
