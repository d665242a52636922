"""Objects, as boto3 asks for them: put, get, head, delete, copy; ranges, conditions, checksums."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import urllib.error
import urllib.request
import zlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.refusals import refused
from tests.support.s3_gateway import S3Gateway

LENGTHS = [0, 1, 4096, 128 * 1024, 128 * 1024 + 1, 5_000_000]


def content_of(length: int) -> bytes:
    return (b"0123456789abcdef" * (length // 16 + 1))[:length]


@pytest.mark.parametrize("length", LENGTHS)
def test_what_goes_in_comes_out(s3: Any, bucket: str, length: int) -> None:
    content = content_of(length)
    put = s3.put_object(
        Bucket=bucket, Key="k", Body=content, Metadata={"Name": "value"}, ContentType="text/x"
    )
    assert put["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == content
    assert got["ContentLength"] == length
    assert got["ETag"] == put["ETag"]
    assert got["Metadata"] == {"name": "value"}
    assert got["ContentType"] == "text/x"
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ContentLength"] == length
    assert head["LastModified"] == got["LastModified"]
    age = datetime.datetime.now(datetime.UTC) - head["LastModified"]
    assert abs(age.total_seconds()) < 60
    s3.delete_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k")
    assert refused(error) == (404, "NoSuchKey")


def test_a_file_is_streamed_in(s3: Any, bucket: str) -> None:
    content = content_of(3_000_000)
    s3.upload_fileobj(io.BytesIO(content), bucket, "file")
    out = io.BytesIO()
    s3.download_fileobj(bucket, "file", out)
    assert out.getvalue() == content


@pytest.mark.parametrize(
    "key",
    ["a b", "été/☃", "a+b", "a%2Fb", "../x", "a//b", "/lead", "trail/", "'\"<>&;", "x" * 1024],
)
def test_keys_of_all_kinds(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert [row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]


def test_a_key_that_is_too_long(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="x" * 1025, Body=b"")
    assert refused(error) == (400, "KeyTooLongError")


@pytest.mark.parametrize("length", [10_000, 3_000_000])
@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=5-99", 5, 99),
        ("bytes=9990-", 9990, None),
        ("bytes=-7", -7, None),
        ("bytes=0-99999999", 0, None),
        ("bytes=-99999999", 0, None),
    ],
)
def test_ranges(
    s3: Any, bucket: str, length: int, header: str, first: int, last: int | None
) -> None:
    content = content_of(length)
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    got = s3.get_object(Bucket=bucket, Key="k", Range=header)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    begin = first if first >= 0 else length + first
    end = length - 1 if last is None else last
    assert got["Body"].read() == content[begin : end + 1]
    assert got["ContentRange"] == f"bytes {begin}-{end}/{length}"


def test_ranges_that_cannot_be(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"12345")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=5-")
    assert refused(error) == (416, "InvalidRange")
    assert s3.get_object(Bucket=bucket, Key="k", Range="lines=1-2")["Body"].read() == b"12345"


def test_read_conditions(s3: Any, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"12345")
    etag, other = put["ETag"], '"00000000000000000000000000000000"'
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    for conditions in (
        {"IfMatch": etag},
        {"IfNoneMatch": other},
        {"IfModifiedSince": now - day},
        {"IfUnmodifiedSince": now + day},
    ):
        assert s3.get_object(Bucket=bucket, Key="k", **conditions)["Body"].read() == b"12345"
    for conditions, status in (
        ({"IfMatch": other}, 412),
        ({"IfNoneMatch": etag}, 304),
        ({"IfModifiedSince": now + day - day}, 304),
        ({"IfUnmodifiedSince": now - day}, 412),
    ):
        for ask in (s3.get_object, s3.head_object):
            with pytest.raises(ClientError) as error:
                ask(Bucket=bucket, Key="k", **conditions)
            response = error.value.response
            assert response["ResponseMetadata"]["HTTPStatusCode"] == status, conditions
            if status == 304:
                assert response["ResponseMetadata"]["HTTPHeaders"]["etag"] == etag


def test_write_conditions(s3: Any, bucket: str) -> None:
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert refused(error) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch='"0"')
    assert refused(error) == (412, "PreconditionFailed")
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=first["ETag"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"3"
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="absent", Body=b"3", IfMatch=first["ETag"])
    assert refused(error) == (404, "NoSuchKey")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
@pytest.mark.parametrize("length", [1000, 300_000])
def test_checksums(s3: Any, bucket: str, algorithm: str, length: int) -> None:
    content = content_of(length)
    name = f"Checksum{algorithm}"
    put = s3.put_object(Bucket=bucket, Key="k", Body=content, ChecksumAlgorithm=algorithm)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[name] == put[name]
    assert head["ChecksumType"] == "FULL_OBJECT"
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == content  # boto3 compares the checksum itself
    assert name not in s3.head_object(Bucket=bucket, Key="k")
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert listed["ChecksumAlgorithm"] == [algorithm]
    if algorithm == "CRC32":
        digest = zlib.crc32(content).to_bytes(4, "big")
        assert put[name] == base64.b64encode(digest).decode()


def test_wrong_digests_are_refused(s3: Any, bucket: str) -> None:
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"content", ChecksumSHA256=wrong)
    assert refused(error) == (400, "BadDigest")
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"content", ContentMD5=wrong)
    assert refused(error) == (400, "BadDigest")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_copies(s3: Any, bucket: str) -> None:
    content = content_of(400_000)
    s3.put_object(Bucket=bucket, Key="a b+é", Body=content, Metadata={"m": "1"}, ContentType="x/y")
    source = {"Bucket": bucket, "Key": "a b+é"}
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)["CopyObjectResult"]
    got = s3.get_object(Bucket=bucket, Key="copy")
    assert got["Body"].read() == content
    assert (got["Metadata"], got["ContentType"]) == ({"m": "1"}, "x/y")
    assert copied["ETag"] == got["ETag"]
    s3.copy_object(
        Bucket=bucket,
        Key="replaced",
        CopySource=source,
        MetadataDirective="REPLACE",
        Metadata={"n": "2"},
    )
    assert s3.head_object(Bucket=bucket, Key="replaced")["Metadata"] == {"n": "2"}
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="a b+é", CopySource=source)
    assert refused(error) == (400, "InvalidRequest")
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "absent"})
    assert refused(error) == (404, "NoSuchKey")
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="c", CopySource=source, CopySourceIfMatch='"0"')
    assert refused(error) == (412, "PreconditionFailed")


def test_delete_objects(s3: Any, bucket: str) -> None:
    keys = [f"k{index}" for index in range(25)] + ["é<&>"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    answer = s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*keys, "absent"]]}
    )
    assert [row["Key"] for row in answer["Deleted"]] == [*keys, "absent"]
    assert "Errors" not in answer
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.put_object(Bucket=bucket, Key="q", Body=b"x")
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "q"}], "Quiet": True})
    assert "Deleted" not in quiet


def test_presigned_urls(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    target = {"Bucket": bucket, "Key": "pre signed"}
    url = s3.generate_presigned_url("put_object", Params=target, ExpiresIn=60)
    request = urllib.request.Request(url, data=b"by url", method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    url = s3.generate_presigned_url(
        "get_object", Params={**target, "ResponseContentType": "image/png"}, ExpiresIn=60
    )
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"by url"
        assert answer.headers["content-type"] == "image/png"
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url.replace("image%2Fpng", "text%2Fhtml"))
    assert error.value.code == 403


def test_the_virtual_host_style(gateway: S3Gateway, bucket: str) -> None:
    with gateway.raw() as client:
        answer = client.request("PUT", "/vh", b"body", {"host": f"{bucket}.s3.test"})
        assert answer.status == 200
        assert client.request("GET", f"/{bucket}/vh").body == b"body"


def test_user_metadata_has_a_limit(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"m": "x" * 2100})
    assert refused(error) == (400, "MetadataTooLarge")
