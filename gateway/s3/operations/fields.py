"""Request headers and query fields as values of the use cases; values as response headers.

Not for XML, nor for deciding: conditions and ranges are judged by the use cases.

Source: Amazon S3 API Reference, request syntax of PutObject, GetObject, CopyObject.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from gateway.model.attributes import NO_ATTRIBUTES, Attributes
from gateway.model.errors import NotModified
from gateway.model.tags import object_tags
from gateway.model.version import Checksum, Pairs
from gateway.objects.acls import bucket_owner_id
from gateway.objects.values import (
    NO_METADATA,
    UNCONDITIONAL_READ,
    UNCONDITIONAL_WRITE,
    Metadata,
    ObjectHead,
    ReadConditions,
    WriteConditions,
)
from gateway.s3 import xml
from gateway.s3.call import Call
from gateway.s3.checksums import ChecksumAlgorithm, algorithm_of
from gateway.s3.errors import S3Error
from gateway.s3.operations import lock_headers, sse
from gateway.s3.responses import Header, Reply, http_date
from gateway.s3.tagging import tags_of_header

DEFAULT_CONTENT_TYPE = "binary/octet-stream"
USER_PREFIX = "x-amz-meta-"

_STORED_HEADERS = {
    "content-type": "Content-Type",
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "expires": "Expires",
    "x-amz-website-redirect-location": "x-amz-website-redirect-location",
}
_OVERRIDES = {
    f"response-{name}": name
    for name in _STORED_HEADERS
    if name != "x-amz-website-redirect-location"
}
# What a 304 repeats, RFC 9110 §15.4.5.
_NOT_MODIFIED_HEADERS = frozenset({"ETag", "Last-Modified", "Cache-Control", "Expires", "Date"})

WRITE_OFFSET = "x-amz-write-offset-bytes"  # PutObject only
# Headers that change what an operation means; ignoring them would answer 200 to something else.
_UNSUPPORTED = frozenset(
    {
        "x-amz-if-match-last-modified-time",
        "x-amz-if-match-size",
        WRITE_OFFSET,
    }
)
READ_CONDITIONS = frozenset(
    {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"}
)
_NEUTRAL_VALUES = frozenset({"", "false", "off"})
WEBSITE_REDIRECT = "x-amz-website-redirect-location"
_REDIRECT_STARTS = ("/", "http://", "https://")
_ANONYMOUS_OVERRIDE = "Request specific response headers cannot be used for anonymous GET requests."
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_INTEGER = re.compile(r"-?[0-9]{1,10}")


def check_supported(call: Call, understood: str = "") -> None:
    """Refuse what would be done wrongly if it were ignored.

    Args:
        understood: the one header of these that the operation does understand.

    Raises:
        S3Error: NotImplemented.
    """
    headers = call.headers
    if _UNSUPPORTED.isdisjoint(headers):
        return
    for name in _UNSUPPORTED & headers.keys():
        if name != understood and headers[name].lower() not in _NEUTRAL_VALUES:
            raise S3Error(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
                extra={"Header": name},
            )


def integer(call: Call, name: str, default: int, *, least: int, most: int | None = None) -> int:
    """A number of the query. Raises S3Error: InvalidArgument."""
    text = call.query.get(name)
    if text is None or text == "":
        return default
    if _INTEGER.fullmatch(text) is None:
        raise S3Error("InvalidArgument", f"Provided {name} not an integer or within integer range")
    value = int(text)
    if value < least or (most is not None and value > most):
        raise S3Error("InvalidArgument", f"Argument {name} is out of range")
    return value


def encoding_is_url(call: Call) -> bool:
    """encoding-type=url was asked for. Raises S3Error: InvalidArgument for any other."""
    encoding = call.query.get("encoding-type")
    if encoding not in (None, "", "url"):
        raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request")
    return encoding == "url"


def _readable(value: str) -> str:
    """Header bytes that were not UTF-8 are taken as Latin-1, so that every value can be stored."""
    if value.isascii():
        return value
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


_OF_THE_VERSION = lock_headers.HEADERS | {"x-amz-tagging"}


def metadata_of(call: Call) -> Metadata:
    """Stored headers and user metadata of a write.

    `aws-chunked` is how the body travelled, not a property of it, and is left out.
    """
    stored: list[tuple[str, str]] = []
    user: list[tuple[str, str]] = []
    for name, value in call.headers.items():
        if name.startswith(USER_PREFIX):
            user.append((name[len(USER_PREFIX) :], _readable(value)))
        elif name in _STORED_HEADERS:
            if name == "content-encoding":
                value = _without_aws_chunked(value)
            elif name == WEBSITE_REDIRECT and not value.startswith(_REDIRECT_STARTS):
                raise S3Error("InvalidRedirectLocation")
            if value:
                stored.append((name, _readable(value)))
    storage_class = call.headers.get("x-amz-storage-class") or "STANDARD"
    tags: Pairs = ()
    attributes = NO_ATTRIBUTES
    if not _OF_THE_VERSION.isdisjoint(call.headers):
        tags, attributes = tags_of(call), attributes_of(call)
    is_plain = attributes is NO_ATTRIBUTES and storage_class == "STANDARD"
    if is_plain and not stored and not user and not tags:
        return NO_METADATA
    stored.sort()
    user.sort()
    return Metadata(
        headers=tuple(stored),
        user=tuple(user),
        storage_class=storage_class,
        tags=tags,
        attributes=attributes,
    )


def attributes_of(call: Call) -> Attributes:
    """What the headers of a write say of the version beside its metadata.

    Raises:
        S3Error: InvalidArgument.
    """
    return lock_headers.with_lock(call, NO_ATTRIBUTES)


def bypasses_governance(call: Call) -> bool:
    """The caller asks to pass over retention in governance mode."""
    return call.headers.get("x-amz-bypass-governance-retention", "").lower() == "true"


def tags_of(call: Call) -> Pairs:
    """Tags of the x-amz-tagging header. Raises InvalidTag; S3Error: InvalidArgument."""
    text = call.headers.get("x-amz-tagging")
    return object_tags(tags_of_header(text)) if text else ()


def _without_aws_chunked(encoding: str) -> str:
    if "aws-chunked" not in encoding.lower():
        return encoding
    tokens = (token.strip() for token in encoding.split(","))
    return ",".join(token for token in tokens if token and token.lower() != "aws-chunked")


def _etag_condition(value: str | None) -> str | None:
    if value is None:
        return None
    text = value.strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text


def write_conditions(call: Call) -> WriteConditions:
    """If-Match and If-None-Match of a write."""
    if "if-match" not in call.headers and "if-none-match" not in call.headers:
        return UNCONDITIONAL_WRITE
    return WriteConditions(
        if_match=_etag_condition(call.headers.get("if-match")),
        if_none_match=_etag_condition(call.headers.get("if-none-match")),
    )


def _date_ms(value: str | None) -> int | None:
    """Milliseconds of an HTTP date; None if absent or no date, which HTTP says to ignore."""
    if value is None:
        return None
    try:
        return int(parsedate_to_datetime(value).timestamp()) * 1000
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def read_conditions(call: Call, prefix: str = "") -> ReadConditions:
    """Conditions of a read, or with `x-amz-copy-source-` those of a copy's source."""
    if not prefix and READ_CONDITIONS.isdisjoint(call.headers):
        return UNCONDITIONAL_READ
    if_match = call.headers.get(prefix + "if-match")
    if_none_match = call.headers.get(prefix + "if-none-match")
    modified = call.headers.get(prefix + "if-modified-since")
    unmodified = call.headers.get(prefix + "if-unmodified-since")
    if if_match is if_none_match is modified is unmodified is None:
        return UNCONDITIONAL_READ
    return ReadConditions(
        if_match=if_match,
        if_none_match=if_none_match,
        if_modified_since_ms=_date_ms(modified),
        if_unmodified_since_ms=_date_ms(unmodified),
    )


