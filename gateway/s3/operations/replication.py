"""PutBucketReplication, GetBucketReplication, DeleteBucketReplication.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.model.version import STORAGE_CLASSES
from gateway.objects import replication
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.operations.configs import BUCKET_ARN, TAG, body_document
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.schema import (
    ANY_NUMBER,
    TEXT,
    Child,
    Group,
    Leaf,
    children_of,
    choice,
    listed,
    optional,
)

RULES_MAX = 1000
BODY_BYTES_MAX = 2 << 20  # S3's own limit
_ROOT = "ReplicationConfiguration"
_STATUS = choice("Enabled", "Disabled")
_HAS_STATUS = Group(children={"Status": Child(_STATUS)})
_AND = Group(children={"Prefix": optional(TEXT), "Tag": listed(TAG)})
_FILTER = Group(
    children={"Prefix": optional(TEXT), "Tag": optional(TAG), "And": optional(_AND)},
    at_most_one_of=frozenset({"Prefix", "Tag", "And"}),
)
_MINUTES = Group(children={"Minutes": Child(ANY_NUMBER)})
_DESTINATION = Group(
    children={
        "Bucket": Child(Leaf(pattern=BUCKET_ARN)),
        "Account": optional(TEXT),
        "StorageClass": optional(choice(*STORAGE_CLASSES)),
        "AccessControlTranslation": optional(
            Group(children={"Owner": Child(choice("Destination"))})
        ),
        "EncryptionConfiguration": optional(Group(children={"ReplicaKmsKeyID": optional(TEXT)})),
        "ReplicationTime": optional(
            Group(children={"Status": Child(_STATUS), "Time": Child(_MINUTES)})
        ),
        "Metrics": optional(
            Group(children={"Status": Child(_STATUS), "EventThreshold": optional(_MINUTES)})
        ),
    }
)
_SELECTION = Group(
    children={
        "SseKmsEncryptedObjects": optional(_HAS_STATUS),
        "ReplicaModifications": optional(_HAS_STATUS),
    }
)
_RULE = Group(
    children={
        "ID": optional(Leaf(characters_max=255)),
        "Priority": optional(ANY_NUMBER),
        "Prefix": optional(TEXT),
        "Filter": optional(_FILTER),
        "Status": Child(_STATUS),
        "SourceSelectionCriteria": optional(_SELECTION),
        "ExistingObjectReplication": optional(_HAS_STATUS),
        "Destination": Child(_DESTINATION),
        "DeleteMarkerReplication": optional(_HAS_STATUS),
    },
    at_most_one_of=frozenset({"Prefix", "Filter"}),
)
_FORM = Group(
    children={
        "Role": Child(Leaf(characters_max=2048)),
        "Rule": listed(_RULE, least=1, most=RULES_MAX),
    }
)


async def put_replication(call: Call) -> Reply:
    given = await body_document(call, _ROOT, _FORM, BODY_BYTES_MAX)
    rules = given["Rule"]
    for rule in rules:
        _check_rule(rule)
        rule.setdefault("ID", call.context.services.env.random_bytes(16).hex())
    document = {"role": given["Role"], "rules": rules}
    await replication.put_replication(call.context, call.bucket, document)
    return Reply()


def _check_rule(rule: dict[str, Any]) -> None:
    if "Filter" not in rule:
        if "Priority" in rule or "DeleteMarkerReplication" in rule:
            raise S3Error("InvalidRequest", "Filter must be specified with Priority.")
        return
    if "Priority" not in rule:
        raise S3Error("InvalidRequest", "Priority must be specified for this version of rules.")
    markers = rule.get("DeleteMarkerReplication")
    if markers is None:
        raise S3Error("InvalidRequest", "DeleteMarkerReplication must be specified.")
    chosen = rule["Filter"]
    has_tags = "Tag" in chosen or bool(chosen.get("And", {}).get("Tag"))
    if has_tags and markers["Status"] == "Enabled":
        raise S3Error(
            "InvalidRequest",
            "Delete marker replication is not supported if any Tag filter is specified.",
        )


async def get_replication(call: Call) -> Reply:
    fields.check_supported(call)
    document = replication.read_replication(call.context, call.bucket)
    shown = {"Role": document["role"], "Rule": document["rules"]}
    return xml_reply(xml.document(_ROOT, *children_of(shown, _FORM)))


async def delete_replication(call: Call) -> Reply:
    fields.check_supported(call)
    await replication.put_replication(call.context, call.bucket, None)
    return Reply(status=204)


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutBucketReplication": put_replication,
    "GetBucketReplication": get_replication,
    "DeleteBucketReplication": delete_replication,
}
