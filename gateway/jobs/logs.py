"""Job `logs`: access logs from memory into rows, and from rows into their buckets once they are old
enough.
"""

from __future__ import annotations

from gateway.meta import keyspace
from gateway.model.names import BucketId
from gateway.objects.context import Services
from gateway.objects.log_delivery import OBJECT_BYTES_MAX, deliver, queues_of
from storaged.base.jobs import Progress

TICK_S = 1.0  # longest time that a line waits in memory only
TICKS_OF_A_ROLL = 20


class LogDelivery:
    """One look a step: what waits is written, what is due is delivered."""

    name = "logs"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._delivered = 0
        self._next_look_s: dict[BucketId, float] = {}

    async def step(self) -> float:
        """Write, deliver, wait."""
        services = self._services
        await services.log_spool.flush()
        await self._deliver_full()
        env, roll_s = services.env, services.log_roll_s
        due_ms = env.now_ms() - round(roll_s * 1000)
        now_s, delay_s = env.monotonic_s(), roll_s / TICKS_OF_A_ROLL
        looks = {bucket: at_s for bucket, at_s in self._next_look_s.items() if at_s > now_s}
        for bucket, at_ms in list(queues_of(services).oldest(keyspace.LOG_LINES)):
            if at_ms > due_ms or bucket in looks:
                continue
            count = await self._deliver(bucket)
            if not count:
                looks[bucket] = now_s + delay_s
        self._next_look_s = looks
        return min(TICK_S, delay_s)

    async def _deliver_full(self) -> None:
        """What fills an object need not wait: so no busy log fills the index for an hour."""
        sizes = self._services.log_spool.row_bytes
        for bucket in [held for held, size in sizes.items() if size > OBJECT_BYTES_MAX]:
            await self._deliver(bucket)

    async def _deliver(self, bucket: BucketId) -> int:
        self._services.log_spool.row_bytes.pop(bucket, None)
        count = await deliver(self._services, bucket)
        self._delivered += count
        return count

    async def finish(self) -> None:
        """Write what waits in memory. Raises: what the log raises."""
        await self._services.log_spool.flush()

    def progress(self) -> Progress:
        """Objects delivered since the start."""
        dropped = self._services.log_spool.dropped
        detail = f"{dropped} lines dropped" if dropped else ""
        return Progress(done=self._delivered, total=0, unit="objects", detail=detail)
