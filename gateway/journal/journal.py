"""The journal of a cluster: one log for the cluster, one per tenant, anchored in the first.

Not for deciding what is recorded. Acts wait until their event is durable (`record`) and are refused
when it cannot be; accesses and outcomes are taken without waiting (`note`) and written in batches.
What does not fit the queue is counted, and the count becomes an event: nothing is dropped silently.
Where the writer itself ends by a mistake, all that is to be recorded is refused until a start.

I5: a key, right or retention act is in the journal before it takes effect.

Source: docs/journal.md.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeVar

from gateway.journal.events import CLUSTER, SALT_BYTES, Event, NameHasher, Phase
from gateway.journal.shelf import JournalKeys, LogDamaged, Placed, Shelf, Signed
from gateway.journal.signing import SigningKeys
from gateway.journal.store import JournalUnavailable, LogStore
from storaged.base.env import Env
from storaged.base.errors import StorageError

logger = logging.getLogger(__name__)

T = TypeVar("T")

QUEUE_EVENTS_MAX = 65_536  # about 50 MB; an outage of some seconds under full load
BATCH_EVENTS_MAX = 8192
AHEAD_OF_ACTS_MAX = 512  # some 10 ms of writing
WAKE_EVENTS = 2048  # noted events that are not left to wait for the next flush
FLUSH_S = 1.0  # what a crash takes of accesses
CHECKPOINT_S = 5.0  # under load
IDLE_S = 3600.0  # between events when nothing happens, so that silence is seen
RETRY_S = 1.0  # after a write failed
GAP = "journal.gap"
ENDED = "its writer has ended: the gateway's log says why"
BUFFERED_S = 30.0  # requests go on so long without a journal where accesses are required


class Accesses(StrEnum):
    """Which accesses to objects are recorded: none, those that change something, or all."""

    OFF = "off"
    WRITES = "writes"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalConfig:
    """The tamper-evident journal; acts that cannot be written into it are refused.

    Args:
        accesses: which accesses to objects are recorded beside acts: off, writes or all.
        accesses_required: refuse accesses that are to be recorded and cannot be for BUFFERED_S.
    """

    folder: Path
    accesses: Accesses = Accesses.WRITES
    accesses_required: bool = True


class _Waiting(NamedTuple):
    """An event on its way; `done` is None for one that nobody waits for."""

    log: str
    event: Event
    done: asyncio.Future[None] | None


class Journal:
    """See the module. `start`, then `close`."""

    def __init__(
        self,
        config: JournalConfig,
        keys: JournalKeys,
        env: Env,
        signing: SigningKeys | None = None,
    ) -> None:
        folder = self.folder = config.folder
        self.keys = keys
        self.env = env
        self.accesses = config.accesses
        self.accesses_required = config.accesses_required
        self.lost = 0  # events that had no room, since the start
        self.failure = ""  # why events cannot be written, "" when they can
        self.unsigned = ""  # why no checkpoint can be signed, "" when one can
        self._failing_since_s = 0.0
        self._lost_unrecorded = 0
        self._urgent: deque[_Waiting] = deque()
        self._noted: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._signing = signing
        self._shelf = Shelf(folder, keys, env)
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._last_event_s = env.monotonic_s()
        self._signed_at_s = self._last_event_s - CHECKPOINT_S  # the first events are signed at once

    def start(self) -> None:
        """Begin to write. What cannot be opened makes acts fail, not the start."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="journal")

    async def close(self) -> None:
        """Write what waits, sign, release. Idempotent."""
        self._stop.set()
        self._wake.set()
        task, self._task = self._task, None
        try:
            if task is not None:
                await task
        finally:
            self._shelf.close()

    async def record(self, log: str, event: Event) -> None:
        """Put an event into a log. Durable when: this returns. Raises: JournalUnavailable."""
        if self._task is None or self._stop.is_set():
            raise JournalUnavailable(reason="the journal is closed")
        if self.failure:
            raise JournalUnavailable(reason=self.failure)
        if len(self._urgent) >= QUEUE_EVENTS_MAX:
            raise JournalUnavailable(reason="too many acts wait")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._urgent.append(_Waiting(log, event, done))
        self._wake.set()
        await done

    def note(self, log: str, event: Event) -> None:
        """Take an event that nobody waits for."""
        noted = self._noted
        if len(noted) >= QUEUE_EVENTS_MAX:
            self.lost += 1
            self._lost_unrecorded += 1
            return
        noted.append(_Waiting(log, event, None))
        if len(noted) >= WAKE_EVENTS:
            self._wake.set()

    @property
    def damaged(self) -> Mapping[str, JournalUnavailable]:
        """Logs that are not what was signed, and take nothing until a start."""
        return self._shelf.damaged

    def check_accesses(self, log: str) -> None:
        """Refuse an access that could not be recorded in a log. Raises: JournalUnavailable."""
        if not self.accesses_required:
            return
        if log in self.damaged:
            raise JournalUnavailable(**self.damaged[log].fields)
        if not self.failure:
            return
        if self.env.monotonic_s() - self._failing_since_s > BUFFERED_S or self._lost_unrecorded:
            raise JournalUnavailable(reason=self.failure)

    @property
    def waiting(self) -> int:
        """Events that are not written yet."""
        return len(self._urgent) + len(self._noted)

    def names_of(self, log: str) -> NameHasher:
        """The hasher of names in a log."""
        return self._shelf.names_of(log)

    def logs(self) -> list[str]:
        """Names of the logs there are, the cluster's first."""
        return self._shelf.logs()

    async def checkpoint(self, logs: Sequence[str] | None = None) -> Signed:
        """Write what waits, then sign; the answer has the given logs (None: all). A log that is
        given is anchored once more also when it is unchanged.

        Raises: JournalUnavailable.
        """
        await self.record(CLUSTER, self._event("journal.checkpoint", {}))
        async with self._turn:
            wanted = self.logs() if logs is None else logs
            return await self.env.offload(lambda: self._shelf.sign(wanted, logs or ()))

    async def rotate_key(self) -> JournalKeys:
        """Sign with new keys, which the present ones announce, in the cluster's log first.

        Raises: JournalUnavailable: the present keys sign on.
        """
        signing = self._signing
        if signing is None or self.failure:
            raise JournalUnavailable(reason=self.failure or "its keys are fixed")

        def hand_over() -> None:
            try:
                self._shelf.store(CLUSTER)  # a log that is not ours touches no seed
                self._shelf.hand_over(signing.prepare(), signing.hand_over)
                signing.forget_former()
            except OSError as error:
                raise JournalUnavailable(reason=error.strerror) from error

        async with self._turn:
            try:
                await self.env.offload(hand_over)
            finally:
                self.keys = self._shelf.keys
        return self.keys

    async def size(self, log: str) -> int:
        """How many events a log has. Raises: JournalUnavailable."""
        return await self.reading(log, lambda store: store.size)

    async def reading(self, log: str, read: Callable[[LogStore], T]) -> T:
        """What a function reads of a log's kept hashes. Raises: JournalUnavailable and its own."""
        async with self._turn:
            return await self.env.offload(lambda: read(self._shelf.store(log)))

    def _event(self, kind: str, body: dict[str, str | int]) -> Event:
        return Event(self.env.now_ms(), kind, Phase.NOTE, body)

    async def _run(self) -> None:
        is_ended = False
        try:
            await self._write_until_stopped()
            is_ended = True
        finally:
            if not is_ended:  # nobody is to wait for it, nor to go on as if it wrote
                self.failure, self._failing_since_s = ENDED, -math.inf
                logger.critical("the journal: %s", ENDED, exc_info=True)
            self._give_up()

    async def _write_until_stopped(self) -> None:
        while True:
            if not self._urgent and len(self._noted) < WAKE_EVENTS and not self._stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), FLUSH_S)
            self._wake.clear()
            is_last = self._stop.is_set()
            await self._write_batch(self._take())
            await self._keep_signed(now=is_last)
            if is_last and (self.failure or not self.waiting):
                return
            if self.failure and not is_last:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), RETRY_S)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        if self._lost_unrecorded:
            gap = self._event(GAP, {"lost": self._lost_unrecorded})
            batch.append(_Waiting(CLUSTER, gap, None))
        # In the order in which things happened, unless acts would wait for many accesses.
        queues = [self._noted, self._urgent]
        if len(self._noted) > AHEAD_OF_ACTS_MAX:
            queues.reverse()
        for queue in queues:
            while queue and len(batch) < BATCH_EVENTS_MAX:
                batch.append(queue.popleft())
        if not batch and self.env.monotonic_s() - self._last_event_s > IDLE_S:
            batch.append(_Waiting(CLUSTER, self._event("journal.idle", {}), None))
        return batch

    async def _write_batch(self, batch: list[_Waiting]) -> None:
        """Write, and tell those who wait; what nobody waits for and cannot be written is kept."""
        if not batch and not self.failure and self._shelf.is_settled:
            return
        salts = self.env.random_bytes(SALT_BYTES * len(batch))
        lost, failure = self._lost_unrecorded, self.failure
        placed = [Placed(waiting.log, waiting.event) for waiting in batch]
        failures = None
        try:
            async with self._turn:
                failures = await self.env.offload(lambda: self._shelf.write(placed, salts, failure))
        finally:
            if failures is None:
                for one in reversed(batch):
                    (self._noted if one.done is None else self._urgent).appendleft(one)
        again = []
        for waiting in batch:
            error = failures.get(waiting.log)
            if waiting.done is not None:
                _settle(waiting.done, error)
            elif waiting.event.type == GAP:
                self._lost_unrecorded -= 0 if error else lost
            elif isinstance(error, LogDamaged):
                self.lost += 1
                self._lost_unrecorded += 1
            elif error is not None:
                again.append(waiting)
        self._noted.extendleft(reversed(again))
        self._tell([e for e in failures.values() if not isinstance(e, LogDamaged)])
        if batch:
            self._last_event_s = self.env.monotonic_s()

    def _tell(self, failures: Sequence[JournalUnavailable]) -> None:
        reason = str(failures[0].fields.get("reason") or failures[0].title()) if failures else ""
        if reason and not self.failure:
            self._failing_since_s = self.env.monotonic_s()
            logger.error("%s: acts are refused", failures[0].message())
        elif self.failure and not reason:
            logger.warning("the journal takes events again")
        self.failure = reason

    async def _keep_signed(self, *, now: bool) -> None:
        """Sign what has changed, every few seconds."""
        now_s = self.env.monotonic_s()
        is_due = now or now_s - self._signed_at_s >= CHECKPOINT_S
        if not is_due or self.failure or not self._shelf.dirty:
            return
        self._signed_at_s = now_s
        try:
            async with self._turn:
                await self.env.offload(lambda: self._shelf.sign(()))
            self.unsigned = ""
        except StorageError as error:
            self.unsigned = error.message()
            logger.error("no checkpoint of the journal could be signed: %s", error)

    def _give_up(self) -> None:
        for waiting in self._urgent:
            if waiting.done is not None and not waiting.done.done():
                waiting.done.set_exception(JournalUnavailable(reason="the journal is closed"))
        if self._noted:
            logger.error("%d events of the journal are lost", len(self._noted))


def _settle(done: asyncio.Future[None], error: JournalUnavailable | None) -> None:
    if done.done():
        return  # whoever waited has gone
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(JournalUnavailable(**error.fields))
