"""One line of JSON for every answered request.

Not the journal: a line may be lost with the process. A line never holds a query string, a header
with credentials or a secret; what clients choose is escaped to ASCII and cut, so no line can forge
another.
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple, Protocol

FIELD_CHARACTERS_MAX = 256
KEY_CHARACTERS_MAX = 1024
PENDING_BYTES_MAX = 64 * 1024  # then the lines are written at once
FLUSH_S = 0.5

LineSink = Callable[[bytes], object]


class Timers(Protocol):
    """What is needed of an event loop."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> object: ...


class AccessRecord(NamedTuple):
    """An answered request.

    Args:
        at_ms: when its head had arrived, ms UTC.
        latency_s: until the last byte of the answer was handed to the kernel's queue.
        code: S3 error code, "" for success.
    """

    at_ms: int
    request_id: str
    remote: str
    access_key_id: str
    operation: str
    method: str
    bucket: str
    key: str
    status: int
    code: str
    bytes_in: int
    bytes_out: int
    latency_s: float
    user_agent: str


def access_line(record: AccessRecord) -> str:
    """The line, ASCII, with its line feed."""
    return (
        f'{{"at_ms":{record.at_ms},"request_id":"{record.request_id}","remote":{quoted(record.remote)}'
        f',"access_key_id":{quoted(record.access_key_id[:FIELD_CHARACTERS_MAX])}'
        f',"operation":"{record.operation}","method":{quoted(record.method[:16])}'
        f',"bucket":{quoted(record.bucket[:FIELD_CHARACTERS_MAX])}'
        f',"key":{quoted(record.key[:KEY_CHARACTERS_MAX])}'
        f',"status":{record.status},"code":"{record.code}"'
        f',"bytes_in":{record.bytes_in},"bytes_out":{record.bytes_out}'
        f',"latency_ms":{record.latency_s * 1000:.3f}'
        f',"user_agent":{quoted(record.user_agent[:FIELD_CHARACTERS_MAX])}}}\n'
    )


class AccessLog:
    """Collects lines and hands them to a sink in one write, a moment later."""

    def __init__(self, sink: LineSink, timers: Timers) -> None:
        self._sink = sink
        self._timers = timers
        self._lines: list[str] = []
        self._pending_bytes = 0
        self._flush_planned = False

    def add(self, record: AccessRecord) -> None:
        line = access_line(record)
        self._lines.append(line)
        self._pending_bytes += len(line)
        if self._pending_bytes >= PENDING_BYTES_MAX:
            self.flush()
        elif not self._flush_planned:
            self._flush_planned = True
            self._timers.call_later(FLUSH_S, self._flush_later)

    def _flush_later(self) -> None:
        self._flush_planned = False
        self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        if self._lines:
            text = "".join(self._lines)
            self._lines = []
            self._pending_bytes = 0
            self._sink(text.encode("ascii"))
