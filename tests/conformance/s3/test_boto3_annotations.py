"""Object annotations, as boto3 puts, reads, lists and deletes them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.jobs.events import EventSender
from tests.support.boto3_annotations import MIB, NO_ANNOTATION, content_of, drop, get, names_of, put
from tests.support.refusals import DENIED, refusal
from tests.support.s3_gateway import S3Gateway


@pytest.fixture
def annotated(s3: Any, bucket: str) -> str:
    """A bucket with an object "k"."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    return bucket


def test_the_life_of_an_annotation(s3: Any, annotated: str) -> None:
    before = s3.head_object(Bucket=annotated, Key="k")
    answer = put(s3, annotated, "summary", '{"é": 1}'.encode())
    assert (answer["Key"], answer["AnnotationName"]) == ("k", "summary")
    assert answer["ServerSideEncryption"] == "AES256"
    assert answer["ChecksumType"] == "FULL_OBJECT"
    assert "ObjectVersionId" not in answer
    found = get(s3, annotated, "summary", ChecksumMode="ENABLED")
    assert found["AnnotationPayload"].read() == '{"é": 1}'.encode()
    assert (found["ETag"], found["ContentLength"]) == (answer["ETag"], 9)
    assert found["ChecksumCRC32"] == answer["ChecksumCRC32"]
    assert datetime.now(UTC) - found["LastModified"] < timedelta(minutes=5)
    put(s3, annotated, "summary", b"other")
    put(s3, annotated, "more", b"x" * MIB)
    listed = s3.list_object_annotations(Bucket=annotated, Key="k")
    assert (listed["Bucket"], listed["Key"]) == (annotated, "k")
    assert listed["MaxAnnotationResults"] == 1000
    more, summary = listed["Annotations"]
    assert (more["AnnotationName"], more["Size"]) == ("more", MIB)
    assert (summary["AnnotationName"], summary["Size"]) == ("summary", 5)
    assert summary["ChecksumAlgorithm"] == ["CRC32"]
    assert summary["ETag"] == get(s3, annotated, "summary")["ETag"]
    assert content_of(s3, annotated, "more") == b"x" * MIB
    after = s3.head_object(Bucket=annotated, Key="k")
    for name in ("ETag", "LastModified", "ContentLength"):
        assert after[name] == before[name]
    for _ in range(2):
        gone = drop(s3, annotated, "summary")
        assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refusal(get, s3, annotated, "summary") == NO_ANNOTATION
    assert names_of(s3, annotated) == ["more"]


@pytest.mark.parametrize(
    "name", ["a", "Wörter-и.слова_9", "हिन्दी", "n" * 512, "é" * 256, "-", "aw.s"]
)
def test_names_that_are_taken(s3: Any, annotated: str, name: str) -> None:
    put(s3, annotated, name)
    assert content_of(s3, annotated, name) == b"a text"
    assert names_of(s3, annotated) == [name]
    drop(s3, annotated, name)
    assert names_of(s3, annotated) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("n" * 513, "AnnotationNameTooLong"),
        ("é" * 257, "AnnotationNameTooLong"),
        ("a/b", "InvalidAnnotationName"),
        ("a b", "InvalidAnnotationName"),
        (" ", "InvalidAnnotationName"),
        ("", "InvalidAnnotationName"),
        ("a\nb", "InvalidAnnotationName"),
        ("a\x00", "InvalidAnnotationName"),
        ("😀", "InvalidAnnotationName"),
        ("aws", "InvalidAnnotationName"),
        ("AWS-x", "InvalidAnnotationName"),
        ("s3.x", "InvalidAnnotationName"),
        ("S3", "InvalidAnnotationName"),
    ],
)
def test_names_that_are_refused(s3: Any, annotated: str, name: str, code: str) -> None:
    assert refusal(put, s3, annotated, name)[1] == code
    if name:
        assert refusal(get, s3, annotated, name)[0] == 404
    drop(s3, annotated, name)
    assert names_of(s3, annotated) == []


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"", (400, "InvalidRequest")),
        (b"x" * (MIB + 1), (400, "EntityTooLarge")),
        (b"text \xff", (415, "UnsupportedMediaType")),
        (b"x" * (MIB - 1) + b"\xc3", (415, "UnsupportedMediaType")),
    ],
)
def test_payloads_that_are_refused(
    s3: Any, annotated: str, content: bytes, answer: tuple[int, str]
) -> None:
    assert refusal(put, s3, annotated, "name", content) == answer
    assert names_of(s3, annotated) == []
    put(s3, annotated, "name")  # the connection is as good as before


