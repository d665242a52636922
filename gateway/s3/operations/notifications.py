"""PutBucketNotificationConfiguration, GetBucketNotificationConfiguration.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.objects import notifications
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.operations.configs import body_document
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.schema import TEXT, Child, Group, Leaf, listed, optional

RULES_MAX = 100
BODY_BYTES_MAX = 512 * 1024
_ROOT = "NotificationConfiguration"
# Element of a rule → element that holds its ARN.
_ARNS = {
    "TopicConfiguration": "Topic",
    "QueueConfiguration": "Queue",
    "CloudFunctionConfiguration": "CloudFunction",
}
_FILTER_RULE = Group(children={"Name": Child(TEXT), "Value": Child(Leaf(characters_max=1024))})
_S3_KEY = Group(children={"FilterRule": listed(_FILTER_RULE, most=3)})
_FILTER = Group(children={"S3Key": optional(_S3_KEY)})


def _rule_form(arn: str) -> Group:
    return Group(
        children={
            "Id": optional(Leaf(characters_max=255)),
            arn: Child(TEXT),
            "Event": listed(TEXT, least=1, most=100),
            "Filter": optional(_FILTER),
        }
    )


_FORM = Group(
    children={
        **{kind: listed(_rule_form(arn), most=RULES_MAX) for kind, arn in _ARNS.items()},
        "EventBridgeConfiguration": optional(Group(children={})),
    }
)


async def put_notifications(call: Call) -> Reply:
    given = await body_document(call, _ROOT, _FORM, BODY_BYTES_MAX)
    if "EventBridgeConfiguration" in given:
        raise S3Error("NotImplemented")
    rules = [
        _rule(call, kind, arn, one) for kind, arn in _ARNS.items() for one in given.get(kind, [])
    ]
    skips = call.headers.get("x-amz-skip-destination-validation", "").lower() == "true"
    document = {"rules": rules} if rules else None
    await notifications.put_notifications(
        call.context, call.bucket, document, skips_validation=skips
    )
    return Reply()


def _rule(call: Call, kind: str, arn: str, given: dict[str, Any]) -> dict[str, Any]:
    text = given[arn]
    if len(text.split(":")) < 6 or not text.startswith("arn:"):
        raise S3Error("InvalidArgument", "The ARN could not be parsed")
    rule_id = given.get("Id") or call.context.services.env.random_bytes(16).hex()
    rule = {"kind": kind, "id": rule_id, "arn": text, "events": given["Event"]}
    for one in given.get("Filter", {}).get("S3Key", {}).get("FilterRule", []):
        name = one["Name"].lower()
        if name not in ("prefix", "suffix"):
            raise S3Error("InvalidArgument", "filter rule name must be either prefix or suffix")
        if name in rule:
            raise S3Error(
                "InvalidArgument", "Cannot specify more than one prefix or suffix rule in a filter."
            )
        rule[name] = one["Value"]
    return rule


async def get_notifications(call: Call) -> Reply:
    fields.check_supported(call)
    document = notifications.read_notifications(call.context, call.bucket)
    rules = [] if document is None else document["rules"]
    return xml_reply(xml.document(_ROOT, *map(_written, rules)))


def _written(rule: dict[str, Any]) -> str:
    children = [xml.element("Id", rule["id"]), xml.element(_ARNS[rule["kind"]], rule["arn"])]
    children += [xml.element("Event", event) for event in rule["events"]]
    filters = [
        xml.group("FilterRule", xml.element("Name", name.title()), xml.element("Value", rule[name]))
        for name in ("prefix", "suffix")
        if name in rule
    ]
    if filters:
        children.append(xml.group("Filter", xml.group("S3Key", *filters)))
    return xml.group(rule["kind"], *children)


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutBucketNotificationConfiguration": put_notifications,
    "GetBucketNotificationConfiguration": get_notifications,
}
