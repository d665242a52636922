"""Preconditions and ranges: decide about a version that was read; fetch nothing.

Not for header syntax beyond entity tags and Range. Entity tags are compared without quotes and
without `W/`, as S3 does.

Source: RFC 9110 §§ 13, 14; Amazon S3 API Reference, "GetObject", "PutObject", "CopyObject".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.model.errors import (
    InvalidArgument,
    InvalidRange,
    NoSuchKey,
    NotModified,
    PreconditionFailed,
)

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z", re.ASCII)
_COPY_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})\Z", re.ASCII)
_ETAG = re.compile(r'\s*(?:W/)?(?:"([^"]*)"|([^",\s]+))\s*(?:,|\Z)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Conditions of a request; None = not set. Entity tags as the header says them, dates in ms
    UTC.
    """

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since_ms: int | None = None
    if_unmodified_since_ms: int | None = None


def etags_of(header: str) -> frozenset[str]:
    """Entity tags of an If-Match or If-None-Match header; `*` stands for any."""
    found: list[str] = []
    position = 0
    while match := _ETAG.match(header, position):
        found.append(match.group(1) if match.group(1) is not None else match.group(2))
        position = match.end()
        if position == len(header):
            break
    return frozenset(found)


def names_etag(header: str, etag: str) -> bool:
    """Whether an If-Match or If-None-Match header names the tag (without quotes), or is `*`."""
    tags = etags_of(header)
    return etag in tags or "*" in tags


def check_read(conditions: Conditions, *, etag: str, modified_at_ms: int) -> None:
    """Conditions of GET and HEAD. A date counts only where there is no entity tag; both to the
    second.

    Raises: PreconditionFailed, NotModified.
    """
    modified_s = modified_at_ms // 1000
    match, none_match = conditions.if_match, conditions.if_none_match
    modified, unmodified = conditions.if_modified_since_ms, conditions.if_unmodified_since_ms
    if match is not None and not names_etag(match, etag):
        raise PreconditionFailed(condition="If-Match")
    if match is None and unmodified is not None and modified_s > unmodified // 1000:
        raise PreconditionFailed(condition="If-Unmodified-Since")
    if none_match is not None and names_etag(none_match, etag):
        raise NotModified(condition="If-None-Match")
    if none_match is None and modified is not None and modified_s <= modified // 1000:
        raise NotModified(condition="If-Modified-Since")


def check_copy_source(conditions: Conditions, *, etag: str, modified_at_ms: int) -> None:
    """Conditions of a copy's source: as a read, but every refusal is a 412.

    Raises: PreconditionFailed.
    """
    try:
        check_read(conditions, etag=etag, modified_at_ms=modified_at_ms)
    except NotModified as refused:
        name = "x-amz-copy-source-" + str(refused.fields["condition"])
        raise PreconditionFailed(condition=name) from refused


def check_rename(
    conditions: Conditions, *, etag: str | None, modified_at_ms: int, prefix: str = ""
) -> None:
    """Conditions of either name of a rename: as a read, but every refusal is a 412. `etag` None:
    nothing has that name, so it is neither this nor that, and was not modified.

    Raises: PreconditionFailed.
    """
    if etag is None:
        if conditions.if_match is not None:
            raise PreconditionFailed(condition=f"{prefix}If-Match")
        if conditions.if_none_match is None and conditions.if_modified_since_ms is not None:
            raise PreconditionFailed(condition=f"{prefix}If-Modified-Since")
        return
    try:
        check_read(conditions, etag=etag, modified_at_ms=modified_at_ms)
    except (NotModified, PreconditionFailed) as refused:
        raise PreconditionFailed(condition=f"{prefix}{refused.fields['condition']}") from refused


def check_write(conditions: Conditions, *, etag: str | None) -> None:
    """Conditions of PUT, copy, complete and DELETE over the current version; `etag` None: none or a
    delete marker.

    Raises: PreconditionFailed; NoSuchKey: If-Match and there is nothing.
    """
    if conditions.if_match is not None:
        if etag is None:
            raise NoSuchKey()
        if not names_etag(conditions.if_match, etag):
            raise PreconditionFailed(condition="If-Match")
    none_match = conditions.if_none_match
    if none_match is not None and etag is not None and names_etag(none_match, etag):
        raise PreconditionFailed(condition="If-None-Match")


def range_counts(if_range: str | None, *, etag: str) -> bool:
    """Whether a Range header is heeded beside an If-Range header, None = not sent. If not, all is
    sent: who goes on with a copy of another version must not get the rest of this one.

    A date does not tell versions of one second apart, nor does a weak tag tell bytes apart, so only
    the very tag does.
    """
    return if_range is None or if_range.strip() in (etag, f'"{etag}"')


def byte_range(header: str, content_bytes: int) -> tuple[int, int] | None:
    """(offset, length) of a Range header; None when S3 ignores it (malformed, or several ranges)
    and sends all.

    Raises: InvalidRange: it names no byte of the content.
    """
    match = _RANGE.match(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first_text, last_text = match.groups()
    if not first_text:
        suffix = min(int(last_text), content_bytes)
        if suffix == 0:
            raise InvalidRange(range=header[:64], content_bytes=content_bytes)
        return content_bytes - suffix, suffix
    first = int(first_text)
    last = int(last_text) if last_text else content_bytes - 1
    if last_text and last < first:
        return None
    if first >= content_bytes:
        raise InvalidRange(range=header[:64], content_bytes=content_bytes)
    return first, min(last, content_bytes - 1) - first + 1


def copy_range(header: str, content_bytes: int) -> tuple[int, int]:
    """(offset, length) of x-amz-copy-source-range, which must be one full range inside the source.

    Raises: InvalidArgument (malformed), InvalidRange (beyond the source).
    """
    match = _COPY_RANGE.match(header.strip())
    if match is None:
        raise InvalidArgument(
            message="The x-amz-copy-source-range value must be of the form bytes=first-last where "
            "first and last are the zero-based offsets of the first and last bytes to copy"
        )
    first, last = int(match.group(1)), int(match.group(2))
    if last < first or last >= content_bytes:
        raise InvalidRange(range=header[:64], content_bytes=content_bytes)
    return first, last - first + 1
