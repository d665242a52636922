"""What users of other stores have complained of, request by request: it is right here.

Complaints about one feature are tested with it: trailers and digests with checksums, races for lock
files with conditions, ETags of multipart uploads with these, stalled bodies at the endpoint.

Source: velero-io/velero#9951, boto/botocore#3415, opentofu#1944, minio-limits.md, lakeFS#2486;
RustFS advisories (plaintext under an SSE header, lock configurations that cannot be read); Swift
2.38 (CVE-2026-49017, CVE-2026-71190, LastModified, probes of sub-resources).
"""

from __future__ import annotations

import hashlib
import re
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.meta import keyspace
from gateway.objects import assembly
from gateway.s3.actions import Operation
from tests.support.encryption_modes import MODES
from tests.support.gateway import Gateway
from tests.support.raw_s3 import STREAMING_MODES, UNSIGNED, RawClient, crc32_text, sign
from tests.support.refusals import refusal
from tests.support.route_matrix import BODIES, EVERY, MATRIX, send
from tests.support.s3_gateway import S3Gateway

PARTS = 10_000
MARKER = b"what no node and no row may hold in clear "


@pytest.mark.parametrize("mode", STREAMING_MODES)
def test_frames_of_a_body_are_not_stored(
    gateway: S3Gateway, s3: Any, bucket: str, mode: str
) -> None:
    content = b"content" * 30_000
    upload = {"Bucket": bucket, "Key": "parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    part = f"/{bucket}/parts?partNumber=1&uploadId={upload['UploadId']}"
    with gateway.raw() as client:
        assert client.put_chunked(f"/{bucket}/whole", content, mode).status == 200
        put = client.put_chunked(part, content, mode)
        assert put.status == 200
    s3.complete_multipart_upload(
        **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": put.headers["etag"]}]}
    )
    for key in ("whole", "parts"):
        read = s3.get_object(Bucket=bucket, Key=key)
        assert read["Body"].read() == content
        assert "ContentEncoding" not in read


DIGESTS = {
    "the signature alone": lambda body: {},
    "Content-MD5": lambda body: {"content-md5": b64encode(hashlib.md5(body).digest()).decode()},
    "CRC32": lambda body: {"x-amz-checksum-crc32": crc32_text(body)},
    "CRC32 and its name": lambda body: {
        "x-amz-checksum-crc32": crc32_text(body),
        "x-amz-sdk-checksum-algorithm": "CRC32",
    },
}


@pytest.mark.parametrize("digest", DIGESTS)
def test_any_digest_will_do_wherever_a_document_is_put(
    gateway: S3Gateway, s3: Any, bucket: str, digest: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    refused = []
    for one in MATRIX:
        if one.method not in ("PUT", "POST") or not BODIES[one.operation].startswith((b"<", b"{")):
            continue
        if "missing" in one.target or one.operation is Operation.COMPLETE_MULTIPART_UPLOAD:
            continue
        body, target = BODIES[one.operation], one.target.replace("{bucket}", bucket)
        with gateway.raw() as client:
            answer = client.request(one.method, target, body, DIGESTS[digest](body))
        if "MD5" in answer.code or "Digest" in answer.code or b"MD5" in answer.body:
            refused.append((one.operation, answer.code))
        with gateway.raw() as client:
            wrong = client.request(one.method, target, body, DIGESTS[digest](body + b" "))
        assert DIGESTS[digest](body) == {} or wrong.code == "BadDigest", one
    assert not refused


def test_a_lock_file_is_taken_and_given_back_over_and_over(s3: Any, bucket: str) -> None:
    """On a versioned bucket each release leaves a marker, over which the next one must win."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    lock = {"Bucket": bucket, "Key": "state.tflock", "IfNoneMatch": "*"}
    for round_number in range(10):
        etag = s3.put_object(**lock, Body=str(round_number).encode())["ETag"]
        assert refusal(s3.put_object, **lock, Body=b"another") == (412, "PreconditionFailed")
        held = s3.get_object(Bucket=bucket, Key="state.tflock")
        assert (held["Body"].read(), held["ETag"]) == (str(round_number).encode(), etag)
        s3.delete_object(Bucket=bucket, Key="state.tflock")
        gone = refusal(s3.get_object, Bucket=bucket, Key="state.tflock")
        assert gone == (404, "NoSuchKey")


def test_a_key_may_be_the_folder_of_another(s3: Any, bucket: str) -> None:
    long = "s" * 300
    keys = ["a", "a/", "a/b", "a/b/", "a/b/c", "a//b", f"{long}/{long}", f"{long}/{long}/{long}"]
    keys += ["x" * 1024, "é" * 512, ".", "..", "a/../b", "a/./b", "con", "A", "B:*?"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    listed = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(keys, key=str.encode)
    for key in keys:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    s3.delete_object(Bucket=bucket, Key="a/b")
    assert refusal(s3.get_object, Bucket=bucket, Key="a/b") == (404, "NoSuchKey")
    for key in ("a", "a/", "a/b/", "a/b/c"):
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()


def held_in_clear(gateway: Gateway, content: bytes) -> list[str]:
    """Where bytes of clients are, of nodes and of the index."""
    found = [
        f"node {number}"
        for number, node in gateway.cluster.nodes.items()
        for held in node.node._held.values()  # type: ignore[attr-defined]
        if content in held.content
    ]
    rows = gateway.index.scan(b"\x00", b"\xff", limit=100_000)
    return found + [f"row {row.key[:1]!r}" for row in rows if content in row.value]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_stored_in_clear(
    gateway: S3Gateway, s3: Any, bucket: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = gateway.gateway.services
    monkeypatch.setattr(services, "sse_over_http", True)
    monkeypatch.setattr(services, "test_kms_keys", ("key-1", "key-2"))
    for key, count in (("small", 10), ("packed", 2000), ("large", 20_000)):
        s3.put_object(Bucket=bucket, Key=key, Body=MARKER * count, **MODES[mode])
    metadata = {"m": MARKER.decode().strip()}
    s3.put_object(Bucket=bucket, Key="told", Metadata=metadata, Tagging="t=tagged-in-clear")
    for secret in (MARKER.strip(), b"tagged-in-clear"):
        assert held_in_clear(gateway.gateway, secret) == []


@pytest.mark.parametrize("family", [keyspace.CURRENT, keyspace.NONCURRENT, keyspace.BUCKET_NAME])
def test_a_lock_that_cannot_be_read_is_a_lock(
    gateway: S3Gateway, s3: Any, bucket: str, family: bytes
) -> None:
    name = f"{bucket}-locked"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    version = {"Bucket": name, "Key": "k"}
    until = datetime.now(UTC) + timedelta(days=1)
    version["VersionId"] = s3.put_object(
        Bucket=name,
        Key="k",
        Body=b"kept",
        ChecksumAlgorithm="CRC32",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
    )["VersionId"]
    if family == keyspace.NONCURRENT:
        s3.put_object(Bucket=name, Key="k", Body=b"newer", ChecksumAlgorithm="CRC32")
    assert refusal(s3.delete_object, **version) == (403, "AccessDenied")
    values = gateway.gateway.index._values  # type: ignore[attr-defined]
    damaged = {key: values[key] for key in gateway.gateway.rows_of(family)}
    gateway.gateway.services.opened._held.clear()
    try:
        for key, value in damaged.items():
            values[key] = value[:-1] + bytes((value[-1] ^ 1,))
        assert refusal(s3.delete_object, **version)[0] >= 400
        one = {"Key": "k", "VersionId": version["VersionId"]}
        with suppress(ClientError):
            assert "Deleted" not in s3.delete_objects(Bucket=name, Delete={"Objects": [one]})
    finally:
        values.update(damaged)
    gateway.gateway.services.opened._held.clear()
    assert s3.get_object(**version)["Body"].read() == b"kept"


@pytest.mark.parametrize("mode", STREAMING_MODES)
def test_a_body_in_chunks_that_ends_early_holds_nobody_up(
    gateway: S3Gateway, s3: Any, bucket: str, mode: str
) -> None:
    for sent in (b"", b"1", b"ffff", b"5;chunk-signature=", b"5\r\nhe", b"0\r\n", b"\r\n"):
        with gateway.raw() as client:
            head = {"host": client.authority, "x-amz-decoded-content-length": "100000"}
            head["content-encoding"] = "aws-chunked"
            signed = sign(client.credentials, "PUT", f"/{bucket}/k", head, payload=mode)
            client.send_head("PUT", signed.target, {**signed.headers, "content-length": "100100"})
            client.send(sent)
        began = time.monotonic()
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
        assert time.monotonic() - began < 5


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", ["a", " ", ",", "a;q=", "a/", "=", '"', "%", "bytes=", "\t,"])
def test_no_header_keeps_the_process_busy(gateway: S3Gateway, bucket: str, piece: str) -> None:
    names = ("accept", "range", "if-match", "if-none-match", "if-modified-since", "content-type")
    names += ("x-amz-tagging", "x-amz-copy-source", "origin", "cookie", "x-amz-trailer")
    names += ("authorization", "content-encoding", "expect", "x-amz-object-attributes")
    text = piece * (7000 // len(piece))
    with gateway.raw() as client:
        for name in names:
            for method in ("GET", "PUT"):
                given = {name: f"x{text}x", "content-length": "0"}
                began = time.monotonic()
                with suppress(ConnectionError):
                    head = {"host": client.authority, **given}
                    if name != "authorization":
                        head = sign(client.credentials, method, f"/{bucket}/k", head).headers
                    client.send_head(method, f"/{bucket}/k", head)
                    assert client.read_answer().status < 500
                assert time.monotonic() - began < 1, (name, method)


def test_probes_get_what_they_ask_for_or_nothing(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    """No sub-resource is answered as if it were not there."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"the object itself")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="up")["UploadId"]
    listings = {Operation.LIST_OBJECTS, Operation.LIST_OBJECTS_V2, Operation.LIST_BUCKETS}
    for one in EVERY:
        if one.method != "GET" or "?" not in one.target or one.operation in listings:
            continue
        if one.operation is Operation.GET_OBJECT:
            continue
        answer = send(gateway.raw(), one, bucket, upload, signed=True)
        root = re.search(rb"<(\w+)[ >/]", answer.body.partition(b"?>")[2])
        assert root is None or root[1] != b"ListBucketResult", one
        assert b"the object itself" not in answer.body
        assert answer.status == 501 if not one.is_answered else answer.status != 501, one


def test_times_are_whole_seconds_and_the_same_everywhere(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    head = s3.head_object(Bucket=bucket, Key="k")
    modified = head["LastModified"]
    assert modified.microsecond == 0
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    assert copied["CopyObjectResult"]["LastModified"].microsecond == 0
    for listed in (
        s3.list_objects(Bucket=bucket)["Contents"],
        s3.list_objects_v2(Bucket=bucket)["Contents"],
        s3.list_object_versions(Bucket=bucket)["Versions"],
    ):
        assert {one["LastModified"] for one in listed if one["Key"] == "k"} == {modified}
    with gateway.raw() as client:
        stated = format_datetime(modified.astimezone(UTC), usegmt=True)
        assert client.request("GET", f"/{bucket}/k").headers["last-modified"] == stated
        body = client.request("GET", f"/{bucket}?list-type=2").body
        assert re.search(rb"<LastModified>[0-9T:-]{19}\.000Z</LastModified>", body)
    s3.get_object(Bucket=bucket, Key="k", IfUnmodifiedSince=modified)
    unchanged = refusal(s3.get_object, Bucket=bucket, Key="k", IfModifiedSince=modified)
    assert unchanged == (304, "304")


def test_what_is_gone_is_gone_twice(s3: Any, bucket: str) -> None:
    for _ in range(2):
        answer = s3.delete_object(Bucket=bucket, Key="never-there")["ResponseMetadata"]
        assert answer["HTTPStatusCode"] == 204
    for call, arguments, code in (
        (s3.get_bucket_policy, {}, "NoSuchBucketPolicy"),
        (s3.get_bucket_tagging, {}, "NoSuchTagSet"),
        (s3.get_bucket_cors, {}, "NoSuchCORSConfiguration"),
        (s3.get_bucket_website, {}, "NoSuchWebsiteConfiguration"),
        (s3.get_bucket_lifecycle_configuration, {}, "NoSuchLifecycleConfiguration"),
        (s3.get_bucket_replication, {}, "ReplicationConfigurationNotFoundError"),
        (s3.get_object_lock_configuration, {}, "ObjectLockConfigurationNotFoundError"),
        (s3.head_object, {"Key": "k"}, "404"),
        (s3.get_object_tagging, {"Key": "k"}, "NoSuchKey"),
        (s3.abort_multipart_upload, {"Key": "k", "UploadId": "0" * 32}, "NoSuchUpload"),
    ):
        assert refusal(call, Bucket=bucket, **arguments) == (404, code)
    for name in ("policy", "tagging", "cors", "website", "lifecycle", "replication"):
        answer = getattr(s3, f"delete_bucket_{name}")(Bucket=bucket)["ResponseMetadata"]
        assert answer["HTTPStatusCode"] == 204, name


def test_a_connection_is_kept_over_errors(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with gateway.raw() as client:
        connection = client.connect()
        for method, target, headers, status in (
            ("GET", f"/{bucket}/missing", {}, 404),
            ("HEAD", f"/{bucket}/missing", {}, 404),
            ("GET", f"/{bucket}/k", {"range": "bytes=9-"}, 416),
            ("GET", f"/{bucket}/k", {"if-match": '"0"'}, 412),
            ("GET", f"/{bucket}/k", {"if-none-match": "*"}, 304),
            ("PUT", f"/{bucket}/k", {"if-none-match": "*"}, 412),
            ("GET", f"/{bucket}?list-type=2&max-keys=x", {}, 400),
            ("DELETE", "/no-such-bucket", {}, 404),
            ("PUT", f"/{bucket}/k?partNumber=1&uploadId={'0' * 32}", {}, 404),
            ("GET", f"/{bucket}/k", {}, 200),
        ):
            assert client.request(method, target, b"", headers).status == status
        client.credentials = type(client.credentials)("nobody", "nothing", "fr")
        assert client.request("GET", f"/{bucket}/k").status == 403
        assert client.connect() is connection


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_wrong_clock_is_told_the_right_time(
    gateway: S3Gateway, bucket: str, minutes: int
) -> None:
    with gateway.raw() as client:
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        head = sign(client.credentials, "GET", f"/{bucket}", {"host": client.authority}, at=at)
        client.send_head("GET", f"/{bucket}", head.headers)
        answer = client.read_answer()
    assert (answer.status, answer.code) == (403, "RequestTimeTooSkewed")
    stated = re.search(rb"<ServerTime>([0-9TZ:-]+)</ServerTime>", answer.body)
    assert stated is not None
    assert "date" in answer.headers


def test_ten_thousand_parts(
    gateway: S3Gateway, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "PART_BYTES_MIN", 1)
    upload = {"Bucket": bucket, "Key": "many"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]

    def put(numbers: range) -> list[dict[str, Any]]:
        done = []
        with RawClient("127.0.0.1", gateway.port, gateway.raw().credentials) as client:
            for number in numbers:
                target = f"/{bucket}/many?partNumber={number}&uploadId={upload['UploadId']}"
                put = client.request("PUT", target, b"%05d" % number, payload=UNSIGNED)
                done.append({"PartNumber": number, "ETag": put.headers["etag"]})
        return done

    with ThreadPoolExecutor(8) as pool:
        ranges = [range(first, PARTS + 1, 8) for first in range(1, 9)]
        parts = [part for done in pool.map(put, ranges) for part in done]
    parts.sort(key=lambda part: int(part["PartNumber"]))
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    digests = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-{PARTS}"'
    head = s3.head_object(Bucket=bucket, Key="many", PartNumber=PARTS)
    assert (head["PartsCount"], head["ContentLength"]) == (PARTS, 5)
    read = s3.get_object(Bucket=bucket, Key="many", Range="bytes=24995-25004")
    assert read["Body"].read() == b"0500005001"
    whole = s3.get_object(Bucket=bucket, Key="many")["Body"].read()
    assert whole == b"".join(b"%05d" % number for number in range(1, PARTS + 1))