def test_what_is_missing(s3: Any, annotated: str) -> None:
    for call in (put, get, drop):
        assert refusal(call, s3, annotated, "name", Key="missing") == (404, "NoSuchKey")
        assert refusal(call, s3, "no-such-bucket", "name") == (404, "NoSuchBucket")
        version = (404, "NoSuchVersion")
        assert refusal(call, s3, annotated, "name", VersionId="1" * 32) == version
    assert refusal(get, s3, annotated, "name") == NO_ANNOTATION
    missing = refusal(s3.list_object_annotations, Bucket=annotated, Key="missing")
    assert missing == (404, "NoSuchKey")


@pytest.mark.parametrize(
    "algorithm",
    ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "SHA512", "XXHASH64", "XXHASH3"],
)
def test_checksums(s3: Any, annotated: str, algorithm: str) -> None:
    answer = put(s3, annotated, "name", ChecksumAlgorithm=algorithm)
    found = get(s3, annotated, "name", ChecksumMode="ENABLED")
    assert found["AnnotationPayload"].read() == b"a text"
    assert found[f"Checksum{algorithm}"] == answer[f"Checksum{algorithm}"]
    (entry,) = s3.list_object_annotations(Bucket=annotated, Key="k")["Annotations"]
    assert entry["ChecksumAlgorithm"] == [algorithm]


def test_a_digest_that_does_not_match_stores_nothing(s3: Any, annotated: str) -> None:
    wrong = {"ContentMD5": base64.b64encode(bytes(16)).decode()}
    assert refusal(put, s3, annotated, "name", **wrong) == (400, "BadDigest")
    assert refusal(put, s3, annotated, "name", ChecksumSHA1="A" * 27 + "=") == (400, "BadDigest")
    assert names_of(s3, annotated) == []


def test_without_a_digest_it_gets_the_checksum_of_aws(gateway: S3Gateway, annotated: str) -> None:
    with gateway.raw() as raw:
        target = f"/{annotated}/k?annotation=&annotationName=name"
        answer = raw.request("PUT", target, body=b"123456789")
        assert (answer.status, answer.headers["x-amz-checksum-crc64nvme"]) == (200, "rosUhgp5mIg=")
        assert answer.headers["etag"] == '"25f9e794323b453885f5181f1b624d0b"'
        plain = raw.request("GET", target)
        assert (plain.status, plain.body) == (200, b"123456789")
        assert "x-amz-checksum-crc64nvme" not in plain.headers
        assert plain.headers["x-content-type-options"] == "nosniff"
        for method, status in (("HEAD", 405), ("POST", 405)):
            assert raw.request(method, target).status == status
        nameless = raw.request("DELETE", f"/{annotated}/k?annotation=")
        assert nameless.status == 204
        assert raw.request("GET", target).status == 200
        assert raw.request("PUT", f"/{annotated}/k?annotation=", body=b"x").status == 400


@pytest.mark.parametrize("query", ["%FF", "%00", "%ED%A0%80", "a%0Ab", "%E2%80%AE", "n" * 9000])
def test_names_of_any_bytes(gateway: S3Gateway, annotated: str, query: str) -> None:
    for method, bodies in (("PUT", b"x"), ("GET", b""), ("DELETE", b"")):
        with gateway.raw() as raw:
            target = f"/{annotated}/k?annotation=&annotationName={query}"
            answer = raw.request(method, target, body=bodies)
            assert answer.status < 500
            assert method == "DELETE" or answer.status >= 400
        with gateway.raw() as raw:
            target = (
                f"/{annotated}/k?annotation=&annotation-prefix={query}&continuation-token={query}"
            )
            assert 400 <= raw.request("GET", target).status < 500


