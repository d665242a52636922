"""Policies of users, groups and roles as they are written, those that narrow a session, and those
that say who may become a role.

Not for policies of buckets (`policy_document`). Whom a policy of a user means goes without saying;
what it is about may be anywhere, and actions of other services mean nothing here.

Source: AWS IAM User Guide, "IAM JSON policy reference", "Identity-based policies", "IAM and AWS STS
quotas", "Session policies".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from gateway.model.action import Action
from gateway.model.identity_names import (
    IDENTITY_POLICY_CHARACTERS_MAX,
    SESSION_POLICY_CHARACTERS_MAX,
    TRUST_POLICY_CHARACTERS_MAX,
)
from gateway.model.policy import (
    ANYBODY,
    Effect,
    Policy,
    Principals,
    Statement,
    federated_name,
)
from gateway.model.policy_document import (
    ACTION_CHARACTERS_MAX,
    EVERYBODY,
    conditions_of,
    effect_of,
    listed_statements,
    names_of_principal,
    one_of,
    refuse,
    texts_of,
)
from gateway.model.policy_names import (
    TokenAction,
    actions_of_identity,
    is_key,
    is_token_key,
)
from gateway.model.policy_patterns import Lookup, Pattern, Template, compiled

_FIELDS = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_TRUST_FIELDS = frozenset({"Sid", "Effect", "Principal", "Action", "Condition"})
_S3_ARN = re.compile(r"arn:(?:aws[a-z*?-]*|\*):s3:[a-z0-9*?-]*:[A-Za-z0-9_*?-]*:(.+)\Z", re.DOTALL)
# Of a service that is named as such: what might mean S3 after all must not be overlooked.
_OTHER_ARN = re.compile(r"arn:(?:aws[a-z*?-]*|\*):(?!s3:)[a-z0-9-]+:[^:]*:[^:]*:.+\Z", re.DOTALL)
_OF_TOKENS = frozenset(action.value.lower() for action in TokenAction)
_EVERYBODY = Principals(True, frozenset(), frozenset(), False)
_ANYTHING = Pattern(EVERYBODY)


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user, or a session, is allowed by the policies of its own account.

    Args:
        identity: of the user and its groups, or of the role.
        session: narrows that, None = not at all.
    """

    identity: Policy
    session: Policy | None = None

    def effect(self, action: Action | TokenAction, resource: str, lookup: Lookup) -> Effect:
        """What they say together: a session is allowed what both allow."""
        said = self.identity.effect(action, resource, ANYBODY, lookup)
        if self.session is None or said is Effect.DENY:
            return said
        narrowed = self.session.effect(action, resource, ANYBODY, lookup)
        return said if narrowed is Effect.ALLOW else narrowed

    def admits(self, action: Action | TokenAction, resource: str, lookup: Lookup) -> bool:
        """Whether the session leaves room for what somebody else's policy allows."""
        if self.session is None:
            return True
        return self.session.effect(action, resource, ANYBODY, lookup) is Effect.ALLOW


def parse_identity_policy(text: str) -> Policy:
    """A policy of users, groups and roles. Raises: MalformedPolicy."""
    return _parsed(text, IDENTITY_POLICY_CHARACTERS_MAX)


def parse_session_policy(text: str) -> Policy:
    """A policy that narrows a session. Raises: MalformedPolicy."""
    return _parsed(text, SESSION_POLICY_CHARACTERS_MAX)


def parse_trust_policy(text: str) -> Policy:
    """A policy that says who may become a role. Raises: MalformedPolicy."""
    _check_size(text, TRUST_POLICY_CHARACTERS_MAX)
    listed, with_variables = listed_statements(text)
    return Policy(tuple(_trust(raw, with_variables) for raw in listed))


def merged(policies: Iterable[Policy]) -> Policy:
    """One policy that says what all of them say."""
    return Policy(tuple(statement for policy in policies for statement in policy.statements))


def _parsed(text: str, characters_max: int) -> Policy:
    _check_size(text, characters_max)
    listed, with_variables = listed_statements(text)
    found: list[Statement] = []
    for raw in listed:
        statement = _statement(raw, with_variables)
        found += _by_service(raw, statement)
    return Policy(tuple(found))


