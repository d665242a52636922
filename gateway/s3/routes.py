"""Which operation is this request? Which bucket and key?

Not for parameters of an operation, nor for names' validity (`model.names`). Any sub-resource that
S3 knows leads to an operation of its own, implemented or not, so a request never falls through to
another operation.

Source: Amazon S3 API Reference, actions as of 2026; checked in the tests against the service model
    of botocore.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """What the target names."""

    SERVICE = "SERVICE"
    BUCKET = "BUCKET"
    OBJECT = "OBJECT"


class Operation(StrEnum):
    """S3's operations by their own names."""

    LIST_BUCKETS = "ListBuckets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An operation, and whether it is there; if not, the answer is 501 NotImplemented."""

    operation: Operation
    implemented: bool


def split_target(
    host: str, raw_path: str, base_domains: Sequence[str]
) -> tuple[str | None, str | None]:
    """(bucket, key) of a request, either None if absent.

    Virtual-host style if `host` (a port is ignored) is `<bucket>.<base domain>`, else path style.
    The key is decoded once; `a/../b`, `//` and backslashes are ordinary. An empty bucket with a key
    (`//key`) is refused.

    Raises:
        S3Error: InvalidURI (bad escape, not UTF-8, NUL, absolute-form target), InvalidBucketName.
    """
    raise NotImplementedError


def split_copy_source(value: str) -> tuple[str, str, str | None]:
    """(bucket, key, version id) of an x-amz-copy-source value, by the same decoding. Raises
    S3Error: InvalidArgument.
    """
    raise NotImplementedError


def route(
    method: str, level: Level, query_names: Collection[str], header_names: Collection[str]
) -> Route:
    """The operation of a request.

    Args:
        query_names: decoded names of the query, as `uri.query_fields` gives them.
        header_names: lower-case names of the headers.

    Raises:
        S3Error: MethodNotAllowed.
    """
    raise NotImplementedError
