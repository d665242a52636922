"""Rules of tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.errors import InvalidTag
from gateway.model.tags import bucket_tags, object_tags
from gateway.model.version import Pairs


def numbered(count: int) -> Pairs:
    return tuple((f"k{n:02}", "v") for n in range(count))


def test_tags_come_out_in_order() -> None:
    assert object_tags((("b", "2"), ("a", ""))) == (("a", ""), ("b", "2"))
    assert object_tags(()) == ()


def test_their_number_is_bounded() -> None:
    assert len(object_tags(numbered(10))) == 10
    assert len(bucket_tags(numbered(50))) == 50
    for rule, count in ((object_tags, 11), (bucket_tags, 51)):
        with pytest.raises(InvalidTag):
            rule(numbered(count))


@pytest.mark.parametrize(
    "tag",
    [
        ("k" * 128, "v" * 256),
        ("Ключ 鍵", "a+b-c=d._e:f/g@h"),
        ("k", "two words\u00a0and more"),
        ("awsome", ""),
    ],
)
def test_what_is_allowed(tag: tuple[str, str]) -> None:
    assert object_tags((tag,)) == (tag,)


@pytest.mark.parametrize(
    "tag",
    [
        ("", "v"),
        ("k" * 129, "v"),
        ("k", "v" * 257),
        ("aws:k", "v"),
        ("AWS:k", "v"),
        ("a&b", "v"),
        ("k", "<v>"),
        ("k\n", "v"),
        ("k", "v\x1f"),
        ("k", "\ud800"),
    ],
)
def test_what_is_refused(tag: tuple[str, str]) -> None:
    for rule in (object_tags, bucket_tags):
        with pytest.raises(InvalidTag):
            rule((tag,))


def test_a_key_is_there_once() -> None:
    with pytest.raises(InvalidTag):
        object_tags((("k", "2"), ("a", ""), ("k", "1")))


@given(st.lists(st.tuples(st.text(max_size=140), st.text(max_size=260)), max_size=12))
def test_anything_is_taken_or_refused(tags: list[tuple[str, str]]) -> None:
    try:
        taken = object_tags(tuple(tags))
    except InvalidTag:
        return
    assert sorted(tags) == list(taken)
    assert object_tags(taken) == taken
