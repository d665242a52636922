"""Which operation is this request? Which bucket and key?

Not for parameters of an operation, nor for the validity of names (`model.names`). Any sub-resource
that S3 knows leads to an operation of its own, whether we have it (`operations.table`) or not, so a
request never falls through to another operation.

Source: Amazon S3 API Reference, actions as of 2026; "Virtual hosting of buckets".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from gateway.s3.actions import (
    BUCKET_SUBRESOURCES,
    LISTED,
    OBJECT_SUBRESOURCES,
    PLAIN,
    Level,
    Operation,
)
from gateway.s3.errors import S3Error
from gateway.s3.uri import decode_escapes

__all__ = ["Level", "Operation", "Route", "level_of", "route", "split_copy_source", "split_target"]

# Headers that only our own processes may give meaning to; a client that sends one is refused.
INTERNAL_PREFIX = "x-hexagone-"

_SUBRESOURCES = {
    Level.SERVICE: {},
    Level.BUCKET: BUCKET_SUBRESOURCES,
    Level.OBJECT: OBJECT_SUBRESOURCES,
}
_KNOWN = frozenset(BUCKET_SUBRESOURCES) | frozenset(OBJECT_SUBRESOURCES)
_COPY_SOURCE = "x-amz-copy-source"
_RENAME_SOURCE = "x-amz-rename-source"
_BAD_RENAME_SOURCE = "Rename Source must mention the bucket and the source key: bucket/sourcekey"
HOSTS_CACHED_MAX = 256
_BAD_COPY_SOURCE = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An operation and its name."""

    operation: Operation
    name: str


FORM_TYPE = "multipart/form-data"

_ROUTES = {operation: Route(operation=operation, name=operation.value) for operation in Operation}


def split_target(
    host: str, raw_path: str, base_domains: Sequence[str]
) -> tuple[str | None, str | None]:
    """(bucket, key) of a request, either None if absent.

    Virtual-host style if `host` (a port is ignored) is `<bucket>.<base domain>`, else path style.
    The path is decoded once and then split, so the target depends on the same decoded bytes that
    the signature covers; `a/../b`, `//` and backslashes are ordinary parts of a key.

    Raises:
        S3Error: InvalidURI (bad escape, not UTF-8, NUL, not in origin form), InvalidBucketName (an
            empty bucket with a key).
    """
    if not raw_path.startswith("/"):
        raise S3Error("InvalidURI")
    path = raw_path
    if "%" in raw_path or not raw_path.isascii():
        try:
            path = decode_escapes(raw_path).decode()
        except UnicodeDecodeError:
            raise S3Error("InvalidURI") from None
    if "\x00" in path:
        raise S3Error("InvalidURI")
    bucket = bucket_of_host(host, base_domains)
    if bucket is not None:
        return bucket, path[1:] or None
    bucket, slash, key = path[1:].partition("/")
    if not bucket:
        if slash:
            raise S3Error("InvalidBucketName")
        return None, None
    return bucket, key or None


def bucket_of_host(host: str, base_domains: Sequence[str]) -> str | None:
    """The bucket that a host names in virtual-host style; None in path style."""
    return _bucket_of_host(host, tuple(base_domains)) if base_domains else None


@lru_cache(maxsize=HOSTS_CACHED_MAX)
def _bucket_of_host(host: str, base_domains: tuple[str, ...]) -> str | None:
    name = host.lower()
    if not name.startswith("["):
        name = name.partition(":")[0].removesuffix(".")
    suffixes = [f".{domain.lower()}" for domain in base_domains]
    if f".{name}" in suffixes:
        return None
    found = [suffix for suffix in suffixes if name.endswith(suffix) and name != suffix]
    return name.removesuffix(max(found, key=len)) if found else None


def level_of(bucket: str | None, key: str | None) -> Level:
    """The level of what `split_target` found."""
    if bucket is None:
        return Level.SERVICE
    return Level.BUCKET if key is None else Level.OBJECT


def proves_itself(
    method: str, level: Level, query_names: Collection[str], content_type: str
) -> bool:
    """Whether a request without credentials in its head is a preflight or a form."""
    if method == "OPTIONS":
        return level is not Level.SERVICE
    is_form = content_type.lower().startswith(FORM_TYPE)
    return method == "POST" and is_form and level is Level.BUCKET and _KNOWN.isdisjoint(query_names)


