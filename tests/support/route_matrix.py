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
from gateway.s3.operations.table import OPERATIONS
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
    Operation.COMPLETE_MULTIPART_UPLOAD: b"<CompleteMultipartUpload><Part><PartNumber>1"
    b"</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
    Operation.COPY_OBJECT: b"",
    Operation.CREATE_BUCKET: b"",
    Operation.CREATE_MULTIPART_UPLOAD: b"",
    Operation.DELETE_OBJECTS: b"<Delete><Object><Key>k</Key></Object></Delete>",
    Operation.POST_OBJECT: b"",
    Operation.PUT_BUCKET_ABAC: b"<AbacStatus><Status>Disabled</Status></AbacStatus>",
    Operation.PUT_BUCKET_ACCELERATE_CONFIGURATION: b"<AccelerateConfiguration><Status>Suspended"
    b"</Status></AccelerateConfiguration>",
    Operation.PUT_BUCKET_ACL: OWNER_XML,
    Operation.PUT_BUCKET_ANALYTICS_CONFIGURATION: b"<AnalyticsConfiguration><Id>x</Id>"
    b"<StorageClassAnalysis/></AnalyticsConfiguration>",
    Operation.PUT_BUCKET_CORS: b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>"
    b"<AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>",
    Operation.PUT_BUCKET_ENCRYPTION: b"<ServerSideEncryptionConfiguration><Rule>"
    b"<ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
    b"</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
    Operation.PUT_BUCKET_INTELLIGENT_TIERING_CONFIGURATION: b"<IntelligentTieringConfiguration>"
    b"<Id>x</Id><Status>Enabled</Status><Tiering><Days>90</Days><AccessTier>ARCHIVE_ACCESS"
    b"</AccessTier></Tiering></IntelligentTieringConfiguration>",
    Operation.PUT_BUCKET_INVENTORY_CONFIGURATION: b"<InventoryConfiguration><Id>x</Id><Destination>"
    b"<S3BucketDestination><Bucket>arn:aws:s3:::there</Bucket><Format>CSV</Format>"
    b"</S3BucketDestination></Destination><IsEnabled>true</IsEnabled><IncludedObjectVersions>All"
    b"</IncludedObjectVersions><Schedule><Frequency>Daily</Frequency></Schedule>"
    b"</InventoryConfiguration>",
    Operation.PUT_BUCKET_LIFECYCLE_CONFIGURATION: b"<LifecycleConfiguration><Rule><ID>a</ID>"
    b"<Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days>"
    b"</Expiration></Rule></LifecycleConfiguration>",
    Operation.PUT_BUCKET_LOGGING: b"<BucketLoggingStatus/>",
    Operation.PUT_BUCKET_METRICS_CONFIGURATION: b"<MetricsConfiguration><Id>x</Id>"
    b"</MetricsConfiguration>",
    Operation.PUT_BUCKET_NOTIFICATION_CONFIGURATION: b"<NotificationConfiguration/>",
    Operation.PUT_BUCKET_OWNERSHIP_CONTROLS: b"<OwnershipControls><Rule><ObjectOwnership>"
    b"ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
    Operation.PUT_BUCKET_POLICY: b'{"Statement":{"Effect":"Deny","Principal":"*",'
    b'"Action":"s3:PutBucketWebsite","Resource":"*"}}',
    Operation.PUT_BUCKET_REPLICATION: b"<ReplicationConfiguration><Role>arn:aws:iam::a:role/r"
    b"</Role><Rule><ID>a</ID><Status>Enabled</Status><Prefix/><Destination><Bucket>"
    b"arn:aws:s3:::there</Bucket></Destination></Rule></ReplicationConfiguration>",
    Operation.PUT_BUCKET_REQUEST_PAYMENT: b"<RequestPaymentConfiguration><Payer>BucketOwner"
    b"</Payer></RequestPaymentConfiguration>",
    Operation.PUT_BUCKET_TAGGING: TAGS,
    Operation.PUT_BUCKET_VERSIONING: b"<VersioningConfiguration><Status>Suspended</Status>"
    b"</VersioningConfiguration>",
    Operation.PUT_BUCKET_WEBSITE: b"<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix>"
    b"</IndexDocument></WebsiteConfiguration>",
    Operation.PUT_OBJECT: b"content",
    Operation.PUT_OBJECT_ACL: OWNER_XML,
    Operation.PUT_OBJECT_ANNOTATION: b"content",
    Operation.PUT_OBJECT_LEGAL_HOLD: b"<LegalHold><Status>ON</Status></LegalHold>",
    Operation.PUT_OBJECT_LOCK_CONFIGURATION: b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled"
    b"</ObjectLockEnabled></ObjectLockConfiguration>",
    Operation.PUT_OBJECT_RETENTION: b"<Retention><Mode>GOVERNANCE</Mode>"
    b"<RetainUntilDate>2999-01-01T00:00:00Z</RetainUntilDate></Retention>",
    Operation.PUT_OBJECT_TAGGING: TAGS,
    Operation.PUT_PUBLIC_ACCESS_BLOCK: SWITCHES,
    Operation.RENAME_OBJECT: b"",
    Operation.UPDATE_OBJECT_ENCRYPTION: b"<ObjectEncryption><SSE-KMS><KMSKeyArn>"
    b"arn:aws:kms:fr:123456789012:key/none</KMSKeyArn></SSE-KMS></ObjectEncryption>",
    Operation.UPLOAD_PART: b"content",
    Operation.UPLOAD_PART_COPY: b"",
}
# Who these are for is not a question of a bucket's rights: operation → the test of who may.
ELSEWHERE: dict[Operation, str] = {
    Operation.CREATE_BUCKET: "test_buckets_that_are_not_there",
    Operation.LIST_BUCKETS: "test_buckets_that_are_not_there",
    Operation.OPTIONS_OBJECT: "test_web_01_origins_are_repeated_only_if_a_rule_names_them",
    Operation.POST_OBJECT: "test_sig_15_the_signer_needs_the_right",
}
COPY_SOURCE = "x-amz-copy-source"
_OF_VERSIONS = frozenset({"acl", "annotation", "attributes", "legal-hold", "retention", "tagging"})


