"""A version as an export tells of it: a JSON object that a stranger can read.

Not for where its bytes are in an export's files (`gateway.cli.export_folder`), and never with a
key: what opens the bytes stays behind. Ids that only the index knows are left out as well.

Source: docs/export-format.md, "Versions".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.limits import ANNOTATIONS_MAX, OBJECT_BYTES_MAX, PART_NUMBER_MAX
from gateway.model.annotations import check_name
from gateway.model.attributes import COMPLIANCE, GOVERNANCE, Attributes, Encryption, Grant
from gateway.model.errors import AnnotationNameTooLong, InvalidAnnotationName
from gateway.model.names import (
    NULL_VERSION,
    ObjectKey,
    VersionId,
    object_key,
    version_id,
    version_id_text,
)
from gateway.model.version import (
    CHECKSUM_ALGORITHMS,
    CHECKSUM_TYPES,
    STORAGE_CLASSES,
    STORED_HEADERS,
    Checksum,
    Pairs,
    Part,
    Version,
)
from storaged.base.errors import Kind, StorageError

Document = dict[str, Any]

SEQUENCE_BYTES = 8
TIME_MS_MAX = 253_402_300_799_999  # the last millisecond of the year 9999
_HEADERS = frozenset((*STORED_HEADERS, "x-amz-website-redirect-location"))
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What a replication status means elsewhere too; one that waits here waits for nobody there.
_SETTLED = frozenset({"COMPLETED", "FAILED", "REPLICA"})
# Where the bytes are is a matter of each side.
_OF_ONE_SIDE = frozenset({"body", "sha256", "uuid"})


class RecordInvalid(StorageError):
    """The record of a version is not usable."""

    kind = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingPart:
    """A part, or an annotation with its name."""

    number: int
    plain_bytes: int
    etag: str
    checksum: Checksum | None
    created_at_ms: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A version that comes from an export.

    Args:
        sha256: of its bytes, hexadecimal; "" for a delete marker.
        customer_key_md5: which client's own key sealed it; "": none.
        attributes: without those that follow from its place among the versions of its key.
    """

    key: ObjectKey
    version_id: VersionId
    sequence: int
    is_current: bool
    is_delete_marker: bool
    created_at_ms: int
    noncurrent_since_ms: int
    content_bytes: int
    etag: str
    sha256: str
    storage_class: str
    headers: Pairs
    user_metadata: Pairs
    tags: Pairs
    checksum: Checksum | None
    parts: tuple[IncomingPart, ...]
    annotations: tuple[IncomingPart, ...]
    attributes: Attributes
    customer_key_md5: str


class NamedPart(NamedTuple):
    """An annotation."""

    name: str
    part: Part


def version_document(
    key: str,
    version: Version,
    *,
    is_current: bool,
    parts: Sequence[Part] = (),
    annotations: Sequence[NamedPart] = (),
) -> Document:
    """The record of a version. What it does not have is left out."""
    held = version.attributes
    document: Document = {
        "key": key,
        "version_id": version_id_text(version.version_id),
        "sequence": version.sequence,
        "current": is_current,
        "modified_at_ms": version.created_at_ms,
        "owner_id": held.owner_id,
    }
    optional: Document = {
        "delete_marker": version.is_delete_marker,
        "noncurrent_since_ms": 0 if is_current else held.noncurrent_since_ms,
        "tags": [list(pair) for pair in version.tags],
        "acl": [[grant.kind, grant.grantee, grant.permission] for grant in held.acl],
        "retention_mode": held.retention_mode,
        "retain_until_ms": held.retain_until_ms,
        "legal_hold": held.legal_hold,
        "replication": held.replication,
        "replica": held.replica if held.replication in _SETTLED else "",
    }
    if not version.is_delete_marker:
        document["bytes"] = version.content_bytes
        document["etag"] = version.etag
        optional |= {
            "storage_class": version.storage_class,
            "headers": [list(pair) for pair in version.headers],
            "metadata": [list(pair) for pair in version.user_metadata],
            "checksum": checksum_document(version.checksum),
            "parts": [_part_document(part) for part in parts],
            "annotations": [{"name": one.name, **_part_document(one.part)} for one in annotations],
            "encryption": _encryption_document(held.encryption),
        }
    document |= {name: value for name, value in optional.items() if value}
    return document


