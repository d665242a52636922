"""Annotations: named texts that are attached to a version. What a name may be.

Not for how they are stored (`gateway.meta.annotations`). An annotation has the fields of a part;
its number is one that no part has, and its name stands in the key of its row.

Source: Amazon S3 User Guide, "Annotating your objects"; API Reference, "PutObjectAnnotation".
"""

from __future__ import annotations

import unicodedata

from gateway.limits import ANNOTATION_NAME_BYTES_MAX
from gateway.model.errors import AnnotationNameTooLong, InvalidAnnotationName, InvalidPrefix

PART_NUMBER = 0  # what the frames of an annotation are bound to in place of a part's number
DEFAULT_CHECKSUM = "CRC64NVME"  # kept where the client names none
_RESERVED = ("aws", "s3")
_SIGNS = frozenset("0123456789_.-")


def check_name(name: str) -> bytes:
    """The name of an annotation that is to be written, as UTF-8.

    Letters of any language with their marks, digits, `_`, `.` and `-`; 1–512 bytes.

    Raises: InvalidAnnotationName, AnnotationNameTooLong.
    """
    raw = _encoded(name)
    if raw is None or not raw:
        raise InvalidAnnotationName()
    if len(raw) > ANNOTATION_NAME_BYTES_MAX:
        raise AnnotationNameTooLong()
    if not _is_plain(name) or name.lower().startswith(_RESERVED):
        raise InvalidAnnotationName()
    return raw


def known_name(name: str) -> bytes | None:
    """The name of an annotation that is asked for, as UTF-8; None: none can have it."""
    try:
        return check_name(name)
    except (InvalidAnnotationName, AnnotationNameTooLong):
        return None


def check_prefix(prefix: str) -> bytes:
    """What names are to begin with, as UTF-8; b"": anything. Raises: InvalidPrefix."""
    raw = _encoded(prefix)
    if raw is None or len(raw) > ANNOTATION_NAME_BYTES_MAX or not _is_plain(prefix):
        raise InvalidPrefix()
    return raw


def _encoded(text: str) -> bytes | None:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return None


def _is_plain(text: str) -> bool:
    return all(sign in _SIGNS or unicodedata.category(sign)[0] in "LM" for sign in text)
