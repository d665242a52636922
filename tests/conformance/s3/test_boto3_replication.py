"""Replication between two gateways: what arrives, its status, and what happens when the other side
is away.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.jobs.replication import Replicator
from gateway.meta import keyspace
from gateway.outside.remote_s3 import RemoteBucket, RemoteS3
from tests.support.gateway import ACCESS_KEY, SECRET
from tests.support.refusals import refused
from tests.support.s3_gateway import NAMES, REGION, S3Gateway, running_gateway

ROLE = "arn:aws:iam::000000000000:role/any"
PART = 5 * 1024 * 1024
DAY = timedelta(days=1)
SSE_KMS = {"ServerSideEncryption": "aws:kms"}


@dataclass
class Pair:
    """A bucket and the one it replicates to."""

    here: Any
    there: Any
    source: str
    gateway: S3Gateway
    other: S3Gateway
    target: RemoteS3

    def run(self, rounds: int = 3) -> None:
        """Replicate what waits."""
        job = Replicator(self.gateway.gateway.services, {"replica": self.target})
        for _ in range(rounds):
            self.gateway.thread.run(job.step())

    def status(self, key: str, **version: str) -> str:
        head = self.here.head_object(Bucket=self.source, Key=key, **version)
        return str(head.get("ReplicationStatus", ""))


@pytest.fixture(scope="module")
def other() -> Iterator[S3Gateway]:
    with running_gateway() as running:
        yield running


@pytest.fixture
def pair(gateway: S3Gateway, s3: Any, other: S3Gateway) -> Iterator[Pair]:
    there = other.boto()
    name, source = NAMES.next(), NAMES.next()
    there.create_bucket(Bucket=name)
    for client, bucket in ((s3, source), (there, name)):
        if client is s3:
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    services = gateway.gateway.services
    services.replication_targets = {"replica": frozenset()}
    remote = RemoteBucket(other.url, REGION, name, ACCESS_KEY, SECRET)
    target = RemoteS3(remote, services.env)
    yield Pair(s3, there, source, gateway, other, target)
    gateway.thread.run(target.close())


def replicate(pair: Pair, **rule: Any) -> None:
    made = {
        "ID": "all",
        "Priority": 1,
        "Filter": {"Prefix": ""},
        "Status": "Enabled",
        "DeleteMarkerReplication": {"Status": "Enabled"},
        "Destination": {"Bucket": "arn:aws:s3:::replica"},
        **rule,
    }
    pair.here.put_bucket_replication(
        Bucket=pair.source, ReplicationConfiguration={"Role": ROLE, "Rules": [made]}
    )


def replica(pair: Pair, key: str) -> Any:
    return pair.there.get_object(Bucket=pair.target._remote.bucket, Key=key)


def test_configuration(pair: Pair) -> None:
    with pytest.raises(ClientError) as caught:
        pair.here.get_bucket_replication(Bucket=pair.source)
    assert refused(caught) == (404, "ReplicationConfigurationNotFoundError")
    replicate(pair)
    held = pair.here.get_bucket_replication(Bucket=pair.source)["ReplicationConfiguration"]
    assert held["Role"] == ROLE and held["Rules"][0]["ID"] == "all"
    with pytest.raises(ClientError) as caught:
        replicate(pair, Destination={"Bucket": "arn:aws:s3:::nowhere"})
    assert refused(caught) == (400, "InvalidArgument")
    pair.here.delete_bucket_replication(Bucket=pair.source)
    with pytest.raises(ClientError):
        pair.here.get_bucket_replication(Bucket=pair.source)


def test_versioning_comes_first(pair: Pair) -> None:
    pair.here.put_bucket_versioning(
        Bucket=pair.source, VersioningConfiguration={"Status": "Suspended"}
    )
    with pytest.raises(ClientError) as caught:
        replicate(pair)
    assert refused(caught) == (400, "InvalidRequest")


def test_objects_arrive(pair: Pair) -> None:
    replicate(pair)
    pair.here.put_object(
        Bucket=pair.source,
        Key="a b/é",
        Body=b"first",
        ContentType="text/x-test",
        Metadata={"colour": "blue"},
        Tagging="k=v%20w",
    )
    pair.here.put_object(Bucket=pair.source, Key="a b/é", Body=b"second", ContentType="text/plain")
    assert pair.status("a b/é") == "PENDING"
    pair.run()
    assert pair.status("a b/é") == "COMPLETED"
    versions = pair.there.list_object_versions(Bucket=pair.target._remote.bucket)["Versions"]
    assert [one["Size"] for one in versions] == [6, 5]
    assert replica(pair, "a b/é")["Body"].read() == b"second"
    first = pair.there.get_object(
        Bucket=pair.target._remote.bucket, Key="a b/é", VersionId=versions[1]["VersionId"]
    )
    assert first["ContentType"] == "text/x-test"
    assert first["Metadata"] == {"colour": "blue"}
    assert first["TagCount"] == 1
    assert not pair.gateway.gateway.rows_of(keyspace.REPLICA)


def test_parts_arrive_as_they_are(pair: Pair) -> None:
    replicate(pair)
    upload = pair.here.create_multipart_upload(Bucket=pair.source, Key="big")["UploadId"]
    parts = []
    for number, body in ((1, b"x" * PART), (2, b"tail")):
        answer = pair.here.upload_part(
            Bucket=pair.source, Key="big", UploadId=upload, PartNumber=number, Body=body
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    done = pair.here.complete_multipart_upload(
        Bucket=pair.source, Key="big", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    pair.run()
    arrived = replica(pair, "big")
    assert arrived["ETag"] == done["ETag"]
    assert arrived["Body"].read() == b"x" * PART + b"tail"
    assert pair.status("big") == "COMPLETED"


def test_delete_markers(pair: Pair) -> None:
    replicate(pair)
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x")
    pair.here.delete_object(Bucket=pair.source, Key="k")
    pair.run()
    with pytest.raises(ClientError) as caught:
        replica(pair, "k")
    assert refused(caught)[1] == "NoSuchKey"
    listed = pair.there.list_object_versions(Bucket=pair.target._remote.bucket)
    assert len(listed["Versions"]) == len(listed["DeleteMarkers"]) == 1


def test_only_what_a_rule_covers(pair: Pair) -> None:
    tagged = {"And": {"Prefix": "a/", "Tags": [{"Key": "go", "Value": "yes"}]}}
    replicate(pair, Filter=tagged, DeleteMarkerReplication={"Status": "Disabled"})
    pair.here.put_object(Bucket=pair.source, Key="a/1", Body=b"", Tagging="go=yes&x=y")
    pair.here.put_object(Bucket=pair.source, Key="a/2", Body=b"", Tagging="go=no")
    pair.here.put_object(Bucket=pair.source, Key="b", Body=b"", Tagging="go=yes")
    pair.run()
    listed = pair.there.list_objects_v2(Bucket=pair.target._remote.bucket)["Contents"]
    assert [one["Key"] for one in listed] == ["a/1"]
    assert [pair.status(key) for key in ("a/1", "a/2", "b")] == ["COMPLETED", "", ""]


def test_what_is_there_is_not_put_again(pair: Pair) -> None:
    replicate(pair)
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"same")
    pair.there.put_object(Bucket=pair.target._remote.bucket, Key="k", Body=b"same")
    pair.run()
    listed = pair.there.list_object_versions(Bucket=pair.target._remote.bucket)["Versions"]
    assert len(listed) == 1
    assert pair.status("k") == "COMPLETED"


@pytest.mark.parametrize(
    "changed", [{"Metadata": {"a": "2"}}, {"Tagging": "k=w"}, {"ContentType": "text/x-other"}]
)
def test_every_version_has_its_replica(pair: Pair, changed: dict[str, Any]) -> None:
    replicate(pair)
    first = {"Metadata": {"a": "1"}, "Tagging": "k=v", "ContentType": "text/plain"}
    for version in (first, {**first, **changed}, {**first, **changed}):
        pair.here.put_object(Bucket=pair.source, Key="k", Body=b"same", **version)
        pair.run()
    listed = pair.there.list_object_versions(Bucket=pair.target._remote.bucket)["Versions"]
    assert len(listed) == 3


def test_a_target_that_is_away_is_tried_again(pair: Pair) -> None:
    replicate(pair)
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x")
    away = RemoteS3(
        pair.target._remote._replace(endpoint="http://127.0.0.1:9"),
        pair.gateway.gateway.services.env,
    )
    reachable, pair.target = pair.target, away
    pair.run(1)
    assert pair.status("k") == "PENDING"
    pair.gateway.thread.run(away.close())
    pair.target = reachable
    pair.run()
    assert pair.status("k") == "COMPLETED"


def test_what_a_target_refuses_has_failed(pair: Pair) -> None:
    replicate(pair)
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x")
    wrong = RemoteS3(
        pair.target._remote._replace(secret="of-nobody"), pair.gateway.gateway.services.env
    )
    allowed, pair.target = pair.target, wrong
    pair.run()
    pair.gateway.thread.run(wrong.close())
    pair.target = allowed
    assert pair.status("k") == "FAILED"
    assert not pair.gateway.gateway.rows_of(keyspace.REPLICA)


def annotate(pair: Pair, name: str, content: bytes = b"a text", **version: str) -> None:
    pair.here.put_object_annotation(
        Bucket=pair.source, Key="k", AnnotationName=name, AnnotationPayload=content, **version
    )


def held_there(pair: Pair, key: str = "k") -> dict[str, bytes]:
    where = {"Bucket": pair.target._remote.bucket, "Key": key}
    held = pair.there.list_object_annotations(**where).get("Annotations", [])
    names = [entry["AnnotationName"] for entry in held]
    return {
        name: pair.there.get_object_annotation(**where, AnnotationName=name)[
            "AnnotationPayload"
        ].read()
        for name in names
    }


def test_annotations_follow_their_version(pair: Pair) -> None:
    replicate(pair)
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x")
    annotate(pair, "early")
    pair.run()
    annotate(pair, "late", b"y" * 500_000)
    annotate(pair, "late", b"z" * 500_000)
    annotate(pair, "gone")
    pair.here.delete_object_annotation(Bucket=pair.source, Key="k", AnnotationName="gone")
    pair.run()
    assert held_there(pair) == {"early": b"a text", "late": b"z" * 500_000}
    pair.here.copy_object(Bucket=pair.source, Key="c", CopySource=f"{pair.source}/k")
    pair.run()
    assert held_there(pair, "c") == held_there(pair)
    # What is taken away here stays there, as at AWS.
    pair.here.delete_object_annotation(Bucket=pair.source, Key="k", AnnotationName="early")
    older = pair.here.head_object(Bucket=pair.source, Key="k")["VersionId"]
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"next")
    annotate(pair, "of-next")
    annotate(pair, "too-late", VersionId=older)
    pair.run()
    assert held_there(pair) == {"of-next": b"a text"}
    assert pair.status("k") == "COMPLETED"
    assert not pair.gateway.gateway.rows_of(keyspace.REPLICA)


def test_two_that_replicate_to_each_other_come_to_rest(pair: Pair) -> None:
    back = RemoteS3(
        RemoteBucket(pair.gateway.url, REGION, pair.source, ACCESS_KEY, SECRET),
        pair.other.gateway.services.env,
    )
    name = pair.target._remote.bucket
    pair.other.gateway.services.replication_targets = {"replica": frozenset()}
    other_way = Pair(pair.there, pair.here, name, pair.other, pair.gateway, back)
    replicate(pair)
    replicate(other_way)
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x", Tagging="a=b")
    annotate(pair, "name")
    pair.here.put_object(Bucket=pair.source, Key="gone", Body=b"x")
    pair.here.delete_object(Bucket=pair.source, Key="gone")
    for _ in range(3):
        pair.run()
        other_way.run()
    pair.other.thread.run(back.close())
    for client, bucket in ((pair.here, pair.source), (pair.there, name)):
        listed = client.list_object_versions(Bucket=bucket)
        assert len(listed["Versions"]) == 2
        assert len(listed["DeleteMarkers"]) == 1
    assert (pair.status("k"), other_way.status("k")) == ("COMPLETED", "REPLICA")
    assert not pair.gateway.gateway.rows_of(keyspace.REPLICA)
    assert not pair.other.gateway.rows_of(keyspace.REPLICA)


def locking(pair: Pair, *sides: str) -> datetime:
    """Turn object lock on at these sides; a date that locks can end at."""
    for side, client, name in (
        ("here", pair.here, pair.source),
        ("there", pair.there, pair.target._remote.bucket),
    ):
        if side in sides:
            client.put_object_lock_configuration(
                Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
            )
    replicate(pair)
    return datetime.now(UTC).replace(microsecond=123_000) + 30 * DAY


def locked_there(pair: Pair, key: str, **version: str) -> tuple[str, datetime | None, str]:
    head = pair.there.head_object(Bucket=pair.target._remote.bucket, Key=key, **version)
    return (
        head.get("ObjectLockMode", ""),
        head.get("ObjectLockRetainUntilDate"),
        head.get("ObjectLockLegalHoldStatus", ""),
    )


def versions_there(pair: Pair) -> list[Any]:
    listed = pair.there.list_object_versions(Bucket=pair.target._remote.bucket)
    return list(listed.get("Versions", []))


def test_locks_go_with_the_object(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair.gateway.gateway.services, "sse_over_http", True)
    until = locking(pair, "here", "there").replace(microsecond=0)  # boto3 sends no more
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    pair.here.put_object(Bucket=pair.source, Key="both", Body=b"x", **lock)
    pair.here.put_object(
        Bucket=pair.source, Key="held", Body=b"x", ObjectLockLegalHoldStatus="ON", **SSE_KMS
    )
    upload = pair.here.create_multipart_upload(Bucket=pair.source, Key="parts", **lock)["UploadId"]
    where = {"Bucket": pair.source, "Key": "parts", "UploadId": upload}
    part = pair.here.upload_part(**where, PartNumber=1, Body=b"part")
    named = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    pair.here.complete_multipart_upload(**where, MultipartUpload=named)
    pair.run()
    assert [pair.status(key) for key in ("both", "held", "parts")] == ["COMPLETED"] * 3
    assert locked_there(pair, "both") == ("GOVERNANCE", until, "")
    assert locked_there(pair, "held") == ("", None, "ON")
    assert locked_there(pair, "parts") == ("GOVERNANCE", until, "")


def test_a_lock_that_cannot_be_had_fails_the_replica(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    locking(pair, "here")
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON")
    pair.run()
    assert pair.status("k") == "FAILED"
    assert versions_there(pair) == []
    assert "Bucket is missing Object Lock Configuration" in caplog.text


def test_a_retention_that_has_ended_is_not_asked_for(pair: Pair) -> None:
    locking(pair, "here", "there")
    soon = datetime.now(UTC) + timedelta(seconds=1)
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": soon}
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x", **lock)
    time.sleep(1.1)
    pair.run()
    assert pair.status("k") == "COMPLETED"
    assert locked_there(pair, "k") == ("", None, "")


def test_later_changes_go_to_the_replica_that_they_are_of(pair: Pair) -> None:
    until = locking(pair, "here", "there")
    older = pair.here.put_object(Bucket=pair.source, Key="k", Body=b"same", Tagging="a=1")
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"same", Tagging="a=1")
    pair.run()
    newest, oldest = versions_there(pair)
    where = {"Bucket": pair.source, "Key": "k", "VersionId": older["VersionId"]}
    pair.here.put_object_tagging(**where, Tagging={"TagSet": [{"Key": "b c", "Value": "2+="}]})
    assert pair.status("k", VersionId=older["VersionId"]) == "PENDING"
    pair.here.put_object_retention(
        **where, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until}
    )
    pair.here.put_object_legal_hold(**where, LegalHold={"Status": "ON"})
    pair.run()
    assert pair.status("k", VersionId=older["VersionId"]) == "COMPLETED"
    assert [one["VersionId"] for one in versions_there(pair)] == [
        newest["VersionId"],
        oldest["VersionId"],
    ]
    there = {"Bucket": pair.target._remote.bucket, "Key": "k", "VersionId": oldest["VersionId"]}
    assert pair.there.get_object_tagging(**there)["TagSet"] == [{"Key": "b c", "Value": "2+="}]
    assert locked_there(pair, "k", VersionId=oldest["VersionId"]) == ("GOVERNANCE", until, "ON")
    assert locked_there(pair, "k") == ("", None, "")
    held = pair.there.get_object_tagging(Bucket=there["Bucket"], Key="k")["TagSet"]
    assert held == [{"Key": "a", "Value": "1"}]
    # Shorter, with the right to it; then away.
    shorter = until - 10 * DAY
    pair.here.put_object_retention(
        **where,
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": shorter},
        BypassGovernanceRetention=True,
    )
    pair.here.put_object_legal_hold(**where, LegalHold={"Status": "OFF"})
    pair.here.delete_object_tagging(**where)
    pair.run()
    assert locked_there(pair, "k", VersionId=oldest["VersionId"]) == ("GOVERNANCE", shorter, "")
    assert pair.there.get_object_tagging(**there)["TagSet"] == []
    pair.here.put_object_retention(**where, Retention={}, BypassGovernanceRetention=True)
    pair.run()
    assert locked_there(pair, "k", VersionId=oldest["VersionId"]) == ("", None, "")
    assert not pair.gateway.gateway.rows_of(keyspace.REPLICA)


def test_a_change_leaves_alone_what_only_the_target_has(pair: Pair) -> None:
    until = locking(pair, "here", "there")
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x")
    pair.run()
    there = {"Bucket": pair.target._remote.bucket, "Key": "k"}
    pair.there.put_object_legal_hold(**there, LegalHold={"Status": "ON"})
    pair.there.put_object_retention(
        **there, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}
    )
    tags = [{"Key": "a", "Value": "b"}]
    pair.here.put_object_tagging(Bucket=pair.source, Key="k", Tagging={"TagSet": tags})
    pair.run()
    assert pair.there.get_object_tagging(**there)["TagSet"] == tags
    assert locked_there(pair, "k") == ("COMPLIANCE", until, "ON")
    assert pair.status("k") == "COMPLETED"


def test_a_change_that_the_target_refuses_has_failed(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    locking(pair, "here")
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x")
    pair.run()
    pair.here.put_object_legal_hold(Bucket=pair.source, Key="k", LegalHold={"Status": "ON"})
    pair.run()
    assert pair.status("k") == "FAILED"
    assert "Bucket is missing Object Lock Configuration" in caplog.text
    # A later change that it takes makes that good, with what has failed before.
    locking(pair, "there")
    tags = [{"Key": "a", "Value": "b"}]
    pair.here.put_object_tagging(Bucket=pair.source, Key="k", Tagging={"TagSet": tags})
    pair.run()
    assert pair.status("k") == "COMPLETED"
    assert locked_there(pair, "k") == ("", None, "ON")


def test_changes_of_a_replica_stay_there(pair: Pair) -> None:
    replicate(pair)
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x")
    pair.run()
    name = pair.target._remote.bucket
    services = pair.other.gateway.services
    services.replication_targets = {"replica": frozenset()}
    rule = pair.here.get_bucket_replication(Bucket=pair.source)["ReplicationConfiguration"]
    pair.there.put_bucket_replication(Bucket=name, ReplicationConfiguration=rule)
    tags = [{"Key": "a", "Value": "b"}]
    pair.there.put_object_tagging(Bucket=name, Key="k", Tagging={"TagSet": tags})
    assert not pair.other.gateway.rows_of(keyspace.REPLICA)
    assert pair.there.head_object(Bucket=name, Key="k")["ReplicationStatus"] == "REPLICA"


def test_objects_under_keys_of_clients_stay_here(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair.gateway.gateway.services, "sse_over_http", True)
    replicate(pair)
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x", **key)
    pair.run()
    assert versions_there(pair) == []
    assert not pair.gateway.gateway.rows_of(keyspace.REPLICA)
