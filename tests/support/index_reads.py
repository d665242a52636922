"""An index in a dict that says what was read of it. Not for commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.meta.kv import Batch


class CountedReads:
    """Rows, and the keys that were asked for in how many calls."""

    def __init__(self, held: Mapping[bytes, bytes]) -> None:
        self.held = dict(held)
        self.read_keys: list[bytes] = []
        self.calls = 0

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As MetaStore.read."""
        self.calls += 1
        self.read_keys += keys
        return [self.held.get(key) for key in keys]

    def apply_rows(self, batch: Batch) -> None:
        """Set the rows of a batch."""
        for write in batch.writes:
            if write.value is None:
                self.held.pop(write.key, None)
            else:
                self.held[write.key] = write.value
