"""What backup tools rely on, as sequences of the calls they make; the tools themselves, where they
are packages, run in `tests/clients`.

Source: velero-plugin-for-aws; Veeam "Considerations and limitations for object storage"; kopia
`repository validate-provider`; Proxmox Backup Server 4.2; WAL-G docs/STORAGES.md; Duplicati,
Duplicacy, restic#2202, apache/iceberg#14439, barman#1146.
"""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from boto3.s3.transfer import TransferConfig

from tests.support.raw_s3 import crc32_text
from tests.support.refusals import DENIED, refusal
from tests.support.s3_gateway import NAMES, S3Gateway

PART = 5 * 1024 * 1024
VEEAM_SYSTEM = ".system-d26a9498-cb7c-4a87-a44a-8ae204f5ba6c/system.xml"


def versioned(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def keys_of(s3: Any, bucket: str, **options: Any) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, **options)
    return [one["Key"] for page in pages for one in page.get("Contents", [])]


def test_velero(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    """A checksum with every upload, a manager of parts, listings of folders, presigned logs."""
    for backup in ("one", "two"):
        folder = f"backups/{backup}"
        for name in ("velero-backup.json", f"{backup}.tar.gz", f"{backup}-logs.gz"):
            s3.put_object(
                Bucket=bucket,
                Key=f"{folder}/{name}",
                Body=io.BytesIO(name.encode()),
                ChecksumAlgorithm="CRC32",
            )
    large = os.urandom(2 * PART + 100)
    s3.upload_fileobj(
        io.BytesIO(large),
        bucket,
        "backups/one/large",
        ExtraArgs={"ChecksumAlgorithm": "CRC32"},
        Config=TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
    )
    page = s3.list_objects_v2(Bucket=bucket, Prefix="backups/", Delimiter="/")
    folders = [one["Prefix"] for one in page["CommonPrefixes"]]
    assert folders == ["backups/one/", "backups/two/"]
    assert "Contents" not in page
    assert refusal(s3.head_object, Bucket=bucket, Key="backups/three/x") == (404, "404")
    head = s3.head_object(Bucket=bucket, Key="backups/one/large", ChecksumMode="ENABLED")
    assert head["ContentLength"] == len(large) and head["ChecksumCRC32"]
    read = s3.get_object(Bucket=bucket, Key="backups/one/large", ChecksumMode="ENABLED")
    assert read["Body"].read() == large
    named = {"Bucket": bucket, "Key": "backups/one/one-logs.gz"}
    url = s3.generate_presigned_url("get_object", Params=named, ExpiresIn=600)
    with urlopen(url, timeout=5) as answer:
        assert answer.read() == b"one-logs.gz"
    for key in keys_of(s3, bucket, Prefix="backups/one/"):
        s3.delete_object(Bucket=bucket, Key=key)
    assert keys_of(s3, bucket, Prefix="backups/one/") == []


def test_veeam(s3: Any) -> None:
    """Locks from the start and none by default; each object is kept, and longer later on."""
    bucket = NAMES.next()
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    held = s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    assert held == {"ObjectLockEnabled": "Enabled"}
    assert refusal(s3.head_object, Bucket=bucket, Key=VEEAM_SYSTEM) == (404, "404")
    assert refusal(s3.get_object, Bucket=bucket, Key=VEEAM_SYSTEM) == (404, "NoSuchKey")
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    blocks = [f"Veeam/Backup/block-{number:03}" for number in range(50)]
    versions = {}
    for key in blocks:
        versions[key] = s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=key.encode(),
            ChecksumAlgorithm="CRC32",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=until,
        )["VersionId"]
        assert s3.get_object(Bucket=bucket, Key=key)["VersionId"] == versions[key]
    later = until + timedelta(days=10)
    for key in blocks[:5]:
        named = {"Bucket": bucket, "Key": key, "VersionId": versions[key]}
        s3.put_object_retention(**named, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": later})
        assert s3.head_object(**named)["ObjectLockRetainUntilDate"] == later
        earlier = {"Mode": "COMPLIANCE", "RetainUntilDate": until}
        assert refusal(s3.put_object_retention, **named, Retention=earlier) == DENIED
    listed = s3.list_object_versions(Bucket=bucket, Prefix="Veeam/")["Versions"]
    assert {one["Key"]: one["VersionId"] for one in listed} == versions
    wanted = {"Objects": [{"Key": key, "VersionId": versions[key]} for key in blocks]}
    gone = s3.delete_objects(Bucket=bucket, Delete=wanted)
    assert {one["Code"] for one in gone["Errors"]} == {"AccessDenied"}
    assert len(gone["Errors"]) == len(blocks)
    marked = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in blocks]})
    assert all(one["DeleteMarker"] for one in marked["Deleted"])
    for key in blocks:
        named = {"Bucket": bucket, "Key": key, "VersionId": versions[key]}
        assert s3.get_object(**named)["Body"].read() == key.encode()


