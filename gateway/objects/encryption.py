"""What a client chooses of encryption, judged: which second key wraps a DEK, and who may use it.

Not for headers or XML, nor for sealing bodies: every body is sealed under a DEK of its own, and
every DEK is wrapped under its bucket's key. A choice adds a key below the bucket's: a named key of
the tenant's keyring, or the client's own key, of which nothing is kept but what tells it from
another one.

Source: Amazon S3 User Guide, "Using server-side encryption"; docs/data-layout.md, "Keys".
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable
from hashlib import md5
from typing import Any, NamedTuple

from gateway.data.cipher import KEY_BYTES, expand
from gateway.data.envelope import NAME_BYTES_MAX
from gateway.model.attributes import AES256, CUSTOMER, KMS, KMS_DSSE, Encryption
from gateway.model.encoding import enc
from gateway.model.errors import (
    AccessDenied,
    InvalidArgument,
    InvalidEncryptionAlgorithm,
    InvalidRequest,
    KmsKeyNotFound,
)
from gateway.model.names import ObjectUuid, TenantId
from gateway.model.version import Part, Upload, Version
from gateway.objects import named_keys
from gateway.objects.context import NO_FACTS, Context, Services
from gateway.objects.target import OpenBucket
from gateway.objects.values import CustomerKey, EncryptionAsked

DOCUMENT = "encryption"  # of a bucket: {"kind", "key_id", "bucket_key", "blocked"}
DEFAULT_DOCUMENT: dict[str, Any] = {"kind": AES256}
CONTEXT_BYTES_MAX = 8192
NAMED_KINDS = frozenset({KMS, KMS_DSSE})

_KEY_ID = re.compile(r"[A-Za-z0-9:/_.@+=-]{1,2048}")  # answers repeat it in a header
_HEADER = "x-amz-server-side-encryption"
_CHECK_BYTES = 16
_OTHER_KEY = "The provided encryption parameters did not match the ones used originally."


class Choice(NamedTuple):
    """The encryption of an object to be; (None, None) is what every object gets."""

    encryption: Encryption | None = None
    customer_key: bytes | None = None

    def __repr__(self) -> str:
        return f"Choice({self.encryption!r}, …)"


PLAIN = Choice()


async def choose(ctx: Context, opened: OpenBucket, asked: EncryptionAsked | None) -> Choice:
    """The encryption of a new object of a bucket: what the client asks, else the bucket's default.

    Raises:
        InvalidArgument, InvalidEncryptionAlgorithm: the request contradicts itself.
        InvalidRequest: over plain HTTP. KmsKeyNotFound. AccessDenied: SSE-C is blocked there.
    """
    default = opened.bucket.documents.get(DOCUMENT)
    if asked is None and default is None:
        return PLAIN
    default = default or DEFAULT_DOCUMENT
    if asked is None:
        return await _named(ctx, opened, default["kind"], default.get("key_id", ""), default, None)
    if asked.customer is not None:
        if asked.kind is not None:
            raise InvalidArgument(
                message="Server Side Encryption with Customer provided key is incompatible with "
                "the encryption method specified",
                argument_name=_HEADER,
                argument_value=asked.kind,
            )
        key = customer_key(ctx, asked.customer)
        if CUSTOMER in default.get("blocked", ()):
            raise AccessDenied(
                message="User is not authorized to perform this action because the bucket has "
                "blocked the encryption type SSE-C"
            )
        ctx.services.customer_key_writes += 1
        return Choice(Encryption(kind=CUSTOMER), key)
    kind = asked.kind
    if kind is None or kind == AES256:
        _check_no_named_fields(asked)
    if kind is None:
        return await _named(ctx, opened, default["kind"], default.get("key_id", ""), default, asked)
    if kind != AES256 and kind not in NAMED_KINDS:
        raise InvalidArgument(
            message="The encryption method specified is not supported",
            argument_name=_HEADER,
            argument_value=kind,
        )
    return await _named(ctx, opened, kind, asked.key_id or "", default, asked)


def _check_no_named_fields(asked: EncryptionAsked) -> None:
    if asked.key_id is not None or asked.context is not None:
        raise InvalidArgument(
            message="Server Side Encryption with AWS KMS managed key requires HTTP header "
            "x-amz-server-side-encryption : aws:kms",
            argument_name=_HEADER,
            argument_value=asked.kind or "null",
        )


async def _named(
    ctx: Context,
    opened: OpenBucket,
    kind: str,
    key_id: str,
    default: dict[str, Any],
    asked: EncryptionAsked | None,
) -> Choice:
    """The choice of a kind without customer's key."""
    if kind == AES256:
        return PLAIN
    check_confidential(ctx, kind)
    key_id = key_id or named_keys.DEFAULT_KEY_ID
    tenant = opened.bucket.tenant
    await named_keys.ensure_usable(ctx.services, tenant, checked_key_name(key_id))
    bucket_key = bool(default.get("bucket_key"))
    if asked is not None and asked.bucket_key is not None:
        bucket_key = _flag(asked.bucket_key)
    context = "" if asked is None or asked.context is None else checked_context(asked.context)
    return Choice(
        Encryption(
            kind=kind,
            key_id=key_id,
            bucket_key=bucket_key and kind == KMS,
            context=context,
        )
    )


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InvalidArgument(
            message="The value of x-amz-server-side-encryption-bucket-key-enabled is not valid",
            argument_name="x-amz-server-side-encryption-bucket-key-enabled",
            argument_value=text,
        )
    return text.lower() == "true"


