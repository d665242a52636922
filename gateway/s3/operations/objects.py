"""PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects, CopyObject.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.limits import DELETE_OBJECTS_MAX
from gateway.model.errors import NotModified
from gateway.objects import append as appends
from gateway.objects import copy as copies
from gateway.objects import delete as deletes
from gateway.objects import get as reads
from gateway.objects import put as puts
from gateway.objects.values import (
    CopyOptions,
    CopySource,
    DeleteKey,
    DeleteOutcome,
    GetOptions,
    ObjectRead,
    PutOptions,
)
from gateway.s3 import routes, xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error, s3_code_for
from gateway.s3.operations import fields, sse
from gateway.s3.operations.expiry import expiration_headers
from gateway.s3.responses import Reply, xml_reply
from storaged.base.errors import StorageError

_PLAIN_READ = GetOptions()
_OFFSET = re.compile(r"[0-9]{1,18}")
_SELECTIVE = fields.READ_CONDITIONS | {"range"} | sse.NAMES


async def put_object(call: Call) -> Reply:
    if fields.WRITE_OFFSET in call.headers and not call.context.facts.is_form:
        return await _append(call)
    fields.check_supported(call)
    head = await puts.put_object(call.context, call.bucket, call.key, call.body, _put_options(call))
    headers = fields.written_headers(head, call.headers)
    return Reply(headers=headers + expiration_headers(call, head))


def _put_options(call: Call) -> PutOptions:
    return PutOptions(
        metadata=fields.metadata_of(call),
        conditions=fields.write_conditions(call),
        checksum_algorithm=call.body.checksum_algorithm,
        encryption=sse.asked_of(call.headers),
        has_digest=call.body.has_digest,
    )


async def _append(call: Call) -> Reply:
    """PutObject with x-amz-write-offset-bytes."""
    fields.check_supported(call, fields.WRITE_OFFSET)
    text = call.headers[fields.WRITE_OFFSET]
    if _OFFSET.fullmatch(text) is None:
        extra = {"ArgumentName": fields.WRITE_OFFSET, "ArgumentValue": text[:64]}
        raise S3Error("InvalidArgument", "A write offset is a number of bytes.", extra=extra)
    head = await appends.append_object(
        call.context, call.bucket, call.key, call.body, _put_options(call), int(text)
    )
    headers = fields.written_headers(head, call.headers)
    headers.append(("x-amz-object-size", str(head.length)))
    return Reply(headers=headers + expiration_headers(call, head))


def _get_options(call: Call) -> GetOptions:
    if not call.query and _SELECTIVE.isdisjoint(call.headers):
        return _PLAIN_READ
    sse.refuse_on_read(call.headers)
    part_number = None
    if "partNumber" in call.query:
        part_number = fields.integer(call, "partNumber", 0, least=1, most=10_000)
        if "range" in call.headers:
            raise S3Error(
                "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"
            )
    return GetOptions(
        conditions=fields.read_conditions(call),
        range_header=call.headers.get("range"),
        if_range=call.headers.get("if-range"),
        part_number=part_number,
        version_id=call.query.get("versionId"),
        customer_key=sse.customer_key_of(call.headers),
    )


def _read_reply(call: Call, read: ObjectRead, options: GetOptions) -> Reply:
    headers = fields.read_headers(call, read.head, read.checksum)
    if read.tag_count:
        headers.append(("x-amz-tagging-count", str(read.tag_count)))
    headers += expiration_headers(call, read.head)
    if read.is_range:
        last = read.offset + read.length - 1
        headers.append(("Content-Range", f"bytes {read.offset}-{last}/{read.head.length}"))
    if options.part_number is not None and read.head.part_count:
        headers.append(("x-amz-mp-parts-count", str(read.head.part_count)))
    if read.head.metadata.attributes.replication:
        headers.append(("x-amz-replication-status", read.head.metadata.attributes.replication))
    return Reply(
        status=206 if read.is_range else 200,
        headers=headers,
        pieces=read.body,
        length=read.length,
    )


async def get_object(call: Call) -> Reply:
    fields.check_supported(call)
    options = _get_options(call)
    try:
        read = await reads.get_object(call.context, call.bucket, call.key, options)
    except NotModified as error:
        return fields.not_modified_reply(call, error)
    return _read_reply(call, read, options)


async def head_object(call: Call) -> Reply:
    fields.check_supported(call)
    options = _get_options(call)
    try:
        read = await reads.head_object(call.context, call.bucket, call.key, options)
    except NotModified as error:
        return fields.not_modified_reply(call, error)
    return _read_reply(call, read, options)


async def delete_object(call: Call) -> Reply:
    fields.check_supported(call)
    if "versionId" in call.query and "if-match" in call.headers:
        # As S3: a condition is about the current version, and nothing else.
        raise S3Error("NotImplemented", extra={"Header": "If-Match"})
    deleted = await deletes.delete_object(
        call.context,
        call.bucket,
        call.key,
        version_id=call.query.get("versionId"),
        conditions=fields.write_conditions(call),
        bypass_governance=fields.bypasses_governance(call),
    )
    call.context.services.deletes += 1
    headers = []
    if deleted.is_marker:
        headers.append(("x-amz-delete-marker", "true"))
    if deleted.version_id is not None:
        headers.append(("x-amz-version-id", deleted.version_id))
    return Reply(status=204, headers=headers)


async def delete_objects(call: Call) -> Reply:
    fields.check_supported(call)
    if not call.body.is_protected:
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5")
    request = xml.parse_delete(await call.body.read_document(xml.DELETE_BODY_MAX_BYTES))
    if len(request.keys) > DELETE_OBJECTS_MAX:
        raise S3Error("MalformedXML")
    keys = []
    for key in request.keys:
        if key.last_modified_time is not None or key.length_bytes is not None:
            raise S3Error("NotImplemented")
        keys.append(DeleteKey(key=key.key, version_id=key.version_id, if_match=key.etag))
    outcomes = await deletes.delete_objects(
        call.context, call.bucket, keys, bypass_governance=fields.bypasses_governance(call)
    )
    call.context.services.deletes += sum(outcome.error is None for outcome in outcomes)
    rows = [_outcome_row(outcome, quiet=request.quiet) for outcome in outcomes]
    reply = xml_reply(xml.document("DeleteResult", *rows))
    reply.deleted = tuple(
        (outcome.key, outcome.version_id or "", _code_of(outcome)) for outcome in outcomes
    )
    return reply


def _code_of(outcome: DeleteOutcome) -> str:
    return s3_code_for(outcome.error).code if isinstance(outcome.error, StorageError) else ""


def _outcome_row(outcome: DeleteOutcome, *, quiet: bool) -> str:
    children = [xml.element("Key", outcome.key)]
    if outcome.version_id is not None:
        children.append(xml.element("VersionId", outcome.version_id))
    deleted = outcome.deleted
    if deleted.is_marker and outcome.error is None:
        children.append(xml.element("DeleteMarker", True))
        if deleted.version_id is not None:
            children.append(xml.element("DeleteMarkerVersionId", deleted.version_id))
    if outcome.error is None:
        return "" if quiet else xml.group("Deleted", *children)
    if not isinstance(outcome.error, StorageError):
        raise outcome.error
    answer = s3_code_for(outcome.error)
    children.append(xml.element("Code", answer.code))
    children.append(xml.element("Message", answer.message))
    return xml.group("Error", *children)


def copy_source(call: Call) -> CopySource:
    """The source of a copy. Raises S3Error: InvalidArgument."""
    bucket, key, version_id = routes.split_copy_source(call.headers["x-amz-copy-source"])
    return CopySource(
        bucket=bucket,
        key=key,
        version_id=version_id,
        conditions=fields.read_conditions(call, "x-amz-copy-source-"),
        customer_key=sse.customer_key_of(call.headers, sse.SOURCE_PREFIX),
    )


async def copy_object(call: Call) -> Reply:
    fields.check_supported(call)
    directive = call.headers.get("x-amz-metadata-directive", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "Unknown metadata directive.")
    tagging = call.headers.get("x-amz-tagging-directive", "COPY")
    if tagging not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "Unknown tagging directive.")
    name = "x-amz-object-annotation-directive"  # a presigned URL may have it in the query
    annotations = call.headers.get(name) or call.query.get(name, "COPY")
    if annotations not in ("COPY", "EXCLUDE"):
        raise S3Error("InvalidArgument", "Unknown annotation directive.")
    head, source_version_id = await copies.copy_object(
        call.context,
        copy_source(call),
        call.bucket,
        call.key,
        CopyOptions(
            metadata=fields.metadata_of(call) if directive == "REPLACE" else None,
            tags=fields.tags_of(call) if tagging == "REPLACE" else None,
            storage_class=call.headers.get("x-amz-storage-class"),
            attributes=fields.attributes_of(call),
            conditions=fields.write_conditions(call),
            checksum_algorithm=fields.checksum_algorithm(call),
            encryption=sse.asked_of(call.headers),
            with_annotations=annotations == "COPY",
        ),
    )
    children = [
        xml.element("LastModified", xml.told_time(head.modified_at_ms)),
        xml.element("ETag", f'"{head.etag}"'),
        *fields.checksum_elements(head.checksum, with_type=True),
    ]
    headers = sse.answer_headers(head.encryption, call.headers, with_context=True)
    if head.version_id is not None:
        headers.append(("x-amz-version-id", head.version_id))
    if source_version_id is not None:
        headers.append(("x-amz-copy-source-version-id", source_version_id))
    headers += expiration_headers(call, head)
    return xml_reply(xml.document("CopyObjectResult", *children), headers=headers)


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutObject": put_object,
    "GetObject": get_object,
    "HeadObject": head_object,
    "DeleteObject": delete_object,
    "DeleteObjects": delete_objects,
    "CopyObject": copy_object,
}
