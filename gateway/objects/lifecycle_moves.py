"""Bytes of a version, into stripes of the geometry that its storage class has.

Not for the name of the class in the version's row (`gateway.objects.lifecycle_acts`): the bytes go
first, part by part, those of annotations too, and each row is changed by a batch that checks it.
Whatever a crash or a newer write leaves undone is found by the next pass. What lies in commit and
pack stripes stays there, whatever its class: those are the cluster's.

Invariants: D2, D3.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.commit.change import Change, StripeChange
from gateway.data.recode import Recoded, recode, stripes_needed
from gateway.data.stripes import StripeGone
from gateway.meta import keyspace
from gateway.meta.kv import Batch, Check, Write, revision_of
from gateway.meta.records import move_layout, open_stored_bytes, open_version
from gateway.model.layout import Geometry, Striped
from gateway.model.names import BucketId
from gateway.objects.context import Services
from gateway.objects.publish import IdsGivenBack
from gateway.objects.releases import releases_of
from storaged.base.ids import StripeFamily, StripeId

PAGE_PARTS = 100
BYTES_PER_S = 128 << 20  # sealed bytes that are moved, at the most


async def move_bytes(
    services: Services, bucket: BucketId, row_key: bytes, storage_class: str
) -> None:
    """Put the bytes of a version where a class wants them. Idempotent.

    Raises: StripeGone, BatchConflict (somebody else was faster), TierNotReached, StripeUnreadable,
        RowCorrupt, and what the log raises.
    """
    geometry = services.geometry_of(storage_class)
    value = services.log.read((row_key,))[0]
    if value is None:
        return
    version = open_version(services.records, row_key, value).version
    uuid = version.object_uuid
    if version.attributes.annotations:
        for held_key in _row_keys(services, keyspace.annotation_range(bucket, uuid)):
            await _move_row(services, bucket, held_key, geometry)
    if version.is_multipart:
        for part_key in _row_keys(services, keyspace.part_range(bucket, uuid)):
            await _move_row(services, bucket, part_key, geometry)
        return
    await _move_row(services, bucket, row_key, geometry)


def _row_keys(services: Services, within: keyspace.Range) -> Iterator[bytes]:
    start, end = within
    while rows := services.log.scan(start, end, limit=PAGE_PARTS):
        for row in rows:
            yield row.key
        start = keyspace.after(rows[-1].key)


async def _move_row(
    services: Services, bucket: BucketId, row_key: bytes, geometry: Geometry
) -> None:
    value = services.log.read((row_key,))[0]
    if value is None:
        return
    layout = open_stored_bytes(services.records, row_key, value).layout
    if not isinstance(layout, Striped):
        return
    row = services.log.stripe_row(layout.first)
    if row is None:
        raise StripeGone(stripe=layout.first)
    if row.geometry == geometry:
        return
    reservations = services.log.reservations
    first = reservations.reserve(StripeFamily.DATA, stripes_needed(layout, geometry))
    with IdsGivenBack(services, first):
        tiers = (services.log.tier, services.tier_floor)
        moved = await recode(
            services.stripes, services.log.stripe_row, layout, geometry, tiers, first
        )
        await services.log.commit_change(
            _naming(services, bucket, row_key, value, layout, moved, first)
        )
    await services.env.sleep(layout.sealed_bytes / BYTES_PER_S)


def _naming(
    services: Services,
    bucket: BucketId,
    row_key: bytes,
    value: bytes,
    old: Striped,
    moved: Recoded,
    first: StripeId,
) -> Change:
    changed = move_layout(services.records, services.nonces, row_key, value, moved.layout)
    batch = Batch(
        partition=bucket,
        request_id=services.env.random_bytes(16),
        checks=(Check(row_key, revision_of(value)),),
        writes=(Write(row_key, changed),),
    )
    creates = tuple(StripeChange(stripe=row.stripe, create=row) for row in moved.stripe_rows)
    return Change(batch=batch, stripes=(*creates, *releases_of(old)), reserved=first)
