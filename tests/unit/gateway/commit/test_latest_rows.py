"""Rows held in memory: never another value than the index has, never more than the limit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commit import pipeline
from gateway.commit.pipeline import KEPT_WRITES_MAX, LatestRows
from gateway.meta.kv import Batch, Write
from tests.support.index_reads import CountedReads

KEYS = [b"key %03d" % number for number in range(40)]


def _batch(writes: Sequence[Write]) -> Batch:
    return Batch(partition=bytes(16), request_id=bytes(16), checks=(), writes=tuple(writes))


def _large(value: bytes) -> Batch:
    return _batch([Write(key, value) for key in KEYS])


def test_what_was_read_is_held() -> None:
    index = CountedReads({KEYS[0]: b"there"})
    rows = LatestRows(index)
    assert rows.row(KEYS[0]) == b"there" and rows.row(KEYS[1]) is None
    assert rows.read(KEYS[:2]) == [b"there", None]
    assert index.read_keys == KEYS[:2]


def test_the_first_to_come_is_the_first_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "ROWS_HELD_MAX", 3)
    index = CountedReads({})
    rows = LatestRows(index)
    for key in KEYS[:3]:
        rows.row(key)
    rows.follow([_batch([Write(KEYS[0], b"again")])])  # which makes it the last
    rows.row(KEYS[3])
    index.read_keys.clear()
    assert rows.read([KEYS[0], KEYS[2], KEYS[3]]) == [b"again", None, None]
    assert index.read_keys == []
    rows.row(KEYS[1])
    assert index.read_keys == [KEYS[1]]


def test_very_many_are_read_at_once_and_push_out_nothing() -> None:
    index = CountedReads({KEYS[5]: b"five"})
    rows = LatestRows(index)
    rows.row(KEYS[0])
    index.calls = 0
    assert rows.rows(KEYS)[:6] == [None] * 5 + [b"five"] and index.calls == 1
    index.read_keys.clear()
    rows.read(KEYS[:2])
    assert index.read_keys == [KEYS[1]]


def test_a_large_change_is_followed_where_its_rows_are_held_and_nowhere_else() -> None:
    assert len(KEYS) > KEPT_WRITES_MAX
    index = CountedReads(dict.fromkeys(KEYS, b"new"))
    rows = LatestRows(index)
    rows.follow([_batch([Write(KEYS[7], b"old"), Write(KEYS[8], None)])])
    rows.follow([_large(b"new")])
    assert rows.read(KEYS[7:10]) == [b"new"] * 3
    assert index.read_keys == [KEYS[9]]


def test_long_rows_and_long_keys_take_no_more_memory_than_short_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tenant chooses how long they are: key and headers."""
    monkeypatch.setattr(pipeline, "ROWS_HELD_BYTES_MAX", 10_000)
    long = {key * 100: bytes(1000) for key in KEYS}  # 700 bytes and 1,000
    index = CountedReads(long)
    rows = LatestRows(index)
    for _ in range(3):
        rows.read(list(long))
        rows.follow([_batch([Write(key, value) for key, value in long.items()])])
        rows.follow([_batch([Write(key, value)]) for key, value in long.items()])
    index.read_keys.clear()
    rows.read(list(long)[-5:])
    assert not index.read_keys, "what fits is held"
    rows.read(list(long)[:-5])
    assert len(index.read_keys) == len(long) - 5
    rows.follow([_batch([Write(key, None) for key in list(long)[:2]])])
    rows.follow([_batch([Write(key, b"short")]) for key in KEYS])
    index.read_keys.clear()
    assert rows.read(KEYS) == [b"short"] * len(KEYS) and not index.read_keys


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("read"), st.lists(st.sampled_from(KEYS), max_size=30)),
            st.tuples(st.just("rows"), st.lists(st.sampled_from(KEYS), max_size=30)),
            st.tuples(st.just("write"), st.lists(st.sampled_from(KEYS), max_size=30)),
            st.tuples(st.just("delete"), st.lists(st.sampled_from(KEYS), max_size=30)),
        ),
        max_size=30,
    )
)
def test_it_never_says_another_thing_than_the_index(steps: list[tuple[str, list[bytes]]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "ROWS_HELD_MAX", 9)
        patch.setattr(pipeline, "ROWS_HELD_BYTES_MAX", 60)  # seven or eight of these
        index = CountedReads({})
        rows = LatestRows(index)
        for number, (step, keys) in enumerate(steps):
            if step in ("read", "rows"):
                found = rows.read(keys) if step == "read" else rows.rows(keys)
                assert found == [index.held.get(key) for key in keys]
                continue
            value = b"%d" % number if step == "write" else None
            batch = _batch([Write(key, value) for key in keys])
            index.apply_rows(batch)
            rows.follow([batch])
