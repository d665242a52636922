"""Replication between two gateways: what arrives, its status, and what happens when the other side
is away.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.meta import keyspace
from gateway.outside.remote_s3 import RemoteBucket, RemoteS3
from tests.support.gateway import ACCESS_KEY, SECRET
from tests.support.refusals import refused
from tests.support.replica_pair import ROLE, Pair, replica, replicate, versions_there
from tests.support.s3_gateway import REGION

PART = 5 * 1024 * 1024


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