def checksum_document(checksum: Checksum | None) -> Document | None:
    """A checksum as S3 prints it."""
    if checksum is None:
        return None
    return {"algorithm": checksum.algorithm, "type": checksum.type, "value": checksum.value}


def _part_document(part: Part) -> Document:
    document: Document = {
        "number": part.number,
        "bytes": part.plain_bytes,
        "etag": part.etag,
        "created_at_ms": part.created_at_ms,
    }
    if part.checksum is not None:
        document["checksum"] = checksum_document(part.checksum)
    return document


def _encryption_document(encryption: Encryption | None) -> Document | None:
    if encryption is None:
        return None
    document: Document = {"kind": encryption.kind}
    if encryption.key_id:
        document["key_id"] = encryption.key_id
    if encryption.bucket_key:
        document["bucket_key"] = True
    if encryption.context:
        document["context"] = encryption.context
    return document


def comparable(document: Mapping[str, Any], owners: Mapping[str, str]) -> Document:
    """What of a record has to be equal on both sides of a move.

    Args:
        owners: canonical ids by those they have taken the place of.
    """
    kept = {name: value for name, value in document.items() if name not in _OF_ONE_SIDE}
    kept["owner_id"] = owners.get(kept["owner_id"], kept["owner_id"])
    if "acl" in kept:
        kept["acl"] = [[kind, owners.get(who, who), may] for kind, who, may in kept["acl"]]
    if kept.get("replication") not in _SETTLED:
        kept.pop("replication", None)
    if "annotations" in kept:
        kept["annotations"] = [
            {name: value for name, value in one.items() if name not in _OF_ONE_SIDE}
            for one in kept["annotations"]
        ]
    return kept


def incoming_of(document: Mapping[str, Any], owners: Mapping[str, str]) -> Incoming:
    """Judge the record of a version. `owners`: as in `comparable`. Raises: RecordInvalid."""
    try:
        found = _incoming(document, owners)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordInvalid(reason=f"{type(error).__name__}: {error}"[:200]) from error
    except StorageError as error:
        raise RecordInvalid(reason=error.message()) from error
    _check(found)
    return found


def _incoming(document: Mapping[str, Any], owners: Mapping[str, str]) -> Incoming:
    is_marker = bool(document.get("delete_marker", False))
    return Incoming(
        key=object_key(document["key"].encode("utf-8")),
        version_id=version_id(document["version_id"]),
        sequence=_whole(document["sequence"]),
        is_current=bool(document["current"]),
        is_delete_marker=is_marker,
        created_at_ms=_whole(document["modified_at_ms"]),
        noncurrent_since_ms=_whole(document.get("noncurrent_since_ms", 0)),
        content_bytes=0 if is_marker else _whole(document["bytes"]),
        etag="" if is_marker else _text(document["etag"]),
        sha256="" if is_marker else _text(document["sha256"]),
        storage_class=_text(document.get("storage_class", "STANDARD")),
        headers=_pairs(document.get("headers", [])),
        user_metadata=_pairs(document.get("metadata", [])),
        tags=_pairs(document.get("tags", [])),
        checksum=_checksum(document.get("checksum")),
        parts=tuple(_part(one) for one in document.get("parts", [])),
        annotations=tuple(_part(one) for one in document.get("annotations", [])),
        attributes=_attributes(document, owners),
        customer_key_md5=_text(document.get("customer_key_md5", "")),
    )


