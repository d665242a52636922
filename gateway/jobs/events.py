"""Job `events`: tells destinations of what has happened in buckets, at least once each.

A row is dropped after its destination has taken the message; one that fails is held back for a
while, longer each time, and the rows of the others go on. What nobody has taken for days is given
up.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.commit.change import Change
from gateway.meta import keyspace
from gateway.meta.queues import Queued
from gateway.model.names import BucketId
from gateway.objects.context import Services
from gateway.objects.log_delivery import queues_of
from storaged.base.errors import StorageError
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

PAGE_ROWS = 32  # told at once
IDLE_S = 0.5
HELD_PASS_S = 5.0  # between two looks over a queue whose destinations are all held back
HELD_ROW_S = 0.0003  # ten times what a look at a row costs: a destination may be away for days
HOLD_FIRST_S, HOLD_MAX_S = 1.0, 300.0
GIVEN_UP_MS = 3 * 86_400_000


class Destination(Protocol):
    """Something that takes messages."""

    async def send(self, message: bytes) -> None:
        """Hand over one message, JSON. Raises StorageError: it was not, or perhaps not, taken."""
        ...

    async def close(self) -> None:
        """Release connections. Idempotent."""
        ...


class EventSender:
    """One page of rows a step, over and over."""

    name = "events"

    def __init__(self, services: Services, destinations: Mapping[str, Destination]) -> None:
        self._services = services
        self._destinations = destinations
        self._after: bytes | None = None
        self._held: dict[str, tuple[float, float]] = {}  # until, next pause
        self._seen = self._took = 0
        self._sent = self._given_up = 0
        # What an earlier process has left takes room as well.
        services.events_waiting.count = sum(1 for _ in queues_of(services).all(keyspace.EVENT))
        self._added_before = services.events_waiting.added

    async def step(self) -> float:
        """Tell one page."""
        services = self._services
        page = queues_of(services).page(keyspace.EVENT, self._after, limit=PAGE_ROWS)
        done = [row for row in await asyncio.gather(*map(self._tell, page)) if row is not None]
        await self._drop(done)
        self._seen += len(page)
        self._took += len(done)
        if len(page) == PAGE_ROWS:
            self._after = page[-1].row_key
            return 0.0
        seen, took, waiting = self._seen, self._took, services.events_waiting
        self._after, self._seen, self._took = None, 0, 0
        # Changes that were counted and not committed must not fill the queue for ever.
        waiting.count = min(waiting.count, seen - took + waiting.added - self._added_before)
        self._added_before = waiting.added
        if seen and not took:
            return max(min(HELD_PASS_S, self._soonest_s()), seen * HELD_ROW_S)
        return 0.0 if took else IDLE_S

    def _soonest_s(self) -> float:
        now_s = self._services.env.monotonic_s()
        waits = [until_s - now_s for until_s, _ in self._held.values()]
        return max(0.05, min(waits, default=IDLE_S))

    async def _tell(self, row: Queued) -> Queued | None:
        """The row if nothing is left to be done about it."""
        env = self._services.env
        name = row.document["destination"]
        destination = self._destinations.get(name)
        if destination is None or env.now_ms() - row.at_ms > GIVEN_UP_MS:
            self._given_up += 1
            logger.warning("an event for %s is given up", name)
            return row
        until_s, pause_s = self._held.get(name, (0.0, HOLD_FIRST_S))
        if until_s > env.monotonic_s():
            return None
        try:
            await destination.send(json.dumps(row.document["message"]).encode())
        except StorageError as error:
            held_s, _ = self._held.get(name, (0.0, 0.0))
            if held_s <= env.monotonic_s():  # the first of those that failed together
                self._held[name] = (env.monotonic_s() + pause_s, min(2 * pause_s, HOLD_MAX_S))
                logger.warning("%s takes no events: %s", name, error)
            return None
        self._held.pop(name, None)
        self._sent += 1
        return row

    async def _drop(self, rows: Sequence[Queued]) -> None:
        by_bucket: dict[BucketId, list[bytes]] = {}
        for row in rows:
            by_bucket.setdefault(row.bucket, []).append(row.row_key)
        for bucket, row_keys in by_bucket.items():
            batch = queues_of(self._services).changed(bucket, row_keys)
            await self._services.log.commit_change(Change(batch=batch))
            waiting = self._services.events_waiting
            waiting.count = max(0, waiting.count - len(row_keys))

    def progress(self) -> Progress:
        """Messages taken since the start, and how many wait."""
        waiting = self._services.events_waiting
        detail = f"{waiting.count} waiting"
        if waiting.dropped or self._given_up:
            detail += f", {waiting.dropped + self._given_up} given up"
        return Progress(
            done=self._sent, total=0, unit="events", detail=detail, waiting=waiting.count
        )
