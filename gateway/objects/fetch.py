"""Bytes of a version, from where its rows say they are. Nothing is given out before its tag holds.

Not for conditions or rights. Part rows of a multipart object are read one by one as the body gets
there, so an object of 10,000 parts costs what it sends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from gateway.data.cipher import (
    FrameCorrupt,
    KeyMaterial,
    PartKeys,
    check_commitment,
    open_frames,
)
from gateway.data.geometry import frame_count, frames_for_range
from gateway.data.reader import iterate_body
from gateway.data.stripes import StripeGone
from gateway.meta import keyspace
from gateway.meta.kv import RowCorrupt
from gateway.meta.part_records import open_part
from gateway.model.attributes import CUSTOMER
from gateway.model.layout import Layout, Packed
from gateway.model.names import BucketId, ObjectKey
from gateway.model.version import Part, PartSeal, Version, parts_for_range
from gateway.objects.bindings import WHOLE_OBJECT, body_context
from gateway.objects.context import Services
from gateway.objects.new_object import DekPlace, opened_dek
from gateway.objects.opened import OpenedVersion
from gateway.objects.target import Target

Piece = memoryview | bytes


class VersionGone(StripeGone):
    """The version was replaced and its bytes freed while it was read."""


def version_dek(
    services: Services,
    bucket: BucketId,
    key: ObjectKey,
    version: Version,
    customer_key: bytes | None = None,
) -> bytes:
    """The DEK of a version. Raises SealInvalid, and what the key provider raises."""
    place = DekPlace(version.owner, bucket, key, version.object_uuid, version.key_epoch)
    chosen = version.attributes.encryption
    return opened_dek(services, place, version.wrapped_dek, chosen, customer_key)


async def awaited_dek(
    services: Services,
    bucket: BucketId,
    key: ObjectKey,
    version: Version,
    customer_key: bytes | None = None,
) -> bytes:
    """As version_dek; only who awaits this waits for the keys."""
    return await services.bucket_keys.apart(
        lambda: version_dek(services, bucket, key, version, customer_key)
    )


async def have_keys(services: Services, target: Target, opened: OpenedVersion) -> None:
    """Have the keys of a version ready, for a read that cannot wait for them. Nothing is done where
    the client brings a key: that is never kept. Raises: as version_dek.
    """
    version = opened.stored.version
    if version.seal is not None and not _is_customers(version):
        dek = await awaited_dek(services, target.bucket_id, target.key, version)
        opened.material = _material(services, version, dek, WHOLE_OBJECT, version.seal)


def _is_customers(version: Version) -> bool:
    chosen = version.attributes.encryption
    return chosen is not None and chosen.kind == CUSTOMER


def read_at_once(
    services: Services,
    target: Target,
    opened: OpenedVersion,
    offset: int,
    length: int,
    customer_key: bytes | None,
) -> Piece | None:
    """`length` bytes of a small version from `offset`, verified, if nodes of this process have them
    at hand; None where `open_body` has to wait for them, or to tell what is wrong.

    Nothing else runs meanwhile, so the row and what it names are of one instant.

    Raises: SealInvalid, WrongKey, and what the key provider raises.
    """
    layout, plain_bytes = opened.stored.layout, opened.stored.version.content_bytes
    if not isinstance(layout, Packed) or _needs_keys(services, opened):
        return None
    row = services.log.stripe_row(layout.stripe)
    if row is None:
        return None
    span = frames_for_range(offset, length, plain_bytes)
    start = layout.offset + span.sealed_offset
    sealed = services.stripes.try_read(row, start, span.sealed_length)
    if sealed is None:
        return None
    keys = _whole_keys(services, target, opened, customer_key)
    try:
        plain = open_frames(keys, span.first, sealed, frame_count(plain_bytes) - 1)
    except FrameCorrupt:
        return None
    return plain if len(plain) == length else plain[span.skip : span.skip + length]


def _needs_keys(services: Services, opened: OpenedVersion) -> bool:
    """Keys have to be asked for first, of somebody who may take long."""
    return opened.material is None and services.bucket_keys.is_remote


async def open_body(
    services: Services,
    target: Target,
    opened: OpenedVersion,
    offset: int,
    length: int,
    customer_key: bytes | None,
) -> tuple[Piece, AsyncIterator[Piece] | None]:
    """`length` bytes of a version from `offset`: the first of them, verified, and an iterator of
    the rest; None when that was all.

    Raises: SealInvalid, WrongKey, FrameCorrupt, StripeUnreadable, StripeGone, RowCorrupt; the
        iterator too.
    """
    version, layout = opened.stored.version, opened.stored.layout
    if layout is None:
        dek = await awaited_dek(services, target.bucket_id, target.key, version, customer_key)
        pieces = _parts(services, target.bucket_id, version, dek, offset, length)
        return await anext(pieces, b""), pieces
    if _needs_keys(services, opened):
        keys = await services.bucket_keys.apart(
            lambda: _whole_keys(services, target, opened, customer_key)
        )
    else:
        keys = _whole_keys(services, target, opened, customer_key)
    if isinstance(layout, Packed):
        return await _packed(services, layout, keys, version.content_bytes, offset, length), None
    pieces = _striped(services, layout, keys, version.content_bytes, offset, length)
    return await anext(pieces, b""), pieces


def _whole_keys(
    services: Services, target: Target, opened: OpenedVersion, customer_key: bytes | None
) -> PartKeys:
    """Keys of a version that was put whole; derived once for an opened row, checked every time.

    What a client's own key has opened is never kept: each read brings the key again.
    """
    version = opened.stored.version
    seal = version.seal
    assert seal is not None, "a layout comes with its seal"
    material = opened.material
    if material is None:
        dek = version_dek(services, target.bucket_id, target.key, version, customer_key)
        material = _material(services, version, dek, WHOLE_OBJECT, seal)
        if not _is_customers(version):
            opened.material = material
    keys = material.keys()
    check_commitment(keys, seal.commitment)
    return keys


def _material(
    services: Services, version: Version, dek: bytes, number: int, seal: PartSeal
) -> KeyMaterial:
    context = body_context(services.cluster_id, version.owner, version.object_uuid, number)
    return KeyMaterial.derive(dek, seal.salt, context)


def _striped(
    services: Services, layout: Layout, keys: PartKeys, plain_bytes: int, offset: int, length: int
) -> AsyncIterator[Piece]:
    return iterate_body(
        services.stripes, services.log.stripe_row, layout, keys, plain_bytes, offset, length
    )


async def _packed(
    services: Services, layout: Packed, keys: PartKeys, plain_bytes: int, offset: int, length: int
) -> Piece:
    """A range of a small part, in one read."""
    span = frames_for_range(offset, length, plain_bytes)
    row = services.log.stripe_row(layout.stripe)
    if row is None:
        raise StripeGone(stripe=layout.stripe)
    start, last_index = layout.offset + span.sealed_offset, frame_count(plain_bytes) - 1
    sealed = await services.stripes.read(row, start, span.sealed_length)
    try:
        plain = open_frames(keys, span.first, sealed, last_index)
    except FrameCorrupt:
        # A node gave other bytes than it was given. Tags tell which shard, parity has the rest.
        sealed = await services.stripes.read(row, start, span.sealed_length, verified=True)
        plain = open_frames(keys, span.first, sealed, last_index)
    return plain[span.skip : span.skip + length]


async def _parts(
    services: Services, bucket: BucketId, version: Version, dek: bytes, offset: int, length: int
) -> AsyncIterator[Piece]:
    for number, inside, taken in parts_for_range(version.part_runs, offset, length):
        row_key = keyspace.part_row(bucket, version.object_uuid, number)
        value = services.log.read((row_key,))[0]
        if value is None:
            raise VersionGone(part=number)
        part, layout, _, _ = open_part(services.records, row_key, value)
        if inside + taken > part.plain_bytes:
            raise RowCorrupt(row_key=row_key.hex(), part="length")
        async for piece in part_pieces(services, version, dek, part, layout, inside, taken):
            yield piece


def part_pieces(
    services: Services,
    version: Version,
    dek: bytes,
    part: Part,
    layout: Layout,
    offset: int,
    length: int,
) -> AsyncIterator[Piece]:
    """`length` bytes of a part or an annotation from `offset`.

    Raises: as open_body.
    """
    keys = _material(services, version, dek, part.number, part.seal).keys()
    check_commitment(keys, part.seal.commitment)
    return _striped(services, layout, keys, part.plain_bytes, offset, length)
