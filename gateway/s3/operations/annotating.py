"""Put, Get, List and DeleteObjectAnnotation.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.limits import ANNOTATIONS_MAX
from gateway.model.version import Part
from gateway.objects import annotating, annotation_reads
from gateway.objects.annotating import AnnotationOptions
from gateway.objects.annotation_reads import AnnotatedVersion
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.operations import fields, sse
from gateway.s3.responses import Header, Reply, http_date, xml_reply

NAME = "annotationName"


def _options(call: Call) -> AnnotationOptions:
    return AnnotationOptions(
        version_id=call.query.get("versionId"),
        if_match=call.headers.get("x-amz-object-if-match"),
        bypass_governance=fields.bypasses_governance(call),
    )


def _version_headers(of: AnnotatedVersion) -> list[Header]:
    return [] if of.version_id is None else [("x-amz-object-version-id", of.version_id)]


async def put_object_annotation(call: Call) -> Reply:
    fields.check_supported(call)
    name = call.query.get(NAME, "")
    held, of = await annotating.put_annotation(
        call.context,
        call.bucket,
        call.key,
        name,
        call.body,
        call.body.checksum_algorithm,
        _options(call),
    )
    headers = [
        ("ETag", f'"{held.etag}"'),
        *sse.answer_headers(of.encryption, call.headers),
        *fields.checksum_headers(held.checksum),
        *_version_headers(of),
    ]
    document = xml.document(
        "PutObjectAnnotationResult",
        xml.element("Key", call.key),
        xml.element("AnnotationName", name),
    )
    return xml_reply(document, headers=headers)


async def get_object_annotation(call: Call) -> Reply:
    fields.check_supported(call)
    found = await annotation_reads.get_annotation(
        call.context, call.bucket, call.key, call.query[NAME], call.query.get("versionId")
    )
    held, of = found.held, found.of
    headers = [
        ("ETag", f'"{held.etag}"'),
        ("Last-Modified", http_date(held.created_at_ms // 1000)),
        ("Content-Type", fields.DEFAULT_CONTENT_TYPE),
        *sse.answer_headers(of.encryption, call.headers),
        *_version_headers(of),
    ]
    if call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        headers += fields.checksum_headers(held.checksum)
    return Reply(headers=headers, body=found.content)


def _entry(name: str, held: Part) -> str:
    children = [
        xml.element("AnnotationName", name),
        xml.element("LastModified", xml.told_time(held.created_at_ms)),
        xml.element("ETag", f'"{held.etag}"'),
        xml.element("Size", held.plain_bytes),
    ]
    if held.checksum is not None:
        children.append(xml.element("ChecksumAlgorithm", held.checksum.algorithm))
    return xml.group("AnnotationEntry", *children)


async def list_object_annotations(call: Call) -> Reply:
    fields.check_supported(call)
    prefix = call.query.get("annotation-prefix", "")
    token = call.query.get("continuation-token")
    entries_max = fields.integer(
        call, "max-annotation-results", ANNOTATIONS_MAX, least=1, most=ANNOTATIONS_MAX
    )
    page = await annotation_reads.list_annotations(
        call.context,
        call.bucket,
        call.key,
        call.query.get("versionId"),
        prefix=prefix,
        token=token,
        entries_max=entries_max,
    )
    children = [
        xml.element("Bucket", call.bucket),
        xml.element("Key", call.key),
        xml.element("AnnotationPrefix", prefix),
        xml.element("MaxAnnotationResults", entries_max),
        xml.element("AnnotationCount", len(page.entries)),
    ]
    if token:
        children.append(xml.element("ContinuationToken", token))
    if page.next_token is not None:
        children.append(xml.element("NextContinuationToken", page.next_token))
    rows = [_entry(name, held) for name, held in page.entries]
    document = xml.document(
        "ListObjectAnnotationsResult", *children, xml.group("Annotations", *rows)
    )
    return xml_reply(document, headers=_version_headers(page.of))


async def delete_object_annotation(call: Call) -> Reply:
    fields.check_supported(call)
    of = await annotating.delete_annotation(
        call.context, call.bucket, call.key, call.query.get(NAME, ""), _options(call)
    )
    return Reply(status=204, headers=_version_headers(of))


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutObjectAnnotation": put_object_annotation,
    "GetObjectAnnotation": get_object_annotation,
    "ListObjectAnnotations": list_object_annotations,
    "DeleteObjectAnnotation": delete_object_annotation,
}
