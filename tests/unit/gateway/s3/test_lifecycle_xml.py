"""Bodies of PutBucketLifecycleConfiguration: rules, or an error that S3 documents."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.model.errors import SemanticError
from gateway.model.lifecycle import DAY_MS, Filter, NoncurrentTransition, Rule, Transition
from gateway.model.lifecycle_checks import check_rules
from gateway.s3.errors import S3Error, s3_code_for
from gateway.s3.operations.lifecycle import BODY_BYTES_MAX, _rule_element, rule_of
from gateway.s3.xml import document
from gateway.s3.xml_reader import read

ROOT = "LifecycleConfiguration"


def rules_of(body: bytes) -> list[Rule]:
    return [rule_of(node) for node in read(body, ROOT, BODY_BYTES_MAX).children]


NAMES = [
    "Rule",
    "ID",
    "Status",
    "Prefix",
    "Filter",
    "And",
    "Tag",
    "Key",
    "Value",
    "ObjectSizeGreaterThan",
    "ObjectSizeLessThan",
    "Expiration",
    "Days",
    "Date",
    "ExpiredObjectDeleteMarker",
    "Transition",
    "StorageClass",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionTransition",
    "NoncurrentDays",
    "NewerNoncurrentVersions",
    "AbortIncompleteMultipartUpload",
    "DaysAfterInitiation",
    "Other",
]
TEXTS = [
    *("", " ", "1", "-1", "0", "1.5", "٣", "9" * 30, "true", "Enabled", "GLACIER", "a/b"),
    *("2030-01-01", "2030-01-01T00:00:00Z", "2030-01-01T00:00:00+23:59", "0001-01-01T00:00+12:00"),
    "9999-12-31T12:00:00-12:00",
]
leaves = st.sampled_from(TEXTS) | st.text("a&<\u0007\ud800", max_size=3)
trees = st.recursive(
    leaves, lambda inside: st.lists(st.tuples(st.sampled_from(NAMES), inside), max_size=5)
)


def written(tree: Any) -> str:
    if isinstance(tree, str):
        return tree
    return "".join(f"<{name}>{written(inside)}</{name}>" for name, inside in tree)


@given(st.lists(trees, max_size=3))
@example([[("Status", "Enabled"), ("Prefix", ""), ("Expiration", [("Date", "9999-12-31")])]])
@example(
    [[("Status", "Enabled"), ("Prefix", ""), ("Expiration", [("Date", "9999-12-31T12:00-12:00")])]]
)
@example([[("Status", "Enabled"), ("Filter", [("And", [("And", "")])]), ("ID", "a")]])
def test_any_tree_is_rules_or_a_documented_error(trees: list[Any]) -> None:
    inside = "".join(f"<Rule>{written(tree)}</Rule>" for tree in trees)
    body = f"<{ROOT}>{inside}</{ROOT}>".encode("utf-8", "surrogatepass")
    try:
        rules = rules_of(body)
        check_rules(rules)
    except (S3Error, SemanticError) as error:
        assert 400 <= s3_code_for(error).status < 500
        return
    assert rules_of(document(ROOT, *map(_rule_element, rules))) == rules


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_as_documented(body: bytes) -> None:
    try:
        rules_of(b"<LifecycleConfiguration>" + body + b"</LifecycleConfiguration>")
    except (S3Error, SemanticError) as error:
        assert 400 <= s3_code_for(error).status < 500


words = st.text("abc/é ", max_size=4)
tags = st.lists(st.tuples(words.filter(bool), words), max_size=2, unique_by=lambda tag: tag[0])
sizes = st.none() | st.integers(0, 10**12)
filters = st.builds(
    Filter, prefix=words, tags=tags.map(tuple), bytes_above=sizes, bytes_below=sizes
).map(lambda held: Filter(**{**as_fields(held), "is_and": needs_and(held)}))


def as_fields(held: Filter) -> dict[str, Any]:
    return {name: getattr(held, name) for name in Filter.__slots__}


def needs_and(held: Filter) -> bool:
    said = (held.prefix, *held.tags, held.bytes_above is not None, held.bytes_below is not None)
    return sum(map(bool, said)) > 1


legacy = st.builds(Filter, prefix=words, is_legacy=st.just(True))
classes = st.sampled_from(["GLACIER", "STANDARD_IA", "DEEP_ARCHIVE"])
days = st.integers(-5, 10**6)
dates = st.integers(0, 40_000).map(lambda day: day * DAY_MS)
newer = st.integers(0, 100)
moves = st.builds(Transition, days=days, storage_class=classes) | st.builds(
    Transition, date_ms=dates, storage_class=classes
)
ends = st.sampled_from(["expire_days", "expire_date_ms", "expire_markers", None])


@st.composite
def any_rules(draw: st.DrawFn) -> Rule:
    ended = {
        "expire_days": days,
        "expire_date_ms": dates,
        "expire_markers": st.booleans(),
    }
    end = draw(ends)
    noncurrent = draw(st.none() | days)
    other = st.builds(NoncurrentTransition, days=days, newer_versions=newer, storage_class=classes)
    return Rule(
        rule_id=draw(words),
        is_enabled=draw(st.booleans()),
        filter=draw(filters | legacy),
        transitions=tuple(draw(st.lists(moves, max_size=2))),
        noncurrent_days=noncurrent,
        newer_versions=0 if noncurrent is None else draw(newer),
        noncurrent_transitions=tuple(draw(st.lists(other, max_size=2))),
        abort_days=draw(st.none() | days),
        **({} if end is None else {end: draw(ended[end])}),
    )


@given(st.lists(any_rules(), max_size=3))
def test_what_is_written_is_read_again(rules: list[Rule]) -> None:
    assert rules_of(document(ROOT, *map(_rule_element, rules))) == rules
