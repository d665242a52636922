"""PutObject with WriteOffsetBytes as boto3 sends it: bytes at the end of an object."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.s3.test_boto3_forms import form, signed
from tests.conformance.s3.test_boto3_notifications import tell, told
from tests.support.accounts import ALT, ALT_ARN, add_account, allowing, policy_text
from tests.support.browser_forms import post_form
from tests.support.encryption_modes import LARGE, MODES, PART, A, B, check_told, encrypting_gateway
from tests.support.refusals import DENIED, refusal
from tests.support.s3_gateway import NAMES, S3Gateway

INVALID = (400, "InvalidRequest")
WRONG_OFFSET = (400, "InvalidWriteOffset")
OTHER_MODE = (400, "EncryptionTypeMismatch")


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with encrypting_gateway() as running:
        running.thread.run(add_account(running.gateway.services, ALT))
        yield running


def add(s3: Any, bucket: str, offset: int, body: bytes, key: str = "k", **more: Any) -> Any:
    return s3.put_object(Bucket=bucket, Key=key, Body=body, WriteOffsetBytes=offset, **more)


def read(s3: Any, bucket: str, key: str = "k", **more: Any) -> bytes:
    content: bytes = s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
    return content


@pytest.mark.parametrize("first", [b"a", LARGE], ids=len)
@pytest.mark.parametrize("second", [b"b", LARGE[::-1]], ids=len)
def test_a_log_grows(s3: Any, bucket: str, first: bytes, second: bytes) -> None:
    whole, etags = b"", set()
    for piece in (first, second, b"c", first):
        answer = add(s3, bucket, len(whole), piece)
        whole += piece
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert answer["Size"] == len(whole)
        held = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert held["Body"].read() == whole
        assert (held["ETag"], held["ContentLength"]) == (answer["ETag"], len(whole))
        crc = zlib.crc32(whole).to_bytes(4, "big")
        assert held["ChecksumCRC32"] == base64.b64encode(crc).decode()
        etags.add(answer["ETag"])
    assert len(etags) == 4
    (listed,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert (listed["Size"], listed["ETag"]) == (len(whole), answer["ETag"])
    borders = (len(first), len(first) + len(second), len(first) + len(second) + 1)
    for border in borders:
        for start, end in ((border - 1, border), (border, border), (0, border)):
            found = read(s3, bucket, Range=f"bytes={start}-{end}")
            assert found == whole[start : end + 1]
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (part["Body"].read(), part["PartsCount"]) == (second, 4)
    s3.delete_object(Bucket=bucket, Key="k")
    assert add(s3, bucket, 0, b"anew")["Size"] == 4


def test_offsets(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    assert refusal(add, s3, bucket, 1, b"x") == WRONG_OFFSET
    s3.put_object(Bucket=bucket, Key="k", Body=b"12345")
    for offset in (0, 4, 6, 10**12):
        assert refusal(add, s3, bucket, offset, b"x") == WRONG_OFFSET
    assert refusal(add, s3, bucket, 5, b"") == INVALID
    assert refusal(add, s3, bucket, 0, b"", "absent") == INVALID
    with gateway.raw() as client:
        for text in ("-1", "5.0", "x", "5 ", "1" * 19):
            named = {"x-amz-write-offset-bytes": text}
            answer = client.request("PUT", f"/{bucket}/k", b"x", named)
            if text.strip() == "5":
                continue  # white space around a value is not part of it
            assert (answer.status, answer.code) == (400, "InvalidArgument"), text
        copying = {"x-amz-write-offset-bytes": "5", "x-amz-copy-source": f"/{bucket}/k"}
        answer = client.request("PUT", f"/{bucket}/copy", b"", copying)
        assert (answer.status, answer.code) == (501, "NotImplemented")
        target = f"/{bucket}/k?partNumber=1&uploadId=0"
        answer = client.request("PUT", target, b"x", {"x-amz-write-offset-bytes": "5"})
        assert (answer.status, answer.code) == (501, "NotImplemented")
    assert read(s3, bucket).startswith(b"12345")


def test_what_is_said_of_the_object_was_said_at_first(s3: Any, bucket: str) -> None:
    given: dict[str, Any] = {"Metadata": {"m": "1"}, "Tagging": "t=1"}
    given["StorageClass"] = "STANDARD_IA"
    add(s3, bucket, 0, b"first", ContentType="a/b", **given)
    sayings: list[dict[str, Any]] = [
        {"Metadata": {"m": "2"}},
        {"Tagging": "t=2"},
        {"StorageClass": "GLACIER"},
    ]
    for later in sayings:
        assert refusal(add, s3, bucket, 5, b"x", **later) == INVALID
    add(s3, bucket, 5, b"+", ContentType="c/d", StorageClass="STANDARD_IA", ACL="private")
    held = s3.head_object(Bucket=bucket, Key="k")
    assert (held["Metadata"], held["ContentType"], held["StorageClass"]) == (
        {"m": "1"},
        "a/b",
        "STANDARD_IA",
    )
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "t", "Value": "1"}]


def test_conditions(s3: Any, bucket: str) -> None:
    failed = (412, "PreconditionFailed")
    etag = add(s3, bucket, 0, b"x", IfNoneMatch="*")["ETag"]
    assert refusal(add, s3, bucket, 1, b"y", IfNoneMatch="*") == failed
    assert refusal(add, s3, bucket, 1, b"y", IfMatch='"0123"') == failed
    assert refusal(add, s3, bucket, 0, b"y", "absent", IfMatch=etag) == (404, "NoSuchKey")
    later = add(s3, bucket, 1, b"y", IfMatch=etag)["ETag"]
    assert refusal(add, s3, bucket, 2, b"z", IfMatch=etag) == failed
    add(s3, bucket, 2, b"z", IfMatch=later)
    assert read(s3, bucket) == b"xyz"


def test_checksums(s3: Any, bucket: str) -> None:
    for algorithm in ("CRC32C", "CRC64NVME"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"first", ChecksumAlgorithm=algorithm)
        assert refusal(add, s3, bucket, 5, b"x", ChecksumAlgorithm="SHA1") == INVALID
        add(s3, bucket, 5, b"second", ChecksumAlgorithm=algorithm)
        name = f"Checksum{algorithm}"
        answer = s3.put_object(
            Bucket=bucket, Key="same", Body=b"firstsecond", ChecksumAlgorithm=algorithm
        )
        held = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert (held[name], held["ChecksumType"]) == (answer[name], "FULL_OBJECT")
    wrong = refusal(add, s3, bucket, 11, b"x", ChecksumCRC64NVME="AAAAAAAAAAA=")
    assert wrong == (400, "BadDigest")
    assert read(s3, bucket) == b"firstsecond"
    # A digest that does not combine is that of the parts only.
    s3.put_object(Bucket=bucket, Key="k", Body=b"first", ChecksumAlgorithm="SHA256")
    add(s3, bucket, 5, b"second", ChecksumAlgorithm="SHA256")
    held = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert "ChecksumSHA256" not in held


def test_an_upload_grows_too(s3: Any, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": "k"}
    named["UploadId"] = s3.create_multipart_upload(**named)["UploadId"]
    parts = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(**named, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in ((3, b"a" * PART), (7, b"last"))
    ]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    size = PART + 4
    assert add(s3, bucket, size, b"more")["Size"] == size + 4
    assert read(s3, bucket, Range=f"bytes={PART - 2}-{size + 1}") == b"aalastmo"
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=3)
    assert (part["Body"].read(), part["PartsCount"]) == (b"more", 3)
    copied = s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "k"})
    assert "-" not in copied["CopyObjectResult"]["ETag"]
    assert read(s3, bucket, "c", Range="bytes=-8") == b"lastmore"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("content", [b"small", LARGE], ids=len)
def test_every_mode_of_encryption(s3: Any, bucket: str, mode: str, content: bytes) -> None:
    given = A if mode == "SSE-C" else {}
    size = len(content)
    check_told(add(s3, bucket, 0, content, **MODES[mode]), mode)
    for other, options in MODES.items():
        same = other == mode or {other, mode} == {"none", "AES256"}
        if same or (other == "none" and mode != "SSE-C"):
            continue
        assert refusal(add, s3, bucket, size, b"x", **options) == OTHER_MODE, other
    if mode == "SSE-C":
        assert refusal(add, s3, bucket, size, b"x", **B) == INVALID
    if mode == "aws:kms":
        another = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-2"}
        assert refusal(add, s3, bucket, size, b"x", **another) == OTHER_MODE
    check_told(add(s3, bucket, size, b"more", **MODES[mode]), mode)
    check_told(add(s3, bucket, size + 4, LARGE, **given), mode)
    answer = s3.get_object(Bucket=bucket, Key="k", **given)
    assert answer["Body"].read() == content + b"more" + LARGE
    check_told(answer, mode)


def test_of_many_one_wins(gateway: S3Gateway, bucket: str) -> None:
    clients = [gateway.boto() for _ in range(8)]
    for base in (b"", b"small", LARGE):
        clients[0].put_object(Bucket=bucket, Key="k", Body=base)

        def attempt(at: int, size: int = len(base)) -> bytes:
            piece = b"%d" % at * 1000
            try:
                add(clients[at], bucket, size, piece)
            except ClientError as error:
                known = {"InvalidWriteOffset", "ConditionalRequestConflict"}
                assert error.response["Error"]["Code"] in known
                return b""
            return piece

        with ThreadPoolExecutor(8) as pool:
            won = [piece for piece in pool.map(attempt, range(8)) if piece]
        assert len(won) == 1
        assert read(clients[0], bucket) == base + won[0]


def test_a_form_puts_whole_objects_only(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    fields = signed(s3, bucket, "k", {"x-amz-write-offset-bytes": "1"})
    answer = post_form(gateway, f"/{bucket}", form(fields))
    assert (answer.status, answer.code) == (501, "NotImplemented")
    assert read(s3, bucket) == b"x"


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_a_bucket_with_versioning_is_refused(s3: Any, bucket: str, status: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for one in ("Enabled", status):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": one})
    for offset, key in ((1, "k"), (0, "absent")):
        assert refusal(add, s3, bucket, offset, b"y", key) == (501, "NotImplemented")
    assert read(s3, bucket) == b"x"


def test_a_bucket_with_locks_is_refused(s3: Any) -> None:
    name = NAMES.next()
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    assert refusal(add, s3, name, 0, b"x") == (501, "NotImplemented")


def test_it_takes_the_right_to_write(s3: Any, alt: Any, nobody: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for who in (alt, nobody):
        assert refusal(add, who, bucket, 1, b"y") == DENIED
        assert refusal(add, who, bucket, 7, b"y") == DENIED
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, "s3:PutObject", who=ALT_ARN))
    answer = add(alt, bucket, 1, b"y")
    # Who may not read is not told a checksum that what was there goes into.
    assert not [name for name in answer if name.startswith("Checksum")]
    assert refusal(add, alt, bucket, 2, b"z", IfMatch=answer["ETag"]) == DENIED
    denied = policy_text(bucket, {"Effect": "Deny", "Action": "s3:PutObject"})
    s3.put_bucket_policy(Bucket=bucket, Policy=denied)
    assert refusal(add, s3, bucket, 2, b"z") == DENIED
    assert read(s3, bucket) == b"xy"


def test_with_acls_only_the_owner_of_an_object_adds_to_it(s3: Any, alt: Any, opened: str) -> None:
    s3.put_bucket_acl(Bucket=opened, GrantWrite=f'id="{ALT.owner_id}"')
    s3.put_object(Bucket=opened, Key="ours", Body=b"x")
    add(alt, opened, 0, b"x", "theirs")
    assert refusal(add, alt, opened, 1, b"y", "ours") == DENIED
    assert refusal(add, s3, opened, 1, b"y", "theirs") == DENIED
    assert refusal(add, s3, opened, 1, b"y", "ours", ACL="public-read") == INVALID
    add(s3, opened, 1, b"y", "ours")
    add(alt, opened, 1, b"y", "theirs")
    assert read(alt, opened, "theirs") == b"xy"


def test_events(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    gateway.gateway.services.event_targets = {"hook": frozenset()}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    tell(gateway, s3, bucket, "s3:ObjectCreated:*", "s3:ObjectRemoved:*")
    add(s3, bucket, 1, b"y")
    assert refusal(add, s3, bucket, 1, b"y") == WRONG_OFFSET
    (one,) = told(gateway)
    assert one["eventName"] == "ObjectCreated:Put"
    assert (one["s3"]["object"]["key"], one["s3"]["object"]["size"]) == ("k", 2)
