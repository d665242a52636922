"""PutBucketLogging, GetBucketLogging.

TargetGrants are taken, checked and put on the delivered objects; they are not told again, as
other servers do not either.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.model import acl
from gateway.objects import bucket_logging
from gateway.objects.bucket_logging import DELIVERY_TIME, EVENT_TIME, SIMPLE
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.operations.configs import body_document
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.schema import TEXT, Child, Group, Leaf, choice, listed, optional

PREFIX_CHARACTERS_MAX = 512
_ROOT = "BucketLoggingStatus"
_PARTITIONED = "PartitionedPrefix"

_GRANTEE = Group(
    children={
        "ID": optional(TEXT),
        "DisplayName": optional(TEXT),
        "URI": optional(TEXT),
        "EmailAddress": optional(TEXT),
    },
    type_name="Type",
)
_GRANT = Group(
    children={
        "Grantee": Child(_GRANTEE),
        "Permission": Child(choice(acl.FULL_CONTROL, acl.READ, acl.WRITE)),
    }
)
_DATE_SOURCE = Group(children={"PartitionDateSource": optional(choice(EVENT_TIME, DELIVERY_TIME))})
_KEY_FORMAT = Group(
    children={SIMPLE: optional(Group(children={})), _PARTITIONED: optional(_DATE_SOURCE)},
    at_most_one_of=frozenset({SIMPLE, _PARTITIONED}),
)
_ENABLED = Group(
    children={
        "TargetBucket": Child(TEXT),
        "TargetGrants": optional(Group(children={"Grant": listed(_GRANT, most=acl.GRANTS_MAX)})),
        "TargetObjectKeyFormat": optional(_KEY_FORMAT),
        "TargetPrefix": Child(Leaf(characters_max=PREFIX_CHARACTERS_MAX)),
    }
)
_FORM = Group(children={"LoggingEnabled": optional(_ENABLED)})


async def put_bucket_logging(call: Call) -> Reply:
    status = await body_document(call, _ROOT, _FORM)
    enabled = status.get("LoggingEnabled")
    document = None if enabled is None else _document_of(enabled)
    await bucket_logging.put_logging(call.context, call.bucket, document)
    return Reply()


def _document_of(enabled: dict[str, Any]) -> dict[str, Any]:
    key_format = SIMPLE
    partitioned = enabled.get("TargetObjectKeyFormat", {}).get(_PARTITIONED)
    if partitioned is not None:
        key_format = partitioned.get("PartitionDateSource", DELIVERY_TIME)
    grants = enabled.get("TargetGrants", {}).get("Grant", [])
    return {
        "target": enabled["TargetBucket"],
        "prefix": enabled["TargetPrefix"],
        "format": key_format,
        "grants": [_grant_of(grant) for grant in grants],
    }


def _grant_of(grant: dict[str, Any]) -> list[str]:
    grantee = grant["Grantee"]
    if grantee["Type"] == acl.USER and "ID" in grantee:
        return [acl.USER, grantee["ID"], grant["Permission"]]
    if grantee["Type"] == acl.GROUP and grantee.get("URI") in acl.GROUPS:
        return [acl.GROUP, grantee["URI"], grant["Permission"]]
    raise S3Error("InvalidArgument", "Invalid grantee", extra={"ArgumentName": "Grantee"})


async def get_bucket_logging(call: Call) -> Reply:
    fields.check_supported(call)
    document = bucket_logging.read_logging(call.context, call.bucket)
    return xml_reply(xml.document(_ROOT, *([] if document is None else [_enabled(document)])))


def _enabled(document: dict[str, Any]) -> str:
    key_format = xml.group(SIMPLE)
    if document["format"] != SIMPLE:
        source = xml.element("PartitionDateSource", document["format"])
        key_format = xml.group(_PARTITIONED, source)
    return xml.group(
        "LoggingEnabled",
        xml.element("TargetBucket", document["target"]),
        xml.group("TargetObjectKeyFormat", key_format),
        xml.element("TargetPrefix", document["prefix"]),
    )


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutBucketLogging": put_bucket_logging,
    "GetBucketLogging": get_bucket_logging,
}
