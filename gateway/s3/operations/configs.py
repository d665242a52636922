"""Configurations that are kept and told, and that SDKs look for: request payment, acceleration,
ABAC, analytics, metrics, intelligent tiering, inventory.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.model.action import Action
from gateway.objects import named_configs
from gateway.objects.bucket_config import put_document, read_document
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.schema import (
    ANY_BOOLEAN,
    ANY_NUMBER,
    TEXT,
    Child,
    Group,
    Leaf,
    children_of,
    choice,
    listed,
    optional,
    parse,
)
from gateway.s3.xml_reader import read

BODY_BYTES_MAX = 64 * 1024
PAYER, ACCELERATE, ABAC = "payer", "accelerate", "abac"
ID_CHARACTERS_MAX = 64
BUCKET_ARN = re.compile(r"arn:aws:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

_ID = Leaf(pattern=re.compile(r"[0-9a-zA-Z._-]{1,64}"))
TAG = Group(
    children={
        "Key": Child(Leaf(characters_min=1, characters_max=128)),
        "Value": Child(Leaf(characters_max=256)),
    }
)


def _filter(*further: str) -> Group:
    """A filter by prefix, by tag, by what is named further, or by several of these."""
    also = {name: optional(TEXT) for name in further}
    both = Group(children={"Prefix": optional(TEXT), "Tag": listed(TAG), **also})
    alone = {"Prefix": optional(TEXT), "Tag": optional(TAG), **also, "And": optional(both)}
    return Group(children=alone, at_most_one_of=frozenset(alone))


def _into_bucket(account: str, *formats: str, further: Mapping[str, Child]) -> Group:
    where = Group(
        children={
            account: optional(TEXT),
            "Bucket": Child(Leaf(pattern=BUCKET_ARN)),
            "Format": Child(choice(*formats)),
            "Prefix": optional(Leaf(characters_max=512)),
            **further,
        }
    )
    return Group(children={"S3BucketDestination": Child(where)})


_EXPORT = Group(
    children={
        "OutputSchemaVersion": Child(choice("V_1")),
        "Destination": Child(_into_bucket("BucketAccountId", "CSV", further={})),
    }
)
_ANALYTICS = Group(
    children={
        "Id": Child(_ID),
        "Filter": optional(_filter()),
        "StorageClassAnalysis": Child(Group(children={"DataExport": optional(_EXPORT)})),
    }
)
_METRICS = Group(children={"Id": Child(_ID), "Filter": optional(_filter("AccessPointArn"))})
_TIERING = Group(
    children={
        "Days": Child(ANY_NUMBER),
        "AccessTier": Child(choice("ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS")),
    }
)
_INTELLIGENT_TIERING = Group(
    children={
        "Id": Child(_ID),
        "Filter": optional(_filter()),
        "Status": Child(choice("Enabled", "Disabled")),
        "Tiering": listed(_TIERING, least=1, most=2),
    }
)
_SEALED = Group(
    children={
        "SSE-S3": optional(Group(children={})),
        "SSE-KMS": optional(Group(children={"KeyId": Child(TEXT)})),
    },
    one_of=frozenset({"SSE-S3", "SSE-KMS"}),
)
INVENTORY_FIELDS = (
    "Size",
    "LastModifiedDate",
    "StorageClass",
    "ETag",
    "IsMultipartUploaded",
    "ReplicationStatus",
    "EncryptionStatus",
    "ObjectLockRetainUntilDate",
    "ObjectLockMode",
    "ObjectLockLegalHoldStatus",
    "IntelligentTieringAccessTier",
    "BucketKeyStatus",
    "ChecksumAlgorithm",
    "ObjectAccessControlList",
    "ObjectOwner",
    "LifecycleExpirationDate",
)
_INVENTORY = Group(
    children={
        "Destination": Child(
            _into_bucket(
                "AccountId", "CSV", "ORC", "Parquet", further={"Encryption": optional(_SEALED)}
            )
        ),
        "IsEnabled": Child(ANY_BOOLEAN),
        "Filter": optional(Group(children={"Prefix": Child(TEXT)})),
        "Id": Child(_ID),
        "IncludedObjectVersions": Child(choice("All", "Current")),
        "OptionalFields": optional(
            Group(children={"Field": listed(choice(*INVENTORY_FIELDS), most=len(INVENTORY_FIELDS))})
        ),
        "Schedule": Child(Group(children={"Frequency": Child(choice("Daily", "Weekly"))})),
    }
)


class _Kind(NamedTuple):
    """A kind of configuration with ids."""

    name: str
    root: str
    listing: str
    form: Group
    reading: Action
    writing: Action


ANALYTICS = _Kind(
    "analytics",
    "AnalyticsConfiguration",
    "ListBucketAnalyticsConfigurationResult",
    _ANALYTICS,
    Action.GET_ANALYTICS_CONFIGURATION,
    Action.PUT_ANALYTICS_CONFIGURATION,
)
METRICS = _Kind(
    "metrics",
    "MetricsConfiguration",
    "ListMetricsConfigurationsResult",
    _METRICS,
    Action.GET_METRICS_CONFIGURATION,
    Action.PUT_METRICS_CONFIGURATION,
)
INTELLIGENT_TIERING = _Kind(
    "intelligent-tiering",
    "IntelligentTieringConfiguration",
    "ListBucketIntelligentTieringConfigurationsOutput",
    _INTELLIGENT_TIERING,
    Action.GET_INTELLIGENT_TIERING_CONFIGURATION,
    Action.PUT_INTELLIGENT_TIERING_CONFIGURATION,
)
INVENTORY = _Kind(
    "inventory",
    "InventoryConfiguration",
    "ListInventoryConfigurationsResult",
    _INVENTORY,
    Action.GET_INVENTORY_CONFIGURATION,
    Action.PUT_INVENTORY_CONFIGURATION,
)


async def body_document(
    call: Call, root: str, form: Group, bytes_max: int = BODY_BYTES_MAX
) -> dict[str, Any]:
    """The body of a request. Raises S3Error: MalformedXML, MaxMessageLengthExceeded."""
    fields.check_supported(call)
    body = await call.body.read_document(bytes_max)
    return parse(read(body, root, bytes_max), form)


def _config_id(call: Call) -> str:
    config_id = call.query.get("id", "")
    if not config_id or len(config_id) > ID_CHARACTERS_MAX:
        raise S3Error("InvalidConfigurationId")
    return config_id


def _inventory_format(document: dict[str, Any]) -> str:
    return str(document["Destination"]["S3BucketDestination"]["Format"])


def _operations_of(kind: _Kind) -> tuple[OperationFunction, ...]:
    """Put, get, delete and list of a kind."""

    async def put(call: Call) -> Reply:
        document = await body_document(call, kind.root, kind.form)
        if document["Id"] != _config_id(call):
            raise S3Error("InvalidConfigurationId")
        if kind is INVENTORY and _inventory_format(document) != "CSV":
            raise S3Error("NotImplemented", "Inventory reports are written as CSV only.")
        await named_configs.put_config(
            call.context, call.bucket, kind.name, document["Id"], document, kind.writing
        )
        return Reply(status=200 if kind is not INVENTORY else 204)

    async def get(call: Call) -> Reply:
        fields.check_supported(call)
        document = named_configs.read_config(
            call.context, call.bucket, kind.name, _config_id(call), kind.reading
        )
        return xml_reply(xml.document(kind.root, *children_of(document, kind.form)))

    async def delete(call: Call) -> Reply:
        fields.check_supported(call)
        await named_configs.delete_config(
            call.context, call.bucket, kind.name, _config_id(call), kind.writing
        )
        return Reply(status=204)

    async def list_all(call: Call) -> Reply:
        fields.check_supported(call)
        after = call.query.get("continuation-token", "")
        page = named_configs.list_configs(call.context, call.bucket, kind.name, after, kind.reading)
        written = [
            xml.group(kind.root, *children_of(document, kind.form)) for document in page.documents
        ]
        written.append(xml.element("IsTruncated", page.next_id is not None))
        if after:
            written.append(xml.element("ContinuationToken", after))
        if page.next_id is not None:
            written.append(xml.element("NextContinuationToken", page.next_id))
        return xml_reply(xml.document(kind.listing, *written))

    return put, get, delete, list_all


def _named_operations(single: str, plural: str, kind: _Kind) -> dict[str, OperationFunction]:
    put, get, delete, list_all = _operations_of(kind)
    return {
        f"PutBucket{single}": put,
        f"GetBucket{single}": get,
        f"DeleteBucket{single}": delete,
        f"ListBucket{plural}": list_all,
    }


async def put_request_payment(call: Call) -> Reply:
    form = Group(children={"Payer": Child(choice("BucketOwner", "Requester"))})
    document = await body_document(call, "RequestPaymentConfiguration", form)
    is_default = document["Payer"] == "BucketOwner"
    kept = None if is_default else {"payer": document["Payer"]}
    await put_document(call.context, call.bucket, PAYER, kept, Action.PUT_BUCKET_REQUEST_PAYMENT)
    return Reply()


async def get_request_payment(call: Call) -> Reply:
    fields.check_supported(call)
    held = read_document(call.context, call.bucket, PAYER, Action.GET_BUCKET_REQUEST_PAYMENT)
    payer = "BucketOwner" if held is None else held["payer"]
    return xml_reply(xml.document("RequestPaymentConfiguration", xml.element("Payer", payer)))


async def put_accelerate(call: Call) -> Reply:
    form = Group(children={"Status": Child(choice("Enabled", "Suspended"))})
    document = await body_document(call, "AccelerateConfiguration", form)
    if "." in call.bucket:
        raise S3Error(
            "InvalidRequest",
            "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names",
        )
    kept = {"status": document["Status"]}
    await put_document(
        call.context, call.bucket, ACCELERATE, kept, Action.PUT_ACCELERATE_CONFIGURATION
    )
    return Reply()


async def get_accelerate(call: Call) -> Reply:
    fields.check_supported(call)
    action = Action.GET_ACCELERATE_CONFIGURATION
    held = read_document(call.context, call.bucket, ACCELERATE, action)
    status = [] if held is None else [xml.element("Status", held["status"])]
    return xml_reply(xml.document("AccelerateConfiguration", *status))


async def put_abac(call: Call) -> Reply:
    form = Group(children={"Status": Child(choice("Enabled", "Disabled"))})
    document = await body_document(call, "AbacStatus", form)
    kept = {"status": "Enabled"} if document["Status"] == "Enabled" else None
    await put_document(call.context, call.bucket, ABAC, kept, Action.PUT_BUCKET_ABAC)
    return Reply()


async def get_abac(call: Call) -> Reply:
    fields.check_supported(call)
    held = read_document(call.context, call.bucket, ABAC, Action.GET_BUCKET_ABAC)
    status = "Disabled" if held is None else held["status"]
    return xml_reply(xml.document("AbacStatus", xml.element("Status", status)))


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutBucketRequestPayment": put_request_payment,
    "GetBucketRequestPayment": get_request_payment,
    "PutBucketAccelerateConfiguration": put_accelerate,
    "GetBucketAccelerateConfiguration": get_accelerate,
    "PutBucketAbac": put_abac,
    "GetBucketAbac": get_abac,
    **_named_operations("AnalyticsConfiguration", "AnalyticsConfigurations", ANALYTICS),
    **_named_operations("MetricsConfiguration", "MetricsConfigurations", METRICS),
    **_named_operations(
        "IntelligentTieringConfiguration",
        "IntelligentTieringConfigurations",
        INTELLIGENT_TIERING,
    ),
    **_named_operations("InventoryConfiguration", "InventoryConfigurations", INVENTORY),
}