def checksum_type_text(is_composite: bool) -> str:
    return "COMPOSITE" if is_composite else "FULL_OBJECT"


def checksum_headers(checksum: Checksum | None) -> list[Header]:
    """Checksum and its type as headers."""
    if checksum is None:
        return []
    return [
        (ChecksumAlgorithm(checksum.algorithm).header, checksum.value),
        ("x-amz-checksum-type", checksum.type),
    ]


def checksum_elements(checksum: Checksum | None, *, with_type: bool) -> list[str]:
    """Checksum, and its type if asked for, as XML elements."""
    if checksum is None:
        return []
    name = ChecksumAlgorithm(checksum.algorithm).element
    elements = [xml.element(name, checksum.value)]
    if with_type:
        elements.append(xml.element("ChecksumType", checksum.type))
    return elements


def written_headers(head: ObjectHead, asked: Mapping[str, str]) -> list[Header]:
    """Headers that answer a write. `asked`: those of the request, or the fields of a form."""
    headers = [("ETag", f'"{head.etag}"')]
    headers += sse.answer_headers(head.encryption, asked, with_context=True)
    headers += checksum_headers(head.checksum)
    if head.version_id is not None:
        headers.append(("x-amz-version-id", head.version_id))
    return headers


def _overrides(call: Call) -> dict[str, str]:
    found = {}
    for field, name in _OVERRIDES.items():
        value = call.query.get(field)
        if value is not None:
            if call.context.principal is None:
                raise S3Error("InvalidRequest", _ANONYMOUS_OVERRIDE)
            if _CONTROL.search(value) is not None:
                raise S3Error("InvalidArgument", f"{field} holds a control character")
            found[name] = value
    return found


