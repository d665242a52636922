"""Bytes of clients that answers would repeat: none ends a line, none breaks an answer.

Source: the attack tables of the threat model (WEB-01, HTTP-07, XML-04).
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.s3_gateway import S3Gateway


def log_of(gateway: S3Gateway) -> str:
    """Lines of bucket logs that have not been written yet."""
    pending = gateway.gateway.services.log_spool._pending.values()
    return "".join(line for held in pending for line in held.lines)


def logged(s3: Any, bucket: str) -> str:
    """A bucket that keeps a log, in itself."""
    policy = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": policy}))
    status = {"LoggingEnabled": {"TargetBucket": bucket, "TargetPrefix": "log/"}}
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus=status)
    return bucket


@pytest.mark.parametrize("version_id", ["a%0d%0ax-evil:%20b", "%00", "a" * 5000, "%E2%80%A8", "x"])
def test_ids_that_no_version_has_are_not_repeated(
    gateway: S3Gateway, bucket: str, version_id: str
) -> None:
    with gateway.raw() as client:
        answer = client.request("DELETE", f"/{bucket}/k?versionId={version_id}", b"")
        assert answer.status in (204, 400)
        assert "x-amz-version-id" not in answer.headers
        assert "x-evil" not in answer.headers
        answer = client.request("GET", f"/{bucket}/k?versionId={version_id}", b"")
        assert answer.status in (400, 404)


def test_nobody_writes_lines_of_his_own_into_a_log(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    evil = "a\n0000 forged-line [01/Jan/2026:00:00:00 +0000] 1.2.3.4 - - REST.GET.OBJECT"
    logged(s3, bucket)
    text = evil.replace("\n", "&#10;")
    body = f"<Delete><Object><Key>{text}</Key><VersionId>{text}</VersionId></Object></Delete>"
    escaped = quote(evil, safe="")
    with gateway.raw() as client:
        client.request("POST", f"/{bucket}?delete=", body.encode())
        source = {"x-amz-copy-source": f"/{bucket}/k?versionId={escaped}"}
        client.request("PUT", f"/{bucket}/copy", b"", source)
        headers = {"referer": 'a" b\\', "user-agent": '" "', "x-amz-acl": "private"}
        client.request("GET", f"/{bucket}/{escaped}?versionId={escaped}", b"", headers)
        client.request("GET", f"/{bucket}?prefix={escaped}", b"")
    lines = log_of(gateway).splitlines()
    assert any("REST.POST.DELETE_MULTI_OBJECT" in line for line in lines)
    assert any("REST.COPY.OBJECT_GET" in line for line in lines)
    assert not any(line.startswith("0000 forged") for line in lines)
    assert all(len(line.split('"')) == 7 for line in lines if '"' in line)


def test_a_log_lets_nobody_in(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    logged(s3, bucket)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    target = url.removeprefix(gateway.url)
    signature = target.rpartition("=")[2]
    encoded = target.replace("X-Amz-Signature", "X-Amz-%53ignature")
    name = "x-amz-server-side-encryption-customer-key"
    with gateway.raw() as client:
        for path in (
            target,
            encoded,
            f"/{bucket}/k?{name}=c2VjcmV0",
            f"/{bucket}/k?Signature=c2Vj",
        ):
            client.send_head("GET", path, {"host": client.authority})
            client.read_answer()
    lines = log_of(gateway)
    assert "REST.GET.OBJECT" in lines
    for secret in (signature, "c2VjcmV0", "c2Vj"):
        assert secret not in lines


def cors_of(*children: str) -> bytes:
    return (
        "<CORSConfiguration><CORSRule><AllowedOrigin>http://*.test</AllowedOrigin>"
        f"<AllowedMethod>GET</AllowedMethod>{''.join(children)}</CORSRule></CORSConfiguration>"
    ).encode()


@pytest.mark.parametrize(
    "child",
    [
        "<ExposeHeader>a&#10;x-evil: b</ExposeHeader>",
        "<ExposeHeader>a&#13;&#10;&#13;&#10;b</ExposeHeader>",
        "<ExposeHeader>a b</ExposeHeader>",
        "<ExposeHeader>a, b</ExposeHeader>",
        "<AllowedHeader>a&#10;b</AllowedHeader>",
        "<AllowedOrigin>http://a&#10;b</AllowedOrigin>",
    ],
)
def test_web_01_rules_that_no_header_can_carry_are_refused(
    gateway: S3Gateway, bucket: str, child: str
) -> None:
    with gateway.raw() as client:
        answer = client.request("PUT", f"/{bucket}?cors=", cors_of(child))
        assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_web_01_origins_are_repeated_only_if_a_rule_names_them(
    gateway: S3Gateway, bucket: str
) -> None:
    with gateway.raw() as client:
        spaced = "<ExposeHeader>\n  etag\n</ExposeHeader>"
        assert client.request("PUT", f"/{bucket}?cors=", cors_of(spaced)).status == 200
        for origin in ("http://a.test.evil", "null", "http://evil/.test/", "HTTP://A.TEST", "*"):
            answer = client.request("GET", f"/{bucket}", b"", {"origin": origin})
            assert "access-control-allow-origin" not in answer.headers
            assert "access-control-allow-credentials" not in answer.headers
            assert answer.headers["vary"] == "Origin"
        answer = client.request("GET", f"/{bucket}", b"", {"origin": "http://a.test"})
        assert answer.headers["access-control-allow-origin"] == "http://a.test"
        assert answer.headers["access-control-expose-headers"] == "etag"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_preflight_of_nobody_does_not_keep_the_process_busy(
    gateway: S3Gateway, bucket: str
) -> None:
    patterns = "".join(f"<AllowedHeader>*b{number}</AllowedHeader>" for number in range(1600))
    with gateway.raw() as client:
        body = cors_of(patterns, "<AllowedHeader>a*</AllowedHeader>")
        assert client.request("PUT", f"/{bucket}?cors=", body).status == 200
        head = {
            "host": client.authority,
            "origin": "http://a.test",
            "access-control-request-method": "GET",
        }
        wanted = {**head, "access-control-request-headers": ",".join(f"a{n:x}" for n in range(60))}
        client.send_head("OPTIONS", f"/{bucket}/k", wanted)
        assert client.read_answer().status == 200
        many = ",".join(f"a{number:x}" for number in range(1600))
        client.send_head(
            "OPTIONS", f"/{bucket}/k", {**head, "access-control-request-headers": many}
        )
        assert client.read_answer().code == "AccessForbidden"


WIDE = b"<a/>" * 70_000
DEEP = b"<a>" * 30_000 + b"</a>" * 30_000


@pytest.mark.timeout(20)  # what it bounds took minutes
@pytest.mark.parametrize("inside", [WIDE, DEEP, b"<!-- -->" * 30_000, b"&amp;" * 50_000])
@pytest.mark.parametrize(
    ("root", "query"),
    [
        ("Delete", "delete"),
        ("Tagging", "tagging"),
        ("CORSConfiguration", "cors"),
        ("LifecycleConfiguration", "lifecycle"),
        ("WebsiteConfiguration", "website"),
        ("AccessControlPolicy", "acl"),
        ("NotificationConfiguration", "notification"),
        ("ReplicationConfiguration", "replication"),
        ("BucketLoggingStatus", "logging"),
        ("VersioningConfiguration", "versioning"),
        ("OwnershipControls", "ownershipControls"),
        ("ObjectLockConfiguration", "object-lock"),
        ("ServerSideEncryptionConfiguration", "encryption"),
        ("PublicAccessBlockConfiguration", "publicAccessBlock"),
        ("RequestPaymentConfiguration", "requestPayment"),
    ],
)
def test_xml_02_no_document_keeps_the_process_busy(
    gateway: S3Gateway, bucket: str, root: str, query: str, inside: bytes
) -> None:
    document = f"<{root}>".encode() + inside + f"</{root}>".encode()
    method = "POST" if query == "delete" else "PUT"
    with gateway.raw() as client:
        answer = client.request(method, f"/{bucket}?{query}=", document)
    assert answer.status in (200, 400)  # comments around nothing may be a document


@pytest.mark.parametrize("query", ["cors", "acl", "policy", "delete", "replication"])
def test_xml_01_no_document_type_is_read(gateway: S3Gateway, bucket: str, query: str) -> None:
    entity = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    with gateway.raw() as client:
        method = "POST" if query == "delete" else "PUT"
        answer = client.request(method, f"/{bucket}?{query}=", entity)
        assert answer.code in ("MalformedXML", "MalformedPolicy")
        assert b"root:" not in answer.body
