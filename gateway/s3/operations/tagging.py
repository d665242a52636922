"""Put, Get and DeleteObjectTagging; Put, Get and DeleteBucketTagging.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.objects import tagging
from gateway.s3.call import Call, OperationFunction
from gateway.s3.operations import fields
from gateway.s3.responses import Header, Reply, xml_reply
from gateway.s3.tagging import BODY_BYTES_MAX, parse_tagging, tagging_document


def _version_header(version_id: str | None) -> list[Header]:
    return [] if version_id is None else [("x-amz-version-id", version_id)]


async def put_object_tagging(call: Call) -> Reply:
    fields.check_supported(call)
    tags = parse_tagging(await call.body.read_document(BODY_BYTES_MAX))
    version_id = await tagging.put_object_tags(
        call.context, call.bucket, call.key, call.query.get("versionId"), tags
    )
    return Reply(headers=_version_header(version_id))


async def get_object_tagging(call: Call) -> Reply:
    fields.check_supported(call)
    found = tagging.get_object_tags(
        call.context, call.bucket, call.key, call.query.get("versionId")
    )
    return xml_reply(tagging_document(found.tags), headers=_version_header(found.version_id))


async def delete_object_tagging(call: Call) -> Reply:
    fields.check_supported(call)
    version_id = await tagging.delete_object_tags(
        call.context, call.bucket, call.key, call.query.get("versionId")
    )
    return Reply(status=204, headers=_version_header(version_id))


async def put_bucket_tagging(call: Call) -> Reply:
    fields.check_supported(call)
    tags = parse_tagging(await call.body.read_document(BODY_BYTES_MAX))
    await tagging.put_bucket_tags(call.context, call.bucket, tags)
    return Reply(status=204)


async def get_bucket_tagging(call: Call) -> Reply:
    fields.check_supported(call)
    return xml_reply(tagging_document(tagging.get_bucket_tags(call.context, call.bucket)))


async def delete_bucket_tagging(call: Call) -> Reply:
    fields.check_supported(call)
    await tagging.delete_bucket_tags(call.context, call.bucket)
    return Reply(status=204)


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutObjectTagging": put_object_tagging,
    "GetObjectTagging": get_object_tagging,
    "DeleteObjectTagging": delete_object_tagging,
    "PutBucketTagging": put_bucket_tagging,
    "GetBucketTagging": get_bucket_tagging,
    "DeleteBucketTagging": delete_bucket_tagging,
}
