"""Which shards a drive cannot hold: those whose keys are above all that it ever held.

Ids of stripes only grow, so nearly every put is of such a shard. To ask the tables for it instead
costs a turn of the interpreter's lock, which every call into LMDB gives up, on each drive for each
commit. Not for reads: what is held is for the tables to say.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from storaged.base.ids import StripeFamily
from storaged.index_tables import IndexUnreadable, Tables


class NewestKeys:
    """The highest key of each family that the tables hold, or that was put since.

    A family whose last row was altered, and one that is not known, has no new keys.
    """

    def __init__(self, tables: Tables, check: Callable[[bytes, bytes], object]) -> None:
        """Look at the last row of each family.

        Args:
            check: raises `IndexUnreadable` for a (key, row) that was altered.

        Raises: `IndexUnreadable`.
        """
        self._newest: dict[int, bytes] = {}
        for family in StripeFamily:
            start = bytes((family,))
            last = tables.last("shards", start, bytes((family + 1,)))
            with suppress(IndexUnreadable):
                if last is not None:
                    check(*last)
                self._newest[family] = start if last is None else last[0]

    def note(self, key: bytes) -> None:
        """The shard is held from here on."""
        newest = self._newest.get(key[0])
        if newest is not None and key > newest:
            self._newest[key[0]] = key

    def is_new(self, key: bytes) -> bool:
        """Whether a shard was never held, as far as one look tells."""
        newest = self._newest.get(key[0])
        return newest is not None and key > newest
