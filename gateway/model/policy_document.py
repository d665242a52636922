"""Policies of buckets as they are written: read, checked, and made into what can be asked.

Not for what they say of a request (`gateway.model.policy`).

Source: AWS IAM User Guide, "IAM JSON policy reference"; Amazon S3 User Guide, "Policies and
permissions in Amazon S3".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NoReturn

from gateway.model.errors import MalformedPolicy
from gateway.model.policy import Effect, Policy, Principals, Statement, root_name
from gateway.model.policy_conditions import BadValue, Test, UnknownOperator, compiled_test
from gateway.model.policy_names import is_key, matched_actions
from gateway.model.policy_patterns import Pattern, Template, compiled, search_cost

POLICY_BYTES_MAX = 20 * 1024
ACTION_CHARACTERS_MAX = 256  # of a pattern; what it means is kept for all policies
SEARCH_COST_MAX = 1024  # of all patterns: some 20 ms for the longest header that a client can send
ACTIONS_CACHED_MAX = 512
VERSIONS = ("2008-10-17", "2012-10-17")
EVERYBODY = "*"

_ARN = re.compile(r"arn:aws[a-z-]*:s3:[a-z0-9-]*:[A-Za-z0-9_-]*:(.+)\Z", re.DOTALL)
_PRINCIPAL_ARN = re.compile(
    r"arn:aws[a-z-]*:(?:iam|sts)::([A-Za-z0-9_.@-]*):"
    r"(root|(?:user|role|assumed-role|federated-user)/[!-~]{1,512})\Z"
)
_ACCOUNT = re.compile(r"[A-Za-z0-9_.@-]{1,128}\Z")
_SERVICE = re.compile(r"[a-z0-9.-]{1,128}\Z")


def parse_policy(text: str, bucket: str) -> Policy:
    """A policy of a bucket. Raises: MalformedPolicy."""
    listed, with_variables = listed_statements(text)
    return Policy(tuple(_statement(one, bucket, with_variables) for one in listed))


def listed_statements(text: str) -> tuple[list[dict[str, Any]], bool]:
    """The statements of a policy, still to be read, and whether variables mean something in them.

    Raises: MalformedPolicy.
    """
    document = _object_of(text)
    if document.keys() - {"Version", "Id", "Statement"}:
        refuse(f"Unknown field {min(document.keys() - {'Version', 'Id', 'Statement'})}")
    version = document.get("Version", VERSIONS[0])
    if version not in VERSIONS:
        refuse("The policy must contain a valid version string")
    if not isinstance(document.get("Id", ""), str):
        refuse("The Id must be a string")
    raw = document.get("Statement")
    if raw is None:
        refuse("Missing required field Statement")
    listed = raw if isinstance(raw, list) else [raw]
    if not listed:
        refuse("Could not parse the policy: Statement is empty!")
    if not all(isinstance(one, dict) for one in listed):
        refuse("Could not parse the policy: a statement is no object")
    if sum(map(_search_cost, listed)) > SEARCH_COST_MAX:
        refuse("Policy has too many wildcards")
    return listed, version == VERSIONS[1]


def _search_cost(raw: dict[str, Any]) -> int:
    """As `search_cost`, of a statement; what is no text in it is refused when it is read."""
    texts = _all_texts(raw.get("Resource", raw.get("NotResource")))
    condition = raw.get("Condition")
    for operator, block in condition.items() if isinstance(condition, dict) else ():
        asks = "like" in operator.lower() or "arn" in operator.lower()
        if asks and isinstance(block, dict):
            for listed in block.values():
                texts += _all_texts(listed)
    return sum(map(search_cost, texts))


def _all_texts(raw: Any) -> list[str]:
    return [one for one in (raw if isinstance(raw, list) else [raw]) if isinstance(one, str)]


def refuse(message: str) -> NoReturn:
    """Raises: MalformedPolicy."""
    raise MalformedPolicy(message=message)


def _object_of(text: str) -> dict[str, Any]:
    if len(text.encode("utf-8", "surrogatepass")) > POLICY_BYTES_MAX:
        refuse("Policy exceeds the maximum allowed document size.")
    if not text.lstrip().startswith("{"):
        refuse("Policies must be valid JSON and the first byte must be '{'")
    try:
        document = json.loads(
            text, parse_constant=_no_constant, object_pairs_hook=_without_repetition
        )
    except (ValueError, RecursionError):
        refuse("This policy contains invalid Json")
    return dict(document)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


_FIELDS = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource"}
    | {"NotResource", "Condition"}
)


def effect_of(raw: dict[str, Any], fields: frozenset[str]) -> Effect:
    """The effect of a statement whose fields are known ones. Raises: MalformedPolicy."""
    unknown = raw.keys() - fields
    if unknown:
        refuse(f"Unknown field {min(unknown)}")
    if not isinstance(raw.get("Sid", ""), str):
        refuse("The Sid must be a string")
    if raw.get("Effect") not in ("Allow", "Deny"):
        refuse(f"Invalid effect: {str(raw.get('Effect'))[:64]}")
    return Effect(raw["Effect"])


def _statement(raw: dict[str, Any], bucket: str, with_variables: bool) -> Statement:
    effect = effect_of(raw, _FIELDS)
    who, negates_principals = one_of(raw, "Principal", "NotPrincipal")
    if negates_principals and effect is Effect.ALLOW:
        refuse("Allow with NotPrincipal is not allowed.")
    what, negates_actions = one_of(raw, "Action", "NotAction")
    where, negates_resources = one_of(raw, "Resource", "NotResource")
    resources = _resources(where, bucket, with_variables, must_fit=not negates_resources)
    tests, raw_tests = conditions_of(raw.get("Condition", {}), with_variables, is_key)
    heads = [one.head for one in resources]
    return Statement(
        effect=effect,
        principals=_principals(who, negates_principals),
        actions=_actions(what),
        negates_actions=negates_actions,
        resources=resources,
        negates_resources=negates_resources,
        heads=("",) if negates_resources else tuple(heads),
        tests=tests,
        raw_tests=raw_tests,
    )


def one_of(raw: dict[str, Any], name: str, negated: str) -> tuple[Any, bool]:
    """A field, and whether it is the negated one of two. Raises: MalformedPolicy."""
    if (name in raw) is (negated in raw):
        refuse(f"Missing required field {name}" if name not in raw else f"Both {name} forms")
    return (raw[negated], True) if negated in raw else (raw[name], False)


def texts_of(raw: Any, what: str) -> list[str]:
    """One text or a list of them, not empty. Raises: MalformedPolicy."""
    listed = raw if isinstance(raw, list) else [raw]
    if not listed or not all(isinstance(one, str) and one for one in listed):
        refuse(f"Policy has invalid {what}")
    return listed


def _principals(raw: Any, is_negated: bool) -> Principals:
    if raw == EVERYBODY:
        return Principals(True, frozenset(), frozenset(), is_negated)
    if not isinstance(raw, dict) or not raw:
        refuse("Invalid principal in policy")
    everybody = False
    names: set[str] = set()
    services: set[str] = set()
    for kind, listed in raw.items():
        for text in texts_of(listed, "principal"):
            if kind == "AWS":
                everybody = everybody or text == EVERYBODY
                names.update(names_of_principal(text))
            elif kind == "CanonicalUser" and _ACCOUNT.match(text):
                names.add(root_name(text))
            elif kind == "Service" and _SERVICE.match(text):
                services.add(text)
            elif kind != "Federated":
                refuse("Invalid principal in policy")
    return Principals(everybody, frozenset(names), frozenset(services), is_negated, True)


def names_of_principal(text: str) -> Iterable[str]:
    """The names of a principal, in the form that `Caller` has them. Raises: MalformedPolicy."""
    if text == EVERYBODY:
        return ()
    if not text.startswith("arn:"):
        if _ACCOUNT.match(text) is None:
            refuse("Invalid principal in policy")
        return (root_name(text),)
    found = _PRINCIPAL_ARN.match(text)
    if found is None or (not found[1] and not found[2].startswith("user/")):
        refuse("Invalid principal in policy")
    if not found[1]:
        return (root_name(found[2].removeprefix("user/")),)
    return (f"arn:aws:iam::{found[1]}:{found[2]}",)


def _actions(raw: Any) -> frozenset[str]:
    return _actions_of(tuple(texts_of(raw, "action")))


@lru_cache(maxsize=ACTIONS_CACHED_MAX)
def _actions_of(patterns: tuple[str, ...]) -> frozenset[str]:
    """Shared by all statements that say the same: a set of all actions is larger than its policy.

    Raises: MalformedPolicy.
    """
    found: set[str] = set()
    for text in patterns:
        matched = matched_actions(text) if len(text) <= ACTION_CHARACTERS_MAX else None
        if not matched:
            refuse("Policy has invalid action")
        found |= matched
    return frozenset(found)


def _resources(
    raw: Any, bucket: str, with_variables: bool, *, must_fit: bool
) -> tuple[Pattern | Template, ...]:
    patterns: list[Pattern | Template] = []
    for text in texts_of(raw, "resource"):
        if text == EVERYBODY:
            patterns.append(Pattern(EVERYBODY))
            continue
        found = _ARN.match(text)
        if found is None:
            refuse("Policy has invalid resource")
        named = compiled(found[1].partition("/")[0], with_variables=with_variables)
        if must_fit and isinstance(named, Pattern) and not named.matches(bucket):
            refuse("Policy has invalid resource")
        patterns.append(compiled(found[1], with_variables=with_variables))
    return tuple(patterns)


def conditions_of(
    raw: Any, with_variables: bool, knows_key: Callable[[str], bool]
) -> tuple[tuple[Test, ...], tuple[tuple[str, str, tuple[str, ...]], ...]]:
    """Conditions of a statement, to be asked and as written. Raises: MalformedPolicy."""
    if not isinstance(raw, dict):
        refuse("Could not parse the policy: Condition is no object")
    tests: list[Test] = []
    written: list[tuple[str, str, tuple[str, ...]]] = []
    for operator, block in raw.items():
        if not isinstance(block, dict):
            refuse("Could not parse the policy: a condition is no object")
        for key, listed in block.items():
            if not knows_key(key):
                refuse("Policy has an invalid condition key")
            values = tuple(
                _value(one) for one in (listed if isinstance(listed, list) else [listed])
            )
            if not values:
                refuse("Policy has a condition without values")
            try:
                test = compiled_test(operator, key, values, with_variables=with_variables)
            except UnknownOperator:
                refuse(f"Invalid Condition type : {operator[:64]}")
            except BadValue:
                refuse(f"Invalid value for condition key {key[:64]}")
            tests.append(test)
            written.append((operator, key, values))
    return tuple(tests), tuple(written)


def _value(raw: Any) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, (str, int, float)):
        return str(raw)
    refuse("Policy has a condition value that is no text")
