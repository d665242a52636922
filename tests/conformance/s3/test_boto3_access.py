"""Policies of buckets as boto3 sets and meets them, by the owner, another account and nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.accounts import ALT, OWNER, policy_text
from tests.support.refusals import DENIED, refusal
from tests.support.s3_gateway import NAMES, S3Gateway


def test_new_buckets_keep_the_public_out(s3: Any, bucket: str) -> None:
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert not s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
    assert refusal(s3.get_bucket_policy, Bucket=bucket) == (404, "NoSuchBucketPolicy")
    unsupported = (400, "AccessControlListNotSupported")
    assert refusal(s3.put_bucket_acl, Bucket=bucket, ACL="private") == unsupported
    assert refusal(s3.put_object, Bucket=bucket, Key="k", ACL="public-read") == unsupported
    s3.put_object(Bucket=bucket, Key="k", ACL="private")  # of the owner, as old clients do
    s3.put_object(Bucket=bucket, Key="k", ACL="bucket-owner-full-control")
    s3.put_object(Bucket=bucket, Key="k", GrantFullControl=f'id="{OWNER}"')
    assert refusal(s3.put_object_acl, Bucket=bucket, Key="k", ACL="private") == unsupported
    for held in (
        s3.get_bucket_acl(Bucket=bucket),
        s3.get_object_acl(Bucket=bucket, Key="k"),
    ):
        assert held["Owner"] == {"ID": OWNER, "DisplayName": "tests"}
        assert [grant["Permission"] for grant in held["Grants"]] == ["FULL_CONTROL"]
    public = policy_text(bucket, {"Action": "s3:GetObject"})
    assert refusal(s3.put_bucket_policy, Bucket=bucket, Policy=public) == DENIED


def test_policies_are_kept_as_they_were_put(s3: Any, opened: str) -> None:
    text = policy_text(opened, {"Action": "s3:ListBucket"}).replace(",", " ,\n")
    s3.put_bucket_policy(Bucket=opened, Policy=text)
    assert s3.get_bucket_policy(Bucket=opened)["Policy"] == text
    assert s3.get_bucket_policy_status(Bucket=opened)["PolicyStatus"]["IsPublic"]
    malformed = refusal(s3.put_bucket_policy, Bucket=opened, Policy="{}")
    assert malformed == (400, "MalformedPolicy")
    assert s3.get_bucket_policy(Bucket=opened)["Policy"] == text
    for _ in range(2):
        s3.delete_bucket_policy(Bucket=opened)
    assert refusal(s3.get_bucket_policy, Bucket=opened) == (404, "NoSuchBucketPolicy")
    missing = refusal(s3.put_bucket_policy, Bucket="no-such-bucket", Policy=text)
    assert missing == (404, "NoSuchBucket")


def test_a_policy_for_another_account(s3: Any, alt: Any, nobody: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="in/k", Body=b"content")
    s3.put_bucket_policy(
        Bucket=bucket,
        Policy=policy_text(
            bucket,
            {
                "Principal": {"AWS": f"arn:aws:iam::{ALT.owner_id}:root"},
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": f"arn:aws:s3:::{bucket}/in/*",
            },
        ),
    )
    assert alt.get_object(Bucket=bucket, Key="in/k")["Body"].read() == b"content"
    private = {"Bucket": bucket, "Key": "in/new", "ACL": "private"}
    assert refusal(alt.put_object, **private) == (400, "AccessControlListNotSupported")
    alt.put_object(Bucket=bucket, Key="in/new", Body=b"theirs")
    held = s3.get_object_acl(Bucket=bucket, Key="in/new")
    assert held["Owner"]["ID"] == OWNER
    assert s3.get_object(Bucket=bucket, Key="in/new")["Body"].read() == b"theirs"
    assert refusal(alt.put_object, Bucket=bucket, Key="out") == DENIED
    assert refusal(alt.list_objects_v2, Bucket=bucket) == DENIED
    # Who may not list is not told what is missing.
    assert refusal(alt.get_object, Bucket=bucket, Key="in/missing") == DENIED
    assert refusal(nobody.get_object, Bucket=bucket, Key="in/k") == DENIED
    found = alt.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "in/new"}, {"Key": "out"}]}
    )
    assert [one["Key"] for one in found["Deleted"]] == ["in/new"]
    assert [(one["Key"], one["Code"]) for one in found["Errors"]] == [("out", "AccessDenied")]


def test_who_may_list_is_told_what_is_missing(s3: Any, alt: Any, opened: str) -> None:
    s3.put_object(Bucket=opened, Key="public/k")
    listing = {"Action": "s3:ListBucket", "Condition": {"StringLike": {"s3:prefix": "public/*"}}}
    s3.put_bucket_policy(Bucket=opened, Policy=policy_text(opened, listing))
    assert refusal(alt.head_object, Bucket=opened, Key="public/missing") == (404, "404")
    assert refusal(alt.head_object, Bucket=opened, Key="private/missing") == (403, "403")
    assert refusal(alt.head_object, Bucket=opened, Key="public/k") == (403, "403")
    assert alt.list_objects_v2(Bucket=opened, Prefix="public/")["KeyCount"] == 1
    assert refusal(alt.list_objects_v2, Bucket=opened) == DENIED
    assert refusal(alt.list_objects_v2, Bucket=opened, Prefix="p") == DENIED


@pytest.mark.parametrize(
    ("condition", "arguments"),
    [
        ({"StringEquals": {"s3:x-amz-storage-class": "STANDARD_IA"}}, {"StorageClass": "STANDARD"}),
        ({"Null": {"s3:x-amz-acl": "false"}}, {}),
        ({"StringLike": {"aws:UserAgent": "curl*"}}, {}),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {}),
        ({"Bool": {"aws:SecureTransport": "true"}}, {}),
        ({"DateLessThan": {"aws:CurrentTime": "2001-01-01T00:00:00Z"}}, {}),
        ({"NumericLessThan": {"aws:EpochTime": "1000"}}, {}),
        ({"StringEquals": {"s3:RequestObjectTag/team": "red"}}, {"Tagging": "team=blue"}),
        ({"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": "cost"}}, {"Tagging": "team=b"}),
        ({"StringEquals": {"aws:PrincipalAccount": OWNER}}, {}),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}, {}),
        ({"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}, {}),
        ({"StringEquals": {"s3:signatureversion": "AWS"}}, {}),
        ({"Bool": {"s3:ObjectCreationOperation": "false"}}, {}),
    ],
)
def test_conditions_are_asked_of_the_request(
    s3: Any, alt: Any, opened: str, condition: dict[str, Any], arguments: dict[str, Any]
) -> None:
    """Each condition fails as it is written; its opposite lets the same request in."""
    tagging = {"Action": ["s3:PutObjectTagging"]}
    allowed = {"Action": "s3:PutObject", "Condition": condition}
    s3.put_bucket_policy(Bucket=opened, Policy=policy_text(opened, tagging, allowed))
    assert refusal(alt.put_object, Bucket=opened, Key="k", **arguments) == DENIED
    denied = {**allowed, "Effect": "Deny"}
    both = policy_text(opened, tagging, {"Action": "s3:PutObject"}, denied)
    s3.put_bucket_policy(Bucket=opened, Policy=both)
    alt.put_object(Bucket=opened, Key="k", **arguments)


def test_tags_that_an_object_has(s3: Any, nobody: Any, opened: str) -> None:
    for key, tag in (("red", "colour=red"), ("blue", "colour=blue"), ("none", "")):
        s3.put_object(Bucket=opened, Key=key, Tagging=tag)
    wanted = {"StringEquals": {"s3:ExistingObjectTag/colour": "red"}}
    reading = {"Action": ["s3:GetObject", "s3:GetObjectTagging"], "Condition": wanted}
    s3.put_bucket_policy(Bucket=opened, Policy=policy_text(opened, reading))
    nobody.get_object(Bucket=opened, Key="red")
    nobody.get_object_tagging(Bucket=opened, Key="red")
    for key in ("blue", "none", "missing"):
        assert refusal(nobody.get_object, Bucket=opened, Key=key) == DENIED
        assert refusal(nobody.get_object_tagging, Bucket=opened, Key=key) == DENIED
    s3.put_object_tagging(
        Bucket=opened, Key="red", Tagging={"TagSet": [{"Key": "colour", "Value": "blue"}]}
    )
    assert refusal(nobody.get_object, Bucket=opened, Key="red") == DENIED


def test_the_owner_a_client_expects(s3: Any, alt: Any, opened: str) -> None:
    s3.put_bucket_acl(Bucket=opened, ACL="public-read-write")
    for client in (s3, alt):
        client.put_object(Bucket=opened, Key="k", ExpectedBucketOwner=OWNER)
        wrong = refusal(client.put_object, Bucket=opened, Key="k", ExpectedBucketOwner=ALT.owner_id)
        assert wrong == DENIED
    source = {"Bucket": opened, "Key": "k"}
    copy = {"Bucket": opened, "Key": "copy", "CopySource": source}
    alt.copy_object(**copy, ExpectedBucketOwner=OWNER, ExpectedSourceBucketOwner=OWNER)
    refused = refusal(alt.copy_object, **copy, ExpectedSourceBucketOwner=ALT.owner_id)
    assert refused == DENIED


def test_a_copy_needs_rights_at_both_ends(s3: Any, alt: Any, bucket: str, opened: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    theirs = NAMES.next()
    alt.create_bucket(Bucket=theirs)
    copy = {"Bucket": theirs, "Key": "copy", "CopySource": {"Bucket": bucket, "Key": "k"}}
    assert refusal(alt.copy_object, **copy) == DENIED
    named = {"Action": "s3:GetObject", "Principal": {"CanonicalUser": ALT.owner_id}}
    s3.put_bucket_policy(Bucket=bucket, Policy=policy_text(bucket, named))
    alt.copy_object(**copy)
    assert alt.get_object(Bucket=theirs, Key="copy")["Body"].read() == b"content"
    assert refusal(alt.copy_object, **{**copy, "Bucket": opened}) == DENIED


def test_buckets_that_are_not_there(s3: Any, alt: Any, nobody: Any) -> None:
    for client in (s3, alt, nobody):
        gone = refusal(client.get_object, Bucket="no-such-bucket", Key="k")
        assert gone == (404, "NoSuchBucket")
    assert refusal(nobody.list_buckets) == DENIED
    taken = NAMES.next()
    s3.create_bucket(Bucket=taken)
    assert refusal(alt.create_bucket, Bucket=taken) == (409, "BucketAlreadyExists")
    assert taken not in [one["Name"] for one in alt.list_buckets()["Buckets"]]


def test_how_long_a_retention_may_be(gateway: S3Gateway, s3: Any) -> None:
    bucket = NAMES.next()
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    s3.put_object(Bucket=bucket, Key="k")
    longest = {"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": "10"}}
    denied = {"Effect": "Deny", "Action": "s3:PutObjectRetention", "Condition": longest}
    held = {"StringEquals": {"s3:object-lock-legal-hold": "ON"}}
    hold = {"Effect": "Deny", "Action": "s3:PutObjectLegalHold", "Condition": held}
    s3.put_bucket_policy(Bucket=bucket, Policy=policy_text(bucket, denied, hold))
    now = datetime.now(UTC)

    def keep(days: int) -> dict[str, Any]:
        retention = {"Mode": "GOVERNANCE", "RetainUntilDate": now + timedelta(days=days)}
        return {"Bucket": bucket, "Key": "k", "Retention": retention}

    assert refusal(s3.put_object_retention, **keep(11)) == DENIED
    s3.put_object_retention(**keep(9))
    legal = {"Bucket": bucket, "Key": "k", "LegalHold": {"Status": "ON"}}
    assert refusal(s3.put_object_legal_hold, **legal) == DENIED
    long = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": now + timedelta(days=20)}
    assert refusal(s3.put_object, Bucket=bucket, Key="new", **long) == DENIED
