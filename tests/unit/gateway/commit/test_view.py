"""Checks over applied and unapplied rows: decided alike, however many there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commit import forming
from gateway.commit.change import Position
from gateway.commit.forming import CHECKED_AT_ONCE, Group, View
from gateway.commit.pipeline import LatestRows
from gateway.meta.kv import REVISION_BYTES, Check, Exists, Write
from tests.support.index_reads import CountedReads

KEYS = [b"key %d" % number for number in range(6)]
REVISIONS = [bytes([number]) * REVISION_BYTES for number in range(3)]
ROWS = [b"\x01" + revision + b"rest" for revision in REVISIONS]

keys = st.sampled_from(KEYS)
checks = st.one_of(
    st.builds(Check, keys, st.one_of(st.none(), st.sampled_from(REVISIONS))),
    st.builds(Exists, keys),
)


@given(
    st.dictionaries(keys, st.sampled_from(ROWS)),
    st.lists(st.dictionaries(keys, st.one_of(st.none(), st.sampled_from(ROWS))), max_size=3),
    st.lists(checks, max_size=CHECKED_AT_ONCE + 4),
)
def test_many_checks_are_decided_as_each_of_them_is(
    applied: dict[bytes, bytes],
    unapplied: list[dict[bytes, bytes | None]],
    wanted: list[Check | Exists],
) -> None:
    """With the same failed check, and the same group that the decision rests on."""
    index = CountedReads(applied)
    view = View(LatestRows(index), lambda stripe: None)  # type: ignore[arg-type]
    for number, rows in enumerate(unapplied):
        group = Group(Position(1, number))
        view.set_rows(group, [Write(key, value) for key, value in rows.items()])
    found = []
    for at_once in (CHECKED_AT_ONCE, 10_000, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forming, "CHECKED_AT_ONCE", at_once)
            blocker, refused = view.failed_check(wanted)
            found.append((blocker, None if refused is None else refused.fields["check"]))
    assert found[0] == found[1] == found[2]


def test_rows_of_many_checks_are_read_at_once() -> None:
    index = CountedReads(dict.fromkeys(KEYS, ROWS[0]))
    view = View(LatestRows(index), lambda stripe: None)  # type: ignore[arg-type]
    wanted = [Exists(b"%b, %d" % (KEYS[0], number)) for number in range(CHECKED_AT_ONCE - 1)]
    view.failed_check([Exists(KEYS[0]), *wanted])
    assert index.calls == 1
