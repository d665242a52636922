"""ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model.action import Action
from gateway.model.errors import BucketAlreadyOwnedByYou
from gateway.objects import buckets
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.operations import fields
from gateway.s3.responses import Reply, xml_reply

_FIRST_REGION = "/us-east-1/s3/aws4_request"


async def list_buckets(call: Call) -> Reply:
    fields.check_supported(call)
    prefix = call.query.get("prefix", "")
    page = await buckets.list_buckets(
        call.context,
        prefix=prefix,
        token=call.query.get("continuation-token"),
        buckets_max=fields.integer(call, "max-buckets", 10_000, least=1, most=10_000),
    )
    region = call.context.services.region
    rows = [
        xml.group(
            "Bucket",
            xml.element("Name", bucket.name),
            xml.element("CreationDate", xml.told_time(bucket.created_at_ms)),
            xml.element("BucketRegion", bucket.location or region),
        )
        for bucket in page.buckets
    ]
    children = [fields.caller(call, "Owner"), xml.group("Buckets", *rows)]
    if prefix:
        children.append(xml.element("Prefix", prefix))
    if page.next_token is not None:
        children.append(xml.element("ContinuationToken", page.next_token))
    return xml_reply(xml.document("ListAllMyBucketsResult", *children))


def _is_first_region(call: Call) -> bool:
    """The request is signed for us-east-1, where making one's own bucket again succeeds."""
    proof = call.headers.get("authorization") or call.query.get("X-Amz-Credential", "")
    return _FIRST_REGION in proof


async def create_bucket(call: Call) -> Reply:
    fields.check_supported(call)
    document = await call.body.read_document(xml.BUCKET_BODY_MAX_BYTES)
    configuration = xml.parse_create_bucket(document)
    wants_lock = call.headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true"
    try:
        await buckets.create_bucket(
            call.context,
            call.bucket,
            configuration.location,
            configuration.tags,
            object_lock=wants_lock,
        )
    except BucketAlreadyOwnedByYou:
        if configuration.location or not _is_first_region(call):
            raise
    return Reply(headers=[("Location", f"/{call.bucket}")])


async def head_bucket(call: Call) -> Reply:
    fields.check_supported(call)
    bucket = await buckets.head_bucket(call.context, call.bucket)
    region = bucket.location or call.context.services.region
    return Reply(
        headers=[
            ("x-amz-bucket-region", region),
            ("x-amz-access-point-alias", "false"),
            ("Content-Type", "application/xml"),
        ]
    )


async def delete_bucket(call: Call) -> Reply:
    fields.check_supported(call)
    await buckets.delete_bucket(call.context, call.bucket)
    return Reply(status=204)


async def get_bucket_location(call: Call) -> Reply:
    fields.check_supported(call)
    bucket = await buckets.head_bucket(call.context, call.bucket, Action.GET_BUCKET_LOCATION)
    return xml_reply(xml.document("LocationConstraint", xml.escape(bucket.location)))


OPERATIONS: Mapping[str, OperationFunction] = {
    "ListBuckets": list_buckets,
    "CreateBucket": create_bucket,
    "HeadBucket": head_bucket,
    "DeleteBucket": delete_bucket,
    "GetBucketLocation": get_bucket_location,
}
