"""Lines of access logs in memory, and from there in rows of the bucket they go to.

Not for what a line says (`gateway.s3.server_log`), nor for delivering (`objects.log_delivery`). A
crash loses what has not reached a row: a second's worth. No bucket and no account may take more
than its share of the memory, so one that is busy pushes out its own lines only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gateway.commit.change import Change
from gateway.meta import keyspace
from gateway.meta.queues import Queues
from gateway.model.names import BucketId

if TYPE_CHECKING:
    from gateway.objects.context import Services

PENDING_BYTES_MAX = 16 << 20  # in memory; what comes beyond is not logged
OWNER_BYTES_MAX = PENDING_BYTES_MAX // 4  # of one account's buckets, wherever their logs go
TARGET_BYTES_MAX = PENDING_BYTES_MAX // 8  # to one bucket
ROW_BYTES_MAX = 512 * 1024
ROWS_AT_ONCE = TARGET_BYTES_MAX // ROW_BYTES_MAX  # of one log, before the next has its turn


class LogRoute(NamedTuple):
    """Where lines go, and whose they are."""

    target: BucketId
    target_name: str
    prefix: str
    key_format: str
    grants: tuple[tuple[str, str, str], ...]
    source: str
    owner: str


class _Pending(NamedTuple):
    """Lines of one route, and when the first of them came."""

    since_ms: int
    lines: list[str]


class LogSpool:
    """Lines in memory, by where they go."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pending: dict[LogRoute, _Pending] = {}
        self._pending_bytes = 0
        self._bytes_of: Counter[BucketId | str] = Counter()  # by target, and by owner
        self.dropped = 0
        self.row_bytes: Counter[BucketId] = Counter()  # written to each target since it was emptied

    def add(self, route: LogRoute, line: str) -> None:
        """Take a line, which ends with a line feed."""
        size, held_bytes = len(line), self._bytes_of
        if (
            self._pending_bytes + size > PENDING_BYTES_MAX
            or held_bytes[route.target] + size > TARGET_BYTES_MAX
            or held_bytes[route.owner] + size > OWNER_BYTES_MAX
        ):
            self.dropped += 1
            return
        held = self._pending.get(route)
        if held is None:
            held = self._pending[route] = _Pending(self._services.env.now_ms(), [])
        held.lines.append(line)
        self._count(route, size)

    async def flush(self) -> set[BucketId]:
        """Write what waits in memory into rows; the buckets that have got some.

        What cannot be written stays. Raises: what the log raises.
        """
        written: set[BucketId] = set()
        services = self._services
        queues = Queues(services.log, services.records, services.nonces, services.env)
        for route, (since_ms, lines) in list(self._pending.items()):
            for _ in range(ROWS_AT_ONCE):
                taken = _fitting(lines)
                document = {**route._asdict(), "text": "".join(lines[:taken])}
                del document["target"]
                entry = queues.entry(keyspace.LOG_LINES, route.target, document, since_ms)
                await services.log.commit_change(
                    Change(batch=queues.changed(route.target, (), (entry,)))
                )
                size = sum(map(len, lines[:taken]))
                self._count(route, -size)
                self.row_bytes[route.target] += size
                del lines[:taken]
                if not lines:
                    del self._pending[route]
                    break
            written.add(route.target)
        return written

    def _count(self, route: LogRoute, size: int) -> None:
        self._pending_bytes += size
        for share in (route.target, route.owner):
            self._bytes_of[share] += size
            if not self._bytes_of[share]:
                del self._bytes_of[share]


def _fitting(lines: Sequence[str]) -> int:
    """How many lines fit a row; at least one."""
    size = 0
    for count, line in enumerate(lines):
        size += len(line)
        if size > ROW_BYTES_MAX and count:
            return count
    return len(lines)
