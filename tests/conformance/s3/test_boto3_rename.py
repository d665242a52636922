"""RenameObject as boto3 sends it: names, conditions, tokens, keys, rights; what is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.s3.test_boto3_logging import delivered, log_to, target_for
from tests.conformance.s3.test_boto3_notifications import tell, told
from tests.support.accounts import ALT, ALT_ARN, add_account, allowing, policy_text
from tests.support.encryption_modes import (
    LARGE,
    MODES,
    PART,
    A,
    B,
    check_told,
    encrypting_gateway,
    with_headers,
)
from tests.support.refusals import DENIED, refusal
from tests.support.s3_gateway import NAMES, S3Gateway

NOT_THERE = (404, "NoSuchKey")
FAILED = (412, "PreconditionFailed")
INVALID = (400, "InvalidRequest")


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with encrypting_gateway() as running:
        running.thread.run(add_account(running.gateway.services, ALT))
        yield running


def keys(s3: Any, bucket: str) -> list[str]:
    return [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def read(s3: Any, bucket: str, key: str) -> bytes:
    content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def rename(s3: Any, bucket: str, source: str, key: str, **more: Any) -> Any:
    return s3.rename_object(Bucket=bucket, Key=key, RenameSource=f"{bucket}/{source}", **more)


@pytest.mark.parametrize("content", [b"", b"small", LARGE], ids=len)
def test_everything_but_the_name_stays(s3: Any, bucket: str, content: bytes) -> None:
    given = {"ContentType": "a/b", "Metadata": {"m": "1"}, "Tagging": "t=1"}
    s3.put_object(Bucket=bucket, Key="old", Body=content, ChecksumAlgorithm="SHA256", **given)
    asked = {"Bucket": bucket, "ChecksumMode": "ENABLED"}
    before = s3.head_object(Key="old", **asked)
    answer = rename(s3, bucket, "old", "new/näme+x y")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert keys(s3, bucket) == ["new/näme+x y"]
    after = s3.head_object(Key="new/näme+x y", **asked)
    for told_of in (before, after):
        del told_of["ResponseMetadata"]
    assert after == before
    tags = s3.get_object_tagging(Bucket=bucket, Key="new/näme+x y")["TagSet"]
    assert tags == [{"Key": "t", "Value": "1"}]
    assert read(s3, bucket, "new/näme+x y") == content
    assert refusal(s3.get_object, Bucket=bucket, Key="old") == NOT_THERE


def test_how_a_source_may_be_written(s3: Any, bucket: str) -> None:
    held = "a b+c/ü"
    s3.put_object(Bucket=bucket, Key=held, Body=b"x")
    for source in (f"/{bucket}/a%20b+c/%C3%BC", f"{bucket}/a%20b%2Bc/%C3%BC", "a%20b+c/%C3%BC"):
        s3.rename_object(Bucket=bucket, Key="other", RenameSource=source)
        rename(s3, bucket, "other", held)
    s3.put_object(Bucket=bucket, Key=f"{bucket}/k", Body=b"in a folder")
    rename(s3, bucket, f"{bucket}/k", "k")
    assert read(s3, bucket, "k") == b"in a folder"
    arguments: dict[str, Any] = {"Bucket": bucket, "Key": "to"}
    for source in ("/", f"/{bucket}/", f"{bucket}/", "%zz", "a%00b", "%ff"):
        refused = refusal(s3.rename_object, RenameSource=source, **arguments)
        assert refused == (400, "InvalidArgument"), source
    other = NAMES.next()
    s3.create_bucket(Bucket=other)
    s3.put_object(Bucket=other, Key="k", Body=b"theirs")
    assert refusal(s3.rename_object, RenameSource=f"/{other}/k", **arguments) == INVALID
    assert refusal(s3.rename_object, RenameSource=f"{other}/k", **arguments) == NOT_THERE
    assert keys(s3, other) == ["k"]


def test_refusals(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="old", Body=b"x")
    s3.put_object(Bucket=bucket, Key="dir/", Body=b"x")
    for source, key, expected in (
        ("missing", "new", NOT_THERE),
        ("old", "old", INVALID),
        ("dir/", "new", INVALID),
        ("old", "dir/", INVALID),
        ("old", "k" * 1025, (400, "KeyTooLongError")),
    ):
        assert refusal(rename, s3, bucket, source, key) == expected
    long_token = {"ClientToken": "t" * 65}
    assert refusal(rename, s3, bucket, "old", "new", **long_token) == (400, "InvalidArgument")
    answer = refusal(rename, s3, bucket, "old", "new", ClientToken="two words")
    assert answer == (400, "InvalidArgument")
    assert keys(s3, bucket) == ["dir/", "old"]


def test_without_a_source_nothing_is_put(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    with gateway.raw() as client:
        answer = client.request("PUT", f"/{bucket}/k?renameObject=", b"body")
        assert (answer.status, answer.code) == INVALID
        answer = client.request("PUT", f"/{bucket}/k?renameObject=&acl=", b"")
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert keys(s3, bucket) == []


def test_conditions(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="old", Body=b"x")["ETag"]
    there = s3.put_object(Bucket=bucket, Key="new", Body=b"there")["ETag"]
    date = s3.head_object(Bucket=bucket, Key="old")["LastModified"]
    day = timedelta(days=1)
    failing: list[dict[str, Any]] = [
        {"SourceIfMatch": there},
        {"SourceIfNoneMatch": etag},
        {"SourceIfNoneMatch": "*"},
        {"SourceIfModifiedSince": date},
        {"SourceIfUnmodifiedSince": date - day},
        {"DestinationIfMatch": etag},
        {"DestinationIfNoneMatch": "*"},
        {"DestinationIfNoneMatch": there},
        {"DestinationIfModifiedSince": date + day},
        {"DestinationIfUnmodifiedSince": date - day},
    ]
    for conditions in failing:
        assert refusal(rename, s3, bucket, "old", "new", **conditions) == FAILED, conditions
    for conditions in ({"DestinationIfMatch": "*"}, {"DestinationIfModifiedSince": date - day}):
        assert refusal(rename, s3, bucket, "old", "none", **conditions) == FAILED
    assert (read(s3, bucket, "old"), read(s3, bucket, "new")) == (b"x", b"there")
    holding: dict[str, Any] = {
        "SourceIfMatch": etag,
        "SourceIfNoneMatch": there,
        "SourceIfModifiedSince": date - day,
        "SourceIfUnmodifiedSince": date,
        "DestinationIfMatch": there,
    }
    rename(s3, bucket, "old", "new", **holding)
    assert (keys(s3, bucket), read(s3, bucket, "new")) == (["new"], b"x")
    with pytest.raises(ClientError) as caught:
        rename(s3, bucket, "new", "new2", DestinationIfMatch=etag)
    assert caught.value.response["Error"]["Condition"] == "If-Match"


def test_a_repeated_request_succeeds_once(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="old", Body=b"x")
    once = {"ClientToken": "token-1", "DestinationIfNoneMatch": "*"}
    for _ in range(3):
        rename(s3, bucket, "old", "new", **once)
    s3.put_object(Bucket=bucket, Key="old", Body=b"later")
    rename(s3, bucket, "old", "new", **once)
    assert (read(s3, bucket, "old"), read(s3, bucket, "new")) == (b"later", b"x")
    mismatch = (400, "IdempotencyParameterMismatch")
    assert refusal(rename, s3, bucket, "else", "new", **once) == mismatch
    assert refusal(rename, s3, bucket, "old", "new", ClientToken="token-1") == mismatch
    rename(s3, bucket, "old", "new", ClientToken="token-2")
    assert read(s3, bucket, "new") == b"later"


def test_one_of_many_wins(gateway: S3Gateway, bucket: str) -> None:
    clients = [gateway.boto() for _ in range(8)]
    clients[0].put_object(Bucket=bucket, Key="old", Body=b"x")

    def attempt(at: int) -> bool:
        try:
            rename(clients[at], bucket, "old", f"new-{at}")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey"
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, range(8))).count(True) == 1
    assert len(keys(clients[0], bucket)) == 1


def test_parts_and_their_ranges(s3: Any, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": "old"}
    named["UploadId"] = s3.create_multipart_upload(**named)["UploadId"]
    bodies = (b"a" * PART, b"b" * PART, b"last")
    parts = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(**named, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in enumerate(bodies, 1)
    ]
    done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    rename(s3, bucket, "old", "new")
    head = s3.head_object(Bucket=bucket, Key="new", PartNumber=2)
    assert (head["ETag"], head["PartsCount"], head["ContentLength"]) == (done["ETag"], 3, PART)
    wanted = f"bytes={2 * PART - 2}-{2 * PART + 1}"
    assert s3.get_object(Bucket=bucket, Key="new", Range=wanted)["Body"].read() == b"bbla"
    # The upload is over, and its object is elsewhere.
    again = refusal(s3.complete_multipart_upload, **named, MultipartUpload={"Parts": parts})
    assert again == (404, "NoSuchUpload")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("content", [b"small", LARGE], ids=len)
def test_every_mode_of_encryption(
    gateway: S3Gateway, bucket: str, mode: str, content: bytes
) -> None:
    s3 = gateway.boto()
    s3.put_object(Bucket=bucket, Key="old", Body=content, **MODES[mode])
    given = A if mode == "SSE-C" else {}
    if mode == "SSE-C":
        # The key of the client wraps the DEK, which is bound to the name: it takes the key.
        for headers in ({}, B):
            other = gateway.boto()
            with_headers(other, "RenameObject", as_headers(headers))
            assert refusal(rename, other, bucket, "old", "new") == INVALID
        with_headers(s3, "RenameObject", as_headers(A))
    rename(s3, bucket, "old", "new")
    answer = s3.get_object(Bucket=bucket, Key="new", **given)
    assert answer["Body"].read() == content
    check_told(answer, mode)
    if mode == "SSE-C":
        assert refusal(s3.get_object, Bucket=bucket, Key="new", **B) == INVALID


def as_headers(customer: dict[str, str]) -> dict[str, str]:
    names = {"Algorithm": "algorithm", "Key": "key", "KeyMD5": "key-MD5"}
    return {
        f"x-amz-server-side-encryption-customer-{name}": customer[f"SSECustomer{field}"]
        for field, name in names.items()
        if customer
    }


def test_a_named_key_that_is_gone_keeps_the_name(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    services = gateway.gateway.services
    s3.put_object(Bucket=bucket, Key="old", Body=b"x", **MODES["aws:kms"])
    services.sse_over_http = False
    try:
        assert refusal(rename, s3, bucket, "old", "new") == (400, "InvalidArgument")
    finally:
        services.sse_over_http = True
    asked = with_encryption(gateway)
    assert refusal(rename, asked, bucket, "old", "new") == (400, "InvalidArgument")
    assert keys(s3, bucket) == ["old"]


def with_encryption(gateway: S3Gateway) -> Any:
    s3 = gateway.boto()
    with_headers(s3, "RenameObject", {"x-amz-server-side-encryption": "AES256"})
    return s3


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_a_bucket_with_versioning_is_refused(s3: Any, bucket: str, status: str) -> None:
    s3.put_object(Bucket=bucket, Key="old", Body=b"x")
    for one in ("Enabled", status):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": one})
    assert refusal(rename, s3, bucket, "old", "new") == (501, "NotImplemented")
    assert keys(s3, bucket) == ["old"]


def test_a_bucket_with_locks_is_refused(s3: Any) -> None:
    name = NAMES.next()
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    s3.put_object(Bucket=name, Key="old", Body=b"x", ChecksumAlgorithm="CRC32")
    assert refusal(rename, s3, name, "old", "new") == (501, "NotImplemented")


def test_it_takes_three_rights(s3: Any, alt: Any, nobody: Any, bucket: str) -> None:
    needed = ["s3:GetObject", "s3:DeleteObject", "s3:PutObject"]
    s3.put_object(Bucket=bucket, Key="old", Body=b"x")
    for missing in needed:
        rest = [action for action in needed if action != missing]
        s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, *rest, who=ALT_ARN))
        assert refusal(rename, alt, bucket, "old", "new") == DENIED, missing
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, *needed, who=ALT_ARN))
    assert refusal(rename, nobody, bucket, "old", "new") == DENIED
    # Who may not list is not told that there is nothing.
    assert refusal(rename, alt, bucket, "missing", "new") == DENIED
    rename(alt, bucket, "old", "new", ClientToken="t")
    rename(alt, bucket, "old", "new", ClientToken="t")
    assert keys(s3, bucket) == ["new"]


def test_rights_of_either_name(s3: Any, alt: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="in/k", Body=b"x")
    s3.put_object(Bucket=bucket, Key="out/k", Body=b"x")
    inside = f"arn:aws:s3:::{bucket}/in/*"
    rights = ["s3:GetObject", "s3:DeleteObject", "s3:PutObject"]
    s3.put_bucket_policy(
        Bucket=bucket, Policy=allowing(bucket, *rights, who=ALT_ARN, Resource=inside)
    )
    assert refusal(rename, alt, bucket, "out/k", "in/new") == DENIED
    assert refusal(rename, alt, bucket, "in/k", "out/new") == DENIED
    rename(alt, bucket, "in/k", "in/new")
    # To compare with an object takes the right to read it; whether there is one does not.
    writes = allowing(bucket, "s3:PutObject", who=ALT_ARN, Resource=f"arn:aws:s3:::{bucket}/w/*")
    s3.put_object(Bucket=bucket, Key="w/k", Body=b"secret")
    statements = [allowing(bucket, *rights, who=ALT_ARN, Resource=inside), writes]
    s3.put_bucket_policy(Bucket=bucket, Policy=merged(*statements))
    asking = {"DestinationIfMatch": '"0123"'}
    assert refusal(rename, alt, bucket, "in/new", "w/k", **asking) == DENIED
    date = s3.head_object(Bucket=bucket, Key="w/k")["LastModified"]
    asking = {"DestinationIfUnmodifiedSince": date - timedelta(days=1)}
    assert refusal(rename, alt, bucket, "in/new", "w/k", **asking) == DENIED
    existing = {"DestinationIfNoneMatch": "*"}
    assert refusal(rename, alt, bucket, "in/new", "w/k", **existing) == FAILED


def merged(*policies: str) -> str:
    statements = [one for text in policies for one in json.loads(text)["Statement"]]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def test_tags_and_denials(s3: Any, alt: Any, bucket: str) -> None:
    rights = ["s3:GetObject", "s3:DeleteObject", "s3:PutObject"]
    s3.put_object(Bucket=bucket, Key="old", Body=b"x", Tagging="a=b")
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, *rights, who=ALT_ARN))
    assert refusal(rename, alt, bucket, "old", "new") == DENIED
    tagging = ["s3:GetObjectTagging", "s3:PutObjectTagging"]
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, *rights, *tagging, who=ALT_ARN))
    rename(alt, bucket, "old", "new")
    for action in ("s3:RenameObject", "s3:DeleteObject", "s3:PutObject", "s3:GetObject"):
        denied = policy_text(bucket, {"Effect": "Deny", "Action": action})
        s3.put_bucket_policy(Bucket=bucket, Policy=denied)
        assert refusal(rename, s3, bucket, "new", "newer") == DENIED, action
    unconditional = policy_text(
        bucket,
        {
            "Effect": "Deny",
            "Action": "s3:PutObject",
            "Condition": {"Null": {"s3:if-none-match": "true"}},
        },
    )
    s3.put_bucket_policy(Bucket=bucket, Policy=unconditional)
    assert refusal(rename, s3, bucket, "new", "newer") == DENIED
    rename(s3, bucket, "new", "newer", DestinationIfNoneMatch="*")


def test_events(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    gateway.gateway.services.event_targets = {"hook": frozenset()}
    s3.put_object(Bucket=bucket, Key="old", Body=b"x")
    s3.put_object(Bucket=bucket, Key="new", Body=b"y")
    tell(gateway, s3, bucket, "s3:ObjectCreated:*", "s3:ObjectRemoved:*")
    rename(s3, bucket, "old", "new", ClientToken="t")
    rename(s3, bucket, "old", "new", ClientToken="t")
    assert refusal(rename, s3, bucket, "missing", "new") == NOT_THERE
    found = {one["eventName"]: one["s3"]["object"]["key"] for one in told(gateway)}
    assert found == {"ObjectCreated:Copy": "new", "ObjectRemoved:Delete": "old"}


def test_access_log(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    target = target_for(s3, bucket)
    s3.put_object(Bucket=bucket, Key="old", Body=b"x")
    log_to(s3, bucket, target)
    rename(s3, bucket, "old", "new")
    _, records = delivered(gateway, s3, target)
    found = {(record[6], record[7]) for record in records if "RENAME" in record[6]}
    assert found == {("REST.RENAME.OBJECT", "new"), ("REST.RENAME.OBJECT_DELETE", "old")}
