"""UpdateObjectEncryption: the DEK of one version goes under a named key; no byte of it moves."""

from __future__ import annotations

from dataclasses import replace

from gateway.data.cipher import SALT_BYTES
from gateway.model.action import Action
from gateway.model.attributes import AES256, KMS, Encryption
from gateway.model.errors import InvalidRequest
from gateway.model.version import Version
from gateway.objects import named_keys
from gateway.objects.context import Context
from gateway.objects.encryption import Choice, check_confidential, checked_key_name
from gateway.objects.lock_clock import lock_now_ms
from gateway.objects.locks import check_unlocked
from gateway.objects.new_object import DekPlace, opened_dek, wrapped_dek
from gateway.objects.rewriting import named_version, rewrite_version
from gateway.objects.target import open_target


async def update_encryption(
    ctx: Context, bucket: str, key: str, version_id: str | None, key_id: str, *, bucket_key: bool
) -> str | None:
    """Put a version under a named key; its id as clients are told it.

    ETag, date and checksum stay. A version in the index or a log group that is not freed yet still
    opens without the named key, as with any key that is changed.

    Raises: AccessDenied (locked), InvalidRequest (SSE-C, DSSE), KmsKeyNotFound; as rewrite_version.
    """
    services = ctx.services
    action = Action.UPDATE_OBJECT_ENCRYPTION
    target = open_target(ctx, bucket, key, action)
    named_version(ctx, bucket, key, version_id, action)  # who may not is told nothing of keys
    check_confidential(ctx, KMS)
    await named_keys.ensure_usable(services, target.opened.bucket.tenant, checked_key_name(key_id))
    now_ms = lock_now_ms(services)

    def change(version: Version) -> Version:
        held = version.attributes.encryption
        if held is not None and held.kind not in (AES256, KMS):
            raise InvalidRequest(
                message="The UpdateObjectEncryption operation doesn't support source objects with "
                "the encryption type DSSE-KMS or SSE-C. Only source objects encrypted with SSE-S3 "
                "or SSE-KMS are supported."
            )
        check_unlocked(version, now_ms=now_ms, bypass_governance=False)
        wanted = Encryption(kind=KMS, key_id=key_id, bucket_key=bucket_key)
        place = DekPlace(
            version.owner, target.bucket_id, target.key, version.object_uuid, version.key_epoch
        )
        dek = opened_dek(services, place, version.wrapped_dek, held)
        salt = services.env.random_bytes(SALT_BYTES)
        wrapped, chosen = wrapped_dek(services, place, dek, salt, Choice(wanted))
        attributes = replace(version.attributes, encryption=chosen)
        return replace(version, wrapped_dek=wrapped, attributes=attributes)

    return await rewrite_version(ctx, bucket, key, version_id, action, change)
