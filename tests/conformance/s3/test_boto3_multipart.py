"""Multipart uploads, as boto3 asks for them."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.support.refusals import refused

PART = 5 * 1024 * 1024


def content_of(length: int, seed: bytes = b"x") -> bytes:
    block = hashlib.sha512(seed).digest() * 64
    return (block * (length // len(block) + 1))[:length]


def upload(s3: Any, bucket: str, parts: list[bytes], **options: Any) -> tuple[str, list[Any]]:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", **options)["UploadId"]
    done = []
    for number, content in enumerate(parts, 1):
        answer = s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=content
        )
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        part |= {name: text for name, text in answer.items() if name.startswith("Checksum")}
        done.append(part)
    return upload_id, done


def complete(s3: Any, bucket: str, upload_id: str, parts: list[Any], **options: Any) -> Any:
    return s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts}, **options
    )


def test_parts_become_one_object(s3: Any, bucket: str) -> None:
    contents = [content_of(PART, b"1"), content_of(PART + 7, b"2"), b"tail"]
    upload_id, parts = upload(s3, bucket, contents, Metadata={"m": "1"}, ContentType="x/y")
    listed = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(row["Key"], row["UploadId"]) for row in listed] == [("k", upload_id)]
    page = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id, MaxParts=2)
    assert [row["PartNumber"] for row in page["Parts"]] == [1, 2]
    assert page["IsTruncated"] is True
    rest = s3.list_parts(
        Bucket=bucket,
        Key="k",
        UploadId=upload_id,
        PartNumberMarker=page["NextPartNumberMarker"],
    )
    assert [row["Size"] for row in rest["Parts"]] == [4]
    done = complete(s3, bucket, upload_id, parts)
    digests = b"".join(hashlib.md5(content).digest() for content in contents)
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(contents)
    assert (got["Metadata"], got["ContentType"]) == ({"m": "1"}, "x/y")
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert part["Body"].read() == contents[1]
    assert part["PartsCount"] == 3
    header = f"bytes={PART - 3}-{PART + 3}"
    got = s3.get_object(Bucket=bucket, Key="k", Range=header)
    assert got["Body"].read() == b"".join(contents)[PART - 3 : PART + 4]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert complete(s3, bucket, upload_id, parts)["ETag"] == done["ETag"]


def test_a_managed_transfer_round_trip(s3: Any, bucket: str) -> None:
    content = content_of(17_000_000)
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=3)
    s3.upload_fileobj(io.BytesIO(content), bucket, "big", Config=config)
    out = io.BytesIO()
    s3.download_fileobj(bucket, "big", out, Config=config)
    assert out.getvalue() == content


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("CRC32", "COMPOSITE"),
        ("CRC32", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("SHA256", "COMPOSITE"),
    ],
)
def test_checksums_of_uploads(s3: Any, bucket: str, algorithm: str, kind: str) -> None:
    contents = [content_of(PART, b"1"), b"tail"]
    upload_id = s3.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind
    )["UploadId"]
    parts = []
    for number, content in enumerate(contents, 1):
        answer = s3.upload_part(
            Bucket=bucket,
            Key="k",
            UploadId=upload_id,
            PartNumber=number,
            Body=content,
            ChecksumAlgorithm=algorithm,
        )
        name = f"Checksum{algorithm}"
        parts.append({"PartNumber": number, "ETag": answer["ETag"], name: answer[name]})
    done = complete(s3, bucket, upload_id, parts, ChecksumType=kind)
    assert done["ChecksumType"] == kind
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == done[f"Checksum{algorithm}"]
    assert done[f"Checksum{algorithm}"].endswith("-2") == (kind == "COMPOSITE")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"".join(contents)


def test_parts_are_copied(s3: Any, bucket: str) -> None:
    content = content_of(PART + 1000)
    s3.put_object(Bucket=bucket, Key="source", Body=content)
    source = {"Bucket": bucket, "Key": "source"}
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    parts = []
    for number, last in ((1, PART - 1), (2, 99)):
        answer = s3.upload_part_copy(
            Bucket=bucket,
            Key="k",
            UploadId=upload_id,
            PartNumber=number,
            CopySource=source,
            CopySourceRange=f"bytes=0-{last}",
        )
        parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
    complete(s3, bucket, upload_id, parts)
    got = s3.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert got == content[:PART] + content[:100]


def test_an_aborted_upload_is_gone(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, [b"only"])
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
    for ask in (
        lambda: s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id),
        lambda: complete(s3, bucket, upload_id, parts),
        lambda: s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x"),
    ):
        with pytest.raises(ClientError) as error:
            ask()
        assert refused(error) == (404, "NoSuchUpload")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_refusals(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, [b"small", b"last"])
    with pytest.raises(ClientError) as error:
        complete(s3, bucket, upload_id, parts)
    assert refused(error) == (400, "EntityTooSmall")
    with pytest.raises(ClientError) as error:
        complete(s3, bucket, upload_id, parts[::-1])
    assert refused(error) == (400, "InvalidPartOrder")
    with pytest.raises(ClientError) as error:
        complete(s3, bucket, upload_id, [{"PartNumber": 1, "ETag": '"0"'}])
    assert refused(error) == (400, "InvalidPart")
    with pytest.raises(ClientError) as error:
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=10_001, Body=b"")
    assert refused(error) == (400, "InvalidArgument")
    with pytest.raises(ClientError) as error:
        s3.upload_part(Bucket=bucket, Key="k", UploadId="nonsense", PartNumber=1, Body=b"")
    assert refused(error) == (404, "NoSuchUpload")


def test_uploads_are_listed_in_pages(s3: Any, bucket: str) -> None:
    made = [
        (key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"])
        for key in ("a/1", "a/2", "b", "b")
    ]
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 1}
    )
    listed = [(row["Key"], row["UploadId"]) for page in pages for row in page.get("Uploads", [])]
    assert sorted(listed) == sorted(made)
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [row["Prefix"] for row in page["CommonPrefixes"]] == ["a/"]
    assert {row["Key"] for row in page["Uploads"]} == {"b"}
