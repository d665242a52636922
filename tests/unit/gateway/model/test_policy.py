"""Policies: what is refused, what is said, and that nothing anybody writes breaks them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.action import Action
from gateway.model.errors import MalformedPolicy
from gateway.model.policy import ANYBODY, Caller, Effect, root_name, user_name
from gateway.model.policy_document import parse_policy
from gateway.model.policy_public import is_public

OWNER, OTHER = "1" * 64, "2" * 64
_ROOT = frozenset({root_name(OWNER)})
ME = Caller(_ROOT, _ROOT)
MY_USER = Caller(_ROOT, frozenset({user_name(OWNER, "jo")}))
THEM = Caller(frozenset({root_name(OTHER)}), frozenset({root_name(OTHER)}))
ALL = "arn:aws:s3:::b/*"


def statement(**changes: Any) -> dict[str, Any]:
    plain = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": ALL}
    made = {**plain, **changes}
    return {name: value for name, value in made.items() if value is not None}


def document(*statements: Any, version: str | None = "2012-10-17") -> str:
    whole: dict[str, Any] = {"Statement": list(statements)}
    if version is not None:
        whole["Version"] = version
    return json.dumps(whole)


def says(
    text: str,
    values: dict[str, tuple[str, ...]] | None = None,
    *,
    action: Action = Action.GET_OBJECT,
    resource: str = "b/key",
    caller: Caller = ANYBODY,
) -> Effect:
    return parse_policy(text, "b").effect(action, resource, caller, (values or {}).get)


def condition(operator: str, key: str, listed: Any, **values: tuple[str, ...]) -> bool:
    """Whether a condition lets a request in whose key "aws:x" has these values."""
    text = document(statement(Condition={operator: {key: listed}}))
    return says(text, {"aws:x": values["x"]} if "x" in values else {}) is Effect.ALLOW


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"Statement": [], "Version": "2012-10-17"}',
        '{"Version": "2012-10-17"}',
        '{"Statement": NaN}',
        "{" * 10_000,
        '{"Statement":' + "[" * 10_000,
        document(statement(), version="2020-01-01"),
        document(statement(Effect="allow")),
        document(statement(Principal=None)),
        document(statement(NotPrincipal="*")),
        document(statement(Principal=None, NotPrincipal={"AWS": OTHER})),
        document(statement(Principal="someone")),
        document(statement(Principal={"AWS": "arn:aws:iam::1:group/x"})),
        document(statement(Principal={"AWS": "arn:aws:s3:::b"})),
        document(statement(Principal={"AWS": []})),
        document(statement(Principal={"Who": "*"})),
        document(statement(Action=None)),
        document(statement(Action="s3:GetObjekt")),
        document(statement(Action="ec2:RunInstances")),
        document(statement(Action=[])),
        document(statement(Action="s3:" + "*" * 300)),
        document(statement(NotAction="s3:GetObject")),
        document(statement(Resource=None)),
        document(statement(Resource="arn:aws:s3:::other/*")),
        document(statement(Resource="b/*")),
        document(statement(Resource=["arn:aws:s3:::b", 7])),
        document(statement(Condition=[])),
        document(statement(Condition={"StringEqual": {"aws:SourceIp": "x"}})),
        document(statement(Condition={"IpAddress": {"aws:SourceIp": "300.0.0.1"}})),
        document(statement(Condition={"StringEquals": {"s3:nothing": "x"}})),
        document(statement(Condition={"StringEquals": {"nothing": "x"}})),
        document(statement(Condition={"NumericLessThan": {"s3:max-keys": "many"}})),
        document(statement(Condition={"DateLessThan": {"aws:CurrentTime": "soon"}})),
        document(statement(Condition={"Bool": {"aws:SecureTransport": "perhaps"}})),
        document(statement(Condition={"NullIfExists": {"aws:SourceIp": "true"}})),
        document(statement(Condition={"StringEquals": {"aws:UserAgent": {"a": 1}}})),
        document(statement(Surprise=1)),
        '{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}',
        document(statement(Sid="x" * 21_000)),
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(MalformedPolicy):
        parse_policy(text, "b")


def test_who_is_meant() -> None:
    for principal, mine, user, theirs, anonymous in (
        ("*", True, True, True, True),
        ({"AWS": "*"}, True, True, True, True),
        ({"AWS": OWNER}, True, True, False, False),
        ({"AWS": root_name(OWNER)}, True, True, False, False),
        ({"AWS": f"arn:aws:iam:::user/{OWNER}"}, True, True, False, False),
        ({"CanonicalUser": OWNER}, True, True, False, False),
        ({"AWS": [user_name(OWNER, "jo")]}, False, True, False, False),
        ({"AWS": [OTHER, user_name(OWNER, "jo")]}, False, True, True, False),
        ({"AWS": "arn:aws:iam::nobody:root"}, False, False, False, False),
        ({"Service": "logging.s3.amazonaws.com"}, False, False, False, False),
        ({"Federated": "accounts.example"}, False, False, False, False),
    ):
        text = document(statement(Principal=principal))
        found = [says(text, caller=one) is Effect.ALLOW for one in (ME, MY_USER, THEM, ANYBODY)]
        assert found == [mine, user, theirs, anonymous], principal


def test_who_is_left_out() -> None:
    """A user is left out only if his account is too, as AWS does it."""
    for listed, mine, user, theirs in (
        ([root_name(OWNER)], Effect.NOTHING, Effect.DENY, Effect.DENY),
        ([user_name(OWNER, "jo")], Effect.DENY, Effect.DENY, Effect.DENY),
        ([OWNER, user_name(OWNER, "jo")], Effect.NOTHING, Effect.NOTHING, Effect.DENY),
    ):
        text = document(statement(Effect="Deny", Principal=None, NotPrincipal={"AWS": listed}))
        assert [says(text, caller=one) for one in (ME, MY_USER, THEM)] == [mine, user, theirs]
        assert says(text) is Effect.DENY


def test_actions_and_resources() -> None:
    for changes, action, resource, allowed in (
        ({"Action": "s3:*"}, Action.PUT_OBJECT, "b/k", True),
        ({"Action": "*"}, Action.PUT_OBJECT, "b/k", True),
        ({"Action": "S3:getobject"}, Action.GET_OBJECT, "b/k", True),
        ({"Action": "s3:GetObject?cl"}, Action.GET_OBJECT_ACL, "b/k", True),
        ({"Action": "s3:Get*"}, Action.PUT_OBJECT, "b/k", False),
        ({"Action": ["s3:PutObject", "s3:DeleteObject"]}, Action.DELETE_OBJECT, "b/k", True),
        ({"Action": None, "NotAction": "s3:Put*"}, Action.GET_OBJECT, "b/k", True),
        ({"Action": None, "NotAction": "s3:Put*"}, Action.PUT_OBJECT, "b/k", False),
        ({"Resource": "*"}, Action.GET_OBJECT, "b/k", True),
        ({"Resource": "arn:aws:s3:::b"}, Action.GET_OBJECT, "b/k", False),
        ({"Resource": "arn:aws:s3:::*"}, Action.GET_OBJECT, "b/k", True),
        ({"Resource": "arn:aws:s3:::b/a/*"}, Action.GET_OBJECT, "b/a/x/y", True),
        ({"Resource": "arn:aws:s3:::b/a/*"}, Action.GET_OBJECT, "b/A/x", False),
        ({"Resource": "arn:aws:s3:::b/a?c"}, Action.GET_OBJECT, "b/a/c", True),
        (
            {"Resource": None, "NotResource": "arn:aws:s3:::b/a/*"},
            Action.GET_OBJECT,
            "b/a/x",
            False,
        ),
        ({"Resource": None, "NotResource": "arn:aws:s3:::b/a/*"}, Action.GET_OBJECT, "b/x", True),
    ):
        effect = says(document(statement(**changes)), action=action, resource=resource)
        assert (effect is Effect.ALLOW) is allowed, changes


@pytest.mark.parametrize(
    ("operator", "listed", "value", "holds", "absent"),
    [
        ("StringEquals", ["a", "b"], "b", True, False),
        ("StringEquals", "a*", "ab", False, False),
        ("StringNotEquals", ["a", "b"], "b", False, True),
        ("StringNotEquals", "a", "b", True, True),
        ("StringEqualsIgnoreCase", "A", "a", True, False),
        ("StringNotEqualsIgnoreCase", "A", "a", False, True),
        ("StringLike", "a?c*", "abcd", True, False),
        ("StringNotLike", "a*", "abc", False, True),
        ("NumericEquals", 10, "10", True, False),
        ("NumericNotEquals", "10", "10.0", False, True),
        ("NumericLessThan", "10", "9", True, False),
        ("NumericLessThanEquals", "10", "10", True, False),
        ("NumericGreaterThan", "10", "10", False, False),
        ("NumericGreaterThanEquals", "10", "x", False, False),
        ("DateEquals", "2026-01-01T00:00:00Z", "1767225600", True, False),
        ("DateNotEquals", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", True, True),
        ("DateLessThan", "2026-01-02", "2026-01-01T23:59:59Z", True, False),
        ("DateGreaterThanEquals", "2026-01-02", "2026-01-01T23:59:59Z", False, False),
        ("Bool", True, "true", True, False),
        ("Bool", "false", "true", False, False),
        ("BinaryEquals", "YWJj", "YWJj", True, False),
        ("IpAddress", "10.0.0.0/8", "10.9.8.7", True, False),
        ("IpAddress", ["10.0.0.0/8", "2001:db8::/32"], "2001:db8::1", True, False),
        ("IpAddress", "10.0.0.0/8", "::ffff:10.1.1.1", True, False),
        ("IpAddress", "10.0.0.0/8", "not an address", False, False),
        ("NotIpAddress", "10.0.0.0/8", "11.0.0.1", True, True),
        ("ArnLike", "arn:aws:s3:::b*", "arn:aws:s3:::bucket", True, False),
        ("ArnNotEquals", "arn:aws:s3:::b", "arn:aws:s3:::b", False, True),
    ],
)
def test_operators(operator: str, listed: Any, value: str, holds: bool, absent: bool) -> None:
    assert condition(operator, "aws:X", listed, x=(value,)) is holds
    assert condition(operator, "aws:X", listed) is absent
    assert condition(operator + "IfExists", "aws:X", listed, x=(value,)) is holds
    assert condition(operator + "IfExists", "aws:X", listed) is True


def test_null_and_sets() -> None:
    assert condition("Null", "aws:X", "true")
    assert not condition("Null", "aws:X", "true", x=("a",))
    assert condition("Null", "aws:X", False, x=("a",))
    for operator, values, holds in (
        ("ForAllValues:StringEquals", ("a", "b"), True),
        ("ForAllValues:StringEquals", ("a", "c"), False),
        ("ForAllValues:StringEquals", (), True),
        ("ForAnyValue:StringEquals", ("c", "a"), True),
        ("ForAnyValue:StringEquals", ("c", "d"), False),
        ("ForAnyValue:StringEquals", (), False),
        ("ForAnyValue:StringNotEquals", ("a", "c"), True),
        ("ForAnyValue:StringNotEquals", ("a", "b"), False),
        ("ForAllValues:StringNotEquals", ("c", "d"), True),
        ("ForAllValues:StringNotEquals", ("a", "d"), False),
        ("StringEquals", ("c", "a"), True),
        ("StringNotEquals", ("c", "a"), False),
    ):
        assert condition(operator, "aws:X", ["a", "b"], x=values) is holds, operator


def test_all_of_a_block_must_hold() -> None:
    block = {"StringEquals": {"aws:X": "a", "aws:Y": "b"}, "Bool": {"aws:Z": "true"}}
    text = document(statement(Condition=block))
    whole = {"aws:x": ("a",), "aws:y": ("b",), "aws:z": ("true",)}
    assert says(text, whole) is Effect.ALLOW
    for key in whole:
        assert says(text, {**whole, key: ("other",)}) is Effect.NOTHING


def test_tags_keep_their_case() -> None:
    text = document(statement(Condition={"StringEquals": {"S3:ExistingObjectTag/Cost": "low"}}))
    assert says(text, {"s3:existingobjecttag/Cost": ("low",)}) is Effect.ALLOW
    assert says(text, {"s3:existingobjecttag/cost": ("low",)}) is Effect.NOTHING
    assert parse_policy(text, "b").asks_for_tags(Action.GET_OBJECT)
    assert not parse_policy(text, "b").asks_for_tags(Action.PUT_OBJECT)


def test_variables() -> None:
    home = "arn:aws:s3:::b/home/${aws:username}/*"
    text = document(statement(Resource=home))
    assert says(text, {"aws:username": ("jo",)}, resource="b/home/jo/x") is Effect.ALLOW
    assert says(text, {"aws:username": ("*",)}, resource="b/home/jo/x") is Effect.NOTHING
    assert says(text, resource="b/home//x") is Effect.NOTHING
    default = document(statement(Resource="arn:aws:s3:::b/home/${aws:username, 'all'}/*"))
    assert says(default, resource="b/home/all/x") is Effect.ALLOW
    old = document(statement(Resource=home), version="2008-10-17")
    assert says(old, {"aws:username": ("jo",)}, resource="b/home/jo/x") is Effect.NOTHING
    assert says(old, resource="b/home/${aws:username}/x") is Effect.ALLOW
    literal = document(statement(Resource="arn:aws:s3:::b/${*}${?}${$}"))
    assert says(literal, resource="b/*?$") is Effect.ALLOW
    assert says(literal, resource="b/xyz") is Effect.NOTHING
    like = document(statement(Condition={"StringLike": {"s3:prefix": "${aws:username}/*"}}))
    assert says(like, {"aws:username": ("jo",), "s3:prefix": ("jo/x",)}) is Effect.ALLOW


def test_denial_goes_first_whatever_the_order() -> None:
    allow, deny = statement(Action="s3:*"), statement(Effect="Deny", Resource="arn:aws:s3:::b/no*")
    for listed in ((allow, deny), (deny, allow)):
        assert says(document(*listed), resource="b/nothing") is Effect.DENY
        assert says(document(*listed), resource="b/yes") is Effect.ALLOW


@pytest.mark.parametrize(
    ("changes", "public"),
    [
        ({}, True),
        ({"Effect": "Deny"}, False),
        ({"Principal": {"AWS": OTHER}}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/32"}}}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}}}, True),
        ({"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/32"}}}, True),
        ({"Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}, False),
        ({"Condition": {"StringLike": {"aws:SourceVpc": "vpc-*"}}}, True),
        ({"Condition": {"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}}, True),
        ({"Condition": {"StringEquals": {"aws:Referer": "x"}}}, True),
        ({"Condition": {"ArnLike": {"aws:PrincipalArn": root_name(OTHER)}}}, False),
    ],
)
def test_what_is_public(changes: dict[str, Any], public: bool) -> None:
    assert is_public(parse_policy(document(statement(**changes)), "b")) is public


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_NAMES = ("Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource")
_PIECES = st.sampled_from(
    [
        "*",
        "s3:*",
        "s3:GetObject",
        "s3:Put*",
        ALL,
        "arn:aws:s3:::b",
        "arn:aws:s3:::b/${aws:username}",
        "Allow",
        "Deny",
        {"AWS": "*"},
        {"AWS": OWNER},
        {"CanonicalUser": OTHER},
        OWNER,
    ]
)
_CONDITIONS = st.dictionaries(
    st.sampled_from(["StringLike", "IpAddress", "Null", "ForAllValues:StringEquals", "Bool", "x"]),
    st.dictionaries(
        st.sampled_from(["aws:SourceIp", "s3:prefix", "s3:ExistingObjectTag/a", "x"]), _JSON
    )
    | _JSON,
    max_size=2,
)
_STATEMENTS = (
    st.fixed_dictionaries(
        {},
        optional={name: _PIECES | st.lists(_PIECES, max_size=2) | _JSON for name in _NAMES}
        | {"Condition": _CONDITIONS | _JSON, "Sid": _JSON},
    )
    | _JSON
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_STATEMENTS, max_size=3), _JSON, st.booleans())
def test_any_json_is_a_policy_or_refused(statements: Any, other: Any, is_whole: bool) -> None:
    whole = {"Version": "2012-10-17", "Statement": statements} if is_whole else other
    try:
        policy = parse_policy(json.dumps(whole), "b")
    except MalformedPolicy:
        return
    for caller in (ME, MY_USER, ANYBODY, Caller(service="logging.s3.amazonaws.com")):
        for action in (Action.GET_OBJECT, Action.LIST_BUCKET):
            policy.effect(action, "b/key", caller, {"aws:sourceip": ("x",)}.get)
    is_public(policy)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    with pytest.raises(MalformedPolicy):
        parse_policy(text, "b")


_VALID = st.builds(
    statement,
    Effect=st.sampled_from(["Allow", "Deny"]),
    Principal=st.sampled_from(
        ["*", {"AWS": OWNER}, {"AWS": OTHER}, {"AWS": user_name(OWNER, "jo")}]
    ),
    Action=st.sampled_from(["s3:*", "s3:GetObject", "s3:PutObject", ["s3:Get*", "s3:List*"]]),
    Resource=st.sampled_from([ALL, "arn:aws:s3:::b/a*", "arn:aws:s3:::b/?", ["arn:aws:s3:::b"]]),
    Condition=st.sampled_from(
        [None, {"Bool": {"aws:SecureTransport": "true"}}, {"StringLike": {"aws:UserAgent": "x*"}}]
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(_VALID, min_size=1, max_size=8),
    st.sampled_from([ME, MY_USER, THEM, ANYBODY]),
    st.sampled_from(["b/a", "b/abc", "b", "b/x"]),
    st.sampled_from([{}, {"aws:securetransport": ("true",)}, {"aws:useragent": ("xy",)}]),
)
def test_together_they_say_what_each_says(
    listed: list[Any], caller: Caller, resource: str, values: dict[str, tuple[str, ...]]
) -> None:
    """One denial is enough; else one allowance; the index leaves out nothing."""
    alone = {says(document(one), values, resource=resource, caller=caller) for one in listed}
    together = says(document(*listed), values, resource=resource, caller=caller)
    expected = Effect.NOTHING
    if Effect.DENY in alone:
        expected = Effect.DENY
    elif Effect.ALLOW in alone:
        expected = Effect.ALLOW
    assert together is expected
