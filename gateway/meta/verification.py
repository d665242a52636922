"""Whether the index still holds the rows it was given: kept counts and sums against a scan.

Not for rows that are there and wrong: each proves itself when it is opened. Who acts on the absence
of a row (the sweep deletes, a checkpoint lets the log go) asks here first.
"""

from __future__ import annotations

from gateway.meta.kv import Index
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError


class SumsMismatch(StorageError):
    """Rows of a partition are missing or altered."""

    kind = Kind.CORRUPT
    hint = "the index is damaged: run `hexagone rebuild`"

    def __init__(self, *, partitions: frozenset[bytes]) -> None:
        self.partitions = partitions
        super().__init__(partitions=",".join(sorted(name.hex() for name in partitions)))


async def verify_sums(index: Index, env: Env) -> None:
    """Hold every partition against its sum, off the event loop. Raises SumsMismatch."""
    bad = await env.offload(index.verify_sums)
    if bad:
        raise SumsMismatch(partitions=frozenset(bad))
