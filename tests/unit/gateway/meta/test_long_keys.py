"""Keys beyond LMDB's limit, against a sorted dictionary; the marker rows that are left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.meta import long_keys

# Few heads, few tails, and the lengths where a level begins: many keys share prefixes of each.
PIECES = st.sampled_from(
    [b"a", b"a" * 478, b"a" * 480, b"a" * 456, b"b\x00", b"\xff", b"a\x00", b""]
)
KEYS = (
    st.lists(PIECES, min_size=1, max_size=4)
    .map(b"".join)
    .map(lambda raw: b"O" + raw[:1099])
    .filter(lambda raw: len(raw) > 1)
)
MUTATIONS = st.lists(st.tuples(st.booleans(), KEYS), max_size=30)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path: Path = tmp_path_factory.mktemp("long")
    environment = lmdb.open(str(path), map_size=1 << 24, max_dbs=2, sync=False)
    yield environment
    environment.close()


@settings(max_examples=150, deadline=None)
@given(
    mutations=MUTATIONS, bounds=st.lists(st.tuples(KEYS, KEYS), max_size=4), limit=st.integers(1, 9)
)
def test_order_reads_and_scans_match_a_sorted_dictionary(
    environment: Any,
    mutations: list[tuple[bool, bytes]],
    bounds: list[tuple[bytes, bytes]],
    limit: int,
) -> None:
    databases = (environment.open_db(b"rows"), environment.open_db(b"long"))
    model: dict[bytes, bytes] = {}
    with environment.begin(write=True) as txn:
        for number, (is_put, key) in enumerate(mutations):
            before = model.get(key)
            if is_put:
                model[key] = b"%d" % number
                assert long_keys.put_row(txn, databases, key, model[key]) == before
            else:
                model.pop(key, None)
                assert long_keys.pop_row(txn, databases, key) == before
        for _, key in mutations:
            database, place = long_keys.place(key)
            assert len(place) <= long_keys.HEAD_KEY_BYTES
            assert txn.get(place, db=databases[database]) == model.get(key)
        for start, end in [(b"", b"\xff"), *bounds, *[(b, a) for a, b in bounds]]:
            inside = sorted(item for item in model.items() if start <= item[0] < end)
            for reverse in (False, True):
                expected = inside[::-1] if reverse else inside
                for most in (limit, 10_000):
                    found = long_keys.collect(
                        txn, databases, start, end, limit=most, reverse=reverse
                    )
                    assert found == expected[:most]
        needed = {marker for key in model for marker in long_keys.markers(key)}
        assert set(markers_in(txn, databases)) == needed
        for key in model:
            long_keys.pop_row(txn, databases, key)
        assert all(txn.stat(database)["entries"] == 0 for database in databases)


def markers_in(txn: Any, databases: tuple[Any, Any]) -> Iterator[tuple[int, bytes]]:
    for level, database in enumerate(databases):
        for key, _ in txn.cursor(db=database).iternext():
            if len(key) > long_keys.HEAD_KEY_BYTES:
                yield level, key
