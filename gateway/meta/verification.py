"""Whether the index still holds the rows it was given: kept counts and sums against a scan.

Not for rows that are there and wrong: each proves itself when it is opened. Who acts on the absence
of a row (the sweep deletes, a checkpoint lets the log go) asks here first.
"""

from __future__ import annotations

from gateway.meta.kv import Index
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import give_way


class SumsMismatch(StorageError):
    """Rows of a partition are missing or altered."""

    kind = Kind.CORRUPT
    hint = "the index is damaged: run `hexagone rebuild`"

    def __init__(self, *, partitions: frozenset[bytes]) -> None:
        self.partitions = partitions
        super().__init__(partitions=",".join(sorted(name.hex() for name in partitions)))


class SumsCheck:
    """One look at all rows, in helpings that leave most of the processor to requests."""

    def __init__(self, index: Index, env: Env) -> None:
        self._env = env
        self._verification = index.begin_verification()

    async def step(self) -> bool:
        """Look at some more rows, off the event loop, then pause; whether that was all.

        Raises:
            SumsMismatch: rows are missing or altered.
            RowCorrupt: what the index reads is damaged.
        """
        began_s = self._env.monotonic_s()
        bad = await self._env.offload(self._verification.helping)
        if bad:
            raise SumsMismatch(partitions=frozenset(bad))
        if bad is None:
            await give_way(self._env, began_s)
        return bad is not None

    def end(self) -> None:
        """Whether it came to its end or not. Idempotent."""
        self._verification.end()


async def verify_sums(index: Index, env: Env) -> None:
    """Hold every partition against its sum, as `SumsCheck` does. Raises SumsMismatch."""
    check = SumsCheck(index, env)
    try:
        while not await check.step():
            pass
    finally:
        check.end()
