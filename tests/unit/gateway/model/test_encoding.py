"""The canonical encoding is injective and of the documented form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.encoding import enc

labels = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
raw_fields = st.lists(st.binary(max_size=40), max_size=6)


def test_form_is_the_documented_one() -> None:
    assert enc("body", b"\x01\x02", "é", 258) == (
        b"hexagone/v1/body\x00\x00\x03"
        b"\x00\x00\x00\x02\x01\x02"
        b"\x00\x00\x00\x02\xc3\xa9"
        b"\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x01\x02"
    )


@given(labels, raw_fields, labels, raw_fields)
def test_two_contexts_never_share_bytes(
    label: str, fields: list[bytes], other_label: str, other: list[bytes]
) -> None:
    same = label == other_label and fields == other
    assert (enc(label, *fields) == enc(other_label, *other)) is same


@given(raw_fields, st.binary(min_size=1, max_size=64))
def test_no_encoding_is_a_prefix_of_another_with_more_bytes(
    fields: list[bytes], tail: bytes
) -> None:
    """A context followed by a salt of fixed length stays injective."""
    assert enc("x", *fields) + tail != enc("x", *fields, tail)


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_integers_outside_u64_are_refused(number: int) -> None:
    with pytest.raises(OverflowError):
        enc("x", number)


def test_label_with_nul_is_refused() -> None:
    with pytest.raises(AssertionError):
        enc("a\x00b")
