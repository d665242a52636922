"""Tags in headers and XML: whatever comes, tags or a documented error."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import S3Error
from gateway.s3.tagging import BODY_BYTES_MAX, parse_tagging, tagging_document, tags_of_header

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1)
TAGS = st.lists(st.tuples(TEXT, TEXT), max_size=10, unique_by=lambda tag: tag[0])


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("a=1&b=2", (("a", "1"), ("b", "2"))),
        ("a", (("a", ""),)),
        ("a=", (("a", ""),)),
        ("a=1=2", (("a", "1=2"),)),
        ("k%C3%A9y=a+b%2Bc", (("kéy", "a b+c"),)),
    ],
)
def test_headers(value: str, tags: tuple[tuple[str, str], ...]) -> None:
    assert tags_of_header(value) == tags


@pytest.mark.parametrize(
    "value", ["a=1&a=2", "a=%FF", "a=%E9", "\udce9=1", "&".join(f"k{n}" for n in range(65))]
)
def test_headers_that_are_refused(value: str) -> None:
    with pytest.raises(S3Error, match="InvalidArgument"):
        tags_of_header(value)


@given(TAGS)
def test_headers_give_what_was_put_in(tags: list[tuple[str, str]]) -> None:
    assert list(tags_of_header(urlencode(tags))) == tags


@given(TAGS)
def test_documents_give_what_was_put_in(tags: list[tuple[str, str]]) -> None:
    held = tuple((key, value) for key, value in tags if "\ufffe" not in key + value)
    held = tuple((key, value) for key, value in held if "\uffff" not in key + value)
    assert parse_tagging(tagging_document(held)) == held


@given(st.text())
def test_any_header_is_taken_or_refused(value: str) -> None:
    try:
        tags_of_header(value)
    except S3Error as error:
        assert error.code == "InvalidArgument"


@given(st.binary(max_size=200) | st.text(alphabet="<>/TagSetKyVlue ", max_size=80).map(str.encode))
def test_any_document_is_taken_or_refused(body: bytes) -> None:
    try:
        parse_tagging(body)
    except S3Error as error:
        assert error.code == "MalformedXML"


def test_a_document_is_bounded() -> None:
    with pytest.raises(S3Error, match="MaxMessageLengthExceeded"):
        parse_tagging(b" " * (BODY_BYTES_MAX + 1))
