"""Buffers that are used again, and only when nobody can see it."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from storaged.base import spare as spare_module
from storaged.base.spare import SPARE_FROM_BYTES, SpareBuffers

LENGTH = SPARE_FROM_BYTES


def test_a_buffer_is_used_again_once_no_view_of_it_is_left() -> None:
    spare = SpareBuffers(2, 2 * LENGTH)
    first = spare.take(LENGTH)
    memory = id(first.obj)
    part = first[5:9]
    del first
    second = spare.take(LENGTH)
    assert id(second.obj) != memory, "a slice of the first is still held"
    del part
    assert id(spare.take(LENGTH + 1).obj) == memory


def test_no_more_are_kept_than_was_said() -> None:
    spare = SpareBuffers(1, LENGTH)
    held = [spare.take(LENGTH) for _ in range(3)]
    assert len({id(view.obj) for view in held}) == 3
    kept = id(held[0].obj)
    del held[1:]
    assert id(spare.take(LENGTH).obj) != kept


def test_a_view_is_as_long_as_was_asked_for() -> None:
    spare = SpareBuffers(1, 2 * LENGTH)
    for length in (0, 1, LENGTH - 1, LENGTH, 2 * LENGTH, 2 * LENGTH + 1):
        view = spare.take(length)
        assert len(view) == length and not view.readonly


def test_threads_never_hold_one_buffer_together(monkeypatch: pytest.MonkeyPatch) -> None:
    spare = SpareBuffers(2, LENGTH)
    looked = spare_module._is_free

    def look_then_let_the_others_run(buffer: bytearray) -> bool:
        free = looked(buffer)
        time.sleep(0)
        return free

    monkeypatch.setattr(spare_module, "_is_free", look_then_let_the_others_run)

    def fill(mark: int) -> int:
        spoilt = 0
        for _ in range(500):
            view = spare.take(LENGTH)
            view[:8] = mark.to_bytes(8)
            time.sleep(0)
            spoilt += view[:8] != mark.to_bytes(8)
        return spoilt

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(fill, range(4))) == [0, 0, 0, 0]