def _by_service(raw: dict[str, Any], statement: Statement) -> list[Statement]:
    """A statement as it is about S3, and about the token service: patterns of S3's names would fit
    names of roles, which are no resources of S3.
    """
    asked = frozenset(name for name in _OF_TOKENS if statement.is_about(name))
    if not asked:
        return [statement]
    texts = texts_of(raw.get("Resource", raw.get("NotResource")), "resource")
    pairs = zip(texts, statement.resources, strict=True)
    resources = tuple(one for text, one in pairs if _S3_ARN.match(text) is None)
    of_s3 = statement.actions | asked if statement.negates_actions else statement.actions - asked
    of_tokens = replace(
        statement,
        actions=asked,
        negates_actions=False,
        resources=resources,
        heads=("",) if statement.negates_resources else tuple(one.head for one in resources),
    )
    return [replace(statement, actions=of_s3), of_tokens]


def _check_size(text: str, characters_max: int) -> None:
    if len("".join(text.split())) > characters_max:
        refuse(f"Policy has more than {characters_max} characters beside white space")


def _statement(raw: dict[str, Any], with_variables: bool) -> Statement:
    effect = effect_of(raw, _FIELDS)
    what, negates_actions = one_of(raw, "Action", "NotAction")
    where, negates_resources = one_of(raw, "Resource", "NotResource")
    resources = tuple(_resource(text, with_variables) for text in texts_of(where, "resource"))
    tests, raw_tests = conditions_of(raw.get("Condition", {}), with_variables, is_key)
    heads = [one.head for one in resources]
    return Statement(
        effect=effect,
        principals=_EVERYBODY,
        actions=_actions(what),
        negates_actions=negates_actions,
        resources=resources,
        negates_resources=negates_resources,
        heads=("",) if negates_resources else tuple(heads),
        tests=tests,
        raw_tests=raw_tests,
    )


def _actions(raw: Any) -> frozenset[str]:
    found: set[str] = set()
    for text in texts_of(raw, "action"):
        matched = actions_of_identity(text) if len(text) <= ACTION_CHARACTERS_MAX else None
        if matched is None:
            refuse("Policy has invalid action")
        found |= matched
    return frozenset(found)


def _resource(text: str, with_variables: bool) -> Pattern | Template:
    if text == EVERYBODY:
        return _ANYTHING
    found = _S3_ARN.match(text)
    if found is not None:
        return compiled(found[1], with_variables=with_variables)
    if _OTHER_ARN.match(text) is None:
        refuse("Policy has invalid resource")
    # No bucket has a name with colons: what is about other services fits no request of S3.
    return compiled(text, with_variables=with_variables)


def _trust(raw: dict[str, Any], with_variables: bool) -> Statement:
    effect = effect_of(raw, _TRUST_FIELDS)
    if "Principal" not in raw or "Action" not in raw:
        refuse("A policy of trust needs Principal and Action")
    tests, raw_tests = conditions_of(
        raw.get("Condition", {}), with_variables, lambda key: is_key(key) or is_token_key(key)
    )
    principals, actions = _trusted(raw["Principal"]), _actions(raw["Action"])
    if principals.everybody and effect is Effect.ALLOW:
        # Everybody who has signed: an issuer of tokens is trusted by its name only.
        actions -= {TokenAction.ASSUME_ROLE_WITH_WEB_IDENTITY.value.lower()}
    return Statement(
        effect=effect,
        principals=principals,
        actions=actions,
        negates_actions=False,
        resources=(_ANYTHING,),
        negates_resources=False,
        heads=("",),
        tests=tests,
        raw_tests=raw_tests,
    )


def _trusted(raw: Any) -> Principals:
    if raw == EVERYBODY:
        raw = {"AWS": EVERYBODY}
    if not isinstance(raw, dict) or not raw:
        refuse("Invalid principal in policy")
    everybody = False
    names: set[str] = set()
    for kind, listed in raw.items():
        for text in texts_of(listed, "principal"):
            if kind == "AWS":
                everybody = everybody or text == EVERYBODY
                names.update(names_of_principal(text))
            elif kind == "Federated" and text != EVERYBODY:
                names.add(federated_name(text))
            else:
                refuse("Invalid principal in policy")
    return Principals(everybody, frozenset(names), frozenset(), False, True)
