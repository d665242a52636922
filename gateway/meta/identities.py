"""Users, groups, roles, policies and identity providers of tenants: typed reads and writes.

Not for what policies say (`gateway.model.policy_document`), nor for secrets of access keys
(`gateway.meta.accounts`): a user's row has the ids of its keys.

Source: docs/data-layout.md, "Accounts".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from gateway.meta import keyspace
from gateway.meta.kv import MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.names import UUID_BYTES, TenantId
from gateway.model.version import Pairs

USER, GROUP, ROLE, POLICY, PROVIDER = b"u", b"g", b"r", b"p", b"i"
ROWS_PER_SCAN = 1000
_NAME_AT = keyspace.HEAD_BYTES + UUID_BYTES + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody in a tenant.

    Args:
        user_id: never given again, not even to another user of the same name.
        access_keys: ids.
        groups, policies: names.
        tags: aws:PrincipalTag/… of policies.
    """

    tenant: TenantId
    name: str
    user_id: str
    created_at_ms: int
    enabled: bool = True
    access_keys: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    tags: Pairs = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Policies that several users share; who is in it, their rows say."""

    tenant: TenantId
    name: str
    group_id: str
    created_at_ms: int
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What somebody may become for a while.

    Args:
        trust: the policy that says who, as it was given.
        session_s_max: how long a session may last.
    """

    tenant: TenantId
    name: str
    role_id: str
    created_at_ms: int
    trust: str
    session_s_max: int
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPolicy:
    """A policy that can be attached; `text` as it was given."""

    tenant: TenantId
    name: str
    created_at_ms: int
    updated_at_ms: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProvider:
    """Somebody whose signed tokens say who their holder is.

    Args:
        issuer: as tokens name it.
        audiences: tokens for others are not taken.
        jwks: its public keys, as they were given.
    """

    tenant: TenantId
    name: str
    created_at_ms: int
    issuer: str
    audiences: tuple[str, ...]
    jwks: str


Entity = TypeVar("Entity", User, Group, Role, NamedPolicy, IdentityProvider)


class Stored(NamedTuple, Generic[Entity]):
    """What a row says, and its revision."""

    held: Entity
    revision: bytes


class Family(Generic[Entity]):
    """Rows of one kind."""

    def __init__(
        self,
        kind: bytes,
        to_document: Callable[[Entity], dict[str, object]],
        of_document: Callable[[TenantId, str, dict[str, Any]], Entity],
    ) -> None:
        self._kind = kind
        self._to_document: Callable[[Entity], dict[str, object]] = to_document
        self._of_document: Callable[[TenantId, str, dict[str, Any]], Entity] = of_document

    def row(self, tenant: TenantId, name: str) -> bytes:
        """The row key of a name."""
        return keyspace.identity_row(tenant, self._kind, name)

    def read(
        self, store: MetaStore, keys: RecordKeys, tenant: TenantId, name: str
    ) -> Stored[Entity] | None:
        """The one of a name. Raises: RowCorrupt."""
        row_key = self.row(tenant, name)
        value = store.read((row_key,))[0]
        return None if value is None else self.open(keys, tenant, row_key, value)

    def scan(self, store: MetaStore, keys: RecordKeys, tenant: TenantId) -> list[Stored[Entity]]:
        """All of a tenant, by name. Raises: RowCorrupt."""
        found: list[Stored[Entity]] = []
        start, end = keyspace.identity_range(tenant, self._kind)
        while True:
            rows = store.scan(start, end, limit=ROWS_PER_SCAN)
            found += [self.open(keys, tenant, row.key, row.value) for row in rows]
            if len(rows) < ROWS_PER_SCAN:
                return found
            start = keyspace.after(rows[-1].key)

    def open(
        self, keys: RecordKeys, tenant: TenantId, row_key: bytes, value: bytes
    ) -> Stored[Entity]:
        """What a row says. Raises: RowCorrupt."""
        document = open_document(keys, row_key, value)
        try:
            held = self._of_document(tenant, row_key[_NAME_AT:].decode(), document)
        except (KeyError, ValueError, TypeError) as error:
            raise RowCorrupt(row_key=row_key.hex(), part="structure") from error
        return Stored(held, revision_of(value))

    def set(self, keys: RecordKeys, nonces: NonceSource, held: Entity) -> Write:
        """Write that sets a row."""
        row_key = self.row(held.tenant, held.name)
        return Write(row_key, seal_document(keys, nonces, row_key, self._to_document(held)))

    def drop(self, tenant: TenantId, name: str) -> Write:
        """Write that drops a row."""
        return Write(self.row(tenant, name), None)