def split_copy_source(value: str) -> tuple[str, str, str | None]:
    """(bucket, key, version id) of an x-amz-copy-source value.

    Decoded once, `+` as a space (as S3 does, so clients escape it); a leading slash is optional.

    Raises:
        S3Error: InvalidArgument.
    """
    source, mark, version_id = value.rpartition("?versionId=")
    if not mark:
        source, version_id = value, ""
    try:
        path = decode_escapes(source.replace("+", " ")).decode()
        version = decode_escapes(version_id).decode()
    except (S3Error, UnicodeDecodeError):
        raise _bad_copy_source(value) from None
    bucket, _, key = path.removeprefix("/").partition("/")
    if not bucket or not key or "\x00" in path or (mark and not version):
        raise _bad_copy_source(value)
    return bucket, key, version if mark else None


def split_rename_source(value: str, bucket: str) -> str:
    """The key in an x-amz-rename-source value of a request to `bucket`: `/bucket/key`, `bucket/key`
    or the key alone, which is what AWS's own client for file systems sends.

    Decoded once; `+` is itself. Keys that begin with a slash or with the bucket's name need the
    bucket before them.

    Raises:
        S3Error: InvalidArgument (no key; malformed), InvalidRequest (another bucket).
    """
    extra = {"ArgumentName": _RENAME_SOURCE, "ArgumentValue": value}
    try:
        path = decode_escapes(value).decode()
    except (S3Error, UnicodeDecodeError):
        path = ""
    named, slash, key = path.removeprefix("/").partition("/")
    if not named or "\x00" in path or (not key and (slash or path.startswith("/"))):
        raise S3Error("InvalidArgument", _BAD_RENAME_SOURCE, extra=extra)
    if slash and named == bucket:
        return key
    if path.startswith("/"):
        text = "The source and the destination of a rename must be in the same bucket."
        raise S3Error("InvalidRequest", text, extra=extra)
    return path


def _bad_copy_source(value: str) -> S3Error:
    extra = {"ArgumentName": _COPY_SOURCE, "ArgumentValue": value}
    return S3Error("InvalidArgument", _BAD_COPY_SOURCE, extra=extra)


def route(
    method: str, level: Level, query_names: Collection[str], header_names: Collection[str]
) -> Route:
    """The operation of a request.

    Args:
        query_names: decoded names of the query, as `uri.query_fields` gives them.
        header_names: lower-case names of the headers.

    Raises:
        S3Error: MethodNotAllowed, InvalidArgument (sub-resources that contradict each other, a part
            number without an upload), AccessDenied (internal header).
    """
    if INTERNAL_PREFIX in " ".join(header_names):
        for name in header_names:
            if name.startswith(INTERNAL_PREFIX):
                raise S3Error("AccessDenied")
    if not query_names and _COPY_SOURCE not in header_names:
        plain = PLAIN[level].get(method)
        if plain is not None:
            return _ROUTES[plain]  # nothing refines it
    if method == "OPTIONS" and level is not Level.SERVICE:
        return _ROUTES[Operation.OPTIONS_OBJECT]  # whatever the request to come is
    named = [name for name in query_names if name in _KNOWN] if query_names else []
    if len(set(named)) > 1:
        names = ", ".join(sorted(set(named)))
        raise S3Error("InvalidArgument", f"Conflicting query string parameters: {names}")
    if named:
        operation = _SUBRESOURCES[level].get(named[0], {}).get(method)
    else:
        operation = PLAIN[level].get(method)
    if operation is None:
        raise S3Error("MethodNotAllowed", extra={"Method": method, "ResourceType": level})
    return _ROUTES[_refine(operation, query_names, header_names)]


def _refine(
    operation: Operation, query_names: Collection[str], header_names: Collection[str]
) -> Operation:
    """The operation, where a further header or name of the query decides."""
    match operation:
        case Operation.LIST_OBJECTS if "list-type" in query_names:
            return Operation.LIST_OBJECTS_V2
        case Operation.PUT_OBJECT | Operation.DELETE_OBJECT if "partNumber" in query_names:
            # A part without its upload: storing or deleting the object instead would be wrong.
            _refuse("This operation needs an uploadId.", "partNumber")
        case Operation.PUT_OBJECT | Operation.UPLOAD_PART if "versionId" in query_names:
            _refuse("This operation does not accept a version-id.", "versionId")
        case Operation.PUT_OBJECT if _COPY_SOURCE in header_names:
            return Operation.COPY_OBJECT
        case Operation.UPLOAD_PART if "partNumber" not in query_names:
            _refuse("This operation needs a partNumber.", "uploadId")
        case Operation.UPLOAD_PART if _COPY_SOURCE in header_names:
            return Operation.UPLOAD_PART_COPY
        case _ if operation in LISTED:
            item, listing = LISTED[operation]
            return operation if item in query_names else listing
    return operation


def _refuse(text: str, argument: str) -> NoReturn:
    raise S3Error("InvalidArgument", text, extra={"ArgumentName": argument})
