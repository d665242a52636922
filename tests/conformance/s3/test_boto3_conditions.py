"""Conditional writes and deletes, on every kind of bucket, and under a race for one key."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.lock_race import COUNTER, LOCK
from tests.support.refusals import refused
from tests.support.s3_gateway import CREDENTIALS, S3Gateway

CONTENDERS = 16
TURNS = 1


@pytest.fixture(params=["", "Enabled", "Suspended"])
def any_bucket(request: pytest.FixtureRequest, s3: Any, bucket: str) -> str:
    """A bucket in each state of versioning."""
    if request.param:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": request.param})
    return bucket


def writers(s3: Any, bucket: str) -> list[Any]:
    """PUT, copy and complete of the key k; each takes the conditions of a write."""
    s3.put_object(Bucket=bucket, Key="source", Body=b"source")

    def put(**conditions: str) -> Any:
        return s3.put_object(Bucket=bucket, Key="k", Body=b"put", **conditions)

    def copy(**conditions: str) -> Any:
        source = {"Bucket": bucket, "Key": "source"}
        return s3.copy_object(Bucket=bucket, Key="k", CopySource=source, **conditions)

    def complete(**conditions: str) -> Any:
        named = {"Bucket": bucket, "Key": "k"}
        named["UploadId"] = s3.create_multipart_upload(**named)["UploadId"]
        part = s3.upload_part(**named, PartNumber=1, Body=b"part")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        return s3.complete_multipart_upload(**named, MultipartUpload=parts, **conditions)

    return [put, copy, complete]


def test_writes_over_nothing_and_over_something(s3: Any, any_bucket: str) -> None:
    for write in writers(s3, any_bucket):
        for condition in ("*", '"0123"'):
            with pytest.raises(ClientError) as error:
                write(IfMatch=condition)
            assert refused(error) == (404, "NoSuchKey")
        write(IfNoneMatch="*")
        etag = s3.head_object(Bucket=any_bucket, Key="k")["ETag"]
        for conditions in ({"IfNoneMatch": "*"}, {"IfNoneMatch": etag}, {"IfMatch": '"0123"'}):
            with pytest.raises(ClientError) as error:
                write(**conditions)
            assert refused(error) == (412, "PreconditionFailed")
        assert s3.head_object(Bucket=any_bucket, Key="k")["ETag"] == etag
        write(IfMatch=etag)
        write(IfMatch="*")
        # Under a delete marker there is nothing, whatever versions there are.
        s3.delete_object(Bucket=any_bucket, Key="k")
        with pytest.raises(ClientError) as error:
            write(IfMatch=etag)
        assert refused(error) == (404, "NoSuchKey")
        write(IfNoneMatch="*")
        s3.delete_object(Bucket=any_bucket, Key="k")


def test_deletes(s3: Any, any_bucket: str) -> None:
    for condition in ("*", '"0123"'):
        with pytest.raises(ClientError) as error:
            s3.delete_object(Bucket=any_bucket, Key="k", IfMatch=condition)
        assert refused(error) == (404, "NoSuchKey")
    for _ in range(2):
        etag = s3.put_object(Bucket=any_bucket, Key="k", Body=b"x")["ETag"]
        with pytest.raises(ClientError) as error:
            s3.delete_object(Bucket=any_bucket, Key="k", IfMatch='"0123"')
        assert refused(error) == (412, "PreconditionFailed")
        s3.delete_object(Bucket=any_bucket, Key="k", IfMatch=etag)
        with pytest.raises(ClientError) as error:
            s3.delete_object(Bucket=any_bucket, Key="k", IfMatch=etag)
        assert refused(error) == (404, "NoSuchKey")


def test_batch_deletes(s3: Any, any_bucket: str) -> None:
    etags = [
        s3.put_object(Bucket=any_bucket, Key=f"k{n}", Body=str(n).encode())["ETag"]
        for n in range(3)
    ]
    keys = [
        {"Key": "k0", "ETag": etags[0]},
        {"Key": "k1", "ETag": etags[0]},
        {"Key": "k2", "ETag": "*"},
        {"Key": "absent", "ETag": "*"},
    ]
    done = s3.delete_objects(Bucket=any_bucket, Delete={"Objects": keys})
    assert sorted(row["Key"] for row in done["Deleted"]) == ["k0", "k2"]
    errors = {row["Key"]: row["Code"] for row in done["Errors"]}
    assert errors == {"k1": "PreconditionFailed", "absent": "NoSuchKey"}
    left = s3.list_objects_v2(Bucket=any_bucket)["Contents"]
    assert [row["Key"] for row in left] == ["k1"]


def test_what_only_directory_buckets_have_is_not_ignored(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for headers in (
        {"x-amz-if-match-size": "9"},
        {"x-amz-if-match-last-modified-time": "Mon, 23 Nov 2026 00:00:00 GMT"},
    ):
        answer = gateway.raw().request("DELETE", f"/{bucket}/k", headers=headers)
        assert (answer.status, answer.code) == (501, "NotImplemented")
    with pytest.raises(ClientError) as error:
        s3.delete_object(Bucket=bucket, Key="k", VersionId="null", IfMatch=put["ETag"])
    assert refused(error) == (501, "NotImplemented")
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == put["ETag"]


def test_who_goes_on_with_a_copy_never_gets_the_rest_of_another_version(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    client = gateway.raw()
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"a" * 9)["ETag"]
    on = {"range": "bytes=4-", "if-range": first}
    answer = client.request("GET", f"/{bucket}/k", headers=on)
    assert (answer.status, answer.body) == (206, b"a" * 5)
    modified = answer.headers["last-modified"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"b" * 9)["ETag"]
    for stale in (first, f"W/{second}", modified):
        answer = client.request("GET", f"/{bucket}/k", headers={**on, "if-range": stale})
        assert (answer.status, answer.body) == (200, b"b" * 9)
        assert "content-range" not in answer.headers
    beyond = {"range": "bytes=99-", "if-range": first}
    assert client.request("GET", f"/{bucket}/k", headers=beyond).status == 200
    answer = client.request("HEAD", f"/{bucket}/k", headers=on)
    assert (answer.status, answer.headers["content-length"]) == (200, "9")


def test_refusals_say_what_was_asked_and_what_there_is(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    client = gateway.raw()
    for header in ("bytes=3-", "bytes=9-9", "bytes=-0"):
        answer = client.request("GET", f"/{bucket}/k", headers={"range": header})
        assert (answer.status, answer.code) == (416, "InvalidRange")
        assert f"<RangeRequested>{header}</RangeRequested>".encode() in answer.body
        assert b"<ActualObjectSize>3</ActualObjectSize>" in answer.body
        assert answer.headers["content-range"] == "bytes */3"
    answer = client.request("GET", f"/{bucket}/k?partNumber=2")
    assert (answer.status, answer.code) == (416, "InvalidPartNumber")
    assert b"<PartNumberRequested>2</PartNumberRequested>" in answer.body
    assert b"<ActualPartCount>1</ActualPartCount>" in answer.body
    named = {"Bucket": bucket, "Key": "m"}
    named["UploadId"] = s3.create_multipart_upload(**named)["UploadId"]
    parts = []
    for number in (1, 2):
        etag = s3.upload_part(**named, PartNumber=number, Body=b"small")["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    told = error.value.response["Error"]
    assert told["Code"] == "EntityTooSmall"
    assert (told["ProposedSize"], told["MinSizeAllowed"]) == ("5", str(5 << 20))
    assert told["PartNumber"] == "1"


def test_a_delete_marker_says_what_it_is(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    listed = s3.list_object_versions(Bucket=bucket)["DeleteMarkers"][0]
    for query in ("versionId={}", "tagging&versionId={}"):
        answer = gateway.raw().request("GET", f"/{bucket}/k?" + query.format(marker))
        assert (answer.status, answer.code) == (405, "MethodNotAllowed")
        assert (answer.headers["allow"], answer.headers["x-amz-delete-marker"]) == (
            "DELETE",
            "true",
        )
        assert answer.headers["x-amz-version-id"] == marker
        when = parsedate_to_datetime(answer.headers["last-modified"])
        assert when == listed["LastModified"].replace(microsecond=0)
    answer = gateway.raw().request("GET", f"/{bucket}/k")
    assert (answer.status, answer.code) == (404, "NoSuchKey")
    assert answer.headers["x-amz-delete-marker"] == "true"


def test_an_empty_object_is_its_only_part(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=1)
    assert (got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()) == (200, b"")
    assert "ContentRange" not in got


def test_one_of_many_creators_wins(gateway: S3Gateway, s3: Any, any_bucket: str) -> None:
    def put(number: int) -> int:
        with gateway.raw() as client:
            answer = client.request(
                "PUT",
                f"/{any_bucket}/k",
                body=str(number).encode(),
                headers={"if-none-match": "*"},
            )
            return answer.status

    for _ in range(5):
        with ThreadPoolExecutor(CONTENDERS) as pool:
            statuses = list(pool.map(put, range(CONTENDERS)))
        assert sorted(statuses) == [200] + [412] * (CONTENDERS - 1)
        winner = s3.get_object(Bucket=any_bucket, Key="k")["Body"].read()
        assert winner == str(statuses.index(200)).encode()
        s3.delete_object(Bucket=any_bucket, Key="k")


def test_one_of_many_writers_over_the_same_version_wins(
    gateway: S3Gateway, s3: Any, any_bucket: str
) -> None:
    etag = s3.put_object(Bucket=any_bucket, Key="k", Body=b"first")["ETag"]

    def put(number: int) -> int:
        with gateway.raw() as client:
            headers = {"if-match": etag}
            return client.request(
                "PUT", f"/{any_bucket}/k", body=str(number).encode(), headers=headers
            ).status

    with ThreadPoolExecutor(CONTENDERS) as pool:
        statuses = list(pool.map(put, range(CONTENDERS)))
    assert sorted(statuses) == [200] + [412] * (CONTENDERS - 1)
    winner = s3.get_object(Bucket=any_bucket, Key="k")["Body"].read()
    assert winner == str(statuses.index(200)).encode()


@pytest.mark.parametrize("versioned", [False, True])
def test_a_lock_file_holds_under_a_race_of_processes(
    gateway: S3Gateway, s3: Any, bucket: str, versioned: bool
) -> None:
    if versioned:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key=COUNTER, Body=b"0")
    secrets = f"{CREDENTIALS.access_key_id}\n{CREDENTIALS.secret}\n{CREDENTIALS.region}\n"
    command = [sys.executable, "-m", "tests.support.lock_race"]
    racers = [
        subprocess.Popen(
            [*command, str(gateway.port), bucket, f"racer-{number}", str(TURNS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(CONTENDERS)
    ]
    try:
        for racer in racers:
            assert racer.stdin is not None and racer.stdout is not None
            racer.stdin.write(secrets)
            racer.stdin.flush()
        for racer in racers:
            assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
        answers = []
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        for racer in racers:
            answers.append(racer.communicate(timeout=60)[0])
        assert [racer.returncode for racer in racers] == [0] * CONTENDERS
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert sum(int(answer) for answer in answers) > 0, "nobody was ever refused: no race"
    count = s3.get_object(Bucket=bucket, Key=COUNTER)["Body"].read()
    assert int(count) == CONTENDERS * TURNS
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket=bucket, Key=LOCK)
    assert refused(error)[0] == 404
