"""Every request of S3 that has a route, made from the route table: for tests that ask them all.

Not for what the answers ought to be.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.s3.actions import (
    BUCKET_SUBRESOURCES,
    LISTED,
    OBJECT_SUBRESOURCES,
    PLAIN,
    Level,
    Operation,
)
from tests.support.raw_s3 import Answer, RawClient

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