def test_a_condition_is_about_the_object(s3: Any, annotated: str) -> None:
    etag = s3.head_object(Bucket=annotated, Key="k")["ETag"]
    failed = (412, "PreconditionFailed")
    assert refusal(put, s3, annotated, "name", ObjectIfMatch='"other"') == failed
    answer = put(s3, annotated, "name", ObjectIfMatch=etag)
    assert answer["ETag"] != etag
    assert refusal(put, s3, annotated, "name", ObjectIfMatch=answer["ETag"]) == failed
    assert refusal(drop, s3, annotated, "name", ObjectIfMatch=answer["ETag"]) == failed
    drop(s3, annotated, "name", ObjectIfMatch=etag)
    assert names_of(s3, annotated) == []


def test_pages(s3: Any, annotated: str) -> None:
    names = sorted(f"p{at % 3}-{at:02}" for at in range(25))
    for name in names:
        put(s3, annotated, name)
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = s3.list_object_annotations(
            Bucket=annotated, Key="k", MaxAnnotationResults=10, **token
        )
        found += [entry["AnnotationName"] for entry in page["Annotations"]]
        assert page["MaxAnnotationResults"] == 10
        if "NextContinuationToken" not in page:
            break
        token = {"ContinuationToken": page["NextContinuationToken"]}
    assert found == names
    assert names_of(s3, annotated, AnnotationPrefix="p1-") == [n for n in names if n < "p2"][9:]
    assert names_of(s3, annotated, AnnotationPrefix="p1-", **token) == []
    assert names_of(s3, annotated, AnnotationPrefix="q") == []

    def wrong(**more: Any) -> tuple[int, str]:
        return refusal(s3.list_object_annotations, Bucket=annotated, Key="k", **more)

    assert wrong(AnnotationPrefix="a/") == (400, "InvalidPrefix")
    assert wrong(AnnotationPrefix="a" * 513) == (400, "InvalidPrefix")
    assert wrong(ContinuationToken="nonsense") == (400, "InvalidArgument")
    s3.put_object(Bucket=annotated, Key="other", Body=b"")
    other = refusal(s3.list_object_annotations, Bucket=annotated, Key="other", **token)
    assert other == (400, "InvalidArgument")


@pytest.mark.parametrize("number", ["0", "1001", "-1", "x"])
def test_how_many_are_asked_for(gateway: S3Gateway, annotated: str, number: str) -> None:
    with gateway.raw() as raw:
        target = f"/{annotated}/k?annotation=&max-annotation-results={number}"
        answer = raw.request("GET", target)
        assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_versions(s3: Any, annotated: str) -> None:
    put(s3, annotated, "of-null")
    state = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=annotated, VersioningConfiguration=state)
    one = s3.put_object(Bucket=annotated, Key="k", Body=b"one")["VersionId"]
    assert names_of(s3, annotated) == []
    assert put(s3, annotated, "name", b"of one")["ObjectVersionId"] == one
    two = s3.put_object(Bucket=annotated, Key="k", Body=b"two")["VersionId"]
    put(s3, annotated, "name", b"of two")
    assert get(s3, annotated, "name", VersionId=one)["ObjectVersionId"] == one
    assert content_of(s3, annotated, "name", VersionId=one) == b"of one"
    assert names_of(s3, annotated, VersionId="null") == ["of-null"]
    marker = s3.delete_object(Bucket=annotated, Key="k")["VersionId"]
    for call in (put, get, drop):
        assert refusal(call, s3, annotated, "name") == (404, "NoSuchKey")
        assert refusal(call, s3, annotated, "name", VersionId=marker)[0] == 405
    assert content_of(s3, annotated, "name", VersionId=two) == b"of two"
    assert drop(s3, annotated, "name", VersionId=two)["ObjectVersionId"] == two
    s3.delete_object(Bucket=annotated, Key="k", VersionId=marker)
    assert names_of(s3, annotated) == []
    assert content_of(s3, annotated, "name", VersionId=one) == b"of one"
    s3.delete_object(Bucket=annotated, Key="k", VersionId=one)
    assert refusal(get, s3, annotated, "name", VersionId=one) == (404, "NoSuchVersion")
    suspended = {"Status": "Suspended"}
    s3.put_bucket_versioning(Bucket=annotated, VersioningConfiguration=suspended)
    s3.put_object(Bucket=annotated, Key="k", Body=b"null again")
    assert names_of(s3, annotated, VersionId="null") == []


