"""Access logs of buckets: their configuration, their records, their delivery."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.jobs.logs import LogDelivery
from tests.support.gateway import ROOT
from tests.support.refusals import refused
from tests.support.s3_gateway import NAMES, S3Gateway


def target_for(s3: Any, source: str, prefix: str = "log/") -> str:
    """A bucket that lets the log of another be delivered."""
    name = NAMES.next()
    s3.create_bucket(Bucket=name)
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{name}/{prefix}*",
        "Condition": {
            "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{source}"},
            "StringEquals": {"aws:SourceAccount": ROOT.owner_id},
        },
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
    return name


def log_to(s3: Any, source: str, target: str, **further: Any) -> None:
    enabled = {"TargetBucket": target, "TargetPrefix": "log/", **further}
    s3.put_bucket_logging(Bucket=source, BucketLoggingStatus={"LoggingEnabled": enabled})


def delivered(gateway: S3Gateway, s3: Any, target: str) -> tuple[list[str], list[list[str]]]:
    """Keys and records of a target once everything is delivered."""
    gateway.gateway.services.log_roll_s = 0.0
    gateway.thread.run(LogDelivery(gateway.gateway.services).step())
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=target).get("Contents", [])]
    text = "".join(s3.get_object(Bucket=target, Key=key)["Body"].read().decode() for key in keys)
    lines = [line.replace("[", '"').replace("]", '"') for line in text.splitlines()]
    return keys, [shlex.split(line) for line in lines]


def test_configuration(s3: Any, bucket: str) -> None:
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    target = target_for(s3, bucket)
    log_to(s3, bucket, target)
    simple = {"SimplePrefix": {}}
    enabled = {"TargetBucket": target, "TargetPrefix": "log/", "TargetObjectKeyFormat": simple}
    assert s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"] == enabled
    parted = {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}}
    log_to(s3, bucket, target, TargetObjectKeyFormat=parted)
    held = s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"]
    assert held["TargetObjectKeyFormat"] == parted
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)


def test_refused_configurations(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as caught:
        log_to(s3, bucket, "no-such-bucket-anywhere")
    assert refused(caught) == (400, "InvalidTargetBucketForLogging")
    closed = NAMES.next()
    s3.create_bucket(Bucket=closed)
    with pytest.raises(ClientError) as caught:
        log_to(s3, bucket, closed)
    assert refused(caught) == (403, "AccessDenied")
    wrong = {"PartitionedPrefix": {"PartitionDateSource": "Whenever"}}
    with pytest.raises(ClientError) as caught:
        log_to(s3, bucket, target_for(s3, bucket), TargetObjectKeyFormat=wrong)
    assert refused(caught) == (400, "MalformedXML")


def test_records_are_delivered(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    target = target_for(s3, bucket)
    log_to(s3, bucket, target)
    answer = s3.put_object(Bucket=bucket, Key="a b/é", Body=b"12345")
    with pytest.raises(ClientError):
        s3.get_object(Bucket=bucket, Key="nothing")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a b/é"})
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "copy"}]})
    keys, records = delivered(gateway, s3, target)
    assert len(keys) == 1 and keys[0].startswith("log/20")
    assert {len(record) for record in records} == {26}
    by_name = {record[6]: record for record in records}
    assert list(by_name) == [
        "REST.PUT.LOGGING_STATUS",
        "REST.PUT.OBJECT",
        "REST.GET.OBJECT",
        "REST.COPY.OBJECT",
        "REST.COPY.OBJECT_GET",
        "REST.POST.MULTI_OBJECT_DELETE",
        "BATCH.DELETE.OBJECT",
        "REST.POST.DELETE_MULTI_OBJECT",
    ]
    put = next(record for record in records if record[6] == "REST.PUT.OBJECT")
    assert put[:2] == [ROOT.owner_id, bucket]
    assert put[4:6] == [ROOT.owner_id, answer["ResponseMetadata"]["RequestId"]]
    assert put[7] == "a%20b/%C3%A9"
    assert put[8].startswith(f"PUT /{bucket}/a%20b/")
    assert put[9:11] == ["200", "-"] and put[12] == "5"
    assert put[19:22] == ["SigV4", "-", "AuthHeader"]
    assert by_name["REST.GET.OBJECT"][9:11] == ["404", "NoSuchKey"]
    assert by_name["BATCH.DELETE.OBJECT"][7] == "copy"


def test_partitioned_keys(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    target = target_for(s3, bucket)
    parted = {"PartitionedPrefix": {"PartitionDateSource": "DeliveryTime"}}
    log_to(s3, bucket, target, TargetObjectKeyFormat=parted)
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    keys, _ = delivered(gateway, s3, target)
    assert keys[0].startswith(f"log/{ROOT.owner_id}/fr/{bucket}/20")


def test_a_target_that_takes_no_more_gets_nothing(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    target = target_for(s3, bucket)
    log_to(s3, bucket, target)
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    s3.delete_bucket_policy(Bucket=target)
    assert delivered(gateway, s3, target) == ([], [])


def test_a_presigned_url_is_logged_without_its_signature(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    target = target_for(s3, bucket)
    log_to(s3, bucket, target)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    with gateway.raw() as client:
        path = url.partition(str(gateway.port))[2]
        client.send_head("GET", path, {"host": client.authority})
        client.read_answer()
    _, records = delivered(gateway, s3, target)
    assert records[-1][19:22] == ["SigV4", "-", "QueryString"]
    assert "signature" not in records[-1][8].lower()
