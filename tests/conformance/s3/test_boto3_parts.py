"""Multipart uploads beside the common path: copied parts, conditions, pages, order, numbers."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.model.checksums import digest_of
from tests.support.refusals import refused

PART = 5 * 1024 * 1024


def begin(s3: Any, bucket: str, key: str = "k", **options: Any) -> dict[str, str]:
    begun = s3.create_multipart_upload(Bucket=bucket, Key=key, **options)
    return {"Bucket": bucket, "Key": key, "UploadId": begun["UploadId"]}


def complete(s3: Any, named: dict[str, str], parts: list[Any], **options: Any) -> Any:
    return s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **options)


def test_a_copied_part_obeys_the_conditions_of_its_source(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="source", Body=b"0123456789")["ETag"]
    source = {"Bucket": bucket, "Key": "source"}
    named = begin(s3, bucket)
    for conditions in (
        {"CopySourceIfMatch": '"0123"'},
        {"CopySourceIfNoneMatch": etag},
        {"CopySourceIfUnmodifiedSince": "Mon, 01 Jan 2001 00:00:00 GMT"},
    ):
        with pytest.raises(ClientError) as error:
            s3.upload_part_copy(**named, PartNumber=1, CopySource=source, **conditions)
        assert refused(error) == (412, "PreconditionFailed")
    done = s3.upload_part_copy(
        **named,
        PartNumber=1,
        CopySource=source,
        CopySourceRange="bytes=2-4",
        CopySourceIfMatch=etag,
    )
    wanted = hashlib.md5(b"234").hexdigest()
    assert done["CopyPartResult"]["ETag"] == f'"{wanted}"'
    for text, answer in (
        ("bytes=2-10", (416, "InvalidRange")),
        ("bytes=4-2", (416, "InvalidRange")),
        ("bytes=2-", (400, "InvalidArgument")),
        ("bytes=-3", (400, "InvalidArgument")),
        ("2-4", (400, "InvalidArgument")),
    ):
        with pytest.raises(ClientError) as error:
            s3.upload_part_copy(**named, PartNumber=2, CopySource=source, CopySourceRange=text)
        assert refused(error) == answer
    complete(s3, named, [{"PartNumber": 1, "ETag": wanted}])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"234"


def test_a_part_is_copied_from_an_older_version(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="source", Body=b"first")["VersionId"]
    s3.put_object(Bucket=bucket, Key="source", Body=b"second")
    named = begin(s3, bucket)
    source = {"Bucket": bucket, "Key": "source", "VersionId": first}
    done = s3.upload_part_copy(**named, PartNumber=1, CopySource=source)
    assert done["CopySourceVersionId"] == first
    complete(s3, named, [{"PartNumber": 1, "ETag": done["CopyPartResult"]["ETag"]}])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"first"


def test_a_copied_part_has_the_checksum_of_its_upload(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=b"x")
    named = begin(s3, bucket, ChecksumAlgorithm="SHA512")
    source = {"Bucket": bucket, "Key": "source"}
    done = s3.upload_part_copy(**named, PartNumber=1, CopySource=source)["CopyPartResult"]
    assert done["ChecksumSHA512"] == b64encode(digest_of("SHA512", b"x")).decode()


def test_what_complete_refuses(s3: Any, bucket: str) -> None:
    named = begin(s3, bucket)
    etags = [
        s3.upload_part(**named, PartNumber=number, Body=b"x" * length)["ETag"]
        for number, length in ((1, PART), (3, 1))
    ]
    one, three = {"PartNumber": 1, "ETag": etags[0]}, {"PartNumber": 3, "ETag": etags[1]}
    stated = {**one, "ChecksumCRC32": "AAAAAA=="}
    for parts, code in (
        ([], "MalformedXML"),
        ([three, one], "InvalidPartOrder"),
        ([one, {"PartNumber": 2, "ETag": etags[1]}], "InvalidPart"),
        ([{"PartNumber": 1, "ETag": etags[1]}, three], "InvalidPart"),
        ([{"PartNumber": 1, "ETag": "none"}, three], "InvalidPart"),
        ([stated, three], "InvalidPart"),
        ([{**one, "ChecksumSHA1": "x"}, three], "InvalidPart"),
        ([{"PartNumber": 0, "ETag": etags[0]}], "InvalidPartOrder"),
    ):
        with pytest.raises(ClientError) as error:
            complete(s3, named, parts)
        assert refused(error) == (400, code), parts
    done = complete(s3, named, [one, three])
    # Reads by part number count the parts there are; a number that was left out names no gap.
    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (got["ContentLength"], got["PartsCount"], got["ETag"]) == (1, 2, done["ETag"])
    assert got["ContentRange"] == f"bytes {PART}-{PART}/{PART + 1}"
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", PartNumber=3)
    assert refused(error) == (416, "InvalidPartNumber")
    with pytest.raises(ClientError) as error:
        s3.upload_part(**named, PartNumber=1, Body=b"")
    assert refused(error) == (404, "NoSuchUpload")
    with pytest.raises(ClientError) as error:
        s3.list_parts(**named)
    assert refused(error) == (404, "NoSuchUpload")


def test_a_checksum_that_was_not_agreed_on_is_told_from_the_parts(s3: Any, bucket: str) -> None:
    contents = [b"1" * PART, b"2"]
    whole = b64encode(digest_of("CRC32", b"".join(contents))).decode()
    named = begin(s3, bucket)
    parts = []
    for number, content in enumerate(contents, 1):
        part = s3.upload_part(**named, PartNumber=number, Body=content, ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    for stated, code in (
        ({"ChecksumCRC32": "AAAAAA=="}, "BadDigest"),
        ({"ChecksumCRC32C": "AAAAAA=="}, "InvalidRequest"),
        ({"ChecksumSHA1": b64encode(bytes(20)).decode()}, "InvalidRequest"),
    ):
        with pytest.raises(ClientError) as error:
            complete(s3, named, parts, **stated)
        assert refused(error) == (400, code)
    assert complete(s3, named, parts, ChecksumCRC32=whole)["ETag"].endswith('-2"')


def test_composite_checksums_need_numbers_without_gaps(s3: Any, bucket: str) -> None:
    named = begin(s3, bucket, ChecksumAlgorithm="CRC32C")
    part = s3.upload_part(**named, PartNumber=2, Body=b"x", ChecksumAlgorithm="CRC32C")
    listed = {"PartNumber": 2, "ETag": part["ETag"], "ChecksumCRC32C": part["ChecksumCRC32C"]}
    with pytest.raises(ClientError) as error:
        complete(s3, named, [listed])
    assert refused(error) == (400, "InvalidPartOrder")
    with pytest.raises(ClientError) as error:
        s3.upload_part(**named, PartNumber=1, Body=b"x", ChecksumAlgorithm="SHA1")
    assert refused(error) == (400, "InvalidRequest")


@pytest.mark.parametrize("number", [0, 10_001, -1])
def test_part_numbers_have_bounds(s3: Any, bucket: str, number: int) -> None:
    named = begin(s3, bucket)
    with pytest.raises(ClientError) as error:
        s3.upload_part(**named, PartNumber=number, Body=b"x")
    assert refused(error) == (400, "InvalidArgument")


def test_uploads_are_listed_by_prefix_delimiter_and_marker(s3: Any, bucket: str) -> None:
    keys = ["a", "d/1", "d/2", "d/2", "e/1", "é x"]
    begun = [begin(s3, bucket, key, StorageClass="STANDARD_IA") for key in keys]
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [row["Key"] for row in page["Uploads"]] == ["a", "é x"]
    assert [row["Prefix"] for row in page["CommonPrefixes"]] == ["d/", "e/"]
    page = s3.list_multipart_uploads(Bucket=bucket, Prefix="d/")
    assert [row["Key"] for row in page["Uploads"]] == ["d/1", "d/2", "d/2"]
    assert {row["StorageClass"] for row in page["Uploads"]} == {"STANDARD_IA"}
    assert all(row["Initiated"] and row["Owner"]["ID"] for row in page["Uploads"])
    found: list[tuple[str, str]] = []
    markers: dict[str, str] = {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=2, **markers)
        found += [(row["Key"], row["UploadId"]) for row in page["Uploads"]]
        assert page["MaxUploads"] == 2
        if not page["IsTruncated"]:
            break
        markers = {
            "KeyMarker": page["NextKeyMarker"],
            "UploadIdMarker": page["NextUploadIdMarker"],
        }
    assert sorted(found) == sorted((named["Key"], named["UploadId"]) for named in begun)
    assert [key for key, _ in found] == sorted(keys)
    for named in begun:
        s3.abort_multipart_upload(**named)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
