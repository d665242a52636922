"""Names of annotations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import annotations as rules
from gateway.model.errors import AnnotationNameTooLong, InvalidAnnotationName, InvalidPrefix


@pytest.mark.parametrize(
    "name", ["a", "_", "Zürich.2-x", "字" * 170, "a" * 512, "हिन्दी", "as3", "0"]
)
def test_taken(name: str) -> None:
    assert rules.check_name(name) == name.encode()
    assert rules.known_name(name) == name.encode()
    assert rules.check_prefix(name) == name.encode()


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a/b", "a\n", "a\0", "\ud800", "½", "٣", "aWs", "S3x", "a:b", "\u200b"]
)
def test_refused(name: str) -> None:
    with pytest.raises(InvalidAnnotationName):
        rules.check_name(name)
    assert rules.known_name(name) is None


@pytest.mark.parametrize("name", ["a" * 513, "字" * 171, " " * 600])
def test_too_long(name: str) -> None:
    with pytest.raises(AnnotationNameTooLong):
        rules.check_name(name)
    with pytest.raises(InvalidPrefix):
        rules.check_prefix(name)


def test_prefixes() -> None:
    assert rules.check_prefix("") == b""
    assert rules.check_prefix("aws") == b"aws"  # nothing has such a name, and asking is free
    for prefix in (" ", "a/", "\ud800"):
        with pytest.raises(InvalidPrefix):
            rules.check_prefix(prefix)


@given(st.text(max_size=600))
def test_any_text_is_a_name_or_is_refused(text: str) -> None:
    try:
        raw = rules.check_name(text)
    except (InvalidAnnotationName, AnnotationNameTooLong):
        return
    assert raw.decode() == text
    assert 1 <= len(raw) <= 512
