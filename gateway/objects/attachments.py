"""Policies of a tenant, whom they are attached to, and its roles.

Not for what policies say (`model.policy_identity`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from gateway.meta.identities import GROUPS, POLICIES, ROLES, USERS, NamedPolicy, Role, Stored
from gateway.meta.kv import Check, Write
from gateway.model.identity_names import (
    ATTACHED_MAX,
    POLICIES_MAX,
    ROLES_MAX,
    checked_name,
    checked_policy_name,
)
from gateway.model.names import TenantId
from gateway.model.policy_identity import parse_identity_policy, parse_trust_policy
from gateway.objects.context import Services
from gateway.objects.tenancy import (
    IdentityInUse,
    IdentityLimit,
    NoSuchIdentity,
    Step,
    change,
    new_id,
)
from gateway.objects.users import find_group, find_user
from storaged.base.errors import Kind, StorageError

ROLE_ID_PREFIX = "HXR"
SESSION_S_MIN = 900
SESSION_S_DEFAULT = 3600
SESSION_S_MAX = 43_200

Holder = Literal["user", "group", "role"]


class SessionTimeInvalid(StorageError):
    """No session of a role may last that long."""

    kind = Kind.INVALID
    hint = f"{SESSION_S_MIN} to {SESSION_S_MAX} seconds"


def policies(services: Services, tenant: TenantId) -> list[NamedPolicy]:
    """Policies of a tenant, by name. Raises: RowCorrupt."""
    return [one.held for one in POLICIES.scan(services.log, services.records, tenant)]


def find_policy(services: Services, tenant: TenantId, name: str) -> Stored[NamedPolicy]:
    """A policy. Raises: NoSuchIdentity."""
    found = POLICIES.read(services.log, services.records, tenant, name)
    if found is None:
        raise NoSuchIdentity(policy=name[:128])
    return found


def holders_of(services: Services, tenant: TenantId, name: str) -> dict[Holder, list[str]]:
    """Whom a policy is attached to. Raises: RowCorrupt."""
    log, records = services.log, services.records
    return {
        "user": [o.held.name for o in USERS.scan(log, records, tenant) if name in o.held.policies],
        "group": [
            o.held.name for o in GROUPS.scan(log, records, tenant) if name in o.held.policies
        ],
        "role": [o.held.name for o in ROLES.scan(log, records, tenant) if name in o.held.policies],
    }


async def put_policy(services: Services, tenant: TenantId, name: str, text: str) -> NamedPolicy:
    """Set a policy; whom it is attached to, it is attached to still.

    Raises: IdentityNameInvalid, MalformedPolicy, IdentityLimit.
    """
    checked_policy_name(name)
    parse_identity_policy(text)
    log, records = services.log, services.records
    is_full = len(POLICIES.scan(log, records, tenant)) >= POLICIES_MAX
    if is_full and POLICIES.read(log, records, tenant, name) is None:
        raise IdentityLimit(policies_max=POLICIES_MAX)

    def decide() -> tuple[Step, NamedPolicy]:
        held = POLICIES.read(log, records, tenant, name)
        now_ms = services.env.now_ms()
        policy = NamedPolicy(
            tenant=tenant,
            name=name,
            created_at_ms=now_ms if held is None else held.held.created_at_ms,
            updated_at_ms=now_ms,
            text=text,
        )
        write = POLICIES.set(records, services.nonces, policy)
        check = Check(write.key, None if held is None else held.revision)
        return Step((check,), (write,)), policy

    return await change(services, decide)


async def delete_policy(services: Services, tenant: TenantId, name: str) -> NamedPolicy:
    """Drop a policy that is attached to nobody. Raises: NoSuchIdentity, IdentityInUse."""

    def decide() -> tuple[Step, NamedPolicy]:
        stored = find_policy(services, tenant, name)
        for kind, holders in holders_of(services, tenant, name).items():
            if holders:
                raise IdentityInUse(policy=name, attached_to=f"{kind} {holders[0]}")
        drop = POLICIES.drop(tenant, name)
        return Step((Check(drop.key, stored.revision),), (drop,)), stored.held

    return await change(services, decide)


async def set_attached(
    services: Services,
    tenant: TenantId,
    policy: str,
    kind: Holder,
    holder: str,
    *,
    is_attached: bool,
) -> tuple[str, ...]:
    """Attach a policy to somebody, or detach it. Returns the names of all that are attached.

    Raises: NoSuchIdentity, IdentityLimit.
    """

    def decide() -> tuple[Step, tuple[str, ...]]:
        stored_policy = find_policy(services, tenant, policy)
        write, revision, names = _edited(services, tenant, policy, kind, holder, is_attached)
        # A policy that is being deleted is attached to nobody: its row is set as it was read.
        again = POLICIES.set(services.records, services.nonces, stored_policy.held)
        checks = (Check(write.key, revision), Check(again.key, stored_policy.revision))
        return Step(checks, (write, again)), names

    return await change(services, decide)


def _edited(
    services: Services, tenant: TenantId, policy: str, kind: Holder, holder: str, is_attached: bool
) -> tuple[Write, bytes, tuple[str, ...]]:
    """The write that attaches or detaches, the revision it goes by, and the names after it."""
    records, nonces = services.records, services.nonces

    def named(held: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(one for one in held if one != policy)
        if is_attached:
            names = (*names, policy)
        if len(names) > ATTACHED_MAX:
            raise IdentityLimit(attached_max=ATTACHED_MAX)
        return names

    if kind == "user":
        user = find_user(services, tenant, holder)
        names = named(user.held.policies)
        return USERS.set(records, nonces, replace(user.held, policies=names)), user.revision, names
    if kind == "group":
        group = find_group(services, tenant, holder)
        names = named(group.held.policies)
        edited = replace(group.held, policies=names)
        return GROUPS.set(records, nonces, edited), group.revision, names
    role = find_role(services, tenant, holder)
    names = named(role.held.policies)
    return ROLES.set(records, nonces, replace(role.held, policies=names)), role.revision, names


def roles(services: Services, tenant: TenantId) -> list[Role]:
    """Roles of a tenant, by name. Raises: RowCorrupt."""
    return [one.held for one in ROLES.scan(services.log, services.records, tenant)]


def find_role(services: Services, tenant: TenantId, name: str) -> Stored[Role]:
    """A role. Raises: NoSuchIdentity."""
    found = ROLES.read(services.log, services.records, tenant, name)
    if found is None:
        raise NoSuchIdentity(role=name[:64])
    return found


async def put_role(
    services: Services,
    tenant: TenantId,
    name: str,
    trust: str,
    session_s_max: int = SESSION_S_DEFAULT,
) -> Role:
    """Make a role, or set who may become it. Sessions of it that are there go on.

    Raises: IdentityNameInvalid, MalformedPolicy, SessionTimeInvalid, IdentityLimit.
    """
    checked_name(name)
    parse_trust_policy(trust)
    if not SESSION_S_MIN <= session_s_max <= SESSION_S_MAX:
        raise SessionTimeInvalid(session_s=session_s_max)
    log, records = services.log, services.records
    is_full = len(ROLES.scan(log, records, tenant)) >= ROLES_MAX
    if is_full and ROLES.read(log, records, tenant, name) is None:
        raise IdentityLimit(roles_max=ROLES_MAX)
    fresh = Role(
        tenant=tenant,
        name=name,
        role_id=new_id(services.env, ROLE_ID_PREFIX),
        created_at_ms=services.env.now_ms(),
        trust=trust,
        session_s_max=session_s_max,
    )

    def decide() -> tuple[Step, Role]:
        held = ROLES.read(log, records, tenant, name)
        role = fresh
        if held is not None:
            role = replace(held.held, trust=trust, session_s_max=session_s_max)
        write = ROLES.set(records, services.nonces, role)
        check = Check(write.key, None if held is None else held.revision)
        return Step((check,), (write,)), role

    return await change(services, decide)


async def delete_role(services: Services, tenant: TenantId, name: str) -> Role:
    """Drop a role; its sessions are refused. Raises: NoSuchIdentity."""

    def decide() -> tuple[Step, Role]:
        stored = find_role(services, tenant, name)
        drop = ROLES.drop(tenant, name)
        return Step((Check(drop.key, stored.revision),), (drop,)), stored.held

    return await change(services, decide)
