"""Percent-escapes: strict, once, and the same for every spelling."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import S3Error
from gateway.s3.uri import (
    canonical_path,
    canonical_query,
    decode_escapes,
    encode_component,
    encode_path,
    query_fields,
    split_query,
)


@given(content=st.binary(max_size=40))
def test_encoding_and_decoding_are_inverse(content: bytes) -> None:
    for encoded in (encode_path(content), encode_component(content)):
        assert decode_escapes(encoded) == content
        assert canonical_path(encode_path(content)) in (encode_path(content), "/")


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_every_spelling_has_one_canonical_form(text: str) -> None:
    spellings = [quote(text, safe="/~"), quote(text, safe=""), text.replace("%", "%25")]
    spellings.append("".join(f"%{byte:02x}" for byte in text.encode()))
    assert len({canonical_path(one) for one in spellings}) == 1


def test_known_encodings() -> None:
    assert encode_component(b"a/b c+~*") == "a%2Fb%20c%2B~%2A"
    assert encode_path(b"a/b c+~*") == "a/b%20c%2B~%2A"
    assert canonical_path("") == "/" and canonical_path("/a//../b") == "/a//../b"
    assert canonical_path("/a%2fb%41+") == "/a/bA%2B"


@pytest.mark.parametrize("text", ["%", "a%", "%4", "%zz", "%%41", "%4g", "%é1"])
def test_bad_escapes(text: str) -> None:
    for function in (decode_escapes, canonical_path, split_query, query_fields):
        with pytest.raises(S3Error, match="InvalidURI"):
            function(text)


def test_queries() -> None:
    assert split_query("") == []
    assert split_query("a&&b=&c=1=2&d=x+y%2B") == [
        (b"a", b""),
        (b"b", b""),
        (b"c", b"1=2"),
        (b"d", b"x y+"),
    ]
    assert query_fields("%C3%A9=%c3%a9") == [("é", "é")]
    with pytest.raises(S3Error, match="InvalidURI"):
        query_fields("a=%FF")
    assert canonical_query(split_query("b=2&a=2&a=1&A&b-=0")) == "A=&a=1&a=2&b=2&b-=0"


def test_queries_are_bounded() -> None:
    assert len(split_query("&".join(["a"] * 1000))) == 1000
    with pytest.raises(S3Error, match="InvalidArgument"):
        split_query("&" * 1000)
