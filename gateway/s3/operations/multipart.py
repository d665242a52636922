"""The multipart family: create, upload part, copy part, complete, abort, list parts, list uploads.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.limits import PART_NUMBER_MAX
from gateway.objects import complete, multipart, uploads
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CreateUploadOptions,
    ListUploadsOptions,
    PartHead,
    UploadHead,
)
from gateway.s3 import checksums, uri, xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.checksums import ChecksumAlgorithm, ChecksumType
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields, sse
from gateway.s3.operations.expiry import abort_headers, expiration_headers
from gateway.s3.operations.objects import copy_source
from gateway.s3.responses import Header, Reply, xml_reply

PAGE_MAX = 1000
_ELEMENTS = {algorithm.element: algorithm for algorithm in ChecksumAlgorithm}


def _upload_id(call: Call) -> str:
    return call.query["uploadId"]


def _part_number(call: Call) -> int:
    text = call.query.get("partNumber", "")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= PART_NUMBER_MAX:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive",
        )
    return int(text)


async def create_upload(call: Call) -> Reply:
    fields.check_supported(call)
    algorithm = fields.checksum_algorithm(call)
    checksum_type = checksums.multipart_type(
        None if algorithm is None else ChecksumAlgorithm(algorithm),
        call.headers.get("x-amz-checksum-type"),
    )
    upload = await multipart.create_upload(
        call.context,
        call.bucket,
        call.key,
        CreateUploadOptions(
            metadata=fields.metadata_of(call),
            checksum_algorithm=algorithm,
            checksum_composite=checksum_type is ChecksumType.COMPOSITE,
            encryption=sse.asked_of(call.headers),
        ),
    )
    headers = sse.answer_headers(upload.encryption, call.headers, with_context=True)
    if algorithm is not None and checksum_type is not None:
        headers.append(("x-amz-checksum-algorithm", algorithm))
        headers.append(("x-amz-checksum-type", checksum_type.value))
    headers += abort_headers(call, upload.created_at_ms)
    document = xml.document(
        "InitiateMultipartUploadResult",
        xml.element("Bucket", call.bucket),
        xml.element("Key", call.key),
        xml.element("UploadId", upload.upload_id),
    )
    return xml_reply(document, headers=headers)


def _part_checksum_headers(part: PartHead) -> list[Header]:
    if part.checksum is None:
        return []
    name = ChecksumAlgorithm(part.checksum.algorithm).header
    return [(name, part.checksum.value)]


async def upload_part(call: Call) -> Reply:
    fields.check_supported(call)
    part = await multipart.upload_part(
        call.context,
        call.bucket,
        call.key,
        _upload_id(call),
        _part_number(call),
        call.body,
        call.body.checksum_algorithm,
        sse.customer_key_of(call.headers),
        has_digest=call.body.has_digest,
    )
    headers = [("ETag", f'"{part.etag}"'), *sse.answer_headers(part.encryption, call.headers)]
    return Reply(headers=headers + _part_checksum_headers(part))


async def upload_part_copy(call: Call) -> Reply:
    fields.check_supported(call)
    part = await multipart.upload_part_copy(
        call.context,
        call.bucket,
        call.key,
        _upload_id(call),
        _part_number(call),
        copy_source(call),
        call.headers.get("x-amz-copy-source-range"),
        sse.customer_key_of(call.headers),
    )
    document = xml.document(
        "CopyPartResult",
        xml.element("LastModified", xml.told_time(part.modified_at_ms)),
        xml.element("ETag", f'"{part.etag}"'),
        *fields.checksum_elements(part.checksum, with_type=False),
    )
    headers = sse.answer_headers(part.encryption, call.headers)
    if part.source_version_id is not None:
        headers.append(("x-amz-copy-source-version-id", part.source_version_id))
    return xml_reply(document, headers=headers)


def _stated_checksum(call: Call) -> tuple[str, str] | None:
    """The checksum of the whole object that the client states when it completes an upload."""
    for algorithm in ChecksumAlgorithm:
        value = call.headers.get(algorithm.header)
        if value is not None:
            checksums.decode_composite(algorithm, value)
            return algorithm.value, value
    return None


def _object_length(call: Call) -> int | None:
    text = call.headers.get("x-amz-mp-object-size")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise S3Error("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")
    return int(text)


def _complete_part(part: xml.CompletedPart) -> CompletePart:
    digests = []
    for name, text in part.checksums.items():
        digests.append((_ELEMENTS[name].value, text))
    return CompletePart(part_number=part.part_number, etag=part.etag, checksums=tuple(digests))


async def _listed_parts(call: Call) -> list[CompletePart]:
    """The parts a client lists, up to 10,000: read in steps between which others run."""
    parts: list[CompletePart] = []
    for step in xml.complete_steps(await call.body.read_document(xml.COMPLETE_BODY_MAX_BYTES)):
        parts += [_complete_part(part) for part in step]
        await call.context.services.env.sleep(0)
    return parts


async def complete_upload(call: Call) -> Reply:
    fields.check_supported(call)
    head = await complete.complete_upload(
        call.context,
        call.bucket,
        call.key,
        _upload_id(call),
        await _listed_parts(call),
        CompleteOptions(
            conditions=fields.write_conditions(call),
            checksum=_stated_checksum(call),
            checksum_type=call.headers.get("x-amz-checksum-type"),
            length=_object_length(call),
            customer_key=sse.customer_key_of(call.headers),
        ),
    )
    path = uri.encode_path(f"/{call.bucket}/{call.key}".encode())
    children = [
        xml.element("Location", call.origin + path),
        xml.element("Bucket", call.bucket),
        xml.element("Key", call.key),
        xml.element("ETag", f'"{head.etag}"'),
        *fields.checksum_elements(head.checksum, with_type=True),
    ]
    headers = sse.answer_headers(head.encryption, call.headers)
    if head.version_id is not None:
        headers.append(("x-amz-version-id", head.version_id))
    headers += expiration_headers(call, head)
    return xml_reply(xml.document("CompleteMultipartUploadResult", *children), headers=headers)


async def abort_upload(call: Call) -> Reply:
    fields.check_supported(call)
    await multipart.abort_upload(call.context, call.bucket, call.key, _upload_id(call))
    return Reply(status=204)


def _upload_checksum(upload: UploadHead) -> list[str]:
    if upload.checksum_algorithm is None:
        return []
    return [
        xml.element("ChecksumAlgorithm", upload.checksum_algorithm),
        xml.element("ChecksumType", fields.checksum_type_text(upload.checksum_composite)),
    ]


async def list_parts(call: Call) -> Reply:
    fields.check_supported(call)
    is_url = fields.encoding_is_url(call)
    after = fields.integer(call, "part-number-marker", 0, least=0)
    parts_max = fields.integer(call, "max-parts", PAGE_MAX, least=0)
    page = await uploads.list_parts(
        call.context,
        call.bucket,
        call.key,
        _upload_id(call),
        after_part_number=after,
        parts_max=min(max(parts_max, 1), PAGE_MAX),
    )
    parts = page.parts if parts_max else ()
    is_truncated = page.next_part_number is not None and parts_max > 0
    rows = [
        xml.group(
            "Part",
            xml.element("PartNumber", part.part_number),
            xml.element("LastModified", xml.told_time(part.modified_at_ms)),
            xml.element("ETag", f'"{part.etag}"'),
            xml.element("Size", part.length),
            *fields.checksum_elements(part.checksum, with_type=False),
        )
        for part in parts
    ]
    children = [
        xml.element("Bucket", call.bucket),
        xml.element("Key", xml.encode_url(call.key) if is_url else call.key),
        xml.element("UploadId", page.upload.upload_id),
        fields.owner_of(call, "Initiator", page.upload.owner_id),
        fields.owner_of(call, "Owner", page.upload.owner_id),
        xml.element("StorageClass", page.upload.storage_class),
        xml.element("PartNumberMarker", after),
        xml.element("MaxParts", min(parts_max, PAGE_MAX)),
        xml.element("IsTruncated", is_truncated),
        *_upload_checksum(page.upload),
    ]
    if is_truncated and parts:
        children.append(xml.element("NextPartNumberMarker", parts[-1].part_number))
    headers = abort_headers(call, page.upload.created_at_ms)
    return xml_reply(xml.document("ListPartsResult", *children, *rows), headers=headers)


async def list_uploads(call: Call) -> Reply:
    fields.check_supported(call)
    is_url = fields.encoding_is_url(call)
    encoded = xml.encode_url if is_url else str
    query = call.query
    uploads_max = fields.integer(call, "max-uploads", PAGE_MAX, least=0)
    options = ListUploadsOptions(
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        after_key=query.get("key-marker", ""),
        after_upload_id=query.get("upload-id-marker", "") if query.get("key-marker") else "",
        uploads_max=min(max(uploads_max, 1), PAGE_MAX),
    )
    page = await uploads.list_uploads(call.context, call.bucket, options)
    is_truncated = page.is_truncated and uploads_max > 0
    children = [
        xml.element("Bucket", call.bucket),
        xml.element("KeyMarker", encoded(options.after_key)),
        xml.element("UploadIdMarker", options.after_upload_id),
        xml.element("Prefix", encoded(options.prefix)),
        xml.element("MaxUploads", min(uploads_max, PAGE_MAX)),
        xml.element("IsTruncated", is_truncated),
    ]
    if options.delimiter:
        children.append(xml.element("Delimiter", encoded(options.delimiter)))
    if is_url:
        children.append(xml.element("EncodingType", "url"))
    if is_truncated:
        children.append(xml.element("NextKeyMarker", encoded(page.next_key or "")))
        children.append(xml.element("NextUploadIdMarker", page.next_upload_id or ""))
    if uploads_max:
        children += [_upload_row(call, upload, encoded(upload.key)) for upload in page.uploads]
        children.append(xml.common_prefixes(encoded(prefix) for prefix in page.common_prefixes))
    return xml_reply(xml.document("ListMultipartUploadsResult", *children))


def _upload_row(call: Call, upload: UploadHead, encoded_key: str) -> str:
    return xml.group(
        "Upload",
        xml.element("Key", encoded_key),
        xml.element("UploadId", upload.upload_id),
        fields.owner_of(call, "Initiator", upload.owner_id),
        fields.owner_of(call, "Owner", upload.owner_id),
        xml.element("StorageClass", upload.storage_class),
        xml.element("Initiated", xml.told_time(upload.created_at_ms)),
        *_upload_checksum(upload),
    )


OPERATIONS: Mapping[str, OperationFunction] = {
    "CreateMultipartUpload": create_upload,
    "UploadPart": upload_part,
    "UploadPartCopy": upload_part_copy,
    "CompleteMultipartUpload": complete_upload,
    "AbortMultipartUpload": abort_upload,
    "ListParts": list_parts,
    "ListMultipartUploads": list_uploads,
}
