"""Lifecycle configuration as boto3 sees it: what is set comes back, and what S3 refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.refusals import refusal

MINIMUM = "x-amz-transition-default-minimum-object-size"


def rule(**fields: Any) -> dict[str, Any]:
    return {"ID": "rule", "Status": "Enabled", "Filter": {"Prefix": ""}} | fields


def put(s3: Any, bucket: str, *rules: dict[str, Any], **named: Any) -> dict[str, Any]:
    answer: dict[str, Any] = s3.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)}, **named
    )
    return answer


def held(s3: Any, bucket: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    return rules


EXPIRE = {"Expiration": {"Days": 3}}


@pytest.mark.parametrize(
    "wanted",
    [
        {"ID": "old", "Status": "Enabled", "Prefix": "logs/", **EXPIRE},
        rule(**EXPIRE),
        rule(**EXPIRE, Status="Disabled", Filter={"Tag": {"Key": "a", "Value": "b"}}),
        rule(**EXPIRE, Filter={"ObjectSizeGreaterThan": 5}),
        rule(
            **EXPIRE,
            Filter={
                "And": {
                    "Prefix": "a/",
                    "Tags": [{"Key": "a", "Value": "b"}, {"Key": "c", "Value": ""}],
                    "ObjectSizeGreaterThan": 5,
                    "ObjectSizeLessThan": 7,
                }
            },
        ),
        rule(**EXPIRE, Filter={"And": {"Tags": [{"Key": "a", "Value": "b"}]}}),
        rule(Expiration={"Date": datetime(2030, 1, 1, tzinfo=UTC)}),
        rule(
            Expiration={"ExpiredObjectDeleteMarker": True},
            NoncurrentVersionExpiration={"NoncurrentDays": 2, "NewerNoncurrentVersions": 9},
        ),
        rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}),
        rule(
            Transitions=[
                {"Days": 30, "StorageClass": "STANDARD_IA"},
                {"Days": 90, "StorageClass": "GLACIER"},
            ],
            NoncurrentVersionTransitions=[
                {"NoncurrentDays": 0, "NewerNoncurrentVersions": 2, "StorageClass": "GLACIER"}
            ],
        ),
    ],
)
def test_what_is_set_comes_back(s3: Any, bucket: str, wanted: dict[str, Any]) -> None:
    put(s3, bucket, wanted)
    assert held(s3, bucket) == [wanted]


def test_rules_without_an_id_get_one(s3: Any, bucket: str) -> None:
    unnamed = {"Status": "Enabled", "Filter": {"Prefix": ""}, **EXPIRE}
    put(s3, bucket, unnamed, unnamed)
    ids = [one["ID"] for one in held(s3, bucket)]
    assert all(ids) and len(set(ids)) == 2


def test_rules_can_be_dropped(s3: Any, bucket: str) -> None:
    missing = (404, "NoSuchLifecycleConfiguration")
    assert refusal(held, s3, bucket) == missing
    s3.delete_bucket_lifecycle(Bucket=bucket)
    put(s3, bucket, rule(**EXPIRE))
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert refusal(held, s3, bucket) == missing


def test_the_smallest_size_that_moves(s3: Any, bucket: str) -> None:
    def told(answer: dict[str, Any]) -> str:
        return str(answer["ResponseMetadata"]["HTTPHeaders"][MINIMUM])

    assert told(put(s3, bucket, rule(**EXPIRE))) == "all_storage_classes_128K"
    answer = put(
        s3,
        bucket,
        rule(**EXPIRE),
        TransitionDefaultMinimumObjectSize="varies_by_storage_class",
    )
    assert told(answer) == "varies_by_storage_class"
    assert told(s3.get_bucket_lifecycle_configuration(Bucket=bucket)) == "varies_by_storage_class"
    wrong = {"TransitionDefaultMinimumObjectSize": "none"}
    assert refusal(put, s3, bucket, rule(**EXPIRE), **wrong) == (400, "InvalidRequest")


IA, GLACIER = "STANDARD_IA", "GLACIER"
ABORT = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("InvalidRequest", rule()),
        ("InvalidArgument", rule(**EXPIRE, ID="a" * 256)),
        ("MalformedXML", rule(**EXPIRE, Status="enabled")),
        ("MalformedXML", {"ID": "neither prefix nor filter", "Status": "Enabled", **EXPIRE}),
        ("MalformedXML", rule(**EXPIRE, Prefix="both")),
        ("InvalidArgument", rule(Expiration={"Days": 0})),
        ("MalformedXML", rule(Expiration={})),
        ("MalformedXML", rule(Expiration={"Days": 1, "ExpiredObjectDeleteMarker": True})),
        ("InvalidArgument", rule(Expiration={"Date": datetime(2030, 1, 1, 1, tzinfo=UTC)})),
        ("InvalidArgument", rule(NoncurrentVersionExpiration={"NoncurrentDays": 0})),
        ("MalformedXML", rule(NoncurrentVersionExpiration={"NewerNoncurrentVersions": 1})),
        (
            "InvalidArgument",
            rule(NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 101}),
        ),
        ("InvalidArgument", rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 0})),
        ("MalformedXML", rule(AbortIncompleteMultipartUpload={})),
        ("InvalidRequest", rule(**ABORT, Filter={"Tag": {"Key": "a", "Value": "b"}})),
        ("InvalidRequest", rule(**ABORT, Filter={"ObjectSizeLessThan": 9})),
        (
            "InvalidRequest",
            rule(
                Expiration={"ExpiredObjectDeleteMarker": True},
                Filter={"Tag": {"Key": "a", "Value": "b"}},
            ),
        ),
        (
            "InvalidRequest",
            rule(
                **EXPIRE,
                Filter={"And": {"ObjectSizeGreaterThan": 9, "ObjectSizeLessThan": 9}},
            ),
        ),
        ("MalformedXML", rule(Transitions=[{"Days": 1, "StorageClass": "NONE"}])),
        ("MalformedXML", rule(Transitions=[{"StorageClass": GLACIER}])),
        ("InvalidArgument", rule(Transitions=[{"Days": -1, "StorageClass": GLACIER}])),
        ("InvalidArgument", rule(Transitions=[{"Days": 29, "StorageClass": IA}])),
        (
            "InvalidRequest",
            rule(
                Transitions=[
                    {"Days": 1, "StorageClass": GLACIER},
                    {"Days": 2, "StorageClass": GLACIER},
                ]
            ),
        ),
        (
            "InvalidRequest",
            rule(**EXPIRE, Transitions=[{"Days": 3, "StorageClass": GLACIER}]),
        ),
        (
            "InvalidRequest",
            rule(
                **EXPIRE,
                Transitions=[{"Date": datetime(2030, 1, 1, tzinfo=UTC), "StorageClass": GLACIER}],
            ),
        ),
        (
            "InvalidRequest",
            rule(
                NoncurrentVersionExpiration={"NoncurrentDays": 2},
                NoncurrentVersionTransitions=[{"NoncurrentDays": 2, "StorageClass": GLACIER}],
            ),
        ),
        ("InvalidTag", rule(**EXPIRE, Filter={"Tag": {"Key": "aws:a", "Value": "b"}})),
    ],
)
def test_what_is_refused(s3: Any, bucket: str, code: str, wrong: dict[str, Any]) -> None:
    assert refusal(put, s3, bucket, wrong) == (400, code)
    assert refusal(held, s3, bucket)[0] == 404


def test_what_is_refused_of_several_rules(s3: Any, bucket: str) -> None:
    assert refusal(put, s3, bucket, rule(**EXPIRE), rule(**EXPIRE)) == (400, "InvalidArgument")
    old = {"ID": "old", "Status": "Enabled", "Prefix": "", **EXPIRE}
    assert refusal(put, s3, bucket, rule(**EXPIRE), old) == (400, "InvalidRequest")
    many = [rule(**EXPIRE, ID=f"rule-{number}") for number in range(1001)]
    assert refusal(put, s3, bucket, *many) == (400, "InvalidRequest")
    put(s3, bucket, *many[:1000])
    assert len(held(s3, bucket)) == 1000


def expiry(answer: dict[str, Any]) -> str | None:
    found: str | None = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-expiration")
    return found


def test_answers_say_when_an_object_goes(s3: Any, bucket: str) -> None:
    sized = {"And": {"Prefix": "a/", "ObjectSizeLessThan": 10}}
    put(
        s3,
        bucket,
        rule(ID="far off", Expiration={"Days": 300}),
        rule(ID="soon & small", Filter=sized, **EXPIRE),
        rule(ID="off", Status="Disabled", Expiration={"Days": 1}),
    )
    answers = [
        s3.put_object(Bucket=bucket, Key="a/1", Body=b"small"),
        s3.head_object(Bucket=bucket, Key="a/1"),
        s3.get_object(Bucket=bucket, Key="a/1"),
        s3.copy_object(Bucket=bucket, Key="a/2", CopySource=f"{bucket}/a/1"),
    ]
    modified = answers[1]["LastModified"]
    due = modified + timedelta(days=3)
    midnight = due.replace(hour=0, minute=0, second=0, microsecond=0)
    if due > midnight:
        midnight += timedelta(days=1)
    date = midnight.strftime("%a, %d %b %Y %H:%M:%S GMT")
    wanted = f'expiry-date="{date}", rule-id="soon%20%26%20small"'
    assert [expiry(answer) for answer in answers] == [wanted] * 4
    other = s3.put_object(Bucket=bucket, Key="a/3", Body=b"not small any more")
    assert 'rule-id="far%20off"' in (expiry(other) or "")
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert expiry(s3.head_object(Bucket=bucket, Key="a/1")) is None


def test_days_beyond_the_calendar(s3: Any, bucket: str) -> None:
    put(s3, bucket, rule(Expiration={"Days": 2**31 - 1}))
    assert "31 Dec 9999" in (expiry(s3.put_object(Bucket=bucket, Key="key", Body=b"x")) or "")
    too_many = rule(Expiration={"Days": 2**31})
    assert refusal(put, s3, bucket, too_many) == (400, "MalformedXML")


def test_answers_say_when_an_upload_goes(s3: Any, bucket: str) -> None:
    put(s3, bucket, rule(**ABORT, Filter={"Prefix": "up/"}))
    upload = s3.create_multipart_upload(Bucket=bucket, Key="up/1")
    assert upload["AbortRuleId"] == "rule"
    assert upload["AbortDate"] > datetime.now(UTC) + timedelta(days=1, seconds=-60)
    parts = s3.list_parts(Bucket=bucket, Key="up/1", UploadId=upload["UploadId"])
    assert parts["AbortDate"] == upload["AbortDate"]
    other = s3.create_multipart_upload(Bucket=bucket, Key="other")
    assert "AbortDate" not in other
