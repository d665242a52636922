"""Policies, ACLs, ownership and public access as boto3 sets and meets them, by three callers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.accounts import ALT, THIRD, add_account, boto_of
from tests.support.s3_gateway import Counter, S3Gateway, running_gateway

NAMES = Counter()
OWNER = "owner-of-tests"
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with running_gateway() as running:
        for account in (ALT, THIRD):
            running.thread.run(add_account(running.gateway.services, account))
        yield running


@pytest.fixture(scope="module")
def alt(gateway: S3Gateway) -> Any:
    return boto_of(gateway, ALT)


@pytest.fixture(scope="module")
def nobody(gateway: S3Gateway) -> Any:
    return boto_of(gateway, None)


@pytest.fixture
def production(s3: Any) -> str:
    """A bucket as AWS makes new ones."""
    name = NAMES.next()
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def opened(gateway: S3Gateway, s3: Any) -> str:
    """A bucket with ACLs in force and nothing blocked."""
    name = NAMES.next()
    s3.create_bucket(Bucket=name, ObjectOwnership="ObjectWriter")
    s3.delete_public_access_block(Bucket=name)
    return name


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


DENIED = (403, "AccessDenied")


def policy(bucket: str, *statements: dict[str, Any]) -> str:
    whole = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    plain = {"Effect": "Allow", "Principal": "*", "Resource": whole}
    listed = [{**plain, **statement} for statement in statements]
    return json.dumps({"Version": "2012-10-17", "Statement": listed})


def test_new_buckets_keep_the_public_out(s3: Any, production: str) -> None:
    block = s3.get_public_access_block(Bucket=production)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    rules = s3.get_bucket_ownership_controls(Bucket=production)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert not s3.get_bucket_policy_status(Bucket=production)["PolicyStatus"]["IsPublic"]
    assert refusal(s3.get_bucket_policy, Bucket=production) == (404, "NoSuchBucketPolicy")
    unsupported = (400, "AccessControlListNotSupported")
    assert refusal(s3.put_bucket_acl, Bucket=production, ACL="private") == unsupported
    for acl in ("private", "public-read"):
        assert refusal(s3.put_object, Bucket=production, Key="k", ACL=acl) == unsupported
    s3.put_object(Bucket=production, Key="k", ACL="bucket-owner-full-control")
    s3.put_object(Bucket=production, Key="k", GrantFullControl=f'id="{OWNER}"')
    assert refusal(s3.put_object_acl, Bucket=production, Key="k", ACL="private") == unsupported
    for held in (
        s3.get_bucket_acl(Bucket=production),
        s3.get_object_acl(Bucket=production, Key="k"),
    ):
        assert held["Owner"] == {"ID": OWNER, "DisplayName": "tests"}
        assert [grant["Permission"] for grant in held["Grants"]] == ["FULL_CONTROL"]
    public = policy(production, {"Action": "s3:GetObject"})
    assert refusal(s3.put_bucket_policy, Bucket=production, Policy=public) == DENIED


def test_buckets_that_are_made_with_acls(gateway: S3Gateway, s3: Any) -> None:
    ownership = (400, "InvalidBucketAclWithObjectOwnership")
    blocked = (400, "InvalidBucketAclWithBlockPublicAccessError")
    name = NAMES.next()
    assert refusal(s3.create_bucket, Bucket=name, ACL="public-read") == ownership
    writer = {"Bucket": name, "ObjectOwnership": "ObjectWriter"}
    assert refusal(s3.create_bucket, **writer, ACL="public-read") == blocked
    assert refusal(s3.create_bucket, Bucket=name, ObjectOwnership="Me") == (400, "InvalidArgument")
    wrong = refusal(s3.create_bucket, **writer, GrantRead='id="nobody"')
    assert wrong == (400, "InvalidArgument")
    s3.create_bucket(**writer, GrantRead=f'id="{ALT.owner_id}"')
    assert boto_of(gateway, ALT).list_objects_v2(Bucket=name)["KeyCount"] == 0
    assert refusal(boto_of(gateway, THIRD).list_objects_v2, Bucket=name) == DENIED


def test_policies_are_kept_as_they_were_put(s3: Any, opened: str) -> None:
    text = policy(opened, {"Action": "s3:ListBucket"}).replace(",", " ,\n")
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


def test_a_policy_for_another_account(s3: Any, alt: Any, nobody: Any, production: str) -> None:
    s3.put_object(Bucket=production, Key="in/k", Body=b"content")
    s3.put_bucket_policy(
        Bucket=production,
        Policy=policy(
            production,
            {
                "Principal": {"AWS": f"arn:aws:iam::{ALT.owner_id}:root"},
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": f"arn:aws:s3:::{production}/in/*",
            },
        ),
    )
    assert alt.get_object(Bucket=production, Key="in/k")["Body"].read() == b"content"
    alt.put_object(Bucket=production, Key="in/new", Body=b"theirs")
    held = s3.get_object_acl(Bucket=production, Key="in/new")
    assert held["Owner"]["ID"] == OWNER
    assert s3.get_object(Bucket=production, Key="in/new")["Body"].read() == b"theirs"
    assert refusal(alt.put_object, Bucket=production, Key="out") == DENIED
    assert refusal(alt.list_objects_v2, Bucket=production) == DENIED
    # Who may not list is not told what is missing.
    assert refusal(alt.get_object, Bucket=production, Key="in/missing") == DENIED
    assert refusal(nobody.get_object, Bucket=production, Key="in/k") == DENIED
    found = alt.delete_objects(
        Bucket=production, Delete={"Objects": [{"Key": "in/new"}, {"Key": "out"}]}
    )
    assert [one["Key"] for one in found["Deleted"]] == ["in/new"]
    assert [(one["Key"], one["Code"]) for one in found["Errors"]] == [("out", "AccessDenied")]


def test_who_may_list_is_told_what_is_missing(s3: Any, alt: Any, opened: str) -> None:
    s3.put_object(Bucket=opened, Key="public/k")
    listing = {"Action": "s3:ListBucket", "Condition": {"StringLike": {"s3:prefix": "public/*"}}}
    s3.put_bucket_policy(Bucket=opened, Policy=policy(opened, listing))
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
    s3.put_bucket_policy(Bucket=opened, Policy=policy(opened, tagging, allowed))
    assert refusal(alt.put_object, Bucket=opened, Key="k", **arguments) == DENIED
    denied = {**allowed, "Effect": "Deny"}
    both = policy(opened, tagging, {"Action": "s3:PutObject"}, denied)
    s3.put_bucket_policy(Bucket=opened, Policy=both)
    alt.put_object(Bucket=opened, Key="k", **arguments)


def test_tags_that_an_object_has(s3: Any, nobody: Any, opened: str) -> None:
    for key, tag in (("red", "colour=red"), ("blue", "colour=blue"), ("none", "")):
        s3.put_object(Bucket=opened, Key=key, Tagging=tag)
    wanted = {"StringEquals": {"s3:ExistingObjectTag/colour": "red"}}
    reading = {"Action": ["s3:GetObject", "s3:GetObjectTagging"], "Condition": wanted}
    s3.put_bucket_policy(Bucket=opened, Policy=policy(opened, reading))
    nobody.get_object(Bucket=opened, Key="red")
    nobody.get_object_tagging(Bucket=opened, Key="red")
    for key in ("blue", "none", "missing"):
        assert refusal(nobody.get_object, Bucket=opened, Key=key) == DENIED
        assert refusal(nobody.get_object_tagging, Bucket=opened, Key=key) == DENIED
    s3.put_object_tagging(
        Bucket=opened, Key="red", Tagging={"TagSet": [{"Key": "colour", "Value": "blue"}]}
    )
    assert refusal(nobody.get_object, Bucket=opened, Key="red") == DENIED


def test_objects_of_other_owners(s3: Any, alt: Any, opened: str) -> None:
    s3.put_bucket_acl(Bucket=opened, ACL="public-read-write")
    alt.put_object(Bucket=opened, Key="theirs", Body=b"theirs")
    assert refusal(s3.get_object, Bucket=opened, Key="theirs") == DENIED
    assert refusal(s3.get_object_acl, Bucket=opened, Key="theirs") == DENIED
    # A policy of the bucket says nothing about what others own.
    s3.put_bucket_policy(Bucket=opened, Policy=policy(opened, {"Action": "s3:*"}))
    assert refusal(s3.get_object, Bucket=opened, Key="theirs") == DENIED
    alt.put_object_acl(Bucket=opened, Key="theirs", ACL="bucket-owner-read")
    assert s3.get_object(Bucket=opened, Key="theirs")["Body"].read() == b"theirs"
    held = alt.get_object_acl(Bucket=opened, Key="theirs")
    assert held["Owner"] == {"ID": ALT.owner_id, "DisplayName": "alt"}
    granted = [(one["Grantee"]["ID"], one["Permission"]) for one in held["Grants"]]
    assert granted == [(ALT.owner_id, "FULL_CONTROL"), (OWNER, "READ")]
    s3.put_bucket_ownership_controls(
        Bucket=opened, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    )
    alt.put_object(Bucket=opened, Key="given", ACL="bucket-owner-full-control")
    assert s3.get_object_acl(Bucket=opened, Key="given")["Owner"]["ID"] == OWNER
    s3.delete_bucket_policy(Bucket=opened)
    s3.put_bucket_acl(Bucket=opened, ACL="private")
    s3.put_bucket_ownership_controls(
        Bucket=opened, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    # Without ACLs everything is the bucket owner's.
    assert s3.get_object_acl(Bucket=opened, Key="theirs")["Owner"]["ID"] == OWNER
    assert refusal(alt.get_object, Bucket=opened, Key="theirs") == DENIED
    s3.delete_object(Bucket=opened, Key="theirs")


def test_acls_of_the_public(s3: Any, alt: Any, nobody: Any, opened: str) -> None:
    s3.put_object(Bucket=opened, Key="public", ACL="public-read", Body=b"all")
    s3.put_object(Bucket=opened, Key="known", ACL="authenticated-read", Body=b"known")
    assert nobody.get_object(Bucket=opened, Key="public")["Body"].read() == b"all"
    assert refusal(nobody.get_object, Bucket=opened, Key="known") == DENIED
    assert alt.get_object(Bucket=opened, Key="known")["Body"].read() == b"known"
    assert refusal(nobody.list_objects_v2, Bucket=opened) == DENIED
    s3.put_bucket_acl(Bucket=opened, ACL="public-read-write")
    nobody.put_object(Bucket=opened, Key="anonymous", Body=b"?")
    assert [one["Key"] for one in nobody.list_objects_v2(Bucket=opened)["Contents"]] == [
        "anonymous",
        "known",
        "public",
    ]
    grants = s3.get_bucket_acl(Bucket=opened)["Grants"]
    assert [one["Permission"] for one in grants] == ["READ", "WRITE", "FULL_CONTROL"]
    switches = dict.fromkeys(("BlockPublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), 0)
    blocking = {name: bool(value) for name, value in switches.items()} | {"IgnorePublicAcls": True}
    s3.put_public_access_block(Bucket=opened, PublicAccessBlockConfiguration=blocking)
    for key in ("public", "anonymous"):
        assert refusal(nobody.get_object, Bucket=opened, Key=key) == DENIED
    assert refusal(nobody.list_objects_v2, Bucket=opened) == DENIED
    assert refusal(alt.get_object, Bucket=opened, Key="known") == DENIED


def test_switches_of_the_public_access_block(s3: Any, alt: Any, nobody: Any, opened: str) -> None:
    s3.put_object(Bucket=opened, Key="k", Body=b"content")
    public = policy(opened, {"Action": "s3:GetObject"})
    s3.put_bucket_policy(Bucket=opened, Policy=public)
    nobody.get_object(Bucket=opened, Key="k")

    def switch(**on: bool) -> None:
        names = (
            "BlockPublicAcls",
            "IgnorePublicAcls",
            "BlockPublicPolicy",
            "RestrictPublicBuckets",
        )
        whole = dict.fromkeys(names, False) | on
        s3.put_public_access_block(Bucket=opened, PublicAccessBlockConfiguration=whole)
        held = s3.get_public_access_block(Bucket=opened)["PublicAccessBlockConfiguration"]
        assert held == whole

    switch(RestrictPublicBuckets=True)
    for client in (nobody, alt):
        assert refusal(client.get_object, Bucket=opened, Key="k") == DENIED
    assert s3.get_object(Bucket=opened, Key="k")["Body"].read() == b"content"
    assert not s3.get_bucket_policy_status(Bucket=opened)["PolicyStatus"]["IsPublic"]
    switch(BlockPublicPolicy=True)
    nobody.get_object(Bucket=opened, Key="k")
    assert refusal(s3.put_bucket_policy, Bucket=opened, Policy=public) == DENIED
    named = policy(opened, {"Action": "s3:GetObject", "Principal": {"AWS": ALT.owner_id}})
    s3.put_bucket_policy(Bucket=opened, Policy=named)
    switch(BlockPublicAcls=True)
    assert refusal(s3.put_bucket_acl, Bucket=opened, ACL="public-read") == DENIED
    assert refusal(s3.put_object, Bucket=opened, Key="k", ACL="public-read") == DENIED
    assert refusal(s3.put_object_acl, Bucket=opened, Key="k", ACL="public-read") == DENIED
    s3.put_object_acl(Bucket=opened, Key="k", GrantRead=f'id="{ALT.owner_id}"')
    s3.delete_public_access_block(Bucket=opened)
    gone = refusal(s3.get_public_access_block, Bucket=opened)
    assert gone == (404, "NoSuchPublicAccessBlockConfiguration")


def test_acls_that_are_not_right(s3: Any, opened: str) -> None:
    owner = {"ID": OWNER}
    user = {"Type": "CanonicalUser", "ID": ALT.owner_id}

    def put(grantee: dict[str, str], permission: str = "READ") -> tuple[int, str]:
        grants = [{"Grantee": grantee, "Permission": permission}]
        whole = {"Owner": owner, "Grants": grants}
        return refusal(s3.put_bucket_acl, Bucket=opened, AccessControlPolicy=whole)

    assert put(user, "EVERYTHING") == (400, "MalformedACLError")
    assert put({"Type": "CanonicalUser", "ID": "nobody"}) == (400, "InvalidArgument")
    assert put({"Type": "Group", "URI": "http://group"}) == (400, "InvalidArgument")
    mail = {"Type": "AmazonCustomerByEmail", "EmailAddress": "a@b.c"}
    assert put(mail) == (405, "MethodNotAllowed")
    others = {"Owner": {"ID": ALT.owner_id}, "Grants": []}
    assert refusal(s3.put_bucket_acl, Bucket=opened, AccessControlPolicy=others) == DENIED
    both = refusal(s3.put_bucket_acl, Bucket=opened, ACL="private", GrantRead=f"uri={ALL_USERS}")
    assert both == (400, "InvalidRequest")
    for headers in ({"ACL": "open"}, {"GrantRead": "me"}, {"GrantRead": "uri=http://group"}):
        assert refusal(s3.put_bucket_acl, Bucket=opened, **headers)[0] == 400
    mailed = refusal(s3.put_bucket_acl, Bucket=opened, GrantRead="emailAddress=a@b.c")
    assert mailed == (405, "MethodNotAllowed")
    s3.put_bucket_acl(Bucket=opened, GrantRead=f'uri="{ALL_USERS}", id="{ALT.owner_id}"')
    kinds = [one["Grantee"]["Type"] for one in s3.get_bucket_acl(Bucket=opened)["Grants"]]
    assert kinds == ["Group", "CanonicalUser"]


def test_ownership_controls(s3: Any, opened: str) -> None:
    enforced = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_acl(Bucket=opened, ACL="public-read")
    refused = refusal(s3.put_bucket_ownership_controls, Bucket=opened, OwnershipControls=enforced)
    assert refused == (400, "InvalidBucketAclWithObjectOwnership")
    s3.put_bucket_acl(Bucket=opened, ACL="private")
    s3.put_bucket_ownership_controls(Bucket=opened, OwnershipControls=enforced)
    assert s3.get_bucket_ownership_controls(Bucket=opened)["OwnershipControls"] == enforced
    s3.delete_bucket_ownership_controls(Bucket=opened)
    gone = refusal(s3.get_bucket_ownership_controls, Bucket=opened)
    assert gone == (404, "OwnershipControlsNotFoundError")
    wrong = {"Rules": [{"ObjectOwnership": "Mine"}]}
    malformed = refusal(s3.put_bucket_ownership_controls, Bucket=opened, OwnershipControls=wrong)
    assert malformed == (400, "MalformedXML")


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


def test_a_copy_needs_rights_at_both_ends(s3: Any, alt: Any, production: str, opened: str) -> None:
    s3.put_object(Bucket=production, Key="k", Body=b"content")
    theirs = NAMES.next()
    alt.create_bucket(Bucket=theirs)
    copy = {"Bucket": theirs, "Key": "copy", "CopySource": {"Bucket": production, "Key": "k"}}
    assert refusal(alt.copy_object, **copy) == DENIED
    named = {"Action": "s3:GetObject", "Principal": {"CanonicalUser": ALT.owner_id}}
    s3.put_bucket_policy(Bucket=production, Policy=policy(production, named))
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
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, denied, hold))
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