def checked_key_name(key_id: str) -> str:
    """The name of a key as clients write it: bare, an alias or an ARN of either.

    Raises: KmsKeyNotFound: no key can have this id.
    """
    name = named_keys.name_of(key_id)
    if not name or len(name) > NAME_BYTES_MAX or _KEY_ID.fullmatch(key_id) is None:
        raise KmsKeyNotFound(message="Invalid keyId")
    return name


def checked_context(text: str) -> str:
    """An encryption context, base64 of a JSON object of texts. Raises InvalidArgument."""
    try:
        if len(text) > CONTEXT_BYTES_MAX:
            raise ValueError
        document = json.loads(b64decode(text, validate=True))
        if not isinstance(document, dict):
            raise ValueError
        if not all(isinstance(value, str) for value in document.values()):
            raise ValueError
    except (Base64Error, ValueError, RecursionError) as error:
        raise InvalidArgument(
            message="The header 'x-amz-server-side-encryption-context' shall be Base64-encoded "
            "UTF-8 string holding JSON which represents a string-string map",
            argument_name="x-amz-server-side-encryption-context",
            argument_value=text[:CONTEXT_BYTES_MAX],
        ) from error
    return text


def is_confidential(ctx: Context) -> bool:
    """Keys may travel with this request: it came over TLS, or is work of our own."""
    return ctx.facts.is_secure or ctx.services.sse_over_http or ctx.facts is NO_FACTS


def check_confidential(ctx: Context, kind: str) -> None:
    """Named keys are used by confidential requests only. Raises InvalidArgument."""
    if not is_confidential(ctx):
        raise InvalidArgument(
            message="Requests specifying Server Side Encryption with AWS KMS managed keys must be "
            "made over a secure connection.",
            argument_name=_HEADER,
            argument_value=kind,
        )


def customer_key(ctx: Context, sent: CustomerKey) -> bytes:
    """The 32 bytes of a client's own key.

    Raises: InvalidArgument, InvalidEncryptionAlgorithm; InvalidRequest (plain HTTP).
    """
    if sent.algorithm is None:
        raise _refused(sent, "algorithm", "a valid encryption algorithm")
    if sent.algorithm != AES256:
        raise InvalidEncryptionAlgorithm()
    if sent.key is None:
        raise _refused(sent, "key", "an appropriate secret key")
    if sent.key_md5 is None:
        raise _refused(sent, "key-MD5", "the client calculated MD5 of the secret key")
    if not is_confidential(ctx):
        raise InvalidRequest(
            message="Requests specifying Server Side Encryption with Customer provided keys must "
            "be made over a secure connection."
        )
    try:
        key, digest = b64decode(sent.key, validate=True), b64decode(sent.key_md5, validate=True)
    except (Base64Error, ValueError):
        key = digest = b""
    # Neither the key nor what was decoded of it goes into an error: errors are logged.
    if len(key) != KEY_BYTES:
        raise InvalidArgument(
            message="The secret key was invalid for the specified algorithm.",
            argument_name=f"{sent.header}-key",
            argument_value="null",
        )
    if not hmac.compare_digest(md5(key, usedforsecurity=False).digest(), digest):
        raise InvalidArgument(
            message="The calculated MD5 hash of the key did not match the hash that was provided.",
            argument_name=f"{sent.header}-key-MD5",
            argument_value="null",
        )
    return key