def _attributes(document: Mapping[str, Any], owners: Mapping[str, str]) -> Attributes:
    owner_id = _text(document["owner_id"])
    replication = document.get("replication", "")
    is_settled = replication in _SETTLED
    return Attributes(
        owner_id=owners.get(owner_id, owner_id),
        acl=tuple(
            Grant(kind=_text(kind), grantee=owners.get(who, _text(who)), permission=_text(may))
            for kind, who, may in document.get("acl", [])
        ),
        retention_mode=_text(document.get("retention_mode", "")),
        retain_until_ms=_whole(document.get("retain_until_ms", 0)),
        legal_hold=bool(document.get("legal_hold", False)),
        encryption=_encryption(document.get("encryption")),
        replication=replication if is_settled else "",
        replica=_text(document.get("replica", "")) if is_settled else "",
    )


def _encryption(document: Mapping[str, Any] | None) -> Encryption | None:
    if document is None:
        return None
    return Encryption(
        kind=_text(document["kind"]),
        key_id=_text(document.get("key_id", "")),
        bucket_key=bool(document.get("bucket_key", False)),
        context=_text(document.get("context", "")),
    )


def _part(document: Mapping[str, Any]) -> IncomingPart:
    return IncomingPart(
        number=_whole(document["number"]),
        plain_bytes=_whole(document["bytes"]),
        etag=_text(document["etag"]),
        checksum=_checksum(document.get("checksum")),
        created_at_ms=_whole(document["created_at_ms"]),
        name=_text(document.get("name", "")),
    )


def _checksum(document: Mapping[str, Any] | None) -> Checksum | None:
    if document is None:
        return None
    if document["algorithm"] not in CHECKSUM_ALGORITHMS or document["type"] not in CHECKSUM_TYPES:
        raise ValueError("no such checksum")
    return Checksum(
        algorithm=document["algorithm"],
        type=_text(document["type"]),
        value=_text(document["value"]),
    )


def _pairs(listed: Sequence[Sequence[str]]) -> Pairs:
    return tuple((_text(name), _text(value)) for name, value in listed)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError("not a whole number")
    return value


def _check(found: Incoming) -> None:
    """What no version of ours can be. Raises: RecordInvalid."""
    prefix = found.sequence.to_bytes(SEQUENCE_BYTES, "big")
    numbers = [part.number for part in found.parts]
    annotated = [one.name for one in found.annotations]
    held = found.attributes
    times = (found.created_at_ms, found.noncurrent_since_ms, held.retain_until_ms)
    wrong = {
        "times": any(time > TIME_MS_MAX for time in times),
        "headers": not {name for name, _ in found.headers} <= _HEADERS
        or any(_CONTROL.search(value) for _, value in found.headers),
        "metadata": any(
            _CONTROL.search(name + value) or ":" in name for name, value in found.user_metadata
        ),
        "sequence": found.sequence < 1,
        "version_id": found.version_id != NULL_VERSION and found.version_id[:8] != prefix,
        "storage_class": found.storage_class not in STORAGE_CLASSES,
        "bytes": found.content_bytes > OBJECT_BYTES_MAX,
        "parts": numbers != sorted(set(numbers))
        or any(not 1 <= number <= PART_NUMBER_MAX for number in numbers)
        or (any(part.plain_bytes < 1 for part in found.parts) and len(found.parts) > 1)
        or (bool(numbers) and sum(part.plain_bytes for part in found.parts) != found.content_bytes),
        "annotations": annotated != sorted(set(annotated), key=str.encode)
        or len(annotated) > ANNOTATIONS_MAX
        or not all(_is_name(name) for name in annotated),
        "retention_mode": held.retention_mode not in ("", GOVERNANCE, COMPLIANCE),
        "delete_marker": found.is_delete_marker and bool(numbers or annotated),
    }
    for field, is_wrong in wrong.items():
        if is_wrong:
            raise RecordInvalid(field=field)


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except (InvalidAnnotationName, AnnotationNameTooLong):
        return False
    return True
