"""Rules of a lifecycle as values: what is due, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.attributes import Attributes
from gateway.model.lifecycle import (
    DAY_MS,
    VARIES_BY_CLASS,
    Act,
    Configuration,
    Decision,
    Filter,
    Instant,
    NoncurrentTransition,
    Rule,
    Transition,
    apart,
    next_midnight,
)
from gateway.model.names import NULL_VERSION, ObjectUuid, TenantId
from gateway.model.version import Version

KEY = b"logs/2026/a"
START = 20_000 * DAY_MS + 5_000_000  # not at midnight


def version(**fields: Any) -> Version:
    held = Version(
        version_id=NULL_VERSION,
        object_uuid=ObjectUuid(bytes(16)),
        sequence=1,
        created_at_ms=START,
        content_bytes=1 << 20,
        etag="",
        is_delete_marker=False,
        storage_class="STANDARD",
        headers=(),
        user_metadata=(),
        tags=(),
        checksum=None,
        wrapped_dek=b"",
        key_epoch=1,
        owner=TenantId(bytes(16)),
        seal=None,
    )
    return replace(held, **fields)


def noncurrent(**fields: Any) -> Version:
    attributes = Attributes(noncurrent_since_ms=START + 1000)
    return version(attributes=attributes, **fields)


def rule(**fields: Any) -> Rule:
    given_fields = {"rule_id": "rule", "is_enabled": True, "filter": Filter(), **fields}
    return Rule(**given_fields)


def rules(*held: Rule, **fields: Any) -> Configuration:
    return Configuration(rules=held, **fields)


def decided(held: Configuration, one: Version, now_ms: int, *, is_only: bool = True) -> Act:
    return held.current(KEY, one, is_only=is_only, at=Instant(now_ms)).act


DAYS = rules(rule(expire_days=3))
DUE = next_midnight(START + 3 * DAY_MS)


def test_real_days_end_at_midnight() -> None:
    assert DUE == 20_004 * DAY_MS
    assert decided(DAYS, version(), DUE - 1) is Act.KEEP
    assert decided(DAYS, version(), DUE) is Act.EXPIRE


def test_short_days_are_not_rounded() -> None:
    at = Instant(START + 30_000, 10_000)
    assert DAYS.current(KEY, version(), is_only=True, at=at).act is Act.EXPIRE
    at = Instant(START + 29_999, 10_000)
    assert DAYS.current(KEY, version(), is_only=True, at=at).act is Act.KEEP


def test_a_date_that_is_past_is_due_at_once() -> None:
    held = rules(rule(expire_date_ms=START + 1))
    assert decided(held, version(), START) is Act.KEEP
    assert decided(held, version(), START + 1) is Act.EXPIRE


FAR = START + 1000 * DAY_MS


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        (True, Filter(prefix="logs/")),
        (False, Filter(prefix="log/")),
        (True, Filter(tags=(("a", "1"),))),
        (False, Filter(tags=(("a", "1"), ("b", "2")))),
        (False, Filter(tags=(("a", "2"),))),
        (True, Filter(bytes_above=99, bytes_below=101)),
        (False, Filter(bytes_above=100)),
        (False, Filter(bytes_below=100)),
        (False, Filter(prefix="logs/", tags=(("a", "1"),), bytes_above=100)),
    ],
)
def test_a_filter_is_about_what_it_says(wanted: bool, held: Filter) -> None:
    one = version(tags=(("a", "1"), ("c", "3")), content_bytes=100)
    act = decided(rules(rule(filter=held, expire_days=1)), one, FAR)
    assert (act is Act.EXPIRE) is wanted


def test_rules_that_are_off_do_nothing() -> None:
    assert decided(rules(rule(expire_days=1, is_enabled=False)), version(), FAR) is Act.KEEP


def test_a_delete_marker_goes_when_nothing_is_behind_it() -> None:
    marker = version(is_delete_marker=True, content_bytes=0)
    at_once = rules(rule(expire_markers=True))
    assert decided(at_once, marker, START) is Act.REMOVE
    assert decided(at_once, marker, START, is_only=False) is Act.KEEP
    assert decided(rules(rule(expire_markers=False)), marker, FAR) is Act.KEEP
    assert decided(DAYS, marker, DUE - 1) is Act.KEEP
    assert decided(DAYS, marker, DUE) is Act.REMOVE
    tagged = Filter(tags=(("a", "1"),))
    assert decided(rules(rule(expire_days=1, filter=tagged)), marker, FAR) is Act.KEEP


def test_the_newest_noncurrent_versions_stay() -> None:
    held = rules(rule(noncurrent_days=2, newer_versions=3))
    late = Instant(FAR)
    assert held.newer_versions_max == 3
    for newer, act in ((0, Act.KEEP), (2, Act.KEEP), (3, Act.REMOVE), (9, Act.REMOVE)):
        assert held.noncurrent(KEY, noncurrent(), newer=newer, at=late).act is act
    due_ms = next_midnight(START + 1000 + 2 * DAY_MS)
    early = Instant(due_ms - 1)
    assert held.noncurrent(KEY, noncurrent(), newer=9, at=early).act is Act.KEEP


MOVES = rules(
    rule(
        transitions=(
            Transition(days=1, storage_class="STANDARD_IA"),
            Transition(days=9, storage_class="GLACIER"),
        ),
        noncurrent_transitions=(
            NoncurrentTransition(days=1, newer_versions=1, storage_class="GLACIER"),
        ),
    )
)


def test_the_move_that_came_due_last_counts() -> None:
    def moved(one: Version, days: int) -> Decision:
        return MOVES.current(KEY, one, is_only=True, at=Instant(START + days * DAY_MS))

    assert moved(version(), 0).act is Act.KEEP
    assert moved(version(), 3) == Decision(Act.MOVE, "STANDARD_IA")
    assert moved(version(storage_class="STANDARD_IA"), 3).act is Act.KEEP
    assert moved(version(), 30) == Decision(Act.MOVE, "GLACIER")
    late = Instant(FAR)
    assert MOVES.noncurrent(KEY, noncurrent(), newer=0, at=late).act is Act.KEEP
    assert MOVES.noncurrent(KEY, noncurrent(), newer=1, at=late).storage_class == "GLACIER"
    marker = noncurrent(is_delete_marker=True)
    assert MOVES.noncurrent(KEY, marker, newer=1, at=late).act is Act.KEEP


def test_small_objects_do_not_move() -> None:
    small = version(content_bytes=128 * 1024 - 1)
    late = Instant(FAR)
    assert MOVES.current(KEY, small, is_only=True, at=late).act is Act.KEEP
    varies = replace(MOVES, minimum=VARIES_BY_CLASS)
    assert varies.current(KEY, small, is_only=True, at=late).storage_class == "GLACIER"
    sized = rules(replace(MOVES.rules[0], filter=Filter(bytes_above=1)))
    assert sized.current(KEY, small, is_only=True, at=late).act is Act.MOVE
    assert replace(MOVES, small_bytes=0).current(KEY, small, is_only=True, at=late).act is Act.MOVE


def test_an_expiration_goes_before_a_move() -> None:
    held = rules(*MOVES.rules, rule(expire_days=400))
    assert decided(held, version(), START + 3 * DAY_MS) is Act.MOVE
    assert decided(held, version(), FAR) is Act.EXPIRE


@pytest.mark.parametrize(
    ("status", "kept"), [("PENDING", True), ("FAILED", True), ("COMPLETED", False), ("", False)]
)
def test_what_waits_to_be_replicated_stays(status: str, kept: bool) -> None:
    held = rules(rule(expire_days=1, noncurrent_days=1))
    waiting = version(attributes=Attributes(replication=status, noncurrent_since_ms=START))
    assert (decided(held, waiting, FAR) is Act.KEEP) is kept
    act = held.noncurrent(KEY, waiting, newer=0, at=Instant(FAR)).act
    assert (act is Act.KEEP) is kept


def test_uploads_go_after_their_days() -> None:
    held = rules(rule(abort_days=2, filter=Filter(prefix="logs/")))
    due_ms = next_midnight(START + 2 * DAY_MS)
    assert held.abort(KEY, START, Instant(due_ms))
    assert not held.abort(KEY, START, Instant(due_ms - 1))
    assert not held.abort(b"other", START, Instant(FAR))
    assert not DAYS.abort(KEY, START, Instant(FAR))


filters = st.builds(
    Filter,
    prefix=st.sampled_from(["", "l", "logs/", "logs/2026/a", "x"]),
    tags=st.sampled_from([(), (("a", "1"),), (("b", "1"),)]),
    bytes_above=st.none() | st.integers(0, 200),
    bytes_below=st.none() | st.integers(1, 300),
)
some_days = st.none() | st.integers(1, 6)
any_rules = st.builds(
    Rule,
    rule_id=st.text("ab", min_size=1, max_size=3),
    is_enabled=st.booleans(),
    filter=filters,
    expire_days=some_days,
    expire_markers=st.none() | st.booleans(),
    noncurrent_days=some_days,
    newer_versions=st.integers(0, 3),
    abort_days=some_days,
)
configurations = st.builds(Configuration, rules=st.lists(any_rules, max_size=4).map(tuple))
versions = st.builds(
    version,
    is_delete_marker=st.booleans(),
    content_bytes=st.integers(0, 300),
    tags=st.sampled_from([(), (("a", "1"),), (("a", "1"), ("b", "1"))]),
)
instants = st.integers(START, START + 9 * DAY_MS).map(Instant)


@given(configurations, versions, instants, st.booleans())
def test_a_current_version_goes_when_it_was_said(
    held: Configuration, one: Version, at: Instant, is_only: bool
) -> None:
    act = held.current(KEY, one, is_only=is_only, at=at).act
    told = held.expiration_of(
        KEY, tags=one.tags, content_bytes=one.content_bytes, created_at_ms=one.created_at_ms
    )
    if one.is_delete_marker:
        assert act is Act.KEEP or (act is Act.REMOVE and is_only)
    else:
        assert (act is Act.EXPIRE) == (told is not None and told.due_ms <= at.now_ms)


@given(configurations, versions, instants, st.integers(0, 4), st.integers(0, 4))
def test_what_is_due_stays_due(
    held: Configuration, one: Version, at: Instant, newer: int, more: int
) -> None:
    one = replace(one, attributes=Attributes(noncurrent_since_ms=START))
    later = Instant(at.now_ms + more * DAY_MS)
    if held.noncurrent(KEY, one, newer=newer, at=at).act is Act.REMOVE:
        assert held.noncurrent(KEY, one, newer=newer + more, at=later).act is Act.REMOVE
    if held.noncurrent(KEY, one, newer=0, at=at).act is Act.REMOVE:
        assert any(one.newer_versions == 0 for one in held.rules)
    # What the job does not walk is never due.
    walked = [KEY.startswith(prefix) for prefix in apart(held.noncurrent_prefixes())]
    if not any(walked):
        assert held.noncurrent(KEY, one, newer=newer, at=later).act is Act.KEEP
    if not any(KEY.startswith(prefix) for prefix in apart(held.current_prefixes())):
        assert held.current(KEY, one, is_only=True, at=later).act is Act.KEEP


@given(st.lists(st.text("ab/ü", max_size=4), max_size=6), st.text("ab/ü", max_size=5))
def test_prefixes_apart_cover_the_same_keys(prefixes: list[str], key: str) -> None:
    found = apart(prefixes)
    covering = [prefix for prefix in found if key.encode().startswith(prefix)]
    assert len(covering) == any(key.startswith(prefix) for prefix in prefixes)
    assert found == sorted(found)
