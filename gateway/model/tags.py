"""Rules for the tags of an object or a bucket. Pure.

Not for headers or XML. Tags are kept in order of their keys, so that what a client reads does not
depend on how they came.

Source: Amazon S3 User Guide, "Categorizing your objects using tags"; API Reference,
"PutObjectTagging", "PutBucketTagging".
"""

from __future__ import annotations

import re
from itertools import pairwise

from gateway.model.errors import InvalidTag
from gateway.model.version import Pairs

OBJECT_TAGS_MAX = 10
BUCKET_TAGS_MAX = 50
KEY_CHARACTERS_MAX = 128
VALUE_CHARACTERS_MAX = 256

# Letters, numbers, separators and some marks: S3 says so by the categories of Unicode.
_ALLOWED = re.compile(
    r"[\w.:/=+\-@ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*", re.UNICODE
)
_RESERVED = "aws:"


def object_tags(tags: Pairs) -> Pairs:
    """The tags of an object, in order. Raises: InvalidTag."""
    return _checked(
        tags,
        OBJECT_TAGS_MAX,
        too_many="Object tags cannot be greater than 10",
        reserved="Your TagKey cannot be prefixed with aws:",
    )


def bucket_tags(tags: Pairs) -> Pairs:
    """The tags of a bucket, in order. Raises: InvalidTag."""
    return _checked(
        tags,
        BUCKET_TAGS_MAX,
        too_many="Bucket tag count cannot be greater than 50",
        reserved="System tags cannot be added/updated by requester",
    )


def _checked(tags: Pairs, count_max: int, *, too_many: str, reserved: str) -> Pairs:
    if len(tags) > count_max:
        raise InvalidTag(message=too_many)
    for key, value in tags:
        if not 1 <= len(key) <= KEY_CHARACTERS_MAX or _ALLOWED.fullmatch(key) is None:
            raise InvalidTag(message="The TagKey you have provided is invalid", tag_key=key)
        if key.lower().startswith(_RESERVED):
            raise InvalidTag(message=reserved, tag_key=key)
        if len(value) > VALUE_CHARACTERS_MAX or _ALLOWED.fullmatch(value) is None:
            raise InvalidTag(
                message="The TagValue you have provided is invalid", tag_key=key, tag_value=value
            )
    ordered = tuple(sorted(tags))
    for (key, _), (following, _) in pairwise(ordered):
        if key == following:
            raise InvalidTag(message="Cannot provide multiple Tags with the same key", tag_key=key)
    return ordered
