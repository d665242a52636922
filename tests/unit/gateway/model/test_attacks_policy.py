"""Policies that are written to keep a process busy, or to fill its memory."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.action import Action
from gateway.model.errors import MalformedPolicy
from gateway.model.policy import ANYBODY, Caller, Effect, Policy, root_name
from gateway.model.policy_document import POLICY_BYTES_MAX, parse_policy

BUCKET = "bucket"
LONG_KEY = "bucket/" + "a" * 1000
LONGEST_HEADER = "a" * 8000
# A tenth of a second is what nobody else should ever wait; machines of tests may be slow.


def text_of(**said: Any) -> str:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*", **said}
    text = json.dumps({"Version": "2012-10-17", "Statement": statement})
    assert len(text) <= POLICY_BYTES_MAX
    return text


def ask(policy: Policy) -> None:
    """One question, with the longest values that a request can bring."""
    policy.effect(Action.GET_OBJECT, LONG_KEY, ANYBODY, lambda _: (LONGEST_HEADER,))


@pytest.mark.parametrize(
    "said",
    [
        {"Resource": ["arn:aws:s3:::bucket/*" + "a?" * 240 + "b*"] * 38},
        {"Resource": ["arn:aws:s3:::bucket/*" + "a?" * 9 + "b*"] * 400},
        {"Condition": {"StringLike": {"aws:UserAgent": ["*" + "a?" * 9 + "b*"] * 700}}},
        {"Condition": {"StringLike": {"aws:UserAgent": ["*" + "a?" * 220 + "b*"] * 40}}},
        {"Condition": {"ArnLike": {"aws:SourceArn": ["*" + "a?" * 220 + "b*"] * 40}}},
        {"Resource": "arn:aws:s3:::bucket/${aws:UserAgent}*" + "?" * 18_000},
        {"Condition": {"StringLike": {"aws:Referer": ["*${aws:UserAgent}?b*"] * 500}}},
    ],
)
def test_patterns_that_take_long_to_look_for_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(MalformedPolicy):
        parse_policy(text_of(**said), BUCKET)


@pytest.mark.timeout(20)  # what is refused above would take longer
@pytest.mark.parametrize(
    "said",
    [
        {"Resource": ["arn:aws:s3:::bucket/*" + "a?" * 240 + "b*"] * 2},
        {"Condition": {"StringLike": {"aws:UserAgent": ["*" + "a?" * 9 + "b*"] * 50}}},
        {"Condition": {"StringLike": {"aws:UserAgent": ["*" + "a?" * 220 + "b*"] * 2}}},
        {"Condition": {"StringLike": {"aws:Referer": ["*${aws:UserAgent}?b*"] * 4}}},
        {"Condition": {"StringLike": {"aws:Referer": ["*${aws:UserAgent}*b*"] * 400}}},
        {"Resource": "arn:aws:s3:::bucket/" + "*a" * 9_000 + "b"},
        {"Condition": {"StringLike": {"aws:UserAgent": "*a" * 9_000 + "b"}}},
        {"Condition": {"StringNotLike": {"aws:UserAgent": ["*" * 100 + "b"] * 150}}},
    ],
)
def test_the_worst_that_is_let_in_is_asked_quickly(said: dict[str, Any]) -> None:
    policy = parse_policy(text_of(**said), BUCKET)
    for _ in range(20):
        ask(policy)


def test_ordinary_wildcards_are_let_in() -> None:
    said = {"Resource": ["arn:aws:s3:::bucket/logs/20??/*/part-????.gz"] * 20, "Effect": "Allow"}
    policy = parse_policy(text_of(**said), BUCKET)
    key = "bucket/logs/2026/x/part-0001.gz"
    assert policy.effect(Action.GET_OBJECT, key, ANYBODY, lambda _: None) is Effect.ALLOW


def test_a_policy_of_many_statements_takes_little_more_memory_than_its_text() -> None:
    one = {"Effect": "Deny", "Principal": {"AWS": "a"}, "Action": "*", "Resource": "*"}
    text = json.dumps({"Statement": [one] * 200})
    parse_policy(text, BUCKET)
    tracemalloc.start()
    policies = [parse_policy(text, BUCKET) for _ in range(3)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / len(policies) < 25 * len(text)


CALLERS = (
    ANYBODY,
    Caller(frozenset({root_name("a")}), frozenset({root_name("a")})),
    Caller(frozenset({root_name("b")}), frozenset({"arn:aws:iam::b:user/u"})),
)
CONDITIONS: tuple[dict[str, dict[str, Any]], ...] = (
    {},
    {"StringEquals": {"aws:Referer": "here"}},
    {"StringNotLikeIfExists": {"aws:Referer": "h*"}},
    {"ForAllValues:StringLike": {"aws:Referer": ["x", "h?re"]}},
    {"Null": {"aws:Referer": "true"}},
)


@st.composite
def statements(draw: st.DrawFn) -> dict[str, Any]:
    effect = draw(st.sampled_from(["Allow", "Deny"]))
    whom = "NotPrincipal" if effect == "Deny" and draw(st.booleans()) else "Principal"
    return {
        "Effect": effect,
        whom: draw(st.sampled_from(["*", {"AWS": "a"}, {"AWS": ["arn:aws:iam::b:user/u"]}])),
        draw(st.sampled_from(["Action", "NotAction"])): draw(
            st.sampled_from(["s3:GetObject", "s3:Get*", ["s3:PutObject", "s3:DeleteObject"]])
        ),
        draw(st.sampled_from(["Resource", "NotResource"])): draw(
            st.sampled_from(["arn:aws:s3:::bucket/*", "arn:aws:s3:::bucket/a*", "*"])
        ),
        "Condition": draw(st.sampled_from(CONDITIONS)),
    }


@given(said=st.lists(statements(), min_size=2, max_size=6), data=st.data())
@settings(deadline=None)
def test_aut_09_less_allowed_or_more_denied_never_lets_in_more(
    said: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Denials come and allowances go: nobody gets in who was not let in before."""
    whole = parse_policy(json.dumps({"Version": "2012-10-17", "Statement": said}), BUCKET)
    kept = [one for one in said if one["Effect"] == "Deny" or data.draw(st.booleans())]
    more = [one for one in data.draw(st.lists(statements(), max_size=2)) if one["Effect"] == "Deny"]
    if not kept + more:
        return
    text = json.dumps({"Version": "2012-10-17", "Statement": kept + more})
    narrowed = parse_policy(text, BUCKET)
    for caller in CALLERS:
        for action in (Action.GET_OBJECT, Action.PUT_OBJECT, Action.LIST_BUCKET):
            for resource in ("bucket", "bucket/a", "bucket/b"):
                for referer in (None, ("here",), ("there",)):
                    asked = (action, resource, caller, lambda _, values=referer: values)
                    if narrowed.effect(*asked) is Effect.ALLOW:
                        assert whole.effect(*asked) is Effect.ALLOW
                    if whole.effect(*asked) is Effect.DENY:
                        assert narrowed.effect(*asked) is Effect.DENY
