"""Policies that have been read: who is meant, what is said of a request.

Not for reading them (`policy_document`), nor for where the values of a request come from, nor for
what else decides (`objects.access`). An explicit denial goes before everything, then comes what is
allowed; of the rest a policy says nothing.

Who is meant. A caller has names of its account and of itself; a policy may use any of them:
`arn:aws:iam::<account>:root`, `<account>` alone, and as CanonicalUser: the account, where <account>
is the canonical id (Owner/ID of S3's answers) or the hexadecimal id of the tenant;
`arn:aws:iam::<account>:user/<name>`: one user of it; `arn:aws:iam:::user/<canonical id>`, which
Ceph's clients write: the account as well. What names the account means all its users. `*` means
everybody, also who has not signed. NotPrincipal leaves out only who is listed both as account and
as user, as AWS does it. A well-formed name of nobody is accepted and means nobody.

Source: AWS IAM User Guide, "IAM JSON policy reference", "Policy evaluation logic"; Amazon S3 User
Guide, "Policies and permissions in Amazon S3".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from gateway.model.action import Action
from gateway.model.policy_conditions import Test
from gateway.model.policy_names import TokenAction
from gateway.model.policy_patterns import Lookup, Pattern, Template


class Effect(StrEnum):
    """What a policy says."""

    ALLOW = "Allow"
    DENY = "Deny"
    NOTHING = ""


class Caller(NamedTuple):
    """Who asks, by all names a policy may use; both empty: who has not signed.

    Args:
        accounts: names of the account.
        users: names of the user in it; those of the account for its root.
        service: host name of a service of our own that asks.
    """

    accounts: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    service: str = ""


ANYBODY = Caller()


def root_name(account: str) -> str:
    """How callers of a whole account are named."""
    return f"arn:aws:iam::{account}:root"


def user_name(account: str, user: str) -> str:
    """How one user is named."""
    return f"arn:aws:iam::{account}:user/{user}"


def role_name(account: str, role: str) -> str:
    """How whoever has become a role is named."""
    return f"arn:aws:iam::{account}:role/{role}"


def session_name(account: str, role: str, session: str) -> str:
    """How one session of a role is named, where `arn:aws:sts::` is written as `arn:aws:iam::`."""
    return f"arn:aws:iam::{account}:assumed-role/{role}/{session}"


def federated_name(issuer: str) -> str:
    """How whoever a token's issuer vouches for is named."""
    return f"federated:{issuer}"


