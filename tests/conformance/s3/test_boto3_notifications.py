"""Notifications of buckets: configuration, what is told, and that it is told at least once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.jobs.events import EventSender
from gateway.meta import keyspace
from storaged.base.errors import StorageError
from tests.support.gateway import ROOT
from tests.support.refusals import refused
from tests.support.s3_gateway import S3Gateway

HOOK = "arn:aws:sns:fr:000000000000:hook"


class Inbox:
    """A destination that keeps what it is told; refuses while `failures` lasts."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.failures = 0

    async def send(self, message: bytes) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageError()
        self.messages.append(json.loads(message))

    async def close(self) -> None:
        """Nothing to do."""


@pytest.fixture(autouse=True)
def known_targets(gateway: S3Gateway) -> None:
    gateway.gateway.services.event_targets = {
        "hook": frozenset(),
        "other": frozenset(),
        "elsewhere": frozenset({"another account"}),
    }


def tell(gateway: S3Gateway, s3: Any, bucket: str, *events: str, **rule: Any) -> None:
    topic = {"Id": "rule", "TopicArn": HOOK, "Events": list(events), **rule}
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={"TopicConfigurations": [topic]},
        SkipDestinationValidation=True,
    )


def told(gateway: S3Gateway, inbox: Inbox | None = None) -> list[dict[str, Any]]:
    """Records that a destination gets, once everything is told."""
    inbox = inbox or Inbox()
    sender = EventSender(gateway.gateway.services, {"hook": inbox})
    gateway.thread.run(sender.step())
    return [record for message in inbox.messages for record in message.get("Records", [])]


def test_nothing_set(s3: Any, bucket: str) -> None:
    answer = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert not [name for name in answer if name.endswith("Configurations")]


def test_configuration_is_kept(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    rules = [{"Name": "Prefix", "Value": "a/"}, {"Name": "Suffix", "Value": ".jpg"}]
    queue = {
        "Id": "q",
        "QueueArn": "arn:aws:sqs:fr:000000000000:other",
        "Events": ["s3:ObjectRemoved:*"],
        "Filter": {"Key": {"FilterRules": rules}},
    }
    topic = {"Id": "t", "TopicArn": HOOK, "Events": ["s3:ObjectCreated:*"]}
    given = {"QueueConfigurations": [queue], "TopicConfigurations": [topic]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=given)
    held = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert {name: held[name] for name in given} == given
    inbox = Inbox()
    told(gateway, inbox)
    assert [message["Event"] for message in inbox.messages] == ["s3:TestEvent"]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert "TopicConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)


@pytest.mark.parametrize(
    "topics",
    [
        [{"TopicArn": "arn:aws:sns:fr:0:nobody", "Events": ["s3:ObjectCreated:*"]}],
        [{"TopicArn": "arn:aws:sns:fr:0:elsewhere", "Events": ["s3:ObjectCreated:*"]}],
        [{"TopicArn": "nonsense", "Events": ["s3:ObjectCreated:*"]}],
        [{"TopicArn": HOOK, "Events": ["s3:ObjectEaten:*"]}],
        [
            {"TopicArn": HOOK, "Events": ["s3:ObjectCreated:*"]},
            {"TopicArn": HOOK, "Events": ["s3:ObjectCreated:Put"]},
        ],
    ],
)
def test_refused_configurations(s3: Any, bucket: str, topics: list[Any]) -> None:
    with pytest.raises(ClientError) as caught:
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"TopicConfigurations": topics}
        )
    assert refused(caught) == (400, "InvalidArgument")


def test_what_is_told(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    tell(gateway, s3, bucket, "s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*")
    etag = s3.put_object(Bucket=bucket, Key="a b", Body=b"12345")["ETag"].strip('"')
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a b"})
    s3.put_object_tagging(
        Bucket=bucket, Key="copy", Tagging={"TagSet": [{"Key": "k", "Value": ""}]}
    )
    s3.delete_object(Bucket=bucket, Key="copy")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a b"}, {"Key": "nothing"}]})
    records = told(gateway)
    assert [record["eventName"] for record in records] == [
        "ObjectCreated:Put",
        "ObjectCreated:Copy",
        "ObjectTagging:Put",
        "ObjectRemoved:Delete",
        "ObjectRemoved:Delete",
    ]
    first = records[0]
    assert first["userIdentity"] == {"principalId": ROOT.owner_id}
    assert first["requestParameters"] == {"sourceIPAddress": "127.0.0.1"}
    assert first["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{bucket}"
    told_of = first["s3"]["object"]
    assert (told_of["key"], told_of["size"], told_of["eTag"]) == ("a+b", 5, etag)
    assert "versionId" not in told_of
    assert told(gateway) == []


def test_versions_and_uploads(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    tell(gateway, s3, bucket, "s3:ObjectCreated:*", "s3:ObjectRemoved:*")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    done = s3.complete_multipart_upload(
        Bucket=bucket,
        Key="k",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker)
    records = told(gateway)
    assert [(one["eventName"], one["s3"]["object"]["versionId"]) for one in records] == [
        ("ObjectCreated:CompleteMultipartUpload", done["VersionId"]),
        ("ObjectRemoved:DeleteMarkerCreated", marker),
        ("ObjectRemoved:Delete", marker),
    ]


def test_filters(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    rules = [{"Name": "prefix", "Value": "a/"}, {"Name": "suffix", "Value": ".jpg"}]
    key_filter = {"Key": {"FilterRules": rules}}
    tell(gateway, s3, bucket, "s3:ObjectCreated:Put", Filter=key_filter)
    for key in ("a/b.jpg", "a/b.png", "b.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert [one["s3"]["object"]["key"] for one in told(gateway)] == ["a/b.jpg"]


def test_what_is_not_taken_is_told_again(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    tell(gateway, s3, bucket, "s3:ObjectCreated:*")
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    inbox = Inbox()
    inbox.failures = 1
    assert told(gateway, inbox) == []
    assert gateway.gateway.rows_of(keyspace.EVENT)
    assert [one["s3"]["object"]["key"] for one in told(gateway, inbox)] == ["k"]
    assert not gateway.gateway.rows_of(keyspace.EVENT)
