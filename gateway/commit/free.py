"""Job `free`: forget stripes that nothing names, then delete their shards (step 13).

First the index forgets the stripe, in a change that is refused if a row names it again; then the
nodes delete. A crash in between leaves unnamed shards for the sweep. A commit stripe must also lie
below the older checkpoint's floor, for until then the log is still read from it.

Invariants: D2, D3.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from gateway.commit.change import Change, StripeBusy, StripeChange
from gateway.commit.forming import CLUSTER_PARTITION, Sealed
from gateway.commit.log import Log
from gateway.data.stripes import StripeStore
from gateway.meta.kv import Batch
from gateway.meta.sealing import RecordKeys
from gateway.meta.stripes import scan_stripes
from gateway.model.layout import StripeRow
from storaged.base.env import Env
from storaged.base.ids import StripeFamily, StripeId
from storaged.base.jobs import Progress, give_way

logger = logging.getLogger(__name__)

STEP_STRIPES = 500
SCAN_ROWS = 100  # in one helping, each row opened: about a millisecond of the event loop's time
IDLE_S = 2.0
WAITING_MAX = 1_000_000  # stripe ids remembered; beyond it a scan finds the rest


class Freer:
    """Learns of empty stripes from the log as it goes, and from one scan after the start."""

    name = "free"

    def __init__(
        self,
        *,
        log: Log,
        store: StripeStore,
        records: RecordKeys,
        oldest_read_s: Callable[[], float | None],
        env: Env,
        floor_sequence: Callable[[], int],
    ) -> None:
        self._log = log
        self._store = store
        self._records = records
        self._oldest_read_s = oldest_read_s
        self._env = env
        self._floor_sequence = floor_sequence
        self._waiting: deque[tuple[float, StripeId]] = (
            deque()
        )  # (when it lost its last name, stripe)
        self._commits_freed_to = 0  # floor up to which commit stripes have been looked at
        self._scan_after: StripeId | None = None
        self._scanned = False
        self._freed = 0
        self._freed_bytes = 0
        log.on_applied.append(self._note)

    def _note(self, sealed: Sealed, stripes: Mapping[StripeId, StripeRow | None]) -> None:
        for stripe, row in stripes.items():
            if row is not None and row.live_bytes == 0:
                self._add(stripe)

    def _add(self, stripe: StripeId) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._waiting.append((self._env.monotonic_s(), stripe))
        else:
            self._scanned, self._scan_after = False, None

    def progress(self) -> Progress:
        return Progress(
            done=self._freed,
            total=self._freed + len(self._waiting),
            unit="stripes",
            detail=f"{self._freed_bytes >> 20} MiB given back",
        )

    async def step(self) -> float:
        if not self._scanned:
            began_s = self._env.monotonic_s()
            self._scan_some()
            await give_way(self._env, began_s)
            return 0
        floor = self._floor_sequence()
        if floor > self._commits_freed_to:
            self._commits_freed_to = floor
            self._scanned, self._scan_after = False, None
            return 0
        ready = self._take_ready(floor)
        if not ready:
            return IDLE_S
        await self._free(ready)
        return 0

    def _scan_some(self) -> None:
        """One page of all stripe rows; commit stripes above the floor come again when it has
        risen.
        """
        page = scan_stripes(self._log, self._records, self._scan_after, limit=SCAN_ROWS)
        for stored in page:
            if stored.row.live_bytes == 0:
                self._add(stored.row.stripe)
        if len(page) < SCAN_ROWS:
            self._scanned, self._scan_after = True, None
        else:
            self._scan_after = page[-1].row.stripe

    def _take_ready(self, floor: int) -> list[StripeRow]:
        ready: list[StripeRow] = []
        seen: set[StripeId] = set()
        oldest_s = self._oldest_read_s()
        while self._waiting and len(ready) < STEP_STRIPES:
            emptied_s, stripe = self._waiting[0]
            if oldest_s is not None and oldest_s <= emptied_s:
                break
            self._waiting.popleft()
            if stripe.family is StripeFamily.COMMIT and stripe.counter > floor:
                continue
            row = self._log.stripe_row(stripe)
            if (
                row is None
                or row.live_bytes
                or stripe in seen
                or self._log.reservations.in_flight(stripe)
            ):
                continue
            if row.retain_until_ms > self._env.now_ms():
                continue
            seen.add(stripe)
            ready.append(row)
        return ready

    async def _free(self, rows: Iterable[StripeRow]) -> None:
        async def forget(row: StripeRow) -> StripeRow | None:
            batch = Batch(
                partition=CLUSTER_PARTITION,
                request_id=self._env.random_bytes(16),
                checks=(),
                writes=(),
            )
            try:
                await self._log.commit_change(
                    Change(batch=batch, stripes=(StripeChange(stripe=row.stripe, drop=True),))
                )
            except StripeBusy:
                return None
            return row

        forgotten = await asyncio.gather(*(forget(row) for row in rows))
        gone = [row for row in forgotten if row is not None]
        await self._store.delete(gone)
        self._freed += len(gone)
        self._freed_bytes += sum(row.geometry.n * row.cell_bytes for row in gone)
