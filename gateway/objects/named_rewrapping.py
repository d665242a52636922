"""DEKs under named keys, wrapped anew: under another epoch of the key, or by another keeper of it.

Not for finding them (the jobs `rotation` and `key-move`). Only the layer of the named key changes:
no byte moves, the bucket's key keeps its epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.data.cipher import SALT_BYTES
from gateway.data.envelope import (
    INNER_LABEL,
    KeyProvider,
    NamedKeyDestroyed,
    NamedKeyDisabled,
    SealInvalid,
)
from gateway.data.named_form import parted
from gateway.meta import keyspace
from gateway.meta.kv import Row
from gateway.meta.records import open_version, seal_version
from gateway.meta.uploads import open_upload, seal_upload
from gateway.model.attributes import CUSTOMER, Encryption
from gateway.model.bucket import Bucket
from gateway.model.key_states import KeyState
from gateway.model.names import BucketId, ObjectKey, TenantId
from gateway.model.version import Version
from gateway.objects.bindings import dek_context
from gateway.objects.context import Services
from gateway.objects.encryption import named_context
from gateway.objects.named_keys import name_of
from gateway.objects.new_object import DekPlace

# What has DEKs. In this order a look over them misses nothing that passes from row to row: an
# upload becomes a current version, and that a noncurrent one. One that becomes current again, or
# gets another key, goes under the newest epoch.
FAMILIES = {
    keyspace.UPLOAD: "uploads",
    keyspace.CURRENT: "current",
    keyspace.NONCURRENT: "noncurrent",
}

IsOld = Callable[[bytes], bool]
"""Whether what a named key has wrapped is to be wrapped anew."""


def under_newest_name(
    services: Services, bucket: Bucket, key: ObjectKey, held: Version, *, is_promoted: bool
) -> Version:
    """A version with its DEK under the newest epoch of its named key, where any was rotated since
    the bucket was made; as it is, if there is no need.

    Args:
        is_promoted: it was in the index already: what nobody can open any more stays as it is. What
            is not there yet never comes there so.

    Raises: SealInvalid, NamedKeyDisabled, and what the keys raise.
    """
    encryption = held.attributes.encryption
    if not bucket.named_turns or encryption is None or encryption.kind == CUSTOMER:
        return held
    name = name_of(encryption.key_id)
    newest = services.bucket_keys.newest_named(held.owner, name)
    place = DekPlace(held.owner, bucket.bucket_id, key, held.object_uuid, held.key_epoch)

    def is_old(inner: bytes) -> bool:
        return parted(inner)[0] < newest

    try:
        wrapped = rewrapped_dek(services, place, encryption, held.wrapped_dek, is_old)
    except (SealInvalid, NamedKeyDestroyed):
        if is_promoted:
            return held
        raise
    return replace(held, wrapped_dek=wrapped) if wrapped else held


def rewrapped_dek(
    services: Services,
    place: DekPlace,
    encryption: Encryption,
    wrapped: bytes,
    is_old: IsOld,
    *,
    rewrap: bool = True,
) -> bytes:
    """The DEK as its named key wraps it now, or as it is, without `rewrap`; b"": it is not old.
    Only the outer layer is opened where there is no need for more.

    Raises: SealInvalid, NamedKeyMissing, NamedKeyDisabled, NamedKeyDestroyed, and what the keys
        raise.
    """
    context = dek_context(
        services.cluster_id, place.tenant, place.bucket, place.key_epoch, place.key, place.uuid
    )
    sealer = services.bucket_keys.sealer(place.bucket, place.key_epoch)
    inner = sealer.open(INNER_LABEL, context, wrapped)
    if not is_old(inner):
        return b""
    bound = named_context(services, encryption, place.bucket, place.key, place.uuid)
    name, provider = name_of(encryption.key_id), services.bucket_keys.provider
    if not rewrap:
        _refuse_lost(provider, place.tenant, name, inner)
        return wrapped
    try:
        dek = provider.unwrap_named(place.tenant, name, bound, inner)
    except NamedKeyDisabled:
        _refuse_lost(provider, place.tenant, name, inner)
        raise
    anew = provider.wrap_named(place.tenant, name, bound, dek)
    salt = services.env.random_bytes(SALT_BYTES)
    return sealer.seal(INNER_LABEL, context, anew, salt)


def _refuse_lost(provider: KeyProvider, tenant: TenantId, name: str, inner: bytes) -> None:
    epoch = parted(inner)[0]
    for about in provider.named_epochs(tenant, name):
        if (about.epoch, about.state) == (epoch, KeyState.DESTROYED):
            raise NamedKeyDestroyed(name=name, epoch=epoch)


async def rewrapped_row(
    services: Services,
    bucket: BucketId,
    row: Row,
    is_old: IsOld,
    *,
    name: str | None = None,
    rewrap: bool = True,
) -> bytes:
    """The value of a row of FAMILIES with its DEK wrapped anew, or as it is, without `rewrap`; b"":
    there is no need, or it has no DEK under that name. None: under any.

    Raises: as rewrapped_dek, and RowCorrupt.
    """
    records, nonces = services.records, services.nonces

    async def apart(place: DekPlace, held: Encryption | None, wrapped: bytes) -> bytes:
        if held is None or held.kind == CUSTOMER or name not in (None, name_of(held.key_id)):
            return b""
        return await services.bucket_keys.apart(
            lambda: rewrapped_dek(services, place, held, wrapped, is_old, rewrap=rewrap),
            is_long=True,
        )

    if row.key[:1] == keyspace.UPLOAD:
        upload = open_upload(records, row.key, row.value).upload
        place = DekPlace(upload.owner, bucket, upload.key, upload.object_uuid, upload.key_epoch)
        wrapped = await apart(place, upload.attributes.encryption, upload.wrapped_dek)
        if not wrapped or not rewrap:
            return row.value if wrapped else b""
        return seal_upload(records, nonces, row.key, replace(upload, wrapped_dek=wrapped))
    stored = open_version(records, row.key, row.value)
    version: Version = stored.version
    if version.is_delete_marker:
        return b""
    place = DekPlace(
        version.owner, bucket, _object_of(row.key), version.object_uuid, version.key_epoch
    )
    wrapped = await apart(place, version.attributes.encryption, version.wrapped_dek)
    if not wrapped or not rewrap:
        return row.value if wrapped else b""
    changed = replace(version, wrapped_dek=wrapped)
    return seal_version(records, nonces, row.key, changed, stored.layout)


def _object_of(row_key: bytes) -> ObjectKey:
    if row_key[:1] == keyspace.CURRENT:
        return ObjectKey(row_key[keyspace.HEAD_BYTES :])
    return keyspace.parse_noncurrent(row_key)[1]
