"""Continuation tokens: where a listing goes on, opaque to clients and bound to what was listed.

Not secret: the token shows its key to whoever has it, who has just seen that key in the listing.
A changed token, or one of another bucket, is refused: its tag is keyed by the bucket's id, which
no client ever sees.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

from gateway.model.errors import InvalidArgument

_TAG_BYTES = 8
TOKEN_TEXT_MAX = 2048
AT_KEY = 0
AT_COMMON_PREFIX = 1


def _tag(scope: bytes, body: bytes) -> bytes:
    return blake2b(body, digest_size=_TAG_BYTES, key=scope, person=b"list-token").digest()


def encode_token(scope: bytes, kind: int, position: bytes) -> str:
    """Token for going on after `position`.

    Args:
        scope: 16–64 bytes, id of the bucket or tenant that is listed.
        kind: AT_KEY (go on above this key) or AT_COMMON_PREFIX (above all keys with this prefix).
    """
    body = bytes((kind,)) + position
    return urlsafe_b64encode(_tag(scope, body) + body).decode("ascii")


def decode_token(scope: bytes, token: str) -> tuple[int, bytes]:
    """(kind, position) of a token of ours. Raises InvalidArgument for any other text."""
    refused = InvalidArgument(message="The continuation token provided is incorrect")
    if len(token) > TOKEN_TEXT_MAX:
        raise refused
    try:
        raw = urlsafe_b64decode(token.encode("ascii"))
    except (binascii.Error, ValueError) as error:
        raise refused from error
    tag, body = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
    if not body or body[0] > AT_COMMON_PREFIX or not hmac.compare_digest(tag, _tag(scope, body)):
        raise refused
    return body[0], body[1:]
