"""Buckets, as boto3 asks for them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.refusals import refused
from tests.support.s3_gateway import S3Gateway


def test_a_bucket_lives_and_dies(s3: Any) -> None:
    s3.create_bucket(Bucket="life", CreateBucketConfiguration={"LocationConstraint": "eu"})
    assert "life" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket="life")["LocationConstraint"] == "eu"
    assert s3.head_bucket(Bucket="life")["ResponseMetadata"]["HTTPStatusCode"] == 200
    s3.put_object(Bucket="life", Key="k", Body=b"")
    with pytest.raises(ClientError) as error:
        s3.delete_bucket(Bucket="life")
    assert refused(error) == (409, "BucketNotEmpty")
    s3.delete_object(Bucket="life", Key="k")
    s3.delete_bucket(Bucket="life")
    with pytest.raises(ClientError) as error:
        s3.head_bucket(Bucket="life")
    assert refused(error) == (404, "404")


def test_refusals(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.create_bucket(Bucket=bucket)
    assert refused(error) == (409, "BucketAlreadyOwnedByYou")
    with pytest.raises(ClientError) as error:
        s3.create_bucket(
            Bucket="nowhere", CreateBucketConfiguration={"LocationConstraint": "moon-1"}
        )
    assert refused(error) == (400, "InvalidLocationConstraint")
    with pytest.raises(ClientError) as error:
        s3.create_bucket(Bucket="Bad_Name")
    assert refused(error) == (400, "InvalidBucketName")
    with pytest.raises(ClientError) as error:
        s3.list_objects_v2(Bucket="absent-bucket")
    assert refused(error) == (404, "NoSuchBucket")
    with pytest.raises(ClientError) as error:
        s3.get_bucket_metadata_table_configuration(Bucket=bucket)
    assert refused(error) == (501, "NotImplemented")


def test_ones_own_bucket_again_is_granted_in_us_east_1_only(
    gateway: S3Gateway, bucket: str
) -> None:
    first_region = gateway.boto(region="us-east-1")
    assert first_region.create_bucket(Bucket=bucket)["Location"] == f"/{bucket}"
    with pytest.raises(ClientError) as error:
        first_region.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu"}
        )
    assert refused(error) == (409, "BucketAlreadyOwnedByYou")


def test_objects_have_no_torrent(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="there", Body=b"")
    for key in ("there", "absent"):
        with pytest.raises(ClientError) as error:
            s3.get_object_torrent(Bucket=bucket, Key=key)
        assert refused(error) == (404, "NoSuchKey")


def test_list_buckets_pages(s3: Any, bucket: str) -> None:
    for index in range(3):
        s3.create_bucket(Bucket=f"paged-{index}")
    page = s3.list_buckets(Prefix="paged-", MaxBuckets=2)
    assert [entry["Name"] for entry in page["Buckets"]] == ["paged-0", "paged-1"]
    rest = s3.list_buckets(
        Prefix="paged-", MaxBuckets=2, ContinuationToken=page["ContinuationToken"]
    )
    assert [entry["Name"] for entry in rest["Buckets"]] == ["paged-2"]
    assert "ContinuationToken" not in rest
