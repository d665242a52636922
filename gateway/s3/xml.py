"""The one XML writer, and the documents of the oldest operations.

Not for S3's meaning: part numbers come back in the order sent, keys as text; use cases judge them.
The writer's output always parses: what XML 1.0 cannot carry at all becomes U+FFFD (clients that
need such keys ask for encoding-type=url).

Source: Amazon S3 API Reference, request and response syntax; XML 1.0 §2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from urllib.parse import quote

from gateway.s3.errors import S3Answer, S3Error
from gateway.s3.xml_reader import NAMESPACE, Node, fields, malformed, read, read_steps

DELETE_BODY_MAX_BYTES = 6 << 20  # 1,000 keys of 1,024 bytes, each byte an entity such as &amp;
DELETE_ELEMENTS_MAX = 8000  # 1,000 objects, all that S3 lets one say of each
COMPLETE_BODY_MAX_BYTES = 8 << 20  # 10,000 parts, with a checksum each
BUCKET_BODY_MAX_BYTES = 64 << 10
DELETE_KEYS_MAX = 1_000
PARTS_MAX = 10_000
STEP_PARTS = 1_000  # of a list of parts between two steps
MINUTES_CACHED_MAX = 4096  # objects of one list were often written together


ListedRow = tuple[str, str, int, int, str, str, str, bool, str]
"""Of a list answer, as `ListingEntry`: key (url-encoded if the client asked for it), etag without
quotes, bytes, ms of the last change, class, checksum's algorithm and type, and two more.
"""


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
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


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
    return f'{DECLARATION}<{root} xmlns="{NAMESPACE}">{"".join(children)}</{root}>'.encode()


def error_document(answer: S3Answer, *, resource: str, request_id: str, host_id: str) -> bytes:
    """Body of an error (b"" where the status has none)."""
    if not answer.has_body:
        return b""
    fields = {"Code": answer.code, "Message": answer.message, **answer.extra}
    fields |= {"Resource": resource, "RequestId": request_id, "HostId": host_id}
    inside = "".join([element(name, text) for name, text in fields.items()])
    return f"{DECLARATION}<Error>{inside}</Error>".encode()


@lru_cache(maxsize=MINUTES_CACHED_MAX)
def _minute(index: int) -> str:
    return f"{datetime.fromtimestamp(index * 60, UTC):%Y-%m-%dT%H:%M}"


def timestamp(at_ms: int) -> str:
    """2009-10-12T17:50:30.000Z."""
    index, within_ms = divmod(at_ms, 60_000)
    return f"{_minute(index)}:{within_ms // 1000:02d}.{within_ms % 1000:03d}Z"


def told_time(at_ms: int) -> str:
    """When something was made or changed: in whole seconds, as headers have it, so that clients who
    compare the two, or send one back as a condition, find them equal.
    """
    return timestamp(at_ms - at_ms % 1000)


def contents(rows: Sequence[ListedRow], *, owner: str = "", owners: Sequence[str] = ()) -> str:
    """The Contents elements of a list answer.

    Args:
        owner: an Owner element for each row.
        owners: one of its own for each row, in place of `owner`.
    """
    tail = "</Contents>" if owners else f"{owner}</Contents>"
    if not _is_plain("".join([row[0] for row in rows])):
        rows = [(escape(row[0]), *row[1:]) for row in rows]
    written, second, told = [], -1, ""
    for key, etag, length_bytes, modified_ms, storage_class, algorithm, kind, _, _ in rows:
        # ETags, algorithms and classes are our own words: only the key needs escaping.
        checksum = ""
        if algorithm:
            checksum = (
                f"<ChecksumAlgorithm>{algorithm}</ChecksumAlgorithm>"
                f"<ChecksumType>{kind}</ChecksumType>"
            )
        if modified_ms // 1000 != second:
            second = modified_ms // 1000
            told = told_time(modified_ms)
        written.append(
            f"<Contents><Key>{key}</Key>"
            f"<LastModified>{told}</LastModified>"
            f"<ETag>&quot;{etag}&quot;</ETag>{checksum}<Size>{length_bytes}</Size>"
            f"<StorageClass>{storage_class}</StorageClass>{tail}"
        )
    if owners:
        end = len(tail)
        written = [f"{row[:-end]}{own}{tail}" for row, own in zip(written, owners, strict=True)]
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


_CHECKSUMS = frozenset(
    {
        "ChecksumCRC32",
        "ChecksumCRC32C",
        "ChecksumCRC64NVME",
        "ChecksumSHA1",
        "ChecksumSHA256",
        "ChecksumMD5",
        "ChecksumSHA512",
        "ChecksumXXHASH128",
        "ChecksumXXHASH3",
        "ChecksumXXHASH64",
    }
)


def parse_delete(body: bytes) -> DeleteRequest:
    """Body of DeleteObjects, in the order sent.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded.
    """
    keys: list[KeyToDelete] = []
    quiet: str | None = None
    for child in read(body, "Delete", DELETE_BODY_MAX_BYTES, DELETE_ELEMENTS_MAX).children:
        if child.name == "Object":
            keys.append(_key_to_delete(child))
        elif child.name == "Quiet" and quiet is None and not child.children:
            quiet = child.text.strip().lower()
        else:
            malformed()
    if not 1 <= len(keys) <= DELETE_KEYS_MAX or quiet not in {None, "true", "false"}:
        malformed()
    return DeleteRequest(keys=tuple(keys), quiet=quiet == "true")


_OBJECT_FIELDS = frozenset({"Key", "VersionId", "ETag", "LastModifiedTime", "Size"})


def _key_to_delete(node: Node) -> KeyToDelete:
    found = fields(node, _OBJECT_FIELDS)
    if not found.get("Key"):
        malformed()
    return KeyToDelete(
        key=found["Key"],
        version_id=found.get("VersionId"),
        etag=found.get("ETag"),
        last_modified_time=found.get("LastModifiedTime"),
        length_bytes=found.get("Size"),
    )


_PART_FIELDS = frozenset({"PartNumber", "ETag"}) | _CHECKSUMS


def parse_complete(body: bytes) -> tuple[CompletedPart, ...]:
    """Body of CompleteMultipartUpload, at least one part, in the order sent.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded.
    """
    return tuple(chain.from_iterable(complete_steps(body)))


def complete_steps(body: bytes) -> Iterator[list[CompletedPart]]:
    """As parse_complete, in steps of a few milliseconds, between which the caller lets others run.

    Yields: the parts of each step in order; none while the document is being read.

    Raises: as parse_complete; no part comes before the whole document has been read.
    """
    nodes: list[Node] = []
    for root in read_steps(body, "CompleteMultipartUpload", COMPLETE_BODY_MAX_BYTES):
        if root is not None:
            nodes = root.children
        yield []
    if not 1 <= len(nodes) <= PARTS_MAX:
        malformed()
    for start in range(0, len(nodes), STEP_PARTS):
        yield [_completed_part(node) for node in nodes[start : start + STEP_PARTS]]


def _completed_part(node: Node) -> CompletedPart:
    if node.name != "Part":
        malformed()
    found = fields(node, _PART_FIELDS)
    number = found.pop("PartNumber", "").strip()
    etag = found.pop("ETag", "").strip().removeprefix('"').removesuffix('"')
    if not (number.isascii() and number.isdigit() and len(number) <= 9 and etag):
        malformed()
    checksums = {name: text.strip() for name, text in found.items()}
    return CompletedPart(part_number=int(number), etag=etag, checksums=checksums)


def parse_create_bucket(body: bytes) -> BucketConfiguration:
    """Body of CreateBucket; empty is allowed.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded, NotImplemented (directory buckets).
    """
    if not body:
        return BucketConfiguration(location=None)
    root = read(body, "CreateBucketConfiguration", BUCKET_BODY_MAX_BYTES)
    location: str | None = None
    tags: list[tuple[str, str]] = []
    seen: set[str] = set()
    for child in root.children:
        if child.name in seen:
            malformed()
        seen.add(child.name)
        if child.name == "LocationConstraint" and not child.children:
            location = child.text.strip() or None
        elif child.name == "Tags":
            tags = [_tag(tag) for tag in child.children]
        elif child.name in {"Location", "Bucket"}:
            raise S3Error("NotImplemented")
        else:
            malformed()
    return BucketConfiguration(location=location, tags=tuple(tags))


def _tag(node: Node) -> tuple[str, str]:
    found = fields(node, frozenset({"Key", "Value"}))
    if node.name != "Tag" or len(found) != 2:
        malformed()
    return found["Key"], found["Value"]
