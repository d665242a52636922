"""AUT-04: every operation asks for the actions that AWS documents for it, for all and no other.

Another account gets in with exactly these, and is kept out as soon as one of them is denied.

Source: AWS Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3";
Amazon S3 User Guide, "Required permissions for Amazon S3 API operations".
"""

from __future__ import annotations

from typing import Any

import pytest

from gateway.s3.actions import Operation
from tests.support.accounts import ALT, ALT_ARN, policy_text, raw_of
from tests.support.raw_s3 import Answer
from tests.support.route_matrix import MATRIX, Asked, send
from tests.support.s3_gateway import NAMES, S3Gateway

# Operations whose action has another name than they; what several need is in order of asking.
NEEDS: dict[Operation, tuple[str, ...]] = {
    Operation.COMPLETE_MULTIPART_UPLOAD: ("PutObject",),
    Operation.COPY_OBJECT: ("PutObject", "GetObject"),
    Operation.CREATE_MULTIPART_UPLOAD: ("PutObject",),
    Operation.DELETE_BUCKET_ANALYTICS_CONFIGURATION: ("PutAnalyticsConfiguration",),
    Operation.DELETE_BUCKET_CORS: ("PutBucketCORS",),
    Operation.DELETE_BUCKET_ENCRYPTION: ("PutEncryptionConfiguration",),
    Operation.DELETE_BUCKET_INTELLIGENT_TIERING_CONFIGURATION: (
        "PutIntelligentTieringConfiguration",
    ),
    Operation.DELETE_BUCKET_INVENTORY_CONFIGURATION: ("PutInventoryConfiguration",),
    Operation.DELETE_BUCKET_LIFECYCLE: ("PutLifecycleConfiguration",),
    Operation.DELETE_BUCKET_METRICS_CONFIGURATION: ("PutMetricsConfiguration",),
    Operation.DELETE_BUCKET_OWNERSHIP_CONTROLS: ("PutBucketOwnershipControls",),
    Operation.DELETE_BUCKET_REPLICATION: ("PutReplicationConfiguration",),
    Operation.DELETE_BUCKET_TAGGING: ("PutBucketTagging",),
    Operation.DELETE_OBJECTS: ("DeleteObject",),
    Operation.DELETE_PUBLIC_ACCESS_BLOCK: ("PutBucketPublicAccessBlock",),
    Operation.GET_BUCKET_ACCELERATE_CONFIGURATION: ("GetAccelerateConfiguration",),
    Operation.GET_BUCKET_ANALYTICS_CONFIGURATION: ("GetAnalyticsConfiguration",),
    Operation.GET_BUCKET_CORS: ("GetBucketCORS",),
    Operation.GET_BUCKET_ENCRYPTION: ("GetEncryptionConfiguration",),
    Operation.GET_BUCKET_INTELLIGENT_TIERING_CONFIGURATION: ("GetIntelligentTieringConfiguration",),
    Operation.GET_BUCKET_INVENTORY_CONFIGURATION: ("GetInventoryConfiguration",),
    Operation.GET_BUCKET_LIFECYCLE_CONFIGURATION: ("GetLifecycleConfiguration",),
    Operation.GET_BUCKET_METRICS_CONFIGURATION: ("GetMetricsConfiguration",),
    Operation.GET_BUCKET_NOTIFICATION_CONFIGURATION: ("GetBucketNotification",),
    Operation.GET_BUCKET_REPLICATION: ("GetReplicationConfiguration",),
    Operation.GET_OBJECT_ATTRIBUTES: ("GetObject", "GetObjectAttributes"),
    Operation.GET_OBJECT_LOCK_CONFIGURATION: ("GetBucketObjectLockConfiguration",),
    Operation.GET_OBJECT_TORRENT: ("GetObject",),
    Operation.GET_PUBLIC_ACCESS_BLOCK: ("GetBucketPublicAccessBlock",),
    Operation.HEAD_BUCKET: ("ListBucket",),
    Operation.HEAD_OBJECT: ("GetObject",),
    Operation.LIST_BUCKET_ANALYTICS_CONFIGURATIONS: ("GetAnalyticsConfiguration",),
    Operation.LIST_BUCKET_INTELLIGENT_TIERING_CONFIGURATIONS: (
        "GetIntelligentTieringConfiguration",
    ),
    Operation.LIST_BUCKET_INVENTORY_CONFIGURATIONS: ("GetInventoryConfiguration",),
    Operation.LIST_BUCKET_METRICS_CONFIGURATIONS: ("GetMetricsConfiguration",),
    Operation.LIST_MULTIPART_UPLOADS: ("ListBucketMultipartUploads",),
    Operation.LIST_OBJECTS: ("ListBucket",),
    Operation.LIST_OBJECTS_V2: ("ListBucket",),
    Operation.LIST_OBJECT_VERSIONS: ("ListBucketVersions",),
    Operation.LIST_PARTS: ("ListMultipartUploadParts",),
    Operation.PUT_BUCKET_ACCELERATE_CONFIGURATION: ("PutAccelerateConfiguration",),
    Operation.PUT_BUCKET_ANALYTICS_CONFIGURATION: ("PutAnalyticsConfiguration",),
    Operation.PUT_BUCKET_CORS: ("PutBucketCORS",),
    Operation.PUT_BUCKET_ENCRYPTION: ("PutEncryptionConfiguration",),
    Operation.PUT_BUCKET_INTELLIGENT_TIERING_CONFIGURATION: ("PutIntelligentTieringConfiguration",),
    Operation.PUT_BUCKET_INVENTORY_CONFIGURATION: ("PutInventoryConfiguration",),
    Operation.PUT_BUCKET_LIFECYCLE_CONFIGURATION: ("PutLifecycleConfiguration",),
    Operation.PUT_BUCKET_METRICS_CONFIGURATION: ("PutMetricsConfiguration",),
    Operation.PUT_BUCKET_NOTIFICATION_CONFIGURATION: ("PutBucketNotification",),
    Operation.PUT_BUCKET_REPLICATION: ("PutReplicationConfiguration",),
    Operation.PUT_OBJECT_LOCK_CONFIGURATION: ("PutBucketObjectLockConfiguration",),
    Operation.PUT_PUBLIC_ACCESS_BLOCK: ("PutBucketPublicAccessBlock",),
    Operation.RENAME_OBJECT: ("GetObject", "PutObject", "DeleteObject"),
    Operation.UPDATE_OBJECT_ENCRYPTION: ("UpdateObjectEncryption",),
    Operation.UPLOAD_PART: ("PutObject",),
    Operation.UPLOAD_PART_COPY: ("PutObject", "GetObject"),
}
# Those of a named version end differently.
OF_VERSIONS = {
    "DeleteObject": "DeleteObjectVersion",
    "DeleteObjectAnnotation": "DeleteObjectVersionAnnotation",
    "DeleteObjectTagging": "DeleteObjectVersionTagging",
    "GetObject": "GetObjectVersion",
    "GetObjectAcl": "GetObjectVersionAcl",
    "GetObjectAnnotation": "GetObjectVersionAnnotation",
    "GetObjectAttributes": "GetObjectVersionAttributes",
    "GetObjectTagging": "GetObjectVersionTagging",
    "ListObjectAnnotations": "ListObjectVersionAnnotations",
    "PutObjectAcl": "PutObjectVersionAcl",
    "PutObjectAnnotation": "PutObjectVersionAnnotation",
    "PutObjectTagging": "PutObjectVersionTagging",
}
# Whom a policy lets in does not become its master, whatever it says.
OF_OWNERS_ONLY = frozenset(
    {
        Operation.DELETE_BUCKET_POLICY,
        Operation.GET_BUCKET_POLICY,
        Operation.PUT_BUCKET_POLICY,
    }
)
# What is missing is told to whom may list; the other matrices ask for that.
ASKED = [one for one in MATRIX if "/missing" not in one.target]