def _refused(sent: CustomerKey, field: str, what: str) -> InvalidArgument:
    return InvalidArgument(
        message="Requests specifying Server Side Encryption with Customer provided keys must "
        f"provide {what}.",
        argument_name=f"{sent.header}-{field}",
        argument_value="null",
    )


def key_check(cluster_id: bytes, uuid: ObjectUuid, key: bytes) -> str:
    """What tells a client's key from another one; made for one object, so two with the same key
    do not show it.
    """
    return expand(key, enc("customer-check", cluster_id, bytes(uuid)))[:_CHECK_BYTES].hex()


def _check_same_key(ctx: Context, uuid: ObjectUuid, held: Encryption, key: bytes) -> None:
    found = key_check(ctx.services.cluster_id, uuid, key)
    if not hmac.compare_digest(found, held.key_check):
        raise InvalidRequest(message=_OTHER_KEY)


def admit_read(ctx: Context, version: Version, sent: CustomerKey | None) -> bytes | None:
    """The client's key of a version that is to be read or described; None where there is none.

    Asked for every read, whatever of the version is still open from an earlier one.

    Raises:
        InvalidRequest: the key is missing, another one, or not called for; plain HTTP.
        InvalidArgument, InvalidEncryptionAlgorithm: as customer_key. KmsKeyNotFound.
    """
    held = version.attributes.encryption
    if held is None and sent is None:
        return None
    if held is None or held.kind != CUSTOMER:
        if sent is not None:
            customer_key(ctx, sent)
            raise InvalidRequest(
                message="The encryption parameters are not applicable to this object."
            )
        if held is not None:
            _check_named(ctx, version.owner, held)
        return None
    if sent is None:
        raise InvalidRequest(
            message="The object was stored using a form of Server Side Encryption. The correct "
            "parameters must be provided to retrieve the object."
        )
    key = customer_key(ctx, sent)
    _check_same_key(ctx, version.object_uuid, held, key)
    return key


def _check_named(ctx: Context, tenant: TenantId, held: Encryption) -> None:
    check_confidential(ctx, held.kind)
    named_keys.check_exists(ctx.services, tenant, named_keys.name_of(held.key_id))


def admit_part(ctx: Context, upload: Upload, sent: CustomerKey | None) -> bytes | None:
    """The client's key of an upload that gets a part.

    Raises: as admit_read.
    """
    held = upload.attributes.encryption
    if held is None or held.kind != CUSTOMER:
        if sent is not None:
            raise InvalidRequest(
                message="The multipart upload initiate did not request encryption. Please resend "
                "the request without sending encryption parameters."
            )
        if held is not None:
            _check_named(ctx, upload.owner, held)
        return None
    if sent is None:
        raise InvalidRequest(
            message="The multipart upload initiate requested encryption. Subsequent part requests "
            "must include the appropriate encryption parameters."
        )
    key = customer_key(ctx, sent)
    _check_same_key(ctx, upload.object_uuid, held, key)
    return key


def admit_complete(
    ctx: Context, upload: Upload, parts: Iterable[Part], sent: CustomerKey | None
) -> None:
    """Whether an upload of these parts may be completed with, or without, this key.

    As S3, which wants the key where checksums were: clients from before them do not send it.

    Raises: as admit_read.
    """
    has_checksums = upload.checksum_algorithm or any(part.checksum for part in parts)
    if sent is not None or has_checksums:
        admit_part(ctx, upload, sent)


def named_context(
    services: Services, encryption: Encryption, bucket: bytes, key: bytes, uuid: bytes
) -> bytes:
    """What a DEK under a named key is bound to: the object, or with a bucket key, its bucket; and
    the context that the client gave.
    """
    if encryption.bucket_key:
        key = uuid = b""
    return enc("named", services.cluster_id, bucket, key, uuid, encryption.context)
