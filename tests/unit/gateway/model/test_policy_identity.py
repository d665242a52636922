"""Policies of users, of sessions, and of trust: what may be written, and what they say together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.action import Action
from gateway.model.errors import MalformedPolicy
from gateway.model.identity_names import (
    IdentityNameInvalid,
    checked_name,
    checked_policy_name,
    checked_tenant_name,
    is_session_name,
)
from gateway.model.policy import ANYBODY, Caller, Effect, federated_name, root_name, user_name
from gateway.model.policy_identity import (
    Rights,
    merged,
    parse_identity_policy,
    parse_session_policy,
    parse_trust_policy,
)
from gateway.model.policy_names import TokenAction


def text_of(*statements: dict[str, Any], version: str = "2012-10-17") -> str:
    return json.dumps({"Version": version, "Statement": list(statements)})


def said(effect: str = "Allow", action: Any = "s3:GetObject", on: Any = "*", **more: Any) -> Any:
    return {"Effect": effect, "Action": action, "Resource": on, **more}


def asked(values: dict[str, tuple[str, ...]]) -> Any:
    return values.get


@pytest.mark.parametrize(
    ("statement", "action", "resource", "expected"),
    [
        (said(), Action.GET_OBJECT, "b/k", Effect.ALLOW),
        (said(), Action.PUT_OBJECT, "b/k", Effect.NOTHING),
        (said(action="*"), Action.PUT_OBJECT, "b/k", Effect.ALLOW),
        (said(action="s3:*"), Action.LIST_ALL_MY_BUCKETS, "*", Effect.ALLOW),
        (said(action="s3:Get*"), Action.GET_OBJECT_ACL, "b/k", Effect.ALLOW),
        (said(action="S3:getobject"), Action.GET_OBJECT, "b/k", Effect.ALLOW),
        (said(action=["iam:*", "ec2:Run*"]), Action.GET_OBJECT, "b/k", Effect.NOTHING),
        (said(on="arn:aws:s3:::b/*"), Action.GET_OBJECT, "b/k", Effect.ALLOW),
        (said(on="arn:aws:s3:::b/*"), Action.GET_OBJECT, "bb/k", Effect.NOTHING),
        (said(on="arn:aws:s3:::b"), Action.GET_OBJECT, "b/k", Effect.NOTHING),
        (said(action="s3:*", on="arn:aws:s3:::*"), Action.LIST_ALL_MY_BUCKETS, "*", Effect.ALLOW),
        (said(action="s3:*", on="arn:aws:s3:::b"), Action.LIST_ALL_MY_BUCKETS, "*", Effect.NOTHING),
        (said(on="arn:aws:iam::1:role/*"), Action.GET_OBJECT, "b/k", Effect.NOTHING),
        (said("Deny"), Action.GET_OBJECT, "b/k", Effect.DENY),
        (said(on="arn:aws:s3:::${aws:username}/*"), Action.GET_OBJECT, "jo/k", Effect.ALLOW),
        (said(on="arn:aws:s3:::${aws:username}/*"), Action.GET_OBJECT, "al/k", Effect.NOTHING),
        (said(on="arn:aws:s3:::${aws:none}/*"), Action.GET_OBJECT, "jo/k", Effect.NOTHING),
        (
            said(Condition={"StringEquals": {"aws:username": "jo"}}),
            Action.GET_OBJECT,
            "b/k",
            Effect.ALLOW,
        ),
        (
            said(Condition={"StringEquals": {"aws:PrincipalTag/team": "red"}}),
            Action.GET_OBJECT,
            "b/k",
            Effect.NOTHING,
        ),
        (
            {"Effect": "Deny", "NotAction": "s3:GetObject", "NotResource": "arn:aws:s3:::b/*"},
            Action.PUT_OBJECT,
            "c/k",
            Effect.DENY,
        ),
        (
            {"Effect": "Deny", "NotAction": "s3:GetObject", "NotResource": "arn:aws:s3:::b/*"},
            Action.PUT_OBJECT,
            "b/k",
            Effect.NOTHING,
        ),
        (said("Deny", on="arn:*:s3:::b/*"), Action.GET_OBJECT, "b/k", Effect.DENY),
        (said("Deny", on="arn:aws*:s3:*:*:b/*"), Action.GET_OBJECT, "b/k", Effect.DENY),
    ],
)
def test_what_a_policy_of_a_user_says(
    statement: dict[str, Any], action: Action, resource: str, expected: Effect
) -> None:
    lookup = asked({"aws:username": ("jo",), "aws:principaltag/team": ("blue",)})
    policy = parse_identity_policy(text_of(statement))
    assert policy.effect(action, resource, ANYBODY, lookup) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        text_of(),
        text_of(said(), version="2030-01-01"),
        text_of({**said(), "Principal": "*"}),
        text_of({**said(), "NotPrincipal": "*"}),
        text_of({"Effect": "Allow", "Action": "s3:GetObject"}),
        text_of({"Effect": "Allow", "Resource": "*"}),
        text_of({**said(), "NotAction": "s3:PutObject"}),
        text_of({**said(), "NotResource": "*"}),
        text_of(said(action="s3:Nothing")),
        text_of(said(action="GetObject")),
        text_of(said(action=[])),
        text_of(said(on="b/k")),
        text_of(said(on=[1])),
        text_of(said("Deny", on="arn:aws:*:::b/*")),
        text_of(said("Deny", on="arn:aws:s?:::b/*")),
        text_of(said("Deny", on="arn:aws:S3:::b/*")),
        text_of(said("Deny", on="arn:aws:s3::${aws:username}:b/*")),
        text_of(said("Maybe")),
        text_of(said(Condition={"Nearly": {"aws:username": "x"}})),
        text_of(said(Condition={"StringEquals": {"s3:nothing": "x"}})),
        text_of(said(Condition=[])),
        text_of(said(Sid="x" * 6200)),
        '{"Version":"2012-10-17","Statement":[1]}',
        '{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}',
    ],
)
def test_what_is_no_policy(text: str) -> None:
    for parse in (parse_identity_policy, parse_session_policy):
        with pytest.raises(MalformedPolicy):
            parse(text)


ROLE_ARN = "arn:aws:iam::1:role/admin"


@pytest.mark.parametrize(
    ("statement", "of_role", "of_object"),
    [
        (said(action="*", on="arn:aws:s3:::*"), Effect.NOTHING, Effect.ALLOW),
        (said(action="*", on="arn:aws:s3:::a*"), Effect.NOTHING, Effect.ALLOW),
        (said(action="*", on="*"), Effect.ALLOW, Effect.ALLOW),
        (said(action="*", on=["arn:aws:s3:::a*", ROLE_ARN]), Effect.ALLOW, Effect.ALLOW),
        (said(action="sts:*", on="arn:*:iam::*:role/adm*"), Effect.ALLOW, Effect.NOTHING),
        (
            {"Effect": "Allow", "NotAction": "s3:PutObject", "Resource": "arn:aws:s3:::a*"},
            Effect.NOTHING,
            Effect.ALLOW,
        ),
        (
            {"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:s3:::a*"},
            Effect.DENY,
            Effect.NOTHING,
        ),
    ],
)
def test_what_is_said_of_buckets_gives_no_role(
    statement: dict[str, Any], of_role: Effect, of_object: Effect
) -> None:
    policy = parse_identity_policy(text_of(statement))
    nothing = asked({})
    assert policy.effect(TokenAction.ASSUME_ROLE, ROLE_ARN, ANYBODY, nothing) is of_role
    assert policy.effect(Action.GET_OBJECT, "apples/k", ANYBODY, nothing) is of_object


def test_sizes_are_those_of_what_is_written_beside_white_space() -> None:
    spaced = text_of(said()).replace(" ", " " * 1000)
    assert len(spaced) > 6144
    parse_identity_policy(spaced)
    long = text_of(said(Sid="x" * 3000))
    parse_identity_policy(long)
    with pytest.raises(MalformedPolicy):
        parse_session_policy(long)
    with pytest.raises(MalformedPolicy):
        parse_trust_policy(long)


EFFECTS = (None, "Allow", "Deny")


@pytest.mark.parametrize("own", EFFECTS)
@pytest.mark.parametrize("narrowed", EFFECTS)
def test_a_session_is_allowed_what_both_allow(own: str | None, narrowed: str | None) -> None:
    def policy(effect: str | None) -> Any:
        other = said(action="s3:DeleteBucket")
        return parse_identity_policy(text_of(*([said(effect)] if effect else []), other))

    rights = Rights(policy(own), policy(narrowed))
    effect = rights.effect(Action.GET_OBJECT, "b/k", asked({}))
    if "Deny" in (own, narrowed):
        assert effect is Effect.DENY
    else:
        both = own == narrowed == "Allow"
        assert effect is (Effect.ALLOW if both else Effect.NOTHING)
    assert rights.admits(Action.GET_OBJECT, "b/k", asked({})) is (narrowed == "Allow")
    assert Rights(policy(own)).admits(Action.GET_OBJECT, "b/k", asked({}))


STATEMENTS = st.lists(
    st.builds(
        lambda effect, action, on: {"Effect": effect, "Action": action, "Resource": on},
        st.sampled_from(["Allow", "Deny"]),
        st.sampled_from(["s3:*", "s3:GetObject", "s3:Put*", "*"]),
        st.sampled_from(["*", "arn:aws:s3:::b/*", "arn:aws:s3:::b/k", "arn:aws:s3:::c/*"]),
    ),
    min_size=1,
    max_size=5,
)


@given(STATEMENTS, STATEMENTS, STATEMENTS)
def test_aut_05_aut_09_no_session_and_no_denial_gives_more(
    one: list[Any], two: list[Any], narrowing: list[Any]
) -> None:
    first, second = (parse_identity_policy(text_of(*held)) for held in (one, two))
    session = parse_session_policy(text_of(*narrowing))
    denials = parse_identity_policy(text_of(*[{**held, "Effect": "Deny"} for held in two]))
    for action in (Action.GET_OBJECT, Action.PUT_OBJECT, Action.DELETE_OBJECT):
        for resource in ("b/k", "b/l", "c/k"):
            ask = (action, resource, asked({}))
            plain = Rights(first).effect(*ask)
            narrowed = Rights(first, session).effect(*ask)
            assert narrowed is not Effect.ALLOW or plain is Effect.ALLOW
            less = Rights(merged((first, denials))).effect(*ask)
            assert less is not Effect.ALLOW or plain is Effect.ALLOW
            both = {plain, Rights(second).effect(*ask)}
            expected = (
                Effect.DENY
                if Effect.DENY in both
                else Effect.ALLOW
                if Effect.ALLOW in both
                else Effect.NOTHING
            )
            assert Rights(merged((first, second))).effect(*ask) is expected


def trusting(who: Any, action: str = "sts:AssumeRole", **more: Any) -> str:
    return text_of({"Effect": "Allow", "Principal": who, "Action": action, **more})


def test_whom_a_role_trusts() -> None:
    account = frozenset({root_name("a")})
    jo = Caller(account, frozenset({user_name("a", "jo")}))
    al = Caller(account, frozenset({user_name("a", "al")}))
    issuer = federated_name("https://id.example")
    token = Caller(frozenset({issuer}), frozenset({issuer}))
    assume, web = TokenAction.ASSUME_ROLE, TokenAction.ASSUME_ROLE_WITH_WEB_IDENTITY
    for text, action, caller, expected in (
        (trusting({"AWS": user_name("a", "jo")}), assume, jo, Effect.ALLOW),
        (trusting({"AWS": user_name("a", "jo")}), assume, al, Effect.NOTHING),
        (trusting({"AWS": "a"}), assume, al, Effect.ALLOW),
        (trusting({"AWS": root_name("b")}), assume, jo, Effect.NOTHING),
        (trusting("*"), assume, jo, Effect.ALLOW),
        (trusting({"AWS": "a"}, "sts:TagSession"), assume, jo, Effect.NOTHING),
        (trusting({"Federated": "https://id.example"}), web, token, Effect.NOTHING),
        (
            trusting({"Federated": "https://id.example"}, "sts:AssumeRoleWithWebIdentity"),
            web,
            token,
            Effect.ALLOW,
        ),
        (
            trusting({"Federated": "https://other"}, "sts:AssumeRoleWithWebIdentity"),
            web,
            token,
            Effect.NOTHING,
        ),
    ):
        policy = parse_trust_policy(text)
        assert policy.effect(action, "", caller, asked({})) is expected, text
    condition = {"StringEquals": {"sts:ExternalId": "e"}}
    policy = parse_trust_policy(trusting({"AWS": "a"}, Condition=condition))
    assert policy.effect(assume, "", jo, asked({})) is Effect.NOTHING
    assert policy.effect(assume, "", jo, asked({"sts:externalid": ("e",)})) is Effect.ALLOW


@pytest.mark.parametrize(
    "text",
    [
        text_of({"Effect": "Allow", "Action": "sts:AssumeRole"}),
        trusting({}),
        trusting({"Service": "ec2.amazonaws.com"}),
        trusting({"Federated": "*"}),
        trusting({"AWS": "arn:aws:iam::a:group/x"}),
        trusting({"AWS": "a"}, Resource="*"),
        trusting({"AWS": "a"}, "AssumeRole"),
        text_of({"Effect": "Allow", "NotPrincipal": {"AWS": "a"}, "Action": "sts:AssumeRole"}),
    ],
)
def test_what_is_no_policy_of_trust(text: str) -> None:
    with pytest.raises(MalformedPolicy):
        parse_trust_policy(text)


def test_names() -> None:
    for name in ("jo", "a+b=c,d.e@f-g_h", "x" * 64):
        assert checked_name(name) == name and checked_policy_name(name) == name
    for name in ("", "a/b", "a b", "é", "x" * 65, "root", "Root", "a\n", "a:b"):
        with pytest.raises(IdentityNameInvalid):
            checked_name(name)
    assert checked_policy_name("x" * 128) == "x" * 128
    assert checked_tenant_name("Mairie de X") == "Mairie de X"
    for name in ("", " a", "a ", "a/b", "x" * 65, "a\n"):
        with pytest.raises(IdentityNameInvalid):
            checked_tenant_name(name)
    assert is_session_name("ab") and not is_session_name("a") and not is_session_name("a/b")