@dataclass(frozen=True)
class Asked:
    """One request of the matrix; `{bucket}` and `{id}` stand for a bucket and an upload.

    Args:
        source: header that names the object to copy or to rename; "" for neither.
        offset: where the body goes to in an object that is there; "" = it is the object.
    """

    operation: Operation
    method: str
    target: str
    source: str = ""
    offset: str = ""

    @property
    def is_answered(self) -> bool:
        """Whether there is a function for it; if not, it is 501 for whoever may ask."""
        return self.operation in OPERATIONS


def _plain() -> Iterator[Asked]:
    """Requests without a sub-resource."""
    paths = ((Level.SERVICE, "/"), (Level.BUCKET, "/{bucket}"), (Level.OBJECT, "/{bucket}/k"))
    for level, path in paths:
        for method, operation in PLAIN[level].items():
            yield Asked(operation, method, path)
    yield Asked(Operation.LIST_OBJECTS_V2, "GET", "/{bucket}?list-type=2")
    yield Asked(Operation.COPY_OBJECT, "PUT", "/{bucket}/copy", COPY_SOURCE)
    yield Asked(Operation.PUT_OBJECT, "PUT", "/{bucket}/k", offset="7")
    part = "/{bucket}/up?partNumber=2&uploadId={id}"
    yield Asked(Operation.UPLOAD_PART_COPY, "PUT", part, COPY_SOURCE)
    for method in ("GET", "HEAD", "DELETE"):
        yield Asked(PLAIN[Level.OBJECT][method], method, "/{bucket}/k?versionId=null")
        yield Asked(PLAIN[Level.OBJECT][method], method, "/{bucket}/missing")


def _of_sub_resource(path: str, name: str, methods: dict[str, Operation]) -> Iterator[Asked]:
    listed = LISTED.get(methods.get("GET", Operation.GET_OBJECT))
    for method, operation in methods.items():
        if name == "uploadId":
            number = "partNumber=1&" if operation is Operation.UPLOAD_PART else ""
            yield Asked(operation, method, f"/{{bucket}}/up?{number}uploadId={{id}}")
            continue
        if operation is Operation.RENAME_OBJECT:
            yield Asked(operation, method, f"/{{bucket}}/renamed?{name}=", "x-amz-rename-source")
            continue
        whole = f"{path}?{name}="
        if listed is not None:
            if method == "GET":
                yield Asked(listed[1], method, whole)
            whole += f"&{listed[0]}=x"
        yield Asked(operation, method, whole)
        if name in _OF_VERSIONS and path.endswith("/k"):
            yield Asked(operation, method, f"{whole}&versionId=null")
            yield Asked(operation, method, whole.replace("/k?", "/missing?"))


def asked() -> Iterator[Asked]:
    """Every route."""
    yield from _plain()
    tables = (("/{bucket}", BUCKET_SUBRESOURCES), ("/{bucket}/k", OBJECT_SUBRESOURCES))
    for path, table in tables:
        for name, methods in table.items():
            yield from _of_sub_resource(path, name, methods)


EVERY = list(asked())
# What rights in a bucket decide.
MATRIX = [one for one in EVERY if one.is_answered and one.operation not in ELSEWHERE]


def send(client: RawClient, one: Asked, bucket: str, upload: str, *, signed: bool) -> Answer:
    """Send a request whose body is right."""
    target = one.target.replace("{bucket}", bucket).replace("{id}", upload)
    body = BODIES[one.operation] if one.method in ("PUT", "POST") else b""
    headers = {one.source: f"/{bucket}/k"} if one.source else {}
    if one.offset:
        headers["x-amz-write-offset-bytes"] = one.offset
    if one.operation is Operation.GET_OBJECT_ATTRIBUTES:
        headers["x-amz-object-attributes"] = "ETag"
    digest = base64.b64encode(hashlib.md5(body).digest()).decode()
    with client:
        if signed:
            return client.request(one.method, target, body, headers)
        given = {"host": client.authority, "content-length": str(len(body)), **headers}
        given |= {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "content-md5": digest}
        client.send_head(one.method, target, given)
        client.send(body)
        return client.read_answer(is_head=one.method == "HEAD")
