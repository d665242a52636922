"""Passes of the job `rotation` over the rows of a tenant that may have a DEK under a named key.

Not for beginning or ending a rotation (`gateway.objects.named_rotation`). A pass goes bucket by
bucket in the order of their ids, and over the families of each in the order of
`named_rewrapping.FAMILIES`; where it is, is the row key from which it goes on. What a crash leaves
undone the same page does again: what is under the newest epoch is left alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gateway.commit.change import Change
from gateway.data.envelope import NamedKeyDisabled, NamedKeyMissing
from gateway.data.named_form import newest_active, parted
from gateway.jobs import rotation_pace
from gateway.meta import keyspace
from gateway.meta import rotations as rotation_rows
from gateway.meta.kv import Batch, BatchConflict, Check, Exists, Row, Write, revision_of
from gateway.meta.rotations import Rotation
from gateway.model.errors import KmsKeyDestroyed
from gateway.model.key_states import KeyState
from gateway.model.names import BucketId, TenantId
from gateway.objects.context import Services
from gateway.objects.erasure_looks import buckets_of
from gateway.objects.named_rewrapping import FAMILIES, rewrapped_row
from gateway.objects.named_rotation import (
    NOT_OPEN,
    activate_named,
    end_named_rotation,
    rows_by_epoch,
    turn_buckets,
)
from storaged.base.errors import Kind, StorageError

logger = logging.getLogger(__name__)

PAGE_ROWS = 256
WAIT_S = 1.0  # for a bucket that is just being deleted
_ORDER = tuple(FAMILIES)


@dataclass(slots=True)
class _Page:
    """What a page has found.

    Attributes:
        found: rows under an older epoch, and how they are written under the newest.
        unreadable: rows that do not open, and those under an epoch that was destroyed.
    """

    found: list[tuple[Row, bytes]] = field(default_factory=list)
    unreadable: int = 0


class NamedPass:
    """Moves rotations of named keys on, a page at a time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._buckets: tuple[tuple[object, ...], list[BucketId]] = ((), [])

    async def step(self, current: Rotation) -> Rotation:
        """One step of a rotation; how it is then: `current` itself, it waits for WAIT_S. Raises: as
        the keys and the log.
        """
        services, tenant = self._services, TenantId(bytes.fromhex(current.tenant))
        if not current.number:
            await activate_named(services, current)
            if not await turn_buckets(services, tenant):
                return current
            return await self._save(replace(current, number=1))
        place = self._place(current)
        if place is None:
            return await self._end_of_pass(current)
        return await self._page(current, *place)

    def _place(self, current: Rotation) -> tuple[BucketId, int, bytes] | None:
        """The bucket, family and row key at which a pass is; None: it is over."""
        about = (current.row_key, current.epoch, current.number)
        if self._buckets[0] != about:
            tenant = TenantId(bytes.fromhex(current.tenant))
            self._buckets = (about, sorted(buckets_of(self._services, tenant)))
        at = bytes.fromhex(current.at)
        first = at[1 : keyspace.HEAD_BYTES] if at else b""
        for bucket in self._buckets[1]:
            if bucket >= first:
                start, _ = keyspace.family_range(_ORDER[current.family], bucket)
                return bucket, current.family, max(start, at) if bucket == first else start
        return None

    async def _page(
        self, current: Rotation, bucket: BucketId, family: int, start: bytes
    ) -> Rotation:
        services, began_s = self._services, self._services.env.monotonic_s()
        _, end = keyspace.family_range(_ORDER[family], bucket)
        limit = min(PAGE_ROWS, rotation_pace.page_rows(services, current.rows_per_s))
        rows = services.log.scan(start, end, limit=limit)
        page = await self._looked(current, bucket, rows)
        after = _behind(current, bucket, family, rows if len(rows) == limit else ())
        after = replace(
            after,
            found=current.found + len(page.found) + page.unreadable,
            unreadable=current.unreadable + page.unreadable,
        )
        if page.found:
            after = await self._write(bucket, page.found, after)
        await rotation_pace.rest(services, began_s, len(page.found), current.rows_per_s)
        return after

    async def _looked(self, current: Rotation, bucket: BucketId, rows: Sequence[Row]) -> _Page:
        services, page = self._services, _Page()
        provider, tenant = services.bucket_keys.provider, bytes.fromhex(current.tenant)
        epochs = await services.bucket_keys.apart(
            lambda: provider.named_epochs(tenant, current.name)
        )
        if 0 < newest_active(epochs) < current.epoch:
            # The keyring is of before: what is wrapped anew would be old again, and so for ever.
            await activate_named(services, current)
            raise NamedKeyDisabled(name=current.name, epoch=current.epoch)
        gone = {about.epoch for about in epochs if about.state is KeyState.DESTROYED}
        seen = [0]

        def is_old(inner: bytes) -> bool:
            seen[0] = parted(inner)[0]
            return seen[0] < current.epoch and seen[0] not in gone

        for row in rows:
            seen[0] = current.epoch
            try:
                value = await rewrapped_row(services, bucket, row, is_old, name=current.name)
            except KmsKeyDestroyed:
                continue  # it is lost with its bucket's key
            except StorageError as error:
                if error.kind is not Kind.CORRUPT and not isinstance(error, NamedKeyMissing):
                    raise
                logger.error("row %s stays under an older key: %s", row.key[:64].hex(), error)
                page.unreadable += 1
                continue
            page.unreadable += seen[0] in gone
            if value:
                page.found.append((row, value))
            await rotation_pace.turn(services)
        return page

    async def _write(
        self, bucket: BucketId, found: Sequence[tuple[Row, bytes]], after: Rotation
    ) -> Rotation:
        """Write rows under the newest epoch, in one change with the place behind them; each in its
        own where somebody has changed one of them: the next pass looks at that.
        """
        counts = Counter(FAMILIES[row.key[:1]] for row, _ in found)
        rewrapped = dict(Counter(after.rewrapped) + counts)
        whole = replace(after, rewrapped=rewrapped, total=after.total + len(found))
        try:
            return await self._commit(bucket, found, whole)
        except BatchConflict:
            if len(found) == 1:
                return await self._save(replace(after, conflicts=after.conflicts + 1))
        for one in found:
            after = await self._write(bucket, [one], after)
        return after

    async def _end_of_pass(self, current: Rotation) -> Rotation:
        services, tenant = self._services, TenantId(bytes.fromhex(current.tenant))
        if current.found > current.unreadable:
            number = current.number + 1
            return await self._save(
                replace(current, number=number, family=0, at="", found=0, unreadable=0)
            )
        needed = set[int]()
        if current.unreadable:
            left = await rows_by_epoch(services, tenant, current.name)
            needed = set(range(current.epoch)) if left[NOT_OPEN] else set(left)
        return await end_named_rotation(services, current, needed)

    async def _save(self, rotation: Rotation) -> Rotation:
        return await self._commit(keyspace.CLUSTER_PARTITION, (), rotation)

    async def _commit(
        self, partition: bytes, found: Sequence[tuple[Row, bytes]], rotation: Rotation
    ) -> Rotation:
        services = self._services
        place = rotation_rows.set_rotation(services.records, services.nonces, rotation)
        writes = [Write(row.key, value, keeps_counts=True) for row, value in found]
        checks = (Check(row.key, revision_of(row.value)) for row, _ in found)
        batch = Batch(
            partition=partition,
            request_id=services.env.random_bytes(16),
            checks=(Exists(rotation.row_key), *checks),  # an erasure of the tenant drops it
            writes=(*writes, place),
        )
        await services.log.commit_change(Change(batch=batch))
        return rotation


def _behind(current: Rotation, bucket: BucketId, family: int, rows: Sequence[Row]) -> Rotation:
    """Behind the rows of a page; none: the family is over, and with the last one the bucket."""
    if rows:
        return replace(current, family=family, at=keyspace.after(rows[-1].key).hex())
    if family + 1 < len(_ORDER):
        start, _ = keyspace.family_range(_ORDER[family + 1], bucket)
        return replace(current, family=family + 1, at=start.hex())
    following = (int.from_bytes(bucket, "big") + 1).to_bytes(len(bucket) + 1, "big")[1:]
    at = _ORDER[0] + following if any(following) else b"\xff" * keyspace.HEAD_BYTES
    return replace(current, family=0, at=at.hex())
