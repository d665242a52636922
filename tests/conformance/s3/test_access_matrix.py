"""Every route of the table, asked by the bucket's owner, by another account, and by nobody.

What others may do in a bucket that lets nobody in is nothing, whatever else it has: ACLs in force,
or a policy that lets everybody do something else.
"""

from __future__ import annotations

import pytest

from gateway.s3.actions import Operation
from gateway.s3.operations.table import OPERATIONS
from gateway.s3.routes import level_of, route, split_target
from tests.support.accounts import ALT, policy_text, raw_of
from tests.support.raw_s3 import Answer
from tests.support.route_matrix import BODIES, EVERY, MATRIX, Asked, send
from tests.support.s3_gateway import S3Gateway

pytestmark = pytest.mark.proves("B-07", "A-07", "AUT-04")

OF_POLICIES = frozenset(
    {
        Operation.DELETE_BUCKET_POLICY,
        Operation.GET_BUCKET_POLICY,
        Operation.PUT_BUCKET_POLICY,
    }
)
DENY_ALL = {"Effect": "Deny", "Action": "s3:*"}


def made(gateway: S3Gateway, kind: str) -> tuple[str, str]:
    """(name, upload id) of a bucket of a kind, with an object "k" and an upload of "up"."""
    name = f"matrix-{kind}"
    services, s3 = gateway.gateway.services, gateway.boto()
    services.new_buckets_open = kind != "production"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=kind == "locking")
    services.new_buckets_open = False
    s3.put_object(Bucket=name, Key="k", Body=b"content")
    if kind == "other-action":
        policy = policy_text(name, {"Effect": "Allow", "Action": "s3:GetBucketWebsite"})
        s3.put_bucket_policy(Bucket=name, Policy=policy)
    if kind == "denying":
        s3.put_bucket_acl(Bucket=name, ACL="public-read-write")
        s3.put_object_acl(Bucket=name, Key="k", ACL="public-read")
    upload = s3.create_multipart_upload(Bucket=name, Key="up")["UploadId"]
    if kind == "denying":
        s3.put_bucket_policy(Bucket=name, Policy=policy_text(name, DENY_ALL))
    return name, upload


def is_refused(one: Asked, answer: Answer) -> bool:
    """Whether a request came to nothing for want of rights."""
    if one.operation is Operation.DELETE_OBJECTS and answer.status == 200:
        # Each key is refused by itself.
        return b"<Code>AccessDenied" in answer.body and b"<Deleted>" not in answer.body
    if one.operation in OF_POLICIES and answer.code == "MethodNotAllowed":
        return True
    return answer.status == 403 and answer.code in ("AccessDenied", "")


def test_every_operation_has_its_rows() -> None:
    """SIG-03, AUT-04: the matrices are made from the route table, and leave nothing out."""
    assert {one.operation for one in EVERY} == set(Operation)
    assert {one.operation for one in EVERY if one.is_answered} == set(OPERATIONS)
    for one in EVERY:
        path, _, query = one.target.partition("?")
        names = [field.partition("=")[0] for field in query.split("&") if field]
        level = level_of(*split_target("s3.test", path.replace("{bucket}", "bucket"), ()))
        headers = [one.source] if one.source else []
        assert route(one.method, level, names, headers).operation == one.operation, one
    writing = {one.operation for one in MATRIX if one.method in ("PUT", "POST")}
    assert not writing - BODIES.keys(), "operations without a body that is right"


@pytest.mark.parametrize("kind", ["production", "open", "locking", "other-action", "denying"])
def test_nobody_else_gets_in(gateway: S3Gateway, kind: str) -> None:
    """AUT-10: the matrix of two tenants."""
    bucket, upload = made(gateway, kind)
    let_in: list[str] = []
    for one in MATRIX:
        if one.operation is Operation.GET_BUCKET_WEBSITE and kind == "other-action":
            continue
        for who, is_signed in (("another", True), ("nobody", False)):
            client = raw_of(gateway, ALT) if is_signed else gateway.raw()
            answer = send(client, one, bucket, upload, signed=is_signed)
            if is_refused(one, answer):
                continue
            let_in.append(f"{who} {one.method} {one.target}: {answer.status} {answer.code}")
    assert not let_in
    if kind != "denying":
        assert gateway.boto().get_object(Bucket=bucket, Key="k")["Body"].read() == b"content"


def test_a_denial_holds_for_the_owner_too_but_for_the_policy_itself(gateway: S3Gateway) -> None:
    bucket, upload = made(gateway, "denied")
    s3 = gateway.boto()
    s3.put_bucket_policy(Bucket=bucket, Policy=policy_text(bucket, DENY_ALL))
    let_in: list[str] = []
    changes = (Operation.PUT_BUCKET_POLICY, Operation.DELETE_BUCKET_POLICY)
    for one in MATRIX:
        if one.operation in changes:
            continue
        answer = send(gateway.raw(), one, bucket, upload, signed=True)
        if one.operation is Operation.GET_BUCKET_POLICY:
            assert answer.status == 200
        elif not is_refused(one, answer):
            let_in.append(f"{one.method} {one.target}: {answer.status} {answer.code}")
    assert not let_in
    s3.delete_bucket_policy(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"content"


@pytest.mark.parametrize("kind", ["owned", "owned-open"])
def test_the_owner_is_refused_nothing(gateway: S3Gateway, kind: str) -> None:
    for one in MATRIX:
        if one.operation is Operation.DELETE_BUCKET:
            continue
        services = gateway.gateway.services
        name = "matrix-owner-" + kind
        services.new_buckets_open = kind == "owned-open"
        s3 = gateway.boto()
        if name not in [held["Name"] for held in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket=name)
        services.new_buckets_open = False
        s3.put_object(Bucket=name, Key="k", Body=b"content")
        upload = s3.create_multipart_upload(Bucket=name, Key="up")["UploadId"]
        answer = send(gateway.raw(), one, name, upload, signed=True)
        assert answer.status not in (403, 500, 503), (one, answer)
