"""Job `garbage`: take away rows of parts and annotations that went in one step, and finish
bucket deletions that nobody finished: a crash came, or the caller went.

Not for stripes: taking a row away counts its stripes down, and the job `free` does the rest.
"""

from __future__ import annotations

import math

from gateway.objects.buckets import finish_deletions
from gateway.objects.context import Services
from gateway.objects.parting import collect_garbage
from storaged.base.jobs import Progress

STEP_ROWS = 500
IDLE_S = 5.0
DELETIONS_EVERY_S = 60.0


class GarbageCollector:
    """One batch of rows a step."""

    name = "garbage"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._rows = 0
        self._next_look_s = -math.inf

    async def step(self) -> float:
        """Take away some rows; 0 while there may be more."""
        now_s = self._services.env.monotonic_s()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + DELETIONS_EVERY_S
            await finish_deletions(self._services)
        taken = await collect_garbage(self._services, rows_max=STEP_ROWS)
        self._rows += taken
        return 0.0 if taken else IDLE_S

    def progress(self) -> Progress:
        """Rows taken away since the start."""
        return Progress(done=self._rows, total=0, unit="rows")