def test_kopia(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    """Its check of providers: what is written is read at once, by everybody, whole and in parts."""
    content = os.urandom(100_000)
    named = {"Bucket": bucket, "Key": "p0123456789abcdef"}
    assert refusal(s3.get_object, **named) == (404, "NoSuchKey")
    assert refusal(s3.head_object, **named) == (404, "404")
    s3.put_object(**named, Body=content, Metadata={"kopia": "blob"})

    def read(first: int, last: int) -> bytes:
        ranged = gateway.boto().get_object(**named, Range=f"bytes={first}-{last}")
        assert ranged["ContentRange"] == f"bytes {first}-{last}/{len(content)}"
        return bytes(ranged["Body"].read())

    with ThreadPoolExecutor(4) as pool:
        cuts = [(0, 0), (0, 99_999), (1, 10), (99_999, 99_999), (50_000, 99_998)]
        for (first, last), found in zip(cuts, pool.map(lambda cut: read(*cut), cuts), strict=True):
            assert found == content[first : last + 1]
    beyond = refusal(s3.get_object, **named, Range="bytes=100000-100001")
    assert beyond == (416, "InvalidRange")
    for number in range(20):
        s3.put_object(**{**named, "Key": f"q{number:02}"}, Body=b"x")
        assert keys_of(s3, bucket, Prefix="q") == [f"q{n:02}" for n in range(number + 1)]
    s3.put_object(**named, Body=b"over")
    assert s3.get_object(**named)["Body"].read() == b"over"
    s3.delete_object(**named)
    assert refusal(s3.get_object, **named) == (404, "NoSuchKey")
    # A bucket without locks says so, and is not listed instead.
    missing = refusal(s3.get_object_lock_configuration, Bucket=bucket)
    assert missing == (404, "ObjectLockConfigurationNotFoundError")
    with gateway.raw() as client:
        answer = client.request("GET", f"/{bucket}?object-lock")
        assert (answer.status, answer.code) == (404, "ObjectLockConfigurationNotFoundError")
        versioned(s3, bucket)
        s3.put_object_lock_configuration(
            Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
        )
        answer = client.request("GET", f"/{bucket}?object-lock")
        assert b"<ObjectLockConfiguration" in answer.body


def test_proxmox_backup_server(s3: Any, bucket: str) -> None:
    """A chunk is an object of its digest's name, made once; the garbage goes by the thousand."""
    chunks = [os.urandom(1 << 20) for _ in range(4)]
    names = [f".chunks/{hashlib.sha256(chunk).hexdigest()}" for chunk in chunks]
    for key, chunk in zip(names, chunks, strict=True):
        s3.put_object(Bucket=bucket, Key=key, Body=chunk, IfNoneMatch="*")
        again = refusal(s3.put_object, Bucket=bucket, Key=key, Body=chunk, IfNoneMatch="*")
        assert again == (412, "PreconditionFailed")
    assert keys_of(s3, bucket, Prefix=".chunks/") == sorted(names)
    assert s3.head_object(Bucket=bucket, Key=names[0])["ContentLength"] == 1 << 20
    stray = [{"Key": f".chunks/{number:064x}"} for number in range(996)]
    wanted = {"Objects": [*stray, *({"Key": key} for key in names)]}
    gone = s3.delete_objects(Bucket=bucket, Delete=wanted)
    assert len(gone["Deleted"]) == 1000 and "Errors" not in gone
    assert keys_of(s3, bucket) == []


def test_wal_g(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    """Where a bucket is; long reads that go on where they were cut, of what they were of."""
    located = s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] or "us-east-1"
    s3 = gateway.boto(region=located)  # it signs for what it was told
    content = os.urandom(3 * PART)
    key = "basebackups_005/base/tar_partitions/part_001.tar.lz4"
    named = {"Bucket": bucket, "Key": key}
    etag = s3.put_object(**named, Body=content, StorageClass="STANDARD_IA")["ETag"]
    assert s3.head_object(**named)["StorageClass"] == "STANDARD_IA"
    found = b""
    while len(found) < len(content):
        rest = s3.get_object(**named, Range=f"bytes={len(found)}-", IfMatch=etag)
        found += rest["Body"].read(2_000_000)
        rest["Body"].close()
    assert found == content
    s3.put_object(**named, Body=b"another")
    changed = refusal(s3.get_object, **named, Range="bytes=10-", IfMatch=etag)
    assert changed == (412, "PreconditionFailed")


def test_wrong_regions_are_told_the_right_one(gateway: S3Gateway, bucket: str) -> None:
    stranger = gateway.boto(region="eu-west-3")
    assert stranger.list_objects_v2(Bucket=bucket)["KeyCount"] == 0  # it signs once more
    with gateway.raw() as client:
        client.credentials.region = "eu-west-3"
        try:
            answer = client.request("GET", f"/{bucket}")
        finally:
            client.credentials.region = "fr"
        assert answer.code == "AuthorizationHeaderMalformed"
        assert b"<Region>fr</Region>" in answer.body


def test_duplicati(s3: Any, bucket: str) -> None:
    """It makes the bucket at each set-up, and its test of a destination is a listing."""
    assert refusal(s3.create_bucket, Bucket=bucket) == (409, "BucketAlreadyOwnedByYou")
    assert keys_of(s3, bucket) == []
    s3.put_object(Bucket=bucket, Key="duplicati-access-privileges-test.tmp", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="duplicati-access-privileges-test.tmp")
    assert keys_of(s3, bucket) == []


def test_duplicacy(s3: Any, bucket: str) -> None:
    """It renames by a copy and a deletion, and a copy onto itself changes headers only."""
    s3.put_object(Bucket=bucket, Key="chunks/a.tmp", Body=b"chunk", Metadata={"m": "1"})
    copied = s3.copy_object(Bucket=bucket, Key="chunks/a", CopySource=f"{bucket}/chunks/a.tmp")
    assert copied["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(b"chunk").hexdigest()}"'
    s3.delete_object(Bucket=bucket, Key="chunks/a.tmp")
    read = s3.get_object(Bucket=bucket, Key="chunks/a")
    assert (read["Body"].read(), read["Metadata"]) == (b"chunk", {"m": "1"})
    onto = {"Bucket": bucket, "Key": "chunks/a", "CopySource": f"{bucket}/chunks/a"}
    assert refusal(s3.copy_object, **onto) == (400, "InvalidRequest")
    s3.copy_object(**onto, MetadataDirective="REPLACE", Metadata={"m": "2"})
    assert s3.head_object(Bucket=bucket, Key="chunks/a")["Metadata"] == {"m": "2"}


def test_restic(gateway: S3Gateway, s3: Any) -> None:
    """Under a default retention packs are kept with the digest that they bring, and locks go."""
    bucket = NAMES.next()
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
    s3.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
    )
    pack = os.urandom(1000)
    with gateway.raw() as client:
        told = client.request("PUT", f"/{bucket}/data/aa", pack)
        assert (told.status, told.code) == (400, "InvalidRequest")
        digest = {"x-amz-checksum-crc32": crc32_text(pack)}
        assert client.request("PUT", f"/{bucket}/data/aa", pack, digest).status == 200
    s3.put_object(Bucket=bucket, Key="locks/1", Body=b"{}", ChecksumAlgorithm="CRC32")
    assert keys_of(s3, bucket, Prefix="locks/") == ["locks/1"]
    s3.delete_object(Bucket=bucket, Key="locks/1")
    assert keys_of(s3, bucket, Prefix="locks/") == []
    assert s3.get_object(Bucket=bucket, Key="data/aa")["Body"].read() == pack


def test_hadoop_and_iceberg(s3: Any, bucket: str) -> None:
    """A commit is the completion of uploads; the others are aborted; lists tell it at once."""
    uploads = []
    for task in range(3):
        named = {"Bucket": bucket, "Key": f"table/part-{task}.parquet"}
        named["UploadId"] = s3.create_multipart_upload(**named, ChecksumAlgorithm="CRC32C")[
            "UploadId"
        ]
        part = s3.upload_part(**named, PartNumber=1, Body=b"rows", ChecksumAlgorithm="CRC32C")
        done = {"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32C": part["ChecksumCRC32C"]}
        uploads.append((named, done))
    assert keys_of(s3, bucket) == []
    for named, done in uploads[:2]:
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [done]})
    assert keys_of(s3, bucket) == ["table/part-0.parquet", "table/part-1.parquet"]
    (pending,) = s3.list_multipart_uploads(Bucket=bucket, Prefix="table/")["Uploads"]
    s3.abort_multipart_upload(**{**uploads[2][0], "UploadId": pending["UploadId"]})
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    folder = s3.list_objects_v2(Bucket=bucket, Prefix="table/", MaxKeys=1, Delimiter="/")
    assert folder["KeyCount"] == 1
    s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys_of(s3, bucket)]}
    )
    assert s3.list_objects_v2(Bucket=bucket, Prefix="table/", MaxKeys=1)["KeyCount"] == 0


