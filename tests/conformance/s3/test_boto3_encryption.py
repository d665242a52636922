"""Encryption as clients choose it: every mode, every copy between two, and a change of key."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.encryption_modes import (
    FROM_A,
    LARGE,
    MIN,
    MODES,
    PART,
    A,
    B,
    check_told,
    encrypting_gateway,
)
from tests.support.refusals import refused
from tests.support.s3_gateway import S3Gateway


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with encrypting_gateway() as running:
        yield running


SIZES = (b"", b"small", LARGE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("content", SIZES, ids=len)
def test_every_mode_gives_back_what_was_put(
    s3: Any, bucket: str, mode: str, content: bytes
) -> None:
    check_told(s3.put_object(Bucket=bucket, Key="k", Body=content, **MODES[mode]), mode)
    given = A if mode == "SSE-C" else {}
    for _ in range(2):  # the second read finds the row open
        read = s3.get_object(Bucket=bucket, Key="k", **given)
        assert read["Body"].read() == content
        check_told(read, mode)
    check_told(s3.head_object(Bucket=bucket, Key="k", **given), mode)
    if content:
        part = s3.get_object(Bucket=bucket, Key="k", Range="bytes=1-3", **given)
        assert part["Body"].read() == content[1:4]


@pytest.mark.parametrize("pair", list(itertools.product(MODES, MODES)), ids="-".join)
def test_copies_between_all_modes(s3: Any, bucket: str, pair: tuple[str, str]) -> None:
    source, target = pair
    s3.put_object(Bucket=bucket, Key="from", Body=MIN, **MODES[source])
    options: dict[str, Any] = dict(B if target == "SSE-C" else MODES[target])
    options |= FROM_A if source == "SSE-C" else {}
    given = B if target == "SSE-C" else {}
    origin = {"Bucket": bucket, "Key": "from"}
    check_told(s3.copy_object(Bucket=bucket, Key="to", CopySource=origin, **options), target)
    read = s3.get_object(Bucket=bucket, Key="to", **given)
    assert read["Body"].read() == MIN
    check_told(read, target)

    begun = s3.create_multipart_upload(
        Bucket=bucket, Key="parts", **(B if target == "SSE-C" else MODES[target])
    )
    check_told(begun, target)
    named = {"Bucket": bucket, "Key": "parts", "UploadId": begun["UploadId"]}
    source_key = FROM_A if source == "SSE-C" else {}
    if target == "SSE-C":
        for wrong in ({}, A):
            with pytest.raises(ClientError) as error:
                s3.upload_part_copy(**named, PartNumber=1, CopySource=origin, **wrong, **source_key)
            assert refused(error) == (400, "InvalidRequest")
    copied = s3.upload_part_copy(**named, PartNumber=1, CopySource=origin, **given, **source_key)
    check_told(copied, target)
    last = s3.upload_part(**named, PartNumber=2, Body=b"last", **given)
    parts = [
        {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]},
        {"PartNumber": 2, "ETag": last["ETag"]},
    ]
    for wrong in ({}, A) if target == "SSE-C" else ():
        with pytest.raises(ClientError) as error:
            s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **wrong)
        assert refused(error) == (400, "InvalidRequest")
    done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **given)
    check_told(done, target)
    assert s3.get_object(Bucket=bucket, Key="parts", **given)["Body"].read() == MIN + b"last"


@pytest.mark.parametrize("mode", MODES)
def test_multipart_uploads_with_each_mode(s3: Any, bucket: str, mode: str) -> None:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", **MODES[mode])
    given = A if mode == "SSE-C" else {}
    named = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    contents, parts = [b"1" * PART, b"2" * 70_000], []
    for number, content in enumerate(contents, 1):
        part = s3.upload_part(**named, PartNumber=number, Body=content, **given)
        check_told(part, mode)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **given)
    assert s3.get_object(Bucket=bucket, Key="k", **given)["Body"].read() == b"".join(contents)
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=2, **given)
    assert part["Body"].read() == contents[1]


def test_an_object_is_copied_onto_itself_to_change_its_encryption(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    source = {"Bucket": bucket, "Key": "k"}
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, **MODES["aws:kms"])
    assert s3.head_object(Bucket=bucket, Key="k")["SSEKMSKeyId"] == "key-1"
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="k", CopySource=source)
    assert refused(error) == (400, "InvalidRequest")


ARN = "arn:aws:kms:fr:123456789012:key/"


def updated(s3: Any, bucket: str, key: str, key_id: str, **options: Any) -> None:
    wanted = {"SSEKMS": {"KMSKeyArn": ARN + key_id, "BucketKeyEnabled": True}}
    s3.update_object_encryption(Bucket=bucket, Key=key, ObjectEncryption=wanted, **options)


def test_an_object_goes_under_another_key_without_moving(s3: Any, bucket: str) -> None:
    parts = s3.create_multipart_upload(Bucket=bucket, Key="parts", Metadata={"m": "1"})
    named = {"Bucket": bucket, "Key": "parts", "UploadId": parts["UploadId"]}
    part = s3.upload_part(**named, PartNumber=1, Body=MIN)
    s3.complete_multipart_upload(
        **named, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    s3.put_object(Bucket=bucket, Key="small", Body=b"x")
    s3.put_object(Bucket=bucket, Key="large", Body=LARGE, **MODES["aws:kms"])
    for key, content in (("parts", MIN), ("small", b"x"), ("large", LARGE)):
        before = s3.get_object(Bucket=bucket, Key=key)
        assert before["Body"].read() == content
        updated(s3, bucket, key, "key-2")
        after = s3.get_object(Bucket=bucket, Key=key)
        assert after["Body"].read() == content
        assert (after["SSEKMSKeyId"], after["BucketKeyEnabled"]) == (ARN + "key-2", True)
        for name in ("ETag", "LastModified", "Metadata", "ContentLength"):
            assert after[name] == before[name]


def test_updates_that_are_refused(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="own", Body=b"x", **A)
    s3.put_object(Bucket=bucket, Key="dual", Body=b"x", **MODES["aws:kms:dsse"])
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    for key, key_id, expected in (
        ("own", "key-1", (400, "InvalidRequest")),
        ("dual", "key-1", (400, "InvalidRequest")),
        ("plain", "absent", (400, "KMS.NotFoundException")),
        ("absent", "key-1", (404, "NoSuchKey")),
    ):
        with pytest.raises(ClientError) as error:
            updated(s3, bucket, key, key_id)
        assert refused(error) == expected, key
    with pytest.raises(ClientError) as error:
        s3.update_object_encryption(
            Bucket=bucket,
            Key="plain",
            ObjectEncryption={"SSEKMS": {"KMSKeyArn": "alias/a-name-but-no-arn"}},
        )
    assert refused(error) == (400, "InvalidRequest")


def test_a_version_is_updated_by_its_id_unless_it_is_locked(s3: Any) -> None:
    bucket = "encryption-of-versions"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2", ObjectLockLegalHoldStatus="ON")
    updated(s3, bucket, "k", "key-1", VersionId=first)
    old = s3.get_object(Bucket=bucket, Key="k", VersionId=first)
    assert (old["Body"].read(), old["SSEKMSKeyId"]) == (b"1", ARN + "key-1")
    assert s3.head_object(Bucket=bucket, Key="k")["ServerSideEncryption"] == "AES256"
    with pytest.raises(ClientError) as error:
        updated(s3, bucket, "k", "key-1", VersionId=second["VersionId"])
    assert refused(error) == (403, "AccessDenied")
