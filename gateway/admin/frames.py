"""Frames of the admin port's streams: a JSON object and, behind it, bytes.

    4 bytes: length of the object, big-endian ‖ the object in ASCII ‖ "inline" bytes of content

Not for what they mean. Source: docs/export.md, "The admin port".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from storaged.base.errors import ProtocolError

HEAD_BYTES = 4
OBJECT_BYTES_MAX = 8 * 1024 * 1024  # a version of 10,000 parts and 1,000 annotations
INLINE_BYTES_MAX = 1024 * 1024  # of content that goes along; what is larger is asked for by itself

Document = dict[str, Any]


def encode_frame(document: Mapping[str, object], content: bytes = b"") -> bytes:
    """The frame. `document` says how long the content is, as `inline`."""
    raw = json.dumps(document).encode("ascii")
    return len(raw).to_bytes(HEAD_BYTES, "big") + raw + content


def frame_length(head: bytes) -> int:
    """Length of the object after these 4 bytes. Raises: ProtocolError."""
    length = int.from_bytes(head, "big")
    if len(head) != HEAD_BYTES or not 0 < length <= OBJECT_BYTES_MAX:
        raise ProtocolError(reason="not a frame of a stream")
    return length


def decode_object(raw: bytes) -> Document:
    """The object of a frame. Raises: ProtocolError."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(reason="a frame's object is no JSON") from error
    if not isinstance(found, dict):
        raise ProtocolError(reason="a frame's object is none")
    return found
