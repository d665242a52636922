"""The one XML writer and the one bounded XML reader.

Not for S3's meaning: part numbers come back in the order sent, keys as text; use cases judge them.
The writer's output always parses: what XML 1.0 cannot carry at all becomes U+FFFD (clients that
need such keys ask for encoding-type=url).

Source: Amazon S3 API Reference, request and response syntax; XML 1.0 §2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, NoReturn
from urllib.parse import quote
from xml.parsers import expat

from gateway.s3.errors import S3Answer, S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DEPTH_MAX = 32
DELETE_BODY_MAX_BYTES = 6 << 20  # 1,000 keys of 1,024 bytes, each byte an entity such as &amp;
COMPLETE_BODY_MAX_BYTES = 8 << 20  # 10,000 parts, with a checksum each
BUCKET_BODY_MAX_BYTES = 64 << 10
DELETE_KEYS_MAX = 1_000
PARTS_MAX = 10_000
ELEMENTS_MAX = 8 * PARTS_MAX
MINUTES_CACHED_MAX = 4096  # objects of one list were often written together


class ListedObject(NamedTuple):
    """One row of a list answer; `key` already url-encoded if the client asked for it. `etag`
    without quotes. A tuple, because a page has a thousand of them.
    """

    key: str
    etag: str
    length_bytes: int
    last_modified_ms: int
    storage_class: str = "STANDARD"
    checksum_algorithm: str | None = None
    checksum_composite: bool = False


ListedRow = tuple[str, str, int, int, str, str | None, bool]
"""The fields of a ListedObject, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyToDelete:
    """One Object of a Delete request; the conditions are as sent."""

    key: str
    version_id: str | None = None
    etag: str | None = None
    last_modified_time: str | None = None
    length_bytes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRequest:
    """Body of DeleteObjects, in order."""

    keys: tuple[KeyToDelete, ...]
    quiet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedPart:
    """One Part of CompleteMultipartUpload; `etag` without quotes; checksums base64 by element
    name.
    """

    part_number: int
    etag: str
    checksums: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketConfiguration:
    """Body of CreateBucket; None or () where absent."""

    location: str | None
    tags: tuple[tuple[str, str], ...] = ()


_SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')
_SPECIAL_ASCII = bytes(code for code in range(128) if _SPECIAL.match(chr(code)))
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def _escape_one(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0], "\ufffd")


def escape(text: str) -> str:
    """Text for element content."""
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(_escape_one, text)


def element(name: str, text: str | int | bool) -> str:
    """`<name>text</name>`; True and False are written true and false."""
    if isinstance(text, bool):
        return f"<{name}>{'true' if text else 'false'}</{name}>"
    return f"<{name}>{escape(text) if isinstance(text, str) else text}</{name}>"


def group(name: str, *children: str) -> str:
    """`<name>…</name>` around what `element`, `group` or `contents` made."""
    return f"<{name}>{''.join(children)}</{name}>"


def document(root: str, *children: str) -> bytes:
    """A whole answer in S3's namespace, with the XML declaration, UTF-8."""
    return f'{_DECLARATION}<{root} xmlns="{NAMESPACE}">{"".join(children)}</{root}>'.encode()


def error_document(answer: S3Answer, *, resource: str, request_id: str, host_id: str) -> bytes:
    """Body of an error (b"" where the status has none)."""
    if not answer.has_body:
        return b""
    fields = {"Code": answer.code, "Message": answer.message, **answer.extra}
    fields |= {"Resource": resource, "RequestId": request_id, "HostId": host_id}
    inside = "".join([element(name, text) for name, text in fields.items()])
    return f"{_DECLARATION}<Error>{inside}</Error>".encode()


@lru_cache(maxsize=MINUTES_CACHED_MAX)
def _minute(index: int) -> str:
    return f"{datetime.fromtimestamp(index * 60, UTC):%Y-%m-%dT%H:%M}"


def timestamp(at_ms: int) -> str:
    """2009-10-12T17:50:30.000Z."""
    index, within_ms = divmod(at_ms, 60_000)
    return f"{_minute(index)}:{within_ms // 1000:02d}.{within_ms % 1000:03d}Z"


