"""Part arithmetic of multipart objects against a plain list of parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.version import PartRun, part_extent, part_runs, parts_for_range

SIZES = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([1, 5, 5, 5, 8])), min_size=1, max_size=12
)


def numbered(steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(number, bytes) with gaps between the numbers."""
    parts, number = [], 0
    for step, plain_bytes in steps:
        number += step
        parts.append((number, plain_bytes))
    return parts


@given(SIZES, st.data())
def test_ranges_and_extents_match_a_plain_list(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    parts = numbered(steps)
    runs = part_runs(parts)
    content = [(number, inside) for number, held in parts for inside in range(held)]
    assert sum(run.count for run in runs) == len(parts)
    offset = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(0, len(content) - offset))
    found = []
    for number, inside, taken in parts_for_range(runs, offset, length):
        assert taken > 0
        found += [(number, inside + step) for step in range(taken)]
    assert found == content[offset : offset + length]
    at = 0
    for position, (number, held) in enumerate(parts, start=1):
        assert part_extent(runs, position) == (number, at, held)
        at += held
    assert part_extent(runs, len(parts) + 1) is None
    assert part_extent(runs, 0) is None


def test_equal_parts_are_one_run() -> None:
    runs = part_runs([(n, 8) for n in range(1, 10_000)] + [(10_000, 3)])
    assert runs == (
        PartRun(first=1, count=9999, plain_bytes=8),
        PartRun(first=10_000, count=1, plain_bytes=3),
    )
    assert part_runs([]) == ()


def test_our_own_mistakes_are_loud() -> None:
    with pytest.raises(AssertionError):
        part_runs([(2, 5), (2, 7)])
    with pytest.raises(AssertionError):
        list(parts_for_range(part_runs([(1, 5)]), 3, 3))