@dataclass(frozen=True, slots=True)
class Principals:
    """Whom a statement is about; `accounts_only`: everybody means no service of our own."""

    everybody: bool
    names: frozenset[str]
    services: frozenset[str]
    is_negated: bool
    accounts_only: bool = False

    def mean(self, caller: Caller) -> bool:
        """Whether the caller is meant."""
        if self.is_negated:
            if self.everybody or caller.service in self.services:
                return False
            names = self.names
            return names.isdisjoint(caller.accounts) or names.isdisjoint(caller.users)
        if caller.service:
            named = caller.service in self.services
            return named or (self.everybody and not self.accounts_only)
        if self.everybody:
            return True
        names = self.names
        return not (names.isdisjoint(caller.accounts) and names.isdisjoint(caller.users))


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    Args:
        actions: those it is about, lower case.
        heads: what the resources begin with; ("",) where anything may be meant.
        resources: without `arn:aws:s3:::`.
        raw_tests: conditions as written, (operator, key, values), for `policy_public`.
    """

    effect: Effect
    principals: Principals
    actions: frozenset[str]
    negates_actions: bool
    resources: tuple[Pattern | Template, ...]
    negates_resources: bool
    heads: tuple[str, ...]
    tests: tuple[Test, ...]
    raw_tests: tuple[tuple[str, str, tuple[str, ...]], ...]

    def is_about(self, action: str) -> bool:
        """Whether an action (lower case) is meant."""
        return (action in self.actions) is not self.negates_actions

    def applies(self, resource: str, caller: Caller, lookup: Lookup) -> bool:
        """Whether it says something about this request for one of its actions."""
        return self.principals.mean(caller) and self.says(resource, lookup)

    def says(self, resource: str, lookup: Lookup) -> bool:
        """As `applies`, of a caller who is meant."""
        return self._means(resource, lookup) is not self.negates_resources and self.holds(lookup)

    def holds(self, lookup: Lookup) -> bool:
        """Whether the request is as all conditions say."""
        for test in self.tests:
            if not test.holds(lookup):
                break
        else:
            return True
        return False

    def means_all_below(self, head: str) -> bool:
        """Whether every resource that begins so is meant."""
        return not self.negates_resources and any(
            isinstance(one, Pattern) and one.is_prefix and one.head == head
            for one in self.resources
        )

    def _means(self, resource: str, lookup: Lookup) -> bool:
        for pattern in self.resources:
            made = pattern if isinstance(pattern, Pattern) else pattern.filled(lookup)
            if made is not None and made.matches(resource):
                return True
        return False


class _ByHead:
    """Statements by what their resources begin with, so that few of many are looked at."""

    __slots__ = ("_lengths", "_table")

    def __init__(self) -> None:
        self._lengths: list[int] = []
        self._table: dict[str, list[tuple[Statement, bool]]] = {}

    def add(self, statement: Statement) -> None:
        for head in set(statement.heads):
            entry = (statement, statement.means_all_below(head))
            self._table.setdefault(head, []).append(entry)
        self._lengths = sorted({len(head) for head in self._table})

    def say(self, resource: str, lookup: Lookup) -> bool:
        table = self._table
        for length in self._lengths:
            found = table.get(resource[:length])
            if found is not None:
                for statement, means_all in found:
                    if means_all:
                        if statement.holds(lookup):
                            return True
                    elif statement.says(resource, lookup):
                        return True
        return False


class _Statements:
    """Statements of one effect about one action, by whom they mean."""

    __slots__ = ("_all", "_everybody", "_named", "_others")

    def __init__(self, statements: Iterable[Statement]) -> None:
        self._all = tuple(statements)
        self._everybody = _ByHead()
        self._named: dict[str, _ByHead] = {}
        self._others: list[Statement] = []
        for statement in self._all:
            principals = statement.principals
            if principals.is_negated:
                self._others.append(statement)
            elif principals.everybody:
                self._everybody.add(statement)
            else:
                for name in principals.names:
                    self._named.setdefault(name, _ByHead()).add(statement)

    def say(self, resource: str, caller: Caller, lookup: Lookup) -> bool:
        """Whether one of them says something about a request."""
        if caller.service:
            return any(one.applies(resource, caller, lookup) for one in self._all)
        if self._everybody.say(resource, lookup):
            return True
        if self._named:
            for name in caller.accounts | caller.users:
                of_caller = self._named.get(name)
                if of_caller is not None and of_caller.say(resource, lookup):
                    return True
        return any(one.applies(resource, caller, lookup) for one in self._others)


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said about one action."""

    denials: _Statements
    permissions: _Statements
    asks_for_tags: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that has been checked."""

    statements: tuple[Statement, ...]
    _said: dict[Action | TokenAction, _Said] = field(
        default_factory=dict, compare=False, repr=False
    )

    def effect(
        self, action: Action | TokenAction, resource: str, caller: Caller, lookup: Lookup
    ) -> Effect:
        """What it says of an action on `bucket` or `bucket/key`."""
        said = self._said.get(action) or self._about(action)
        if said.denials.say(resource, caller, lookup):
            return Effect.DENY
        if said.permissions.say(resource, caller, lookup):
            return Effect.ALLOW
        return Effect.NOTHING

    def permits(
        self, action: Action | TokenAction, resource: str, caller: Caller, lookup: Lookup
    ) -> bool:
        """Whether it allows that, leaving aside what it denies."""
        said = self._said.get(action) or self._about(action)
        return said.permissions.say(resource, caller, lookup)

    def asks_for_tags(self, action: Action) -> bool:
        """Whether the answer may depend on the tags that an object has."""
        return (self._said.get(action) or self._about(action)).asks_for_tags

    def _about(self, action: Action | TokenAction) -> _Said:
        name = action.value.lower()
        about = [statement for statement in self.statements if statement.is_about(name)]
        said = _Said(
            denials=_Statements(one for one in about if one.effect is Effect.DENY),
            permissions=_Statements(one for one in about if one.effect is Effect.ALLOW),
            asks_for_tags=any(_asks_for_tags(one) for one in about),
        )
        self._said[action] = said
        return said


def _asks_for_tags(statement: Statement) -> bool:
    if any(test.key.startswith("s3:existingobjecttag/") for test in statement.tests):
        return True
    # A variable may stand anywhere, and be a tag.
    return any(isinstance(one, Template) for one in statement.resources) or any(
        "${" in value for _, _, values in statement.raw_tests for value in values
    )
