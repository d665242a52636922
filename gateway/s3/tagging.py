"""Tags as headers and XML carry them.

Not for their limits (`gateway.model.tags`), which the use cases check.

Source: Amazon S3 API Reference, "PutObject" (x-amz-tagging), "PutObjectTagging".
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from gateway.model.version import Pairs
from gateway.s3 import xml
from gateway.s3.errors import S3Error
from gateway.s3.xml_reader import Node, fields, malformed, read

BODY_BYTES_MAX = 128 * 1024  # 50 tags of the greatest lengths, each character an entity
HEADER_FIELDS_MAX = 64
_TAG = frozenset({"Key", "Value"})


def tags_of_header(value: str) -> Pairs:
    """Tags of an x-amz-tagging header, `key=value&…`, each percent-encoded.

    Raises:
        S3Error: InvalidArgument.
    """
    try:
        raw = value.encode("utf-8", "surrogateescape").decode("utf-8")
        pairs = parse_qsl(
            raw, keep_blank_values=True, errors="strict", max_num_fields=HEADER_FIELDS_MAX
        )
    except ValueError:
        _refuse_header(value)
    if len({key for key, _ in pairs}) != len(pairs):
        _refuse_header(value)
    return tuple(pairs)


def _refuse_header(value: str) -> None:
    raise S3Error(
        "InvalidArgument",
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
        "parameters without tag name duplicates.",
        extra={"ArgumentName": "x-amz-tagging", "ArgumentValue": value[:1024]},
    )


def parse_tagging(body: bytes) -> Pairs:
    """Body of PutObjectTagging and PutBucketTagging, and the `tagging` field of a form.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded.
    """
    children = read(body, "Tagging", BODY_BYTES_MAX).children
    if len(children) != 1 or children[0].name != "TagSet":
        malformed()
    return tuple(tag_of(node) for node in children[0].children)


def tag_of(node: Node) -> tuple[str, str]:
    """(key, value) of a Tag element. Raises S3Error: MalformedXML."""
    found = fields(node, _TAG)
    if node.name != "Tag" or len(found) != len(_TAG):
        malformed()
    return found["Key"], found["Value"]


def tagging_document(tags: Pairs) -> bytes:
    """The Tagging document that answers a read."""
    rows = [
        xml.group("Tag", xml.element("Key", key), xml.element("Value", value))
        for key, value in tags
    ]
    return xml.document("Tagging", xml.group("TagSet", *rows))
