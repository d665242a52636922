"""ACLs, owners of objects and the public access block as boto3 sets and meets them."""

from __future__ import annotations

from typing import Any

from tests.support.accounts import ALL_USERS, ALT, OWNER, THIRD, boto_of, policy_text
from tests.support.refusals import DENIED, refusal
from tests.support.s3_gateway import NAMES, S3Gateway


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


def listed_owners(s3: Any, bucket: str) -> dict[str, str]:
    """Canonical id of the owner of each key, as every listing names it."""
    told = [
        s3.list_objects(Bucket=bucket)["Contents"],
        s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"],
        s3.list_object_versions(Bucket=bucket)["Versions"],
    ]
    first, *others = [{one["Key"]: one["Owner"]["ID"] for one in entries} for entries in told]
    assert all(other == first for other in others)
    return first


def test_objects_of_other_owners(s3: Any, alt: Any, opened: str) -> None:
    s3.put_bucket_acl(Bucket=opened, ACL="public-read-write")
    alt.put_object(Bucket=opened, Key="theirs", Body=b"theirs")
    assert refusal(s3.get_object, Bucket=opened, Key="theirs") == DENIED
    assert refusal(s3.get_object_acl, Bucket=opened, Key="theirs") == DENIED
    # A policy of the bucket says nothing about what others own.
    s3.put_bucket_policy(Bucket=opened, Policy=policy_text(opened, {"Action": "s3:*"}))
    assert refusal(s3.get_object, Bucket=opened, Key="theirs") == DENIED
    alt.put_object_acl(Bucket=opened, Key="theirs", ACL="bucket-owner-read")
    assert s3.get_object(Bucket=opened, Key="theirs")["Body"].read() == b"theirs"
    held = alt.get_object_acl(Bucket=opened, Key="theirs")
    assert held["Owner"] == {"ID": ALT.owner_id, "DisplayName": "alt"}
    granted = [(one["Grantee"]["ID"], one["Permission"]) for one in held["Grants"]]
    assert granted == [(ALT.owner_id, "FULL_CONTROL"), (OWNER, "READ")]
    s3.put_object(Bucket=opened, Key="ours", Body=b"ours")
    theirs = {"ID": ALT.owner_id, "DisplayName": "alt"}
    assert listed_owners(s3, opened) == {"ours": OWNER, "theirs": ALT.owner_id}
    assert s3.list_objects(Bucket=opened, Prefix="theirs")["Contents"][0]["Owner"] == theirs
    assert "Owner" not in s3.list_objects_v2(Bucket=opened)["Contents"][1]
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
    assert set(listed_owners(s3, opened).values()) == {OWNER}
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
    public = policy_text(opened, {"Action": "s3:GetObject"})
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
    named = policy_text(opened, {"Action": "s3:GetObject", "Principal": {"AWS": ALT.owner_id}})
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
