"""Every route of the table, asked by the bucket's owner, by another account, and by nobody.

What others may do in a bucket that lets nobody in is nothing, whatever else it has: ACLs in force,
or a policy that lets everybody do something else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.s3.actions import (
    BUCKET_SUBRESOURCES,
    LISTED,
    OBJECT_SUBRESOURCES,
    PLAIN,
    Level,
    Operation,
)
from gateway.s3.operations.table import OPERATIONS
from tests.support.accounts import ALT, add_account, raw_of
from tests.support.raw_s3 import Answer, RawClient
from tests.support.s3_gateway import S3Gateway, running_gateway

TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
OWNER_XML = (
    b"<AccessControlPolicy><Owner><ID>owner-of-tests</ID></Owner><AccessControlList/>"
    b"</AccessControlPolicy>"
)
SWITCHES = (
    b"<PublicAccessBlockConfiguration><BlockPublicAcls>false</BlockPublicAcls>"
    b"</PublicAccessBlockConfiguration>"
)
# Bodies that are right, so that nothing but rights can be what is wrong.
BODIES: dict[Operation, bytes] = {
    Operation.PUT_BUCKET_POLICY: b'{"Statement":{"Effect":"Deny","Principal":"*",'
    b'"Action":"s3:PutBucketWebsite","Resource":"*"}}',
    Operation.PUT_BUCKET_ACL: OWNER_XML,
    Operation.PUT_OBJECT_ACL: OWNER_XML,
    Operation.PUT_PUBLIC_ACCESS_BLOCK: SWITCHES,
    Operation.PUT_BUCKET_OWNERSHIP_CONTROLS: b"<OwnershipControls><Rule><ObjectOwnership>"
    b"ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
    Operation.PUT_BUCKET_TAGGING: TAGS,
    Operation.PUT_OBJECT_TAGGING: TAGS,
    Operation.PUT_BUCKET_VERSIONING: b"<VersioningConfiguration><Status>Suspended</Status>"
    b"</VersioningConfiguration>",
    Operation.PUT_BUCKET_CORS: b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>"
    b"<AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>",
    Operation.PUT_BUCKET_ENCRYPTION: b"<ServerSideEncryptionConfiguration><Rule>"
    b"<ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
    b"</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
    Operation.DELETE_OBJECTS: b"<Delete><Object><Key>k</Key></Object></Delete>",
    Operation.PUT_OBJECT_RETENTION: b"<Retention><Mode>GOVERNANCE</Mode>"
    b"<RetainUntilDate>2999-01-01T00:00:00Z</RetainUntilDate></Retention>",
    Operation.PUT_OBJECT_LEGAL_HOLD: b"<LegalHold><Status>ON</Status></LegalHold>",
    Operation.PUT_OBJECT_LOCK_CONFIGURATION: b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled"
    b"</ObjectLockEnabled></ObjectLockConfiguration>",
    Operation.COMPLETE_MULTIPART_UPLOAD: b"<CompleteMultipartUpload><Part><PartNumber>1"
    b"</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
    Operation.PUT_BUCKET_REQUEST_PAYMENT: b"<RequestPaymentConfiguration><Payer>BucketOwner"
    b"</Payer></RequestPaymentConfiguration>",
    Operation.PUT_BUCKET_LIFECYCLE_CONFIGURATION: b"<LifecycleConfiguration><Rule><ID>a</ID>"
    b"<Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days>"
    b"</Expiration></Rule></LifecycleConfiguration>",
    Operation.PUT_OBJECT: b"content",
    Operation.UPLOAD_PART: b"content",
}
# Who these are for is not a question of the bucket: a form and a preflight prove themselves.
ELSEWHERE = frozenset({Operation.POST_OBJECT, Operation.OPTIONS_OBJECT, Operation.CREATE_BUCKET})


@dataclass(frozen=True)
class Asked:
    """One request of the matrix; `{id}` stands for an upload."""

    operation: Operation
    method: str
    target: str
    copies: bool = False


def asked() -> Iterator[Asked]:
    """Every route of buckets and objects."""
    for level, path in ((Level.BUCKET, ""), (Level.OBJECT, "/k")):
        for method, operation in PLAIN[level].items():
            yield Asked(operation, method, path)
    yield Asked(Operation.LIST_OBJECTS_V2, "GET", "?list-type=2")
    yield Asked(Operation.COPY_OBJECT, "PUT", "/copy", copies=True)
    yield Asked(Operation.UPLOAD_PART_COPY, "PUT", "/up?partNumber=2&uploadId={id}", copies=True)
    for method in ("GET", "HEAD", "DELETE"):
        yield Asked(PLAIN[Level.OBJECT][method], method, "/k?versionId=null")
        yield Asked(PLAIN[Level.OBJECT][method], method, "/missing")
    for path, table in (("", BUCKET_SUBRESOURCES), ("/k", OBJECT_SUBRESOURCES)):
        for name, methods in table.items():
            for method, operation in methods.items():
                if name == "uploadId":
                    number = "partNumber=1&" if operation is Operation.UPLOAD_PART else ""
                    yield Asked(operation, method, f"/up?{number}uploadId={{id}}")
                    continue
                yield Asked(operation, method, f"{path}?{name}=")
                if operation in LISTED:
                    yield Asked(operation, method, f"{path}?{name}=&{LISTED[operation][0]}=x")
                if name in ("acl", "tagging", "attributes", "retention", "legal-hold") and path:
                    yield Asked(operation, method, f"{path}?{name}=&versionId=null")
                    yield Asked(operation, method, f"/missing?{name}=")


MATRIX = [one for one in asked() if one.operation not in ELSEWHERE]


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with running_gateway() as running:
        running.thread.run(add_account(running.gateway.services, ALT))
        yield running


def policy_of(name: str, effect: str, action: str) -> str:
    whole = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
    said = {"Effect": effect, "Principal": "*", "Action": action, "Resource": whole}
    return json.dumps({"Version": "2012-10-17", "Statement": [said]})


def made(gateway: S3Gateway, kind: str) -> tuple[str, str]:
    """(name, upload id) of a bucket of a kind, with an object "k" and an upload of "up"."""
    name = f"matrix-{kind}"
    services, s3 = gateway.gateway.services, gateway.boto()
    services.new_buckets_open = kind != "production"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=kind == "locking")
    services.new_buckets_open = False
    s3.put_object(Bucket=name, Key="k", Body=b"content")
    if kind == "other-action":
        policy = policy_of(name, "Allow", "s3:GetBucketWebsite")
        s3.put_bucket_policy(Bucket=name, Policy=policy)
    if kind == "denying":
        s3.put_bucket_acl(Bucket=name, ACL="public-read-write")
        s3.put_object_acl(Bucket=name, Key="k", ACL="public-read")
    upload = s3.create_multipart_upload(Bucket=name, Key="up")["UploadId"]
    if kind == "denying":
        s3.put_bucket_policy(Bucket=name, Policy=policy_of(name, "Deny", "s3:*"))
    return name, upload


def send(client: RawClient, one: Asked, bucket: str, upload: str, *, signed: bool) -> Answer:
    target = f"/{bucket}{one.target.replace('{id}', upload)}"
    body = BODIES.get(one.operation, b"<x/>" if one.method in ("PUT", "POST") else b"")
    if one.copies:
        body = b""
    headers = {"x-amz-copy-source": f"/{bucket}/k"} if one.copies else {}
    if one.operation is Operation.GET_OBJECT_ATTRIBUTES:
        headers["x-amz-object-attributes"] = "ETag"
    with client:
        if signed:
            return client.request(one.method, target, body, headers)
        given = {"host": client.authority, "content-length": str(len(body)), **headers}
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        given |= {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "content-md5": digest}
        client.send_head(one.method, target, given)
        client.send(body)
        return client.read_answer(is_head=one.method == "HEAD")


def is_refused(one: Asked, answer: Answer) -> bool:
    """Whether a request came to nothing, for want of rights or of a right body."""
    if answer.status == 403 and answer.code in ("AccessDenied", ""):
        return True
    if one.operation is Operation.DELETE_OBJECTS:  # each key is refused by itself
        return b"<Code>AccessDenied" in answer.body and b"<Deleted>" not in answer.body
    return answer.status == 400 and one.operation not in BODIES and one.method != "GET"


@pytest.mark.parametrize("kind", ["production", "open", "locking", "other-action", "denying"])
def test_nobody_else_gets_in(gateway: S3Gateway, kind: str) -> None:
    bucket, upload = made(gateway, kind)
    let_in: list[str] = []
    for one in MATRIX:
        if one.operation not in OPERATIONS or one.operation is Operation.GET_BUCKET_WEBSITE:
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
    s3.put_bucket_policy(Bucket=bucket, Policy=policy_of(bucket, "Deny", "s3:*"))
    let_in: list[str] = []
    changes = (Operation.PUT_BUCKET_POLICY, Operation.DELETE_BUCKET_POLICY)
    for one in MATRIX:
        if one.operation not in OPERATIONS or one.operation in changes:
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
        if one.operation not in OPERATIONS or one.operation is Operation.DELETE_BUCKET:
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
