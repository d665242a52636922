"""Job `rotation`: put under the newest epoch of its key whatever is under an older one.

Not for making epochs (`gateway.objects.key_rotation`). A pass goes over the rows of a bucket,
family by family, in the order of `FAMILIES`: so a row that moves meanwhile is met where it goes.
Passes go on until one finds nothing. Rows are written a page at a time, each checked to be what was
read, in one change with the place up to which the pass has come and the counts: a process that dies
goes on from there, and counts nothing twice. No shard moves. A tenant's rotation does the same with
the keys of buckets.

A rotation whose older key was disabled waits until it is enabled again, one whose epochs the
tenant's journal does not take, until it does, and one whose tenant has spent his budget in the key
service, until it comes back; others go on. What is under
a destroyed one stays there, and so does what does not open: it is counted, the report says so, and
an older key that it may be under stays in use, so that nobody destroys it unknowing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from gateway.commit.change import Change
from gateway.data.envelope import KeyBudgetSpent, SealInvalid
from gateway.jobs import named_pass, rotation_pace
from gateway.jobs.named_pass import NamedPass
from gateway.jobs.rotation_pace import PAGE_ROWS
from gateway.jobs.rotation_page import Page, Rewrites, place_of, read_page, rewritten
from gateway.journal.store import JournalUnavailable
from gateway.meta import bucket_key_rows, keyspace
from gateway.meta import rotations as rotation_rows
from gateway.meta.kv import Batch, BatchConflict, Check, Row, Write
from gateway.meta.rotations import Rotation
from gateway.meta.sealing import key_epoch_of
from gateway.model.key_states import REFUSING, KeyState
from gateway.model.names import BucketId, TenantId
from gateway.objects import key_rotation, rotation_told
from gateway.objects.context import Services
from gateway.objects.credential_rows import reseal_of_tenant
from gateway.objects.key_epochs import left_in_tenant
from gateway.objects.rewrapping import FAMILIES
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

ROTATIONS_MAX = 1000  # that are looked at for one that can go on
IDLE_S = 1.0
BLOCKED_S = 30.0


class KeyRotation:
    """One page of one rotation a step."""

    name = "rotation"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._named = NamedPass(services)
        self._current: Rotation | None = None
        self._ahead: Page | None = None  # made while the one before it was written
        self._blocked: dict[bytes, float] = {}  # rotations that cannot go on until then
        self._last = ""
        self._done_total = (0, 0)
        self._since = (0.0, 0)  # when this process took it up, and what had been done then

    def progress(self) -> Progress:
        """Rows of the rotation under way."""
        current = self._current
        if current is None:
            done, total = self._done_total
            return Progress(done=done, total=total, unit="rows", detail=self._last)
        return Progress(
            done=current.done,
            total=max(current.total, current.done),
            unit="rows",
            detail=f"{_named(current)}: {self._pace(current)}",
        )

    def rate(self) -> float:
        """Rows a second of the rotation under way since this process took it up; 0 = none is."""
        if self._current is None:
            return 0.0
        seconds = self._services.env.monotonic_s() - self._since[0]
        return (self._current.done - self._since[1]) / seconds if seconds > 0 else 0.0

    @property
    def current(self) -> Rotation | None:
        """The rotation that is being moved on, as far as it is."""
        return self._current

    def _pace(self, current: Rotation) -> str:
        if not current.number:
            return f"counting, {current.total} rows so far"
        rate = self.rate()
        left = max(0, current.total - current.done)
        eta = f", {left / rate:.0f} s left" if rate > 0 else ""
        return f"pass {current.number}, {rate:.0f} rows/s{eta}"

    async def step(self) -> float:
        """Move one rotation on."""
        if self._current is None:
            await self._tell_ended()
            self._take_up()
        current = self._current
        if current is None:
            return IDLE_S
        try:
            if current.kind == rotation_rows.NAMED:
                after = await self._named.step(current)
                self._current = after
                if after.ended_at_ms:
                    self._end(after)
                elif after is current:  # it waits for a bucket: others need not
                    self._wait(current, named_pass.WAIT_S, "a bucket is just being deleted")
            elif current.kind == rotation_rows.TENANT:
                await self._step_tenant(current)
            else:
                await self._step_bucket(current)
        except StorageError as error:
            place, self._current = self._current, None  # what is in the index holds
            is_refused = isinstance(error, JournalUnavailable)
            is_spent = isinstance(error, KeyBudgetSpent)  # others have budgets of their own
            if error.kind is not Kind.DENIED and not is_refused and not is_spent:
                raise
            if is_refused and place is not None:
                await self._save(place)  # so that the pass, which is over, is not gone over again
                self._current = None
            self._wait(current, BLOCKED_S, error.message())
        return 0.0

    def _wait(self, current: Rotation, wait_s: float, why: str) -> None:
        self._current = None
        self._blocked[current.row_key] = self._services.env.monotonic_s() + wait_s
        self._last = f"{_named(current)} waits: {why}"

    async def _tell_ended(self) -> None:
        try:
            await rotation_told.tell_ended(self._services)
        except JournalUnavailable as error:
            self._last = f"the end of a rotation is not in the journal yet: {error.message()}"

    def _take_up(self) -> None:
        services, now_s = self._services, self._services.env.monotonic_s()
        self._blocked = {row: until for row, until in self._blocked.items() if until > now_s}
        for stored in rotation_rows.scan_rotations(
            services.log, services.records, limit=ROTATIONS_MAX
        ):
            if stored.rotation.row_key not in self._blocked:
                self._current = stored.rotation
                self._since = (now_s, stored.rotation.done)
                return

    def _end(self, ended: Rotation) -> None:
        self._current = None
        self._done_total = (ended.done, max(ended.total, ended.done))
        self._last = f"{_named(ended)}: {ended.outcome}"

    # Buckets

    async def _step_bucket(self, current: Rotation) -> None:
        services, started_s = self._services, self._services.env.monotonic_s()
        page, self._ahead = self._ahead, None
        if page is None or page.begins != place_of(current):
            page = await read_page(services, current)
        after = replace(current, at=page.at)
        if not current.number:
            after = replace(after, total=current.total + len(page.old))
        elif page.rewrites is not None:
            after = await self._write_page(page, page.rewrites, after)
        self._current = after
        if page.is_last:
            await self._end_of_family(after)
        written = 0 if page.rewrites is None else len(page.old)
        await rotation_pace.rest(services, started_s, written, current.rows_per_s)

    async def _write_page(self, page: Page, rewrites: Rewrites, after: Rotation) -> Rotation:
        """Write a page; the rotation as it is then. Where nothing holds it back, the next page is
        made meanwhile. Raises: as the log.
        """
        if page.is_last or after.rows_per_s or rotation_pace.is_shared(self._services):
            return await self._write(rewrites, after)
        reading = asyncio.ensure_future(self._read_ahead(after))
        try:
            written = await self._write(rewrites, after)
            self._ahead = await reading
        finally:
            reading.cancel()
        return written

    async def _read_ahead(self, after: Rotation) -> Page | None:
        try:
            return await read_page(self._services, after)
        except StorageError:
            return None  # the next step asks again, and fails then

    async def _end_of_family(self, current: Rotation) -> None:
        bucket = BucketId(bytes.fromhex(current.owner))
        if current.family + 1 < len(FAMILIES):
            self._current = replace(current, family=current.family + 1, at="")
            return
        if not current.number:
            first = replace(current, number=1, family=0, at="")
            await self._save(first)
            return
        if not bucket_key_rows.scan_bucket_keys(self._services.log, self._services.records, bucket):
            outcome = key_rotation.GONE
        elif not current.found:
            outcome = key_rotation.COMPLETE
        elif current.found == current.unreadable:
            outcome = key_rotation.LEFT
        else:
            await self._save(
                replace(current, number=current.number + 1, family=0, at="", found=0, unreadable=0)
            )
            return
        self._end(await key_rotation.end_bucket_rotation(self._services, current, outcome))

    async def _write(self, rewrites: Rewrites, ahead: Rotation) -> Rotation:
        """Write rows under the newest epoch; the rotation as it is then. Raises: as the log, and
        what the bucket's keys raise.
        """
        old = rewrites.old
        after = replace(
            ahead,
            found=ahead.found + len(old),
            unreadable=ahead.unreadable + rewrites.unreadable,
            rewrapped=dict(Counter(ahead.rewrapped) + rewrites.counts),
        )
        bucket = BucketId(bytes.fromhex(ahead.owner))
        try:
            await self._commit(bucket, rewrites.checks, rewrites.writes, after)
        except BatchConflict:
            return await self._write_apart(old, ahead)
        return after

    async def _write_apart(self, old: Sequence[Row], ahead: Rotation) -> Rotation:
        """Somebody has changed one of the rows: write the others. The next pass looks at that."""
        if len(old) == 1:
            after = replace(ahead, found=ahead.found + 1, conflicts=ahead.conflicts + 1)
            await self._save(after)
            return after
        bucket = BucketId(bytes.fromhex(ahead.owner))
        half = len(old) // 2
        for part in (old[:half], old[half:]):
            values = self._services.log.read([row.key for row in part])
            still = [
                Row(row.key, value)
                for row, value in zip(part, values, strict=True)
                if value is not None and key_epoch_of(value) != ahead.epoch
            ]
            gone = len(part) - len(still)
            ahead = replace(ahead, conflicts=ahead.conflicts + gone, found=ahead.found + gone)
            if still:
                rewrites = await rewritten(self._services, bucket, ahead.epoch, still)
                ahead = await self._write(rewrites, ahead)
        return ahead

    # Tenants

    async def _step_tenant(self, current: Rotation) -> None:
        services = self._services
        if not current.number:
            await key_rotation.activate(services, current)
            # A change of its own, after which every bucket that was made with the older key is
            # in the index.
            await self._save(replace(current, number=1))
            return
        start = bytes.fromhex(current.at) or keyspace.BUCKET_KEY
        end = keyspace.successor(keyspace.BUCKET_KEY)
        rows = services.log.scan(start, end, limit=PAGE_ROWS)
        after = await self._rewrap_keys(current, rows)
        if len(rows) == PAGE_ROWS:
            self._current = replace(after, at=keyspace.after(rows[-1].key).hex())
        elif after.found:
            await self._save(replace(after, number=after.number + 1, at="", found=0))
        else:
            await self._end_tenant(after)

    async def _end_tenant(self, current: Rotation) -> None:
        """Nothing is left to be wrapped anew but secrets of access keys. Raises: as the log."""
        services, tenant = self._services, TenantId(bytes.fromhex(current.owner))
        provider = services.bucket_keys.provider
        secrets = await reseal_of_tenant(
            services.log, services.records, services.nonces, provider, services.env, tenant
        )
        needed, unreadable = set[int](), secrets.damaged
        for about in provider.tenant_epochs(tenant):
            if about.epoch < current.epoch and about.state not in REFUSING:
                left = await left_in_tenant(services, tenant, about.epoch)
                unreadable += left.get("bucket keys", 0)
                needed.update({about.epoch} if left else ())
        current = replace(current, unreadable=unreadable)
        self._end(await key_rotation.end_tenant_rotation(services, current, needed))

    async def _rewrap_keys(self, current: Rotation, rows: Sequence[Row]) -> Rotation:
        """Wrap those of the bucket keys that are the tenant's anew; each in a change of its own."""
        services, keys_of = self._services, self._services.bucket_keys.keys_of
        tenant = bytes.fromhex(current.tenant)
        epochs = services.bucket_keys.provider.tenant_epochs(tenant)
        lost = {about.epoch for about in epochs if about.state is KeyState.DESTROYED}
        for row in rows:
            held = bucket_key_rows.open_bucket_key(services.records, row.key, row.value)
            is_done = held.tenant_epoch in (current.epoch, *lost) or not held.wrapped
            if held.tenant != tenant or is_done:
                continue
            bucket, epoch = keyspace.parse_bucket_key(row.key)
            rewrap = partial(
                keys_of.rewrap_bucket_key,
                *(tenant, bucket, epoch, held.wrapped, held.tenant_epoch, current.epoch),
            )
            try:
                wrapped = await services.bucket_keys.apart(rewrap)
            except SealInvalid as error:
                logger.error("a key of bucket %s stays as it is: %s", bucket.hex(), error)
                continue
            changed = held._replace(wrapped=wrapped, tenant_epoch=current.epoch)
            records, nonces = services.records, services.nonces
            write = bucket_key_rows.set_bucket_key(records, nonces, bucket, changed)
            counts = Counter(current.rewrapped)
            counts["bucket keys"] += 1
            after = replace(
                current,
                found=current.found + 1,
                total=current.total + 1,
                rewrapped=dict(counts),
            )
            try:
                await self._commit(bucket, [Check(row.key, held.revision)], [write], after)
            except BatchConflict:
                after = replace(current, found=current.found + 1, conflicts=current.conflicts + 1)
            current = self._current = after
            if current.rows_per_s:
                await services.env.sleep(1 / current.rows_per_s)
        return current

    async def _save(self, rotation: Rotation) -> None:
        await self._commit(keyspace.CLUSTER_PARTITION, (), (), rotation)
        self._current = rotation

    async def _commit(
        self,
        partition: bytes,
        checks: Sequence[Check],
        writes: Sequence[Write],
        rotation: Rotation,
    ) -> None:
        services = self._services
        place = rotation_rows.set_rotation(services.records, services.nonces, rotation)
        batch = Batch(
            partition=partition,
            request_id=services.env.random_bytes(16),
            checks=tuple(checks),
            writes=(*writes, place),
        )
        await services.log.commit_change(Change(batch=batch))


def _named(rotation: Rotation) -> str:
    return f"{rotation.kind} {rotation.name} to epoch {rotation.epoch}"
