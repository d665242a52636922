"""Inventory reports: what is in them, where they go, and that they come once a day."""

from __future__ import annotations

import csv
import gzip
import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.jobs.inventory import InventoryWriter
from tests.support.refusals import refused
from tests.support.s3_gateway import NAMES, S3Gateway


def configure(s3: Any, bucket: str, target: str, **changed: Any) -> None:
    destination = {"Bucket": f"arn:aws:s3:::{target}", "Format": "CSV", "Prefix": "lists"}
    config = {
        "Id": "all",
        "Destination": {"S3BucketDestination": destination},
        "IsEnabled": True,
        "IncludedObjectVersions": "All",
        "OptionalFields": ["Size", "ETag", "EncryptionStatus"],
        "Schedule": {"Frequency": "Daily"},
        **changed,
    }
    s3.put_bucket_inventory_configuration(Bucket=bucket, Id="all", InventoryConfiguration=config)


def target_for(s3: Any) -> str:
    name = NAMES.next()
    s3.create_bucket(Bucket=name)
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{name}/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket=name, Policy=policy)
    return name


def report(gateway: S3Gateway, s3: Any, target: str) -> tuple[dict[str, Any], list[list[str]]]:
    """Manifest and rows of the only report in a bucket."""
    gateway.thread.run(InventoryWriter(gateway.gateway.services).step())
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=target).get("Contents", [])]
    (found,) = [key for key in keys if key.endswith("manifest.json")]
    manifest = json.loads(s3.get_object(Bucket=target, Key=found)["Body"].read())
    rows: list[list[str]] = []
    for one in manifest["files"]:
        packed = s3.get_object(Bucket=target, Key=one["key"])["Body"].read()
        rows += csv.reader(io.StringIO(gzip.decompress(packed).decode()))
    return manifest, rows


def test_versions_are_listed(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="a b", Body=b"1")
    second = s3.put_object(Bucket=bucket, Key="a b", Body=b"22")
    marker = s3.delete_object(Bucket=bucket, Key="gone")
    target = target_for(s3)
    configure(s3, bucket, target)
    manifest, rows = report(gateway, s3, target)
    assert manifest["sourceBucket"] == bucket
    assert manifest["fileSchema"] == (
        "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag, EncryptionStatus"
    )
    etags = [one["ETag"].strip('"') for one in (first, second)]
    assert rows == [
        [bucket, "a+b", second["VersionId"], "true", "false", "2", etags[1], "SSE-S3"],
        [bucket, "gone", marker["VersionId"], "true", "true", "", "", ""],
        [bucket, "a+b", first["VersionId"], "false", "false", "1", etags[0], "SSE-S3"],
    ]
    # Once a day: the next look finds nothing due, so there is still one report.
    assert len(report(gateway, s3, target)[1]) == 3


def test_current_versions_under_a_prefix(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    for key in ("a/1", "a/2", "b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    target = target_for(s3)
    configure(
        s3,
        bucket,
        target,
        IncludedObjectVersions="Current",
        Filter={"Prefix": "a/"},
        OptionalFields=["Size"],
    )
    assert report(gateway, s3, target)[1] == [[bucket, "a/1", "0"], [bucket, "a/2", "0"]]


def test_a_destination_must_take_it(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    closed = NAMES.next()
    s3.create_bucket(Bucket=closed)
    configure(s3, bucket, closed)
    gateway.thread.run(InventoryWriter(gateway.gateway.services).step())
    assert s3.list_objects_v2(Bucket=closed)["KeyCount"] == 0


def test_other_formats_are_not_there(s3: Any, bucket: str) -> None:
    orc = {"S3BucketDestination": {"Bucket": "arn:aws:s3:::some", "Format": "ORC"}}
    with pytest.raises(ClientError) as caught:
        configure(s3, bucket, "some", Destination=orc)
    assert refused(caught) == (501, "NotImplemented")