def test_what_is_locked(s3: Any, bucket: str) -> None:
    name = bucket + "-locking"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    until = datetime.now(UTC) + timedelta(hours=1)
    s3.put_object(
        Bucket=name,
        Key="k",
        Body=b"x",
        ObjectLockMode="GOVERNANCE",
        ObjectLockRetainUntilDate=until,
    )
    put(s3, name, "added")
    assert refusal(put, s3, name, "added", b"other") == DENIED
    assert refusal(drop, s3, name, "added") == DENIED
    header = "x-amz-bypass-governance-retention"

    def bypass(request: Any, **_: Any) -> None:
        request.headers[header] = "true"

    event = "before-sign.s3.DeleteObjectAnnotation"
    s3.meta.events.register(event, bypass)
    try:
        drop(s3, name, "added")
        put(s3, name, "kept")
        s3.put_object_legal_hold(Bucket=name, Key="k", LegalHold={"Status": "ON"})
        assert refusal(drop, s3, name, "kept") == DENIED
    finally:
        s3.meta.events.unregister(event, bypass)
    assert names_of(s3, name) == ["kept"]


def test_copies(s3: Any, annotated: str) -> None:
    put(s3, annotated, "small", ChecksumAlgorithm="SHA256")
    put(s3, annotated, "large", b"y" * MIB)

    def copy(key: str, **more: Any) -> list[str]:
        s3.copy_object(Bucket=annotated, Key=key, CopySource=f"{annotated}/k", **more)
        return names_of(s3, annotated, key)

    assert copy("both") == ["large", "small"]
    assert copy("told", AnnotationDirective="COPY") == ["large", "small"]
    assert copy("bare", AnnotationDirective="EXCLUDE") == []
    assert content_of(s3, annotated, "large", Key="both") == b"y" * MIB
    found = get(s3, annotated, "small", Key="both", ChecksumMode="ENABLED")
    assert found["ChecksumSHA256"]
    copy("crc", ChecksumAlgorithm="CRC32C")
    assert get(s3, annotated, "small", Key="crc", ChecksumMode="ENABLED")["ChecksumCRC32C"]
    wrong = refusal(copy, "wrong", AnnotationDirective="REPLACE")
    assert wrong == (400, "InvalidArgument")
    upload = s3.create_multipart_upload(Bucket=annotated, Key="parts")["UploadId"]
    part = {"Bucket": annotated, "Key": "parts", "UploadId": upload}
    answer = s3.upload_part_copy(**part, PartNumber=1, CopySource=f"{annotated}/k")
    etag = answer["CopyPartResult"]["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**part, MultipartUpload=parts)
    assert names_of(s3, annotated, "parts") == []
    put(s3, annotated, "of-parts", Key="parts")
    assert content_of(s3, annotated, "of-parts", Key="parts") == b"a text"


def test_a_presigned_copy_says_in_its_query_that_it_brings_none(
    gateway: S3Gateway, s3: Any, annotated: str
) -> None:
    put(s3, annotated, "name")
    with gateway.raw() as raw:
        headers = {"x-amz-copy-source": f"/{annotated}/k"}
        target = f"/{annotated}/c?x-amz-object-annotation-directive=EXCLUDE"
        assert raw.request("PUT", target, headers=headers).status == 200
    assert names_of(s3, annotated, "c") == []


def test_what_is_told(gateway: S3Gateway, s3: Any, annotated: str) -> None:
    gateway.gateway.services.event_targets = {"hook": frozenset()}
    topic = {
        "TopicArn": "arn:aws:sns:fr:000000000000:hook",
        "Events": ["s3:ObjectAnnotation:*"],
    }
    s3.put_bucket_notification_configuration(
        Bucket=annotated,
        NotificationConfiguration={"TopicConfigurations": [topic]},
        SkipDestinationValidation=True,
    )
    put(s3, annotated, "name")
    put(s3, annotated, "name", b"again")
    drop(s3, annotated, "name")
    drop(s3, annotated, "name")

    class Inbox:
        """A destination that keeps what it is told."""

        def __init__(self) -> None:
            self.names: list[str] = []

        async def send(self, message: bytes) -> None:
            for record in json.loads(message).get("Records", []):
                self.names.append(record["eventName"])

        async def close(self) -> None:
            """Nothing to do."""

    inbox = Inbox()
    gateway.thread.run(EventSender(gateway.gateway.services, {"hook": inbox}).step())
    assert inbox.names == ["ObjectAnnotation:Put"] * 2 + ["ObjectAnnotation:Delete"]