def _user_document(user: User) -> dict[str, object]:
    return {
        "user_id": user.user_id,
        "created_at_ms": user.created_at_ms,
        "enabled": user.enabled,
        "access_keys": list(user.access_keys),
        "groups": list(user.groups),
        "policies": list(user.policies),
        "tags": [list(pair) for pair in user.tags],
    }


def _user_of(tenant: TenantId, name: str, held: dict[str, Any]) -> User:
    return User(
        tenant=tenant,
        name=name,
        user_id=held["user_id"],
        created_at_ms=held["created_at_ms"],
        enabled=held["enabled"],
        access_keys=tuple(held["access_keys"]),
        groups=tuple(held["groups"]),
        policies=tuple(held["policies"]),
        tags=tuple((key, value) for key, value in held["tags"]),
    )


def _group_document(group: Group) -> dict[str, object]:
    return {
        "group_id": group.group_id,
        "created_at_ms": group.created_at_ms,
        "policies": list(group.policies),
    }


def _group_of(tenant: TenantId, name: str, held: dict[str, Any]) -> Group:
    return Group(
        tenant=tenant,
        name=name,
        group_id=held["group_id"],
        created_at_ms=held["created_at_ms"],
        policies=tuple(held["policies"]),
    )


def _role_document(role: Role) -> dict[str, object]:
    return {
        "role_id": role.role_id,
        "created_at_ms": role.created_at_ms,
        "trust": role.trust,
        "session_s_max": role.session_s_max,
        "policies": list(role.policies),
    }


def _role_of(tenant: TenantId, name: str, held: dict[str, Any]) -> Role:
    return Role(
        tenant=tenant,
        name=name,
        role_id=held["role_id"],
        created_at_ms=held["created_at_ms"],
        trust=held["trust"],
        session_s_max=held["session_s_max"],
        policies=tuple(held["policies"]),
    )


def _policy_document(policy: NamedPolicy) -> dict[str, object]:
    return {
        "created_at_ms": policy.created_at_ms,
        "updated_at_ms": policy.updated_at_ms,
        "text": policy.text,
    }


def _policy_of(tenant: TenantId, name: str, held: dict[str, Any]) -> NamedPolicy:
    return NamedPolicy(
        tenant=tenant,
        name=name,
        created_at_ms=held["created_at_ms"],
        updated_at_ms=held["updated_at_ms"],
        text=held["text"],
    )


def _provider_document(provider: IdentityProvider) -> dict[str, object]:
    return {
        "created_at_ms": provider.created_at_ms,
        "issuer": provider.issuer,
        "audiences": list(provider.audiences),
        "jwks": provider.jwks,
    }


def _provider_of(tenant: TenantId, name: str, held: dict[str, Any]) -> IdentityProvider:
    return IdentityProvider(
        tenant=tenant,
        name=name,
        created_at_ms=held["created_at_ms"],
        issuer=held["issuer"],
        audiences=tuple(held["audiences"]),
        jwks=held["jwks"],
    )


USERS: Family[User] = Family(USER, _user_document, _user_of)
GROUPS: Family[Group] = Family(GROUP, _group_document, _group_of)
ROLES: Family[Role] = Family(ROLE, _role_document, _role_of)
POLICIES: Family[NamedPolicy] = Family(POLICY, _policy_document, _policy_of)
PROVIDERS: Family[IdentityProvider] = Family(PROVIDER, _provider_document, _provider_of)
