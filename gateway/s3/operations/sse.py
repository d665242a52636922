"""Headers of encryption: those of requests as values, a stored choice as headers of an answer.

Not for judging them, which `gateway.objects.encryption` does once the caller's rights are known.

Source: Amazon S3 API Reference, request and response syntax of PutObject, GetObject, CopyObject.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model.attributes import CUSTOMER, Encryption
from gateway.objects.values import CustomerKey, EncryptionAsked
from gateway.s3.errors import S3Error
from gateway.s3.responses import Header

PREFIX = "x-amz-server-side-encryption"
CUSTOMER_PREFIX = f"{PREFIX}-customer"
SOURCE_PREFIX = "x-amz-copy-source-server-side-encryption-customer"
KEY_ID = f"{PREFIX}-aws-kms-key-id"
CONTEXT = f"{PREFIX}-context"
BUCKET_KEY = f"{PREFIX}-bucket-key-enabled"

_NAMED = (PREFIX, KEY_ID, CONTEXT, BUCKET_KEY)
_CUSTOMER = tuple(f"{CUSTOMER_PREFIX}-{field}" for field in ("algorithm", "key", "key-md5"))
NAMES = frozenset({*_NAMED, *_CUSTOMER})


def asked_of(headers: Mapping[str, str]) -> EncryptionAsked | None:
    """What a write, or a form with fields of these names, says of encryption; None = nothing."""
    if NAMES.isdisjoint(headers):
        return None
    return EncryptionAsked(
        kind=headers.get(PREFIX),
        key_id=headers.get(KEY_ID) or None,
        context=headers.get(CONTEXT) or None,
        bucket_key=headers.get(BUCKET_KEY) or None,
        customer=customer_key_of(headers),
    )


def customer_key_of(
    headers: Mapping[str, str], prefix: str = CUSTOMER_PREFIX
) -> CustomerKey | None:
    """A client's own key, as sent; with SOURCE_PREFIX, that of a copy's source."""
    algorithm = headers.get(f"{prefix}-algorithm")
    key = headers.get(f"{prefix}-key")
    key_md5 = headers.get(f"{prefix}-key-md5")
    if algorithm is key is key_md5 is None:
        return None
    return CustomerKey(prefix, algorithm, key, key_md5)


def refuse_on_read(headers: Mapping[str, str]) -> None:
    """A read names no encryption but the client's own key. Raises S3Error: InvalidArgument."""
    for name in _NAMED:
        if name in headers:
            raise S3Error(
                "InvalidArgument",
                f"{name} header is not supported for this operation.",
                extra={"ArgumentName": name, "ArgumentValue": headers[name]},
            )


def answer_headers(
    encryption: Encryption | None, headers: Mapping[str, str], *, with_context: bool = False
) -> list[Header]:
    """What the answer says of an object's encryption.

    Args:
        headers: of the request; what is known of a client's own key comes from there.
        with_context: the answer is one to a write, which repeats the encryption context.
    """
    if encryption is None:
        return [(PREFIX, "AES256")]
    if encryption.kind == CUSTOMER:
        key_md5 = headers.get(f"{CUSTOMER_PREFIX}-key-md5")
        if key_md5 is None:
            return []
        return [
            (f"{CUSTOMER_PREFIX}-algorithm", "AES256"),
            (f"{CUSTOMER_PREFIX}-key-MD5", key_md5),
        ]
    found = [(PREFIX, encryption.kind), (KEY_ID, encryption.key_id)]
    if encryption.bucket_key:
        found.append((BUCKET_KEY, "true"))
    if with_context and encryption.context:
        found.append((CONTEXT, encryption.context))
    return found