def needs(one: Asked) -> list[str]:
    """Actions without which a request is refused."""
    names = NEEDS.get(one.operation, (one.operation.value,))
    if "versionId=" in one.target:
        names = tuple(OF_VERSIONS.get(name, name) for name in names)
    return [f"s3:{name}" for name in names]


def is_denied(answer: Answer) -> bool:
    return answer.status == 403 or b"<Code>AccessDenied" in answer.body


@pytest.mark.parametrize("one", ASKED, ids=lambda one: f"{one.method} {one.target}")
def test_aut_04_an_operation_needs_its_actions_and_no_others(
    gateway: S3Gateway, s3: Any, one: Asked
) -> None:
    bucket = NAMES.next()
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="up")["UploadId"]
    actions = needs(one)

    def ask(*statements: dict[str, Any]) -> Answer:
        everyone_else = {"Principal": ALT_ARN}
        said = [{**everyone_else, **statement} for statement in statements]
        s3.put_bucket_policy(Bucket=bucket, Policy=policy_text(bucket, *said))
        return send(raw_of(gateway, ALT), one, bucket, upload, signed=True)

    for action in actions:
        answer = ask({"Action": "s3:*"}, {"Effect": "Deny", "Action": action})
        assert is_denied(answer) or answer.status == 405, (action, answer)
        others = [other for other in actions if other != action]
        if others:
            assert is_denied(ask({"Action": others})), action
    answer = ask({"Action": actions})
    if one.operation in OF_OWNERS_ONLY:
        assert (answer.status, answer.code) in ((403, "AccessDenied"), (405, "MethodNotAllowed"))
    else:
        assert not is_denied(answer), answer
        assert answer.status < 500
