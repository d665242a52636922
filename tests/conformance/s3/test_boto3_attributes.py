"""GetObjectAttributes, as boto3 asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.refusals import refused
from tests.support.s3_gateway import S3Gateway

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
PART = 5 * 1024 * 1024
SHA256_OF_X = "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE="


def attributes_of(s3: Any, bucket: str, key: str = "k", **options: Any) -> Any:
    options.setdefault("ObjectAttributes", ALL)
    return s3.get_object_attributes(Bucket=bucket, Key=key, **options)


def multipart(s3: Any, bucket: str, numbers: list[int], algorithm: str | None = None) -> Any:
    """An object of one part of 5 MiB per number, then one of a byte."""
    chosen = {} if algorithm is None else {"ChecksumAlgorithm": algorithm}
    named = {"Bucket": bucket, "Key": "k"}
    kind = {"ChecksumType": "FULL_OBJECT"} if chosen else {}
    named["UploadId"] = s3.create_multipart_upload(**named, **chosen, **kind)["UploadId"]
    parts = []
    for number in numbers:
        body = b"x" if number == numbers[-1] else bytes([number]) * PART
        part = s3.upload_part(**named, **chosen, PartNumber=number, Body=body)
        kept = {name: text for name, text in part.items() if name.startswith("Checksum")}
        parts.append({"PartNumber": number, "ETag": part["ETag"], **kept})
    return s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})


def test_of_a_whole_object(s3: Any, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumAlgorithm="SHA256")
    found = attributes_of(s3, bucket)
    assert found["ETag"] == put["ETag"].strip('"')
    assert found["Checksum"] == {"ChecksumSHA256": SHA256_OF_X, "ChecksumType": "FULL_OBJECT"}
    assert (found["ObjectSize"], found["StorageClass"]) == (1, "STANDARD")
    assert found["LastModified"] == s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    assert not {"ObjectParts", "VersionId", "DeleteMarker"} & found.keys()
    only = attributes_of(s3, bucket, ObjectAttributes=["ObjectSize"])
    assert only["ObjectSize"] == 1
    assert not {"ETag", "Checksum", "StorageClass"} & only.keys()


def test_parts_come_in_pages(s3: Any, bucket: str) -> None:
    done = multipart(s3, bucket, [1, 2, 4, 5], "CRC32")
    found = attributes_of(s3, bucket)
    assert found["Checksum"]["ChecksumCRC32"] == done["ChecksumCRC32"]
    parts = found["ObjectParts"]
    assert (parts["TotalPartsCount"], parts["IsTruncated"], parts["MaxParts"]) == (4, False, 1000)
    assert [part["PartNumber"] for part in parts["Parts"]] == [1, 2, 4, 5]
    assert [part["Size"] for part in parts["Parts"]] == [PART, PART, PART, 1]
    assert all("ChecksumCRC32" in part for part in parts["Parts"])
    page = attributes_of(s3, bucket, MaxParts=2, PartNumberMarker=1)["ObjectParts"]
    assert [part["PartNumber"] for part in page["Parts"]] == [2, 4]
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, 4)
    last = attributes_of(s3, bucket, MaxParts=2, PartNumberMarker=4)["ObjectParts"]
    assert [part["PartNumber"] for part in last["Parts"]] == [5]
    assert (last["IsTruncated"], last["PartNumberMarker"]) == (False, 4)
    assert "NextPartNumberMarker" not in last
    beyond = attributes_of(s3, bucket, PartNumberMarker=10_000)["ObjectParts"]
    assert (beyond["IsTruncated"], "Parts" in beyond) == (False, False)


def test_parts_without_an_agreed_checksum_show_none(s3: Any, bucket: str) -> None:
    multipart(s3, bucket, [1, 2])
    found = attributes_of(s3, bucket)
    assert "Checksum" not in found
    assert [sorted(part) for part in found["ObjectParts"]["Parts"]] == [["PartNumber", "Size"]] * 2


def test_of_versions(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"xy")["VersionId"]
    current = attributes_of(s3, bucket)
    assert (current["VersionId"], current["ObjectSize"]) == (second, 2)
    older = attributes_of(s3, bucket, VersionId=first)
    assert (older["VersionId"], older["ObjectSize"]) == (first, 1)
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    with pytest.raises(ClientError) as error:
        attributes_of(s3, bucket)
    assert refused(error) == (404, "NoSuchKey")
    with pytest.raises(ClientError) as error:
        attributes_of(s3, bucket, VersionId=marker)
    assert refused(error) == (405, "MethodNotAllowed")


def test_what_is_refused(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    with pytest.raises(ClientError) as error:
        attributes_of(s3, bucket, "absent")
    assert refused(error) == (404, "NoSuchKey")
    for attributes, code in (([], "InvalidRequest"), (["ETag", "Other"], "InvalidArgument")):
        with pytest.raises(ClientError) as error:
            attributes_of(s3, bucket, ObjectAttributes=attributes)
        assert refused(error) == (400, code)
    headers = {"x-amz-object-attributes": "ETag", "x-amz-max-parts": "many"}
    answer = gateway.raw().request("GET", f"/{bucket}/k?attributes", headers=headers)
    assert (answer.status, answer.code) == (400, "InvalidArgument")