def read_headers(call: Call, head: ObjectHead, checksum: Checksum | None) -> list[Header]:
    """Headers that answer a get or head. `checksum`: of what is sent.

    Raises:
        S3Error: InvalidArgument, for an override that no header can carry.
    """
    stored = dict(head.metadata.headers)
    if call.query:
        stored.update(_overrides(call))
    headers = [
        ("ETag", f'"{head.etag}"'),
        ("Last-Modified", http_date(head.modified_at_ms // 1000)),
        ("Accept-Ranges", "bytes"),
        *sse.answer_headers(head.encryption, call.headers),
    ]
    if "content-type" not in stored:
        headers.append(("Content-Type", DEFAULT_CONTENT_TYPE))
    headers += [(_STORED_HEADERS[name], value) for name, value in stored.items()]
    headers += [(USER_PREFIX + name, value) for name, value in head.metadata.user]
    if head.metadata.attributes is not NO_ATTRIBUTES:
        headers += lock_headers.lock_headers(head.metadata.attributes)
    if head.metadata.storage_class != "STANDARD":
        headers.append(("x-amz-storage-class", head.metadata.storage_class))
    if checksum is not None and call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        headers += checksum_headers(checksum)
    if head.version_id is not None:
        headers.append(("x-amz-version-id", head.version_id))
    return headers


def not_modified_reply(call: Call, error: NotModified) -> Reply:
    """The 304 answer, with the validators the client may keep."""
    headers: list[Header] = []
    head = error.fields.get("head")
    if isinstance(head, ObjectHead):
        headers = [
            header
            for header in read_headers(call, head, None)
            if header[0] in _NOT_MODIFIED_HEADERS
        ]
    return Reply(status=304, headers=headers, code="NotModified")


def checksum_algorithm(call: Call) -> str | None:
    """x-amz-checksum-algorithm. Raises S3Error: InvalidRequest."""
    name = call.headers.get("x-amz-checksum-algorithm")
    return None if name is None else algorithm_of(name).value


def caller(call: Call, name: str) -> str:
    """An Owner or Initiator element of the caller."""
    principal = call.context.principal
    return owner_of(call, name, "" if principal is None else principal.owner_id)


def owner_of(call: Call, name: str, owner_id: str) -> str:
    """An Owner or Initiator element; "": the owner of the bucket."""
    services = call.context.services
    held_id = owner_id or bucket_owner_id(services, call.bucket)
    display_name = services.identities.name_of(held_id)
    return xml.group(name, xml.element("ID", held_id), xml.element("DisplayName", display_name))
