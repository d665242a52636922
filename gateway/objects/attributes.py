"""GetObjectAttributes: what is known of a version and of its parts, without its bytes.

Source: Amazon S3 API Reference, "GetObjectAttributes".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gateway.limits import PART_NUMBER_MAX
from gateway.meta.uploads import read_parts
from gateway.model.action import Action
from gateway.model.names import BucketId
from gateway.model.version import Checksum, PartRun, Version
from gateway.objects.context import Context
from gateway.objects.encryption import admit_read
from gateway.objects.get import read_version
from gateway.objects.values import CustomerKey, ObjectHead

ROWS_AT_ONCE = 200  # part rows opened between two turns of the event loop, some 3 ms


class PartAttributes(NamedTuple):
    """One part of a multipart object; `checksum` only where the whole has one of its algorithm."""

    number: int
    length: int
    checksum: Checksum | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsAttributes:
    """A page of the parts of a multipart object.

    Args:
        part_count: of the object.
        after: numbers up to this one are left out.
        next_after: number of the last part of this page; None when it was the last page.
    """

    part_count: int
    after: int
    parts: tuple[PartAttributes, ...]
    next_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAttributes:
    """`parts` None: the object was not a multipart upload, or they were not asked for."""

    head: ObjectHead
    parts: PartsAttributes | None


async def get_attributes(
    ctx: Context,
    bucket: str,
    key: str,
    version_id: str | None,
    *,
    customer_key: CustomerKey | None,
    parts_max: int | None,
    after_part_number: int = 0,
) -> ObjectAttributes:
    """Describe a version.

    Args:
        parts_max: parts of a page; None: no parts are asked for.

    Raises: AccessDenied, NoSuchBucket, NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete
        marker), InvalidRequest and InvalidArgument (a client's own key).
    """
    actions = (Action.GET_OBJECT, Action.GET_OBJECT_ATTRIBUTES)
    if version_id is not None:
        actions = (Action.GET_OBJECT_VERSION, Action.GET_OBJECT_VERSION_ATTRIBUTES)
    for action in actions:
        target, opened = read_version(ctx, bucket, key, version_id, action)
    version = opened.stored.version
    admit_read(ctx, version, customer_key)
    parts = None
    if parts_max is not None and version.is_multipart:
        after = min(after_part_number, PART_NUMBER_MAX)
        parts = await _page(ctx, target.bucket_id, version, after, parts_max)
    return ObjectAttributes(head=opened.head, parts=parts)


async def _page(
    ctx: Context, bucket: BucketId, version: Version, after: int, parts_max: int
) -> PartsAttributes:
    extents: list[tuple[int, int]] = []
    is_truncated = False
    for extent in _extents(version.part_runs, after):
        if len(extents) == parts_max:
            is_truncated = True
            break
        extents.append(extent)
    parts: list[PartAttributes] = []
    for start in range(0, len(extents), ROWS_AT_ONCE):
        parts += _described(ctx, bucket, version, extents[start : start + ROWS_AT_ONCE])
        await asyncio.sleep(0)
    return PartsAttributes(
        part_count=version.part_count,
        after=after,
        parts=tuple(parts),
        next_after=(parts[-1].number if parts else after) if is_truncated else None,
    )


def _extents(runs: Sequence[PartRun], after: int) -> Iterator[tuple[int, int]]:
    """(number, length) of the parts with a number above `after`."""
    for run in runs:
        for number in range(max(run.first, after + 1), run.first + run.count):
            yield number, run.plain_bytes


def _described(
    ctx: Context, bucket: BucketId, version: Version, extents: Sequence[tuple[int, int]]
) -> Iterator[PartAttributes]:
    whole = version.checksum
    if whole is None:
        yield from (PartAttributes(number, length, None) for number, length in extents)
        return
    services = ctx.services
    numbers = [number for number, _ in extents]
    rows = read_parts(services.log, services.records, bucket, version.object_uuid, numbers)
    for (number, length), stored in zip(extents, rows, strict=True):
        kept = None if stored is None else stored.part.checksum
        if kept is not None:
            kept = replace(kept, type=whole.type) if kept.algorithm == whole.algorithm else None
        yield PartAttributes(number, length, kept)
