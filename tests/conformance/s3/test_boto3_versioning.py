"""Versioning as boto3 sees it: versions, null versions, delete markers, listings."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError


def enabled(s3: Any, bucket: str) -> None:
    turn(s3, bucket, "Enabled")


def turn(s3: Any, bucket: str, state: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": state})


def put(s3: Any, bucket: str, body: bytes, key: str = "key") -> str:
    return str(s3.put_object(Bucket=bucket, Key=key, Body=body).get("VersionId"))


def read(s3: Any, bucket: str, version: str | None = None, key: str = "key") -> bytes:
    named = {} if version is None else {"VersionId": version}
    return bytes(s3.get_object(Bucket=bucket, Key=key, **named)["Body"].read())


def listed(s3: Any, bucket: str) -> list[tuple[str, str, bool, str]]:
    """(key, version id, is latest, kind) of all versions, in the order of the pages."""
    found = []
    page: dict[str, str] = {}
    while True:
        answer = s3.list_object_versions(Bucket=bucket, MaxKeys=2, **page)
        rows = [(item, "version") for item in answer.get("Versions", ())]
        rows += [(item, "marker") for item in answer.get("DeleteMarkers", ())]
        # boto3 puts markers apart, and times of one second do not say where they belong.
        rows.sort(key=lambda row: (row[0]["Key"], not row[0]["IsLatest"]))
        found += [(r["Key"], r["VersionId"], r["IsLatest"], kind) for r, kind in rows]
        if not answer["IsTruncated"]:
            return found
        page = {"KeyMarker": answer["NextKeyMarker"]}
        if "NextVersionIdMarker" in answer:
            page["VersionIdMarker"] = answer["NextVersionIdMarker"]


def refused(call: Any, *args: Any, **named: Any) -> tuple[int, str, dict[str, str]]:
    with pytest.raises(ClientError) as caught:
        call(*args, **named)
    answer = caught.value.response
    meta = answer["ResponseMetadata"]
    return meta["HTTPStatusCode"], answer["Error"]["Code"], meta["HTTPHeaders"]


def test_the_state_of_a_bucket(s3: Any, bucket: str) -> None:
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    for state in ("Enabled", "Suspended", "Enabled"):
        turn(s3, bucket, state)
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == state
    assert refused(turn, s3, bucket, "Off")[:2] == (400, "MalformedXML")


def test_every_version_can_be_read_and_taken_away(s3: Any, bucket: str) -> None:
    enabled(s3, bucket)
    bodies = [b"one", b"two" * 50_000, b"three"]
    ids = [put(s3, bucket, body) for body in bodies]
    assert len(set(ids)) == 3
    assert [read(s3, bucket, version) for version in ids] == bodies
    assert read(s3, bucket) == bodies[2]
    assert listed(s3, bucket) == [
        ("key", ids[2], True, "version"),
        ("key", ids[1], False, "version"),
        ("key", ids[0], False, "version"),
    ]
    s3.delete_object(Bucket=bucket, Key="key", VersionId=ids[2])
    assert read(s3, bucket) == bodies[1]
    assert s3.head_object(Bucket=bucket, Key="key")["VersionId"] == ids[1]
    s3.delete_object(Bucket=bucket, Key="key", VersionId=ids[0])
    assert refused(read, s3, bucket, ids[0])[:2] == (404, "NoSuchVersion")
    assert [row[1] for row in listed(s3, bucket)] == [ids[1]]
    s3.delete_object(Bucket=bucket, Key="key", VersionId=ids[1])
    assert listed(s3, bucket) == []
    assert refused(read, s3, bucket)[:2] == (404, "NoSuchKey")
    s3.delete_bucket(Bucket=bucket)


def test_a_delete_marker_hides_and_is_taken_away(s3: Any, bucket: str) -> None:
    enabled(s3, bucket)
    version = put(s3, bucket, b"hidden")
    deleted = s3.delete_object(Bucket=bucket, Key="key")
    assert deleted["DeleteMarker"] is True
    marker = deleted["VersionId"]
    status, code, headers = refused(read, s3, bucket)
    assert (status, code) == (404, "NoSuchKey")
    assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker)
    assert refused(read, s3, bucket, marker)[:2] == (405, "MethodNotAllowed")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert s3.list_objects_v2(Bucket=bucket, Delimiter="e")["KeyCount"] == 0
    assert read(s3, bucket, version) == b"hidden"
    assert refused(s3.delete_bucket, Bucket=bucket)[:2] == (409, "BucketNotEmpty")
    undone = s3.delete_object(Bucket=bucket, Key="key", VersionId=marker)
    assert undone["DeleteMarker"] is True and undone["VersionId"] == marker
    assert read(s3, bucket) == b"hidden"
    assert s3.delete_object(Bucket=bucket, Key="absent")["DeleteMarker"] is True


def test_null_versions(s3: Any, bucket: str) -> None:
    put(s3, bucket, b"before")
    turn(s3, bucket, "Enabled")
    assert s3.head_object(Bucket=bucket, Key="key")["VersionId"] == "null"
    first = put(s3, bucket, b"first")
    assert read(s3, bucket, "null") == b"before"
    turn(s3, bucket, "Suspended")
    put(s3, bucket, b"null again")
    assert read(s3, bucket, "null") == read(s3, bucket) == b"null again"
    assert [row[1] for row in listed(s3, bucket)] == ["null", first]
    turn(s3, bucket, "Enabled")
    second = put(s3, bucket, b"second")
    assert read(s3, bucket, "null") == b"null again"
    s3.delete_object(Bucket=bucket, Key="key", VersionId="null")
    assert [row[1] for row in listed(s3, bucket)] == [second, first]
    assert refused(read, s3, bucket, "null")[:2] == (404, "NoSuchVersion")
    turn(s3, bucket, "Suspended")
    assert s3.delete_object(Bucket=bucket, Key="key")["VersionId"] == "null"
    assert [row[1:] for row in listed(s3, bucket)] == [
        ("null", True, "marker"),
        (second, False, "version"),
        (first, False, "version"),
    ]
    s3.delete_object(Bucket=bucket, Key="key", VersionId="null")
    assert read(s3, bucket) == b"second"


def test_many_keys_at_once(s3: Any, bucket: str) -> None:
    enabled(s3, bucket)
    ids = {key: put(s3, bucket, key.encode(), key) for key in ("a/1", "a/2", "b")}
    answer = s3.delete_objects(
        Bucket=bucket,
        Delete={"Objects": [{"Key": "a/1"}, {"Key": "b", "VersionId": ids["b"]}]},
    )
    told = {item["Key"]: item for item in answer["Deleted"]}
    assert told["a/1"]["DeleteMarker"] is True
    assert told["b"]["VersionId"] == ids["b"] and "DeleteMarker" not in told["b"]
    page = s3.list_object_versions(Bucket=bucket, Delimiter="/")
    assert [item["Prefix"] for item in page["CommonPrefixes"]] == ["a/"]
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a/2"]


def test_multipart_objects_are_versions(s3: Any, bucket: str) -> None:
    enabled(s3, bucket)
    ids = []
    for letter in (b"x", b"y"):
        upload = s3.create_multipart_upload(Bucket=bucket, Key="key")["UploadId"]
        part = s3.upload_part(
            Bucket=bucket, Key="key", UploadId=upload, PartNumber=1, Body=letter * 6_000_000
        )
        ids.append(
            s3.complete_multipart_upload(
                Bucket=bucket,
                Key="key",
                UploadId=upload,
                MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
            )["VersionId"]
        )
    assert read(s3, bucket, ids[0]) == b"x" * 6_000_000
    s3.delete_object(Bucket=bucket, Key="key", VersionId=ids[1])
    assert read(s3, bucket) == b"x" * 6_000_000


def test_an_older_version_is_copied_over_the_newer(s3: Any, bucket: str) -> None:
    enabled(s3, bucket)
    old = put(s3, bucket, b"old")
    put(s3, bucket, b"new")
    source = {"Bucket": bucket, "Key": "key", "VersionId": old}
    answer = s3.copy_object(Bucket=bucket, Key="key", CopySource=source)
    assert answer["CopySourceVersionId"] == old
    assert answer["VersionId"] not in (old, None)
    assert read(s3, bucket) == b"old"