def contents(rows: Sequence[ListedRow], *, owner: str | None = None) -> str:
    """The Contents elements of a list answer.

    Args:
        owner: written as ID and DisplayName of each row if given.
    """
    tail = "</Contents>"
    if owner is not None:
        tail = group("Owner", element("ID", owner), element("DisplayName", owner)) + tail
    if not _is_plain("".join([row[0] for row in rows])):
        rows = [(escape(row[0]), *row[1:]) for row in rows]
    written, second, until_second = [], -1, ""
    for key, etag, length_bytes, modified_ms, storage_class, algorithm, is_composite in rows:
        # ETags, algorithms and classes are our own words: only the key needs escaping.
        checksum = ""
        if algorithm is not None:
            kind = "COMPOSITE" if is_composite else "FULL_OBJECT"
            checksum = (
                f"<ChecksumAlgorithm>{algorithm}</ChecksumAlgorithm>"
                f"<ChecksumType>{kind}</ChecksumType>"
            )
        if modified_ms // 1000 != second:
            second = modified_ms // 1000
            until_second = timestamp(modified_ms)[:-4]
        written.append(
            f"<Contents><Key>{key}</Key>"
            f"<LastModified>{until_second}{modified_ms % 1000:03d}Z</LastModified>"
            f"<ETag>&quot;{etag}&quot;</ETag>{checksum}<Size>{length_bytes}</Size>"
            f"<StorageClass>{storage_class}</StorageClass>{tail}"
        )
    return "".join(written)


def _is_plain(text: str) -> bool:
    """Whether `escape` would leave this as it is, told in one pass; False also when in doubt."""
    if not text.isascii():
        return False
    raw = text.encode("ascii")
    return len(raw.translate(None, _SPECIAL_ASCII)) == len(raw)


def common_prefixes(prefixes: Iterable[str]) -> str:
    """The CommonPrefixes elements of a list answer."""
    return "".join(
        [
            f"<CommonPrefixes><Prefix>{escape(prefix)}</Prefix></CommonPrefixes>"
            for prefix in prefixes
        ]
    )


def encode_url(text: str) -> str:
    """A key, prefix or delimiter under encoding-type=url.

    A space becomes %20, which both ways of decoding in use (with and without `+`) understand.
    """
    return quote(text, safe="/", errors="replace")


_NAMESPACES = frozenset({NAMESPACE, "http://doc.s3.amazonaws.com/2006-03-01"})
_CHECKSUMS = frozenset(
    {
        "ChecksumCRC32",
        "ChecksumCRC32C",
        "ChecksumCRC64NVME",
        "ChecksumSHA1",
        "ChecksumSHA256",
    }
)
_ABSENT_CHECKSUMS = frozenset(
    {
        "ChecksumMD5",
        "ChecksumSHA512",
        "ChecksumXXHASH128",
        "ChecksumXXHASH3",
        "ChecksumXXHASH64",
    }
)


@dataclass(slots=True)
class _Node:
    """An element as read: local name, its text, its children."""

    name: str
    text: str = ""
    children: list[_Node] = field(default_factory=list)


def _malformed(*_: object) -> NoReturn:
    raise S3Error("MalformedXML")


