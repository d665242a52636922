"""Notification rules: whom they tell, and which of them S3 refuses."""

from __future__ import annotations

import pytest

from gateway.model.errors import InvalidArgument
from gateway.model.events import CREATED_PUT, REMOVED, Rule, check


def rule(*events: str, rule_id: str = "r", prefix: str = "", suffix: str = "") -> Rule:
    return Rule(rule_id, "arn:aws:sns:fr:0:hook", frozenset(events), prefix, suffix)


def test_wants() -> None:
    all_created = rule("s3:ObjectCreated:*", prefix="a/", suffix=".jpg")
    assert all_created.wants(CREATED_PUT, "a/b.jpg")
    assert not all_created.wants(REMOVED, "a/b.jpg")
    assert not all_created.wants(CREATED_PUT, "b.jpg")
    assert not all_created.wants(CREATED_PUT, "a/b")
    assert rule(CREATED_PUT).wants(CREATED_PUT, "k")
    assert not rule("s3:ObjectCreated:Post").wants(CREATED_PUT, "k")
    assert all_created.destination == "hook"


@pytest.mark.parametrize(
    "rules",
    [
        [rule("s3:Nonsense")],
        [rule()],
        [rule(CREATED_PUT), rule(REMOVED)],
        [rule("s3:ObjectCreated:*"), rule(CREATED_PUT, rule_id="s", prefix="a")],
        [rule(CREATED_PUT, prefix="a"), rule(CREATED_PUT, rule_id="s", prefix="ab")],
        [rule(CREATED_PUT, suffix="g"), rule(CREATED_PUT, rule_id="s", prefix="a", suffix="jpg")],
    ],
)
def test_refused(rules: list[Rule]) -> None:
    with pytest.raises(InvalidArgument):
        check(rules)


@pytest.mark.parametrize(
    "other",
    [
        rule(REMOVED, rule_id="s"),
        rule(CREATED_PUT, rule_id="s", prefix="b"),
        rule(CREATED_PUT, rule_id="s", prefix="a", suffix="png"),
    ],
)
def test_admitted(other: Rule) -> None:
    check([rule(CREATED_PUT, prefix="a", suffix="jpg"), other])
