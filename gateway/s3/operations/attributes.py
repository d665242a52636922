"""GetObjectAttributes.

Source: Amazon S3 API Reference, this operation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.objects import attributes
from gateway.objects.attributes import PartsAttributes
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields, sse
from gateway.s3.responses import Reply, http_date, xml_reply

PARTS_MAX = 1000
_NAMES = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})
_NUMBER = re.compile(r"[0-9]{1,10}")


def _wanted(call: Call) -> frozenset[str]:
    """The attributes that are asked for. Raises S3Error: InvalidRequest, InvalidArgument."""
    stated = call.headers.get("x-amz-object-attributes", "")
    names = frozenset(name.strip() for name in stated.split(",")) - {""}
    if not names:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-object-attributes header specifying the attributes to be retrieved is "
            "either missing or empty",
        )
    if not names <= _NAMES:
        raise S3Error(
            "InvalidArgument",
            "Invalid attribute name specified.",
            extra={"ArgumentName": "x-amz-object-attributes", "ArgumentValue": stated},
        )
    return names


def _number(call: Call, name: str, default: int) -> int:
    text = call.headers.get(name)
    if text is None:
        return default
    if _NUMBER.fullmatch(text) is None:
        raise S3Error(
            "InvalidArgument",
            f"Provided {name} not an integer or within integer range",
            extra={"ArgumentName": name, "ArgumentValue": text},
        )
    return int(text)


async def get_object_attributes(call: Call) -> Reply:
    fields.check_supported(call)
    wanted = _wanted(call)
    parts_max = min(_number(call, "x-amz-max-parts", PARTS_MAX), PARTS_MAX)
    after = _number(call, "x-amz-part-number-marker", 0)
    found = await attributes.get_attributes(
        call.context,
        call.bucket,
        call.key,
        call.query.get("versionId"),
        customer_key=sse.customer_key_of(call.headers),
        parts_max=parts_max if "ObjectParts" in wanted else None,
        after_part_number=after,
    )
    head = found.head
    children = []
    if "ETag" in wanted:
        children.append(xml.element("ETag", head.etag))
    if "Checksum" in wanted and head.checksum is not None:
        inside = fields.checksum_elements(head.checksum, with_type=True)
        children.append(xml.group("Checksum", *inside))
    if found.parts is not None:
        children.append(_parts(found.parts, parts_max))
    if "StorageClass" in wanted:
        children.append(xml.element("StorageClass", head.metadata.storage_class))
    if "ObjectSize" in wanted:
        children.append(xml.element("ObjectSize", head.length))
    headers = [("Last-Modified", http_date(head.modified_at_ms // 1000))]
    if head.version_id is not None:
        headers.append(("x-amz-version-id", head.version_id))
    return xml_reply(xml.document("GetObjectAttributesResponse", *children), headers=headers)


def _parts(page: PartsAttributes, parts_max: int) -> str:
    children = [
        xml.element("PartsCount", page.part_count),
        xml.element("PartNumberMarker", page.after),
        xml.element("MaxParts", parts_max),
        xml.element("IsTruncated", page.next_after is not None),
    ]
    if page.next_after is not None:
        children.append(xml.element("NextPartNumberMarker", page.next_after))
    children += [
        xml.group(
            "Part",
            xml.element("PartNumber", part.number),
            xml.element("Size", part.length),
            *fields.checksum_elements(part.checksum, with_type=False),
        )
        for part in page.parts
    ]
    return xml.group("ObjectParts", *children)


OPERATIONS: Mapping[str, OperationFunction] = {"GetObjectAttributes": get_object_attributes}
