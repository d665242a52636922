"""Who waits for the log, and what became of those who no longer do.

Not for deciding a change. A change that has not been taken into a group waits in the queue; while
an epoch is being opened, the undecided ones are held apart, in the order of their calls.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from gateway.commit.change import Change, Committed, LogBusy, LogUnavailable, Position
from gateway.commit.forming import Group, Waiter
from gateway.limits import COMMIT_QUEUE_BATCHES_MAX, COMMIT_QUEUE_BYTES_MAX, COMMIT_S
from gateway.meta.kv import OutcomeUnknown
from gateway.model.layout import Packed
from storaged.base.errors import StorageError
from storaged.base.ids import StripeFamily, StripeId

REQUEST_IDS_MAX = 65_536  # a repeat of one of these commits nothing; in memory, as its callers are


class Callers:
    """The waiting, and the outcomes of the latest requests by their ids."""

    def __init__(self, release: Callable[[StripeId], None]) -> None:
        """
        Args:
            release: gives stripe ids back whose change is decided when its caller has gone.
        """
        self._release = release
        self.queue: deque[Waiter] = deque()
        self.held: list[Waiter] | None = None  # undecided while an epoch is being opened
        self._pending: dict[bytes, Waiter] = {}
        self._body_bytes = 0  # of the undecided
        # Plain numbers, so that the garbage collector has nothing to look at.
        self._recent: OrderedDict[bytes, tuple[int, ...]] = OrderedDict()

    def outcome(self, request_id: bytes) -> Committed | None:
        """What a committed request came to."""
        numbers = self._recent.get(request_id)
        return None if numbers is None else _committed(numbers)

    def pending(self, request_id: bytes, now_s: float) -> asyncio.Future[Committed] | None:
        """The future of a request that is undecided; a fresh one when its caller was told that the
        outcome is not known, or has gone.
        """
        waiter = self._pending.get(request_id)
        if waiter is None:
            return None
        if waiter.future.done():
            waiter.future = asyncio.get_running_loop().create_future()
            waiter.deadline_s = now_s + COMMIT_S
        return waiter.future

    def holds(self, reserved: StripeId) -> bool:
        """Whether an undecided change has this reservation. Cost: one look per undecided change."""
        return any(waiter.change.reserved == reserved for waiter in self._pending.values())

    @property
    def has_unknown(self) -> bool:
        """Whether an undecided change has nobody who waits for it: its caller was told that the
        outcome is not known, or has gone. Cost: as `holds`.
        """
        return self.held is not None or any(
            waiter.future.done() for waiter in self._pending.values()
        )

    def register(self, change: Change, now_s: float) -> Waiter:
        """A caller comes. Raises LogBusy."""
        body_bytes = sum(map(len, change.bodies)) if change.bodies else 0
        if (
            len(self.queue) >= COMMIT_QUEUE_BATCHES_MAX
            or self._body_bytes + body_bytes > COMMIT_QUEUE_BYTES_MAX
        ):
            raise LogBusy()
        self._body_bytes += body_bytes
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        waiter = Waiter(change, future, now_s + COMMIT_S, body_bytes)
        self._pending[change.batch.request_id] = waiter
        return waiter

    def succeed(self, position: Position, waiter: Waiter) -> None:
        """Its change is applied."""
        self.forget(waiter)
        numbers: tuple[int, ...] = (position.epoch, position.sequence)
        for place in waiter.places:
            numbers += (place.offset, place.sealed_bytes)
        recent, future = self._recent, waiter.future
        recent[waiter.change.batch.request_id] = numbers
        if len(recent) > REQUEST_IDS_MAX:
            recent.popitem(last=False)
        if not future.done():
            future.set_result(Committed(position, waiter.places))

    def fail(self, waiter: Waiter, error: StorageError) -> None:
        """It is refused, or will not be told the outcome."""
        self.forget(waiter)
        if not waiter.future.done():
            waiter.future.set_exception(error)

    def forget(self, waiter: Waiter) -> None:
        """It is not waiting any more. Idempotent."""
        if waiter.counted:
            waiter.counted = False
            self._body_bytes -= waiter.body_bytes
            self._pending.pop(waiter.change.batch.request_id, None)
            if waiter.future.done() and waiter.change.reserved is not None:
                self._release(waiter.change.reserved)

    def undecided(self, *groups: Group) -> list[Waiter]:
        """Callers of groups that will not be stored as they are, in the order of their calls."""
        waiting: list[Waiter] = []
        for group in groups:
            for waiter in (*group.waiters, *(refused for refused, _ in group.refused)):
                if waiter.future.done():
                    self.forget(waiter)
                else:
                    waiting.append(waiter)
        return waiting

    def release(self) -> None:
        """The epoch is open: those held go to the head of the queue."""
        held, self.held = self.held or [], None
        self.queue.extendleft(reversed(held))

    def expire(self, now_s: float, groups: Iterable[Group]) -> None:
        """Answer callers whose deadline has passed. What is in a group may still be committed, and
        so may what is held: a later run may adopt the group that was left behind (D6).
        """
        on_its_way: list[Waiter] = []
        for group in groups:
            on_its_way += (*group.waiters, *(refused for refused, _ in group.refused))
        for waiter in [*on_its_way, *(self.held or [])]:
            if waiter.deadline_s < now_s and not waiter.future.done():
                waiter.future.set_exception(OutcomeUnknown(deadline_s=COMMIT_S))
        for waiter in self.queue:
            if waiter.deadline_s < now_s:
                self.fail(waiter, LogUnavailable(reason="deadline before the change was taken"))

    def abandon(self, error: StorageError, groups: Iterable[Group]) -> None:
        """The log has stopped for good: what is in a group or held may or may not be committed."""
        unknown = OutcomeUnknown(reason=str(error))
        for waiter in self.held or []:
            self.fail(waiter, unknown)
        for group in groups:
            for waiter in [*group.waiters, *(refused for refused, _ in group.refused)]:
                self.fail(waiter, unknown)
        self.refuse_queued(LogUnavailable(reason=str(error)))

    def refuse_queued(self, error: LogUnavailable) -> None:
        """Answer those who wait for a group."""
        queue = list(self.queue)
        self.queue.clear()
        self.refuse(queue, error)

    def refuse(self, waiters: Iterable[Waiter], error: LogUnavailable) -> None:
        """Answer those whose change was never stored."""
        for waiter in waiters:
            self.fail(waiter, error)


def _committed(numbers: tuple[int, ...]) -> Committed:
    epoch, sequence, *places = numbers
    stripe = StripeId(StripeFamily.COMMIT, epoch, sequence)
    return Committed(
        Position(epoch, sequence),
        tuple(
            Packed(stripe=stripe, offset=offset, sealed_bytes=length)
            for offset, length in zip(places[::2], places[1::2], strict=True)
        ),
    )
