"""Documents by their forms: what is taken, what is refused, and that they are written as read."""

from __future__ import annotations

import pytest

from gateway.s3 import xml
from gateway.s3.errors import S3Error
from gateway.s3.schema import (
    ANY_NUMBER,
    TEXT,
    Child,
    Group,
    children_of,
    choice,
    listed,
    optional,
    parse,
)
from gateway.s3.xml_reader import read

INNER = Group(children={"A": optional(TEXT), "B": optional(TEXT)}, one_of=frozenset({"A", "B"}))
FORM = Group(
    children={
        "Id": Child(TEXT),
        "Days": optional(ANY_NUMBER),
        "State": optional(choice("On", "Off")),
        "Inner": listed(INNER, most=2),
    }
)


def parsed(inside: str) -> dict[str, object]:
    return parse(read(f"<R>{inside}</R>".encode(), "R", 10_000), FORM)


def test_round_trip() -> None:
    inside = "<Id>a&amp;b</Id><Days>3</Days><State>On</State><Inner><A>x</A></Inner>"
    document = parsed(inside)
    assert document == {"Id": "a&b", "Days": "3", "State": "On", "Inner": [{"A": "x"}]}
    assert xml.document("R", *children_of(document, FORM)).decode().endswith(f">{inside}</R>")


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "<Id>a</Id><Id>b</Id>",
        "<Id>a</Id><Other/>",
        "<Id><X/></Id>",
        "<Id>a</Id><Days>-1</Days>",
        "<Id>a</Id><State>on</State>",
        "<Id>a</Id><Inner/>",
        "<Id>a</Id><Inner><A>x</A><B>y</B></Inner>",
        "<Id>a</Id>" + 3 * "<Inner><A>x</A></Inner>",
        "text",
    ],
)
def test_refused(inside: str) -> None:
    with pytest.raises(S3Error) as refused:
        parsed(inside)
    assert refused.value.code == "MalformedXML"