@pytest.mark.parametrize("algorithm", ["", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_barman(s3: Any, bucket: str, algorithm: str) -> None:
    """Tagged uploads whose parts bring a checksum although the upload agreed on none."""
    named = {"Bucket": bucket, "Key": "base/data.tar"}
    named["UploadId"] = s3.create_multipart_upload(**named, Tagging="server=main")["UploadId"]
    chosen = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    parts = []
    for number, body in ((1, bytes(PART)), (2, b"end")):
        etag = s3.upload_part(**named, PartNumber=number, Body=body, **chosen)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    head = s3.head_object(Bucket=bucket, Key="base/data.tar", PartNumber=2, ChecksumMode="ENABLED")
    assert (head["ContentLength"], head["PartsCount"]) == (3, 2)
    (tag,) = s3.get_object_tagging(Bucket=bucket, Key="base/data.tar")["TagSet"]
    assert tag == {"Key": "server", "Value": "main"}


def test_a_head_says_all_of_a_version(s3: Any, bucket: str) -> None:
    versioned(s3, bucket)
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumAlgorithm="SHA256")
    s3.put_object(Bucket=bucket, Key="k", Body=b"newer")
    named = {"Bucket": bucket, "Key": "k", "VersionId": version["VersionId"]}
    head = s3.head_object(**named, ChecksumMode="ENABLED")
    assert head["VersionId"] == version["VersionId"]
    assert head["ChecksumSHA256"] == version["ChecksumSHA256"]
    assert (head["ETag"], head["ContentLength"]) == (version["ETag"], 1)
