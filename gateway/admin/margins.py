"""How many more shards each stripe may lose.

Not for repairing. A shard counts when the index has it on a node that answers, and nobody has
reported it missing or bad; what neither sweep nor a read has met yet is counted as good. A small
index is counted when somebody asks; a large one (opening a stripe row takes microseconds, and there
may be millions) is answered with what job `repair` counted last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.commit.log import Log
from gateway.data.health import HealthView
from gateway.data.placement import margin
from gateway.data.topology import Topology
from gateway.jobs.repair import RepairQueue
from gateway.meta.sealing import RecordKeys
from gateway.meta.stripes import scan_stripes
from storaged.base.env import Env
from storaged.base.ids import StripeId

STRIPES_COUNTED_MAX = 20_000  # about a tenth of a second of the event loop, in short pieces
PAGE_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """Stripes by margin; below 0 nobody can read them until nodes return.

    Args:
        counted_at_ms: 0 when it is not known.
    """

    by_margin: Mapping[int, int]
    counted_at_ms: int
    counted_by: str

    @property
    def lowest(self) -> int | None:
        return min(self.by_margin, default=None)


class MarginCounter:
    """Counts a small index at once."""

    def __init__(
        self,
        *,
        log: Log,
        records: RecordKeys,
        health: HealthView,
        repairs: RepairQueue,
        env: Env,
        stripes_max: int = STRIPES_COUNTED_MAX,
    ) -> None:
        self._log = log
        self._records = records
        self._health = health
        self._repairs = repairs
        self._env = env
        self._stripes_max = stripes_max
        self._too_many = False

    async def count(self, topology: Topology) -> Margins | None:
        """Margins of all stripes as of this moment; None when there are too many to count."""
        if self._too_many:
            return None  # it was a large index at the last look: do not try each time
        alive = frozenset(n for n in topology.by_number if self._health.readable(n))
        found: Counter[int] = Counter()
        after: StripeId | None = None
        counted = 0
        while True:
            page = scan_stripes(self._log, self._records, after, limit=PAGE_ROWS)
            for stored in page:
                row = stored.row
                wanted = self._repairs.waiting.get(row.stripe)
                bad = sum(row.nodes[at] in alive for at in wanted.missing) if wanted else 0
                found[margin(row.nodes, topology, row.geometry.k, alive) - bad] += 1
            counted += len(page)
            if counted > self._stripes_max:
                self._too_many = True
                return None
            if len(page) < PAGE_ROWS:
                break
            after = page[-1].row.stripe
            await self._env.sleep(0)
        return Margins(by_margin=found, counted_at_ms=self._env.now_ms(), counted_by="now")