class _Reader:
    """expat's callbacks, counting what they build."""

    def __init__(self) -> None:
        self._open = [_Node("")]
        self._element_count = 0

    def read(self, body: bytes) -> _Node:
        parser = expat.ParserCreate("utf-8", "}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.XmlDeclHandler = self._declaration
        # Nothing of a document type is ever read: neither entities nor defaults nor addresses.
        parser.StartDoctypeDeclHandler = _malformed
        try:
            parser.Parse(body, True)
        except expat.ExpatError:
            _malformed()
        return self._open[0].children[0]

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":
            _malformed()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._element_count += 1
        if len(self._open) > DEPTH_MAX or self._element_count > ELEMENTS_MAX:
            _malformed()
        namespace, _, local = name.rpartition("}")
        if namespace and namespace not in _NAMESPACES:
            _malformed()
        node = _Node(local)
        self._open[-1].children.append(node)
        self._open.append(node)

    def _end(self, name: str) -> None:
        node = self._open.pop()
        if node.children and node.text.strip():
            _malformed()

    def _characters(self, text: str) -> None:
        self._open[-1].text += text


def _read(body: bytes, root: str, bytes_max: int) -> _Node:
    if len(body) > bytes_max:
        raise S3Error("MaxMessageLengthExceeded")
    # expat follows a byte order mark whatever it is told; no UTF-16 or -32 is without one or a NUL.
    if b"\x00" in body or body.startswith((b"\xff\xfe", b"\xfe\xff")):
        _malformed()
    node = _Reader().read(body)
    if node.name != root:
        _malformed()
    return node


def _fields(node: _Node, names: frozenset[str]) -> dict[str, str]:
    """Text by name of an element whose children are leaves, each at most once."""
    fields: dict[str, str] = {}
    for child in node.children:
        if child.name not in names or child.name in fields or child.children:
            _malformed()
        fields[child.name] = child.text
    return fields


def parse_delete(body: bytes) -> DeleteRequest:
    """Body of DeleteObjects, in the order sent.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded.
    """
    keys: list[KeyToDelete] = []
    quiet: str | None = None
    for child in _read(body, "Delete", DELETE_BODY_MAX_BYTES).children:
        if child.name == "Object":
            keys.append(_key_to_delete(child))
        elif child.name == "Quiet" and quiet is None and not child.children:
            quiet = child.text.strip().lower()
        else:
            _malformed()
    if not 1 <= len(keys) <= DELETE_KEYS_MAX or quiet not in {None, "true", "false"}:
        _malformed()
    return DeleteRequest(keys=tuple(keys), quiet=quiet == "true")


_OBJECT_FIELDS = frozenset({"Key", "VersionId", "ETag", "LastModifiedTime", "Size"})


def _key_to_delete(node: _Node) -> KeyToDelete:
    fields = _fields(node, _OBJECT_FIELDS)
    if not fields.get("Key"):
        _malformed()
    return KeyToDelete(
        key=fields["Key"],
        version_id=fields.get("VersionId"),
        etag=fields.get("ETag"),
        last_modified_time=fields.get("LastModifiedTime"),
        length_bytes=fields.get("Size"),
    )


_PART_FIELDS = frozenset({"PartNumber", "ETag"}) | _CHECKSUMS | _ABSENT_CHECKSUMS


def parse_complete(body: bytes) -> tuple[CompletedPart, ...]:
    """Body of CompleteMultipartUpload, at least one part, in the order sent.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded, NotImplemented (a checksum we do not have).
    """
    parts: list[CompletedPart] = []
    for child in _read(body, "CompleteMultipartUpload", COMPLETE_BODY_MAX_BYTES).children:
        if child.name != "Part":
            _malformed()
        fields = _fields(child, _PART_FIELDS)
        if not _ABSENT_CHECKSUMS.isdisjoint(fields):
            raise S3Error("NotImplemented")
        number = fields.pop("PartNumber", "").strip()
        etag = fields.pop("ETag", "").strip().removeprefix('"').removesuffix('"')
        if not (number.isascii() and number.isdigit() and len(number) <= 9 and etag):
            _malformed()
        checksums = {name: text.strip() for name, text in fields.items()}
        parts.append(CompletedPart(part_number=int(number), etag=etag, checksums=checksums))
    if not 1 <= len(parts) <= PARTS_MAX:
        _malformed()
    return tuple(parts)


def parse_create_bucket(body: bytes) -> BucketConfiguration:
    """Body of CreateBucket; empty is allowed.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded, NotImplemented (directory buckets).
    """
    if not body:
        return BucketConfiguration(location=None)
    root = _read(body, "CreateBucketConfiguration", BUCKET_BODY_MAX_BYTES)
    location: str | None = None
    tags: list[tuple[str, str]] = []
    seen: set[str] = set()
    for child in root.children:
        if child.name in seen:
            _malformed()
        seen.add(child.name)
        if child.name == "LocationConstraint" and not child.children:
            location = child.text.strip() or None
        elif child.name == "Tags":
            tags = [_tag(tag) for tag in child.children]
        elif child.name in {"Location", "Bucket"}:
            raise S3Error("NotImplemented")
        else:
            _malformed()
    return BucketConfiguration(location=location, tags=tuple(tags))


def _tag(node: _Node) -> tuple[str, str]:
    fields = _fields(node, frozenset({"Key", "Value"}))
    if node.name != "Tag" or len(fields) != 2:
        _malformed()
    return fields["Key"], fields["Value"]
