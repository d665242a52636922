"""Preconditions and ranges, case by case from RFC 9110 and what S3 answers."""

from __future__ import annotations

import pytest

from gateway.model.conditions import (
    Conditions,
    byte_range,
    check_copy_source,
    check_read,
    check_rename,
    check_write,
    copy_range,
    etags_of,
    names_etag,
    range_counts,
)
from gateway.model.errors import (
    InvalidArgument,
    InvalidRange,
    NoSuchKey,
    NotModified,
    PreconditionFailed,
)

ETAG = "9b2cf535f27731c974343645a3985328"
AT_MS = 1_700_000_000_500
SECOND_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"a"', {"a"}),
        ("a", {"a"}),
        ('W/"a"', {"a"}),
        (' "a" , W/"b",c ', {"a", "b", "c"}),
        ("*", {"*"}),
        ('"a,b"', {"a,b"}),
        ("", set()),
        ('"open', set()),
    ],
)
def test_entity_tags(header: str, expected: set[str]) -> None:
    assert etags_of(header) == expected


def test_star_names_every_tag() -> None:
    assert names_etag("*", ETAG) and names_etag(f'"{ETAG}"', ETAG) and names_etag(ETAG, ETAG)
    assert not names_etag('"other"', ETAG)


READS: list[tuple[dict[str, object], type[Exception] | None]] = [
    ({}, None),
    ({"if_match": ETAG}, None),
    ({"if_match": '"x"'}, PreconditionFailed),
    ({"if_none_match": ETAG}, NotModified),
    ({"if_none_match": "*"}, NotModified),
    ({"if_none_match": '"x"'}, None),
    ({"if_unmodified_since_ms": SECOND_MS}, None),
    ({"if_unmodified_since_ms": SECOND_MS - 1000}, PreconditionFailed),
    ({"if_modified_since_ms": SECOND_MS}, NotModified),
    ({"if_modified_since_ms": SECOND_MS - 1000}, None),
    # An entity tag takes the place of the date of the same direction.
    ({"if_match": ETAG, "if_unmodified_since_ms": 0}, None),
    ({"if_none_match": '"x"', "if_modified_since_ms": SECOND_MS}, None),
    # S3's own two examples.
    ({"if_match": ETAG, "if_unmodified_since_ms": 0, "if_none_match": '"x"'}, None),
    ({"if_none_match": ETAG, "if_modified_since_ms": 0}, NotModified),
    ({"if_match": '"x"', "if_none_match": ETAG}, PreconditionFailed),
]


@pytest.mark.parametrize(("fields", "refusal"), READS)
def test_reads_and_copy_sources(fields: dict[str, object], refusal: type[Exception] | None) -> None:
    conditions = Conditions(**fields)  # type: ignore[arg-type]
    if refusal is None:
        check_read(conditions, etag=ETAG, modified_at_ms=AT_MS)
        check_copy_source(conditions, etag=ETAG, modified_at_ms=AT_MS)
        return
    with pytest.raises(refusal):
        check_read(conditions, etag=ETAG, modified_at_ms=AT_MS)
    with pytest.raises(PreconditionFailed):
        check_copy_source(conditions, etag=ETAG, modified_at_ms=AT_MS)


@pytest.mark.parametrize(
    ("conditions", "over_nothing", "over_it"),
    [
        (Conditions(), "", ""),
        (Conditions(if_match="*"), "If-Match", ""),
        (Conditions(if_match='"x"'), "If-Match", "If-Match"),
        (Conditions(if_none_match="*"), "", "If-None-Match"),
        (Conditions(if_none_match='"x"'), "", ""),
        (Conditions(if_modified_since_ms=4000), "If-Modified-Since", ""),
        (Conditions(if_modified_since_ms=5000), "If-Modified-Since", "If-Modified-Since"),
        (Conditions(if_unmodified_since_ms=4000), "", "If-Unmodified-Since"),
        (Conditions(if_unmodified_since_ms=5000), "", ""),
        (Conditions(if_none_match='"x"', if_modified_since_ms=5000), "", ""),
    ],
)
def test_renames(conditions: Conditions, over_nothing: str, over_it: str) -> None:
    for etag, refused in ((None, over_nothing), (ETAG, over_it)):
        if not refused:
            check_rename(conditions, etag=etag, modified_at_ms=5999)
            continue
        with pytest.raises(PreconditionFailed) as caught:
            check_rename(conditions, etag=etag, modified_at_ms=5999, prefix="of-")
        assert caught.value.fields["condition"] == f"of-{refused}"


def test_writes() -> None:
    check_write(Conditions(), etag=None)
    check_write(Conditions(if_match=ETAG), etag=ETAG)
    check_write(Conditions(if_match="*"), etag=ETAG)
    check_write(Conditions(if_none_match="*"), etag=None)
    check_write(Conditions(if_none_match='"x"'), etag=ETAG)
    with pytest.raises(NoSuchKey):
        check_write(Conditions(if_match="*"), etag=None)
    with pytest.raises(PreconditionFailed):
        check_write(Conditions(if_match='"x"'), etag=ETAG)
    with pytest.raises(PreconditionFailed):
        check_write(Conditions(if_none_match="*"), etag=ETAG)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 10)),
        ("bytes=99-5000", (99, 1)),
        ("bytes=-1", (99, 1)),
        ("bytes=-5000", (0, 100)),
        (" bytes=1-2 ", (1, 2)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=٣-٤", None),
        ("", None),
    ],
)
def test_ranges(header: str, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == expected


@pytest.mark.parametrize(
    ("header", "content_bytes"),
    [
        ("bytes=100-", 100),
        ("bytes=100-200", 100),
        ("bytes=-0", 100),
        ("bytes=0-", 0),
        ("bytes=-1", 0),
    ],
)
def test_unsatisfiable_ranges(header: str, content_bytes: int) -> None:
    with pytest.raises(InvalidRange):
        byte_range(header, content_bytes)


@pytest.mark.parametrize(
    ("if_range", "counts"),
    [
        (None, True),
        ('"abc"', True),
        (' "abc" ', True),
        ("abc", True),
        ('"abd"', False),
        ('W/"abc"', False),
        ('"abc", "abd"', False),
        ("*", False),
        ("", False),
        ("Mon, 23 Nov 2026 16:00:00 GMT", False),
    ],
)
def test_a_range_counts_for_the_very_version_alone_that_it_is_meant_for(
    if_range: str | None, counts: bool
) -> None:
    assert range_counts(if_range, etag="abc") is counts


def test_copy_ranges_are_strict() -> None:
    assert copy_range("bytes=0-99", 100) == (0, 100)
    for header in ("bytes=0-", "bytes=-5", "0-5", "bytes=0-1,2-3"):
        with pytest.raises(InvalidArgument):
            copy_range(header, 100)
    for header in ("bytes=0-100", "bytes=5-4", "bytes=100-100"):
        with pytest.raises(InvalidRange):
            copy_range(header, 100)
