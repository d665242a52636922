"""Administrators: people with a name who run the cluster, their roles, and which of these exclude
each other.

Not for tenants and their users (`gateway.meta.identities`): an administrator has no access key, and
no user is an administrator. Not for what a role may do either: `gateway.admin.routes` says that
route by route.

Source: docs/administrators.md. Requirements: A-01, A-03, A-05.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from gateway.model.second_factor import SecondFactor
from storaged.base.errors import Kind, StorageError

ADMINISTRATORS_MAX = 1000
PERSON_CHARACTERS_MAX = 64  # what a certificate's common name has room for

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?\Z")
# Names that several people could stand behind, or that mean the machine itself.
SHARED_NAMES = frozenset(
    {"admin", "administrator", "everyone", "local-root", "operator", "ops", "root", "shared"}
)


class Role(StrEnum):
    """What an administrator is there for. LOCAL_ROOT is who opens the socket on the gateway's
    machine: nobody can be given it.
    """

    CUSTODIAN = "custodian"
    STORAGE_ADMIN = "storage-admin"
    AUDITOR = "auditor"
    BILLING = "billing"
    TENANT_ADMIN = "tenant-admin"
    LOCAL_ROOT = "local-root"


class LocalRights(StrEnum):
    """What the socket on the gateway's machine is good for."""

    BOOTSTRAP = "bootstrap"  # everything, until there are accounts, and never again
    READ_ONLY = "read-only"
    ALL = "all"


GIVEN_ROLES = frozenset(Role) - {Role.LOCAL_ROOT}

# Each pair that one person cannot hold: who keeps keys, runs nodes, audits or bills does none of
# the others; who lets users in neither keeps keys nor audits it.
EXCLUSIVE: frozenset[frozenset[Role]] = frozenset(
    frozenset(pair)
    for pair in (
        *combinations((Role.CUSTODIAN, Role.STORAGE_ADMIN, Role.AUDITOR, Role.BILLING), 2),
        (Role.TENANT_ADMIN, Role.CUSTODIAN),
        (Role.TENANT_ADMIN, Role.AUDITOR),
    )
)


class AdministratorInvalid(StorageError):
    """No administrator can be described like this."""

    kind = Kind.INVALID


class RolesExcludeEachOther(StorageError):
    """One person cannot hold both roles."""

    kind = Kind.CONFLICT
    hint = "give the role to somebody else, or revoke the other one first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Administrator:
    """One account of one person.

    Args:
        name: of the account, as the certificate's URI has it; never given to somebody else while
            the account is there.
        person: who it is, as the certificate's common name says it.
        certificates_from_ms: older certificates are not taken; 0: all that the CA has made.
        second_factor: None: none is enrolled.
    """

    name: str
    person: str
    roles: frozenset[Role]
    created_at_ms: int
    changed_at_ms: int
    enabled: bool = True
    certificates_from_ms: int = 0
    second_factor: SecondFactor | None = None


def checked_account_name(name: str) -> str:
    """A name for an account. Raises: AdministratorInvalid."""
    if _NAME.match(name) is None:
        raise AdministratorInvalid(
            name=name[:64], reason="a name is 1 to 64 lower-case letters, digits, dots and hyphens"
        )
    if name in SHARED_NAMES:
        raise AdministratorInvalid(
            name=name, reason="that names a function and no person: accounts are one person's"
        )
    return name


def checked_person(person: str) -> str:
    """How somebody is called, white space made single. Raises: AdministratorInvalid."""
    plain = " ".join(unicodedata.normalize("NFC", person).split())
    if not plain or len(plain) > PERSON_CHARACTERS_MAX or not plain.isprintable():
        raise AdministratorInvalid(reason=f"a person is 1 to {PERSON_CHARACTERS_MAX} characters")
    return plain


def checked_roles(names: Iterable[str]) -> frozenset[Role]:
    """Roles by name that one person can hold together. Raises: AdministratorInvalid,
    RolesExcludeEachOther.
    """
    found = set()
    for name in names:
        if name not in GIVEN_ROLES:
            known = ", ".join(sorted(GIVEN_ROLES))
            raise AdministratorInvalid(role=name[:64], reason=f"a role is one of {known}")
        found.add(Role(name))
    check_roles(found)
    return frozenset(found)


def check_roles(roles: Collection[Role]) -> None:
    """Raises: RolesExcludeEachOther."""
    for pair in EXCLUSIVE:
        if pair.issubset(roles):
            raise RolesExcludeEachOther(roles=" and ".join(sorted(pair)))


def is_same_person(one: str, other: str) -> bool:
    """Whether two ways to write a name mean the same person, as far as a text can tell."""
    return _folded(one) == _folded(other)


def check_person(candidate: Administrator, others: Iterable[Administrator]) -> None:
    """Hold what a person would have, over all accounts of theirs, against the exclusive pairs.
    Disabled accounts count: they can be enabled again. Raises: RolesExcludeEachOther.
    """
    roles = set(candidate.roles)
    for other in others:
        if other.name != candidate.name and is_same_person(other.person, candidate.person):
            roles |= other.roles
    check_roles(roles)


def _folded(person: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", person).casefold().split())
