"""Walking rows in key order, rolling up what shares a common prefix by seeking past it.

Pure over `scan`: a prefix that holds a million keys costs two look-ups, not a million rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from gateway.meta.keyspace import HEAD_BYTES, after, successor
from gateway.meta.kv import Row

NOTHING_HERE = b""  # no common prefix is empty
PAGE_ROWS_MIN = 4  # after a seek most of a long page would lie below the next common prefix
PAGE_ROWS_MAX = 1024


class Scan(Protocol):
    """`MetaStore.scan`."""

    def __call__(self, start: bytes, end: bytes, *, limit: int) -> list[Row]: ...


def rolled_up(
    scan: Scan,
    *,
    start: bytes,
    end: bytes,
    name_of: Callable[[bytes], bytes],
    prefix_bytes: int,
    delimiter: bytes,
    visible: Callable[[list[Row]], list[Row]] | None = None,
) -> Iterator[Row | bytes]:
    """Rows from `start` to before `end`, in order; those that share a common prefix give it once.

    Args:
        name_of: object key inside a row key; a prefix of the rest of the row key.
        prefix_bytes: where in the object key the search for the delimiter begins.
        delimiter: b"": nothing is rolled up.
        visible: which rows of a page count; None: all do. Then also NOTHING_HERE comes, once for
            each page in which none does: there may be millions, and others want their turn.
    """
    page_rows = PAGE_ROWS_MIN
    skipped: bytes | None = None  # row keys that start with it are inside the last common prefix
    while True:
        rows = scan(start, end, limit=page_rows)
        counted = rows if visible is None else visible(rows)
        if rows and not counted:
            yield NOTHING_HERE
        for row in counted:
            if skipped is not None and row.key.startswith(skipped):
                continue
            name = name_of(row.key)
            cut = name.find(delimiter, prefix_bytes) if delimiter else -1
            if cut < 0:
                yield row
                continue
            common_prefix = name[: cut + len(delimiter)]
            skipped = row.key[:HEAD_BYTES] + common_prefix
            yield common_prefix
        if len(rows) < page_rows:
            return
        last = rows[-1].key
        if skipped is not None and last.startswith(skipped):
            start = successor(skipped)
            page_rows = PAGE_ROWS_MIN
        else:
            start = after(last)
            page_rows = min(4 * page_rows, PAGE_ROWS_MAX)
