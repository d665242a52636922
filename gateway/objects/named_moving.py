"""DEKs under named keys, wrapped anew while those keys move from a file of the key service into an
HSM.

Not for the rest of a move (`gateway.objects.key_move`). Only the layer of the named key changes: no
byte moves, the bucket's key keeps its epoch. What a key of the file has wrapped is told by its
length; once a named key has its counterpart in the token nothing more is wrapped so, but what was
may pass from row to row, as an upload does that is completed. So passes go on until one finds none.

Source: docs/hsm.md, "Moving to one".
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from gateway.data.cipher import SALT_BYTES
from gateway.data.envelope import INNER_LABEL, WRAPPED_BYTES
from gateway.meta import keyspace
from gateway.meta.kv import BatchConflict, Check, Row, Write, revision_of
from gateway.meta.records import open_version, seal_version
from gateway.meta.uploads import open_upload, seal_upload
from gateway.model.attributes import CUSTOMER, Encryption
from gateway.model.names import BucketId, ObjectKey, TenantId
from gateway.model.version import Version
from gateway.objects.bindings import dek_context
from gateway.objects.context import Services
from gateway.objects.encryption import named_context
from gateway.objects.erasure_looks import buckets_of
from gateway.objects.key_rotation import commit_rows
from gateway.objects.named_keys import name_of
from gateway.objects.new_object import DekPlace
from storaged.base.errors import Kind, StorageError

PAGE_ROWS = 64  # a few calls of the key service for each that has a named key
FAMILIES = (keyspace.UPLOAD, keyspace.CURRENT, keyspace.NONCURRENT)

logger = logging.getLogger(__name__)


class Looked(NamedTuple):
    """What a look over a tenant's rows has found under keys of the file.

    Args:
        found: rows. wrapped: of these, wrapped anew. unreadable: rows that do not open.
    """

    found: int = 0
    wrapped: int = 0
    unreadable: int = 0

    def plus(self, other: Looked) -> Looked:
        """Both."""
        return Looked(*(one + more for one, more in zip(self, other, strict=True)))


async def look(services: Services, tenant: TenantId, *, rewrap: bool) -> Looked:
    """Look over all rows of a tenant that name a key; wrap anew what is under one of the file.

    Raises: as the provider and the log; what makes one row unreadable is counted.
    """
    total = Looked()
    for bucket in buckets_of(services, tenant):
        for family in FAMILIES:
            start, end = keyspace.family_range(family, bucket)
            while rows := services.log.scan(start, end, limit=PAGE_ROWS):
                start = keyspace.after(rows[-1].key)
                total = total.plus(await _page(services, bucket, rows, rewrap=rewrap))
                await services.env.sleep(0)
    return total


async def _page(
    services: Services, bucket: BucketId, rows: Sequence[Row], *, rewrap: bool
) -> Looked:
    found: list[tuple[Row, bytes]] = []
    unreadable = 0
    for row in rows:
        try:
            value = await _changed(services, bucket, row, rewrap=rewrap)
        except StorageError as error:
            if error.kind is not Kind.CORRUPT:
                raise
            logger.error("a row under a named key does not open: %s", error)
            unreadable += 1
            continue
        if value:
            found.append((row, value))
    wrapped = 0
    for row, value in found if rewrap else ():
        checks = (Check(row.key, revision_of(row.value)),)
        try:
            await commit_rows(services, checks, (Write(row.key, value),), bucket)
            wrapped += 1
        except BatchConflict:
            continue  # somebody has changed it: the next pass looks at that
    return Looked(len(found), wrapped, unreadable)


async def _changed(services: Services, bucket: BucketId, row: Row, *, rewrap: bool) -> bytes:
    """The value of a row with its DEK wrapped anew, or as it is, without `rewrap`; b"": there is no
    need.
    """
    records, nonces = services.records, services.nonces
    if row.key[:1] == keyspace.UPLOAD:
        upload = open_upload(records, row.key, row.value).upload
        place = DekPlace(upload.owner, bucket, upload.key, upload.object_uuid, upload.key_epoch)
        held = upload.attributes.encryption
        wrapped = await _rewrapped(services, place, held, upload.wrapped_dek, rewrap=rewrap)
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
    held = version.attributes.encryption
    wrapped = await _rewrapped(services, place, held, version.wrapped_dek, rewrap=rewrap)
    if not wrapped or not rewrap:
        return row.value if wrapped else b""
    changed = replace(version, wrapped_dek=wrapped)
    return seal_version(records, nonces, row.key, changed, stored.layout)


async def _rewrapped(
    services: Services, place: DekPlace, held: Encryption | None, wrapped: bytes, *, rewrap: bool
) -> bytes:
    """The DEK under the token's key, or as it is, without `rewrap`; b"": it is there already."""
    if held is None or held.kind == CUSTOMER:
        return b""
    encryption = held

    def done() -> bytes:
        """Only the outer layer is opened where there is no need for more."""
        context = dek_context(
            services.cluster_id,
            place.tenant,
            place.bucket,
            place.key_epoch,
            place.key,
            place.uuid,
        )
        sealer = services.bucket_keys.sealer(place.bucket, place.key_epoch)
        inner = sealer.open(INNER_LABEL, context, wrapped)
        if len(inner) != WRAPPED_BYTES:
            return b""
        if not rewrap:
            return wrapped
        bound = named_context(services, encryption, place.bucket, place.key, place.uuid)
        name, provider = name_of(encryption.key_id), services.bucket_keys.provider
        dek = provider.unwrap_named(place.tenant, name, bound, inner)
        anew = provider.wrap_named(place.tenant, name, bound, dek)
        salt = services.env.random_bytes(SALT_BYTES)
        return sealer.seal(INNER_LABEL, context, anew, salt)

    return await services.bucket_keys.apart(done, is_long=True)


def _object_of(row_key: bytes) -> ObjectKey:
    if row_key[:1] == keyspace.CURRENT:
        return ObjectKey(row_key[keyspace.HEAD_BYTES :])
    return keyspace.parse_noncurrent(row_key)[1]
