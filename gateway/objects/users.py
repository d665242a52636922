"""Users of a tenant, their groups, and their access keys.

Not for what they may do (`objects.attachments`). A user's row has the ids of its access keys, so
that both change in one commit; the keys of a tenant's root are found by a look at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.meta import accounts, keyspace
from gateway.meta.accounts import AccessKey, StoredAccessKey
from gateway.meta.identities import GROUPS, USERS, Group, Stored, User
from gateway.meta.kv import Check, Write
from gateway.model.identity_names import (
    ACCESS_KEYS_MAX,
    GROUPS_MAX,
    GROUPS_OF_USER_MAX,
    ROOT_USER,
    TAGS_MAX,
    USERS_MAX,
    checked_name,
)
from gateway.model.names import TenantId
from gateway.model.quota import Subject
from gateway.model.version import Pairs
from gateway.objects.bootstrap import read_root
from gateway.objects.context import Services
from gateway.objects.credential_rows import stored_form
from gateway.objects.tenancy import (
    AccessKeyLimit,
    IdentityExists,
    IdentityInUse,
    IdentityLimit,
    NoSuchIdentity,
    Step,
    change,
    new_access_key,
    new_id,
)

USER_ID_PREFIX = "HXU"
GROUP_ID_PREFIX = "HXG"
PAGE = 1000


def users(services: Services, tenant: TenantId) -> list[User]:
    """Users of a tenant, by name; without its root. Raises: RowCorrupt."""
    return [one.held for one in USERS.scan(services.log, services.records, tenant)]


def groups(services: Services, tenant: TenantId) -> list[Group]:
    """Groups of a tenant, by name. Raises: RowCorrupt."""
    return [one.held for one in GROUPS.scan(services.log, services.records, tenant)]


def find_user(services: Services, tenant: TenantId, name: str) -> Stored[User]:
    """A user. Raises: NoSuchIdentity."""
    found = USERS.read(services.log, services.records, tenant, name)
    if found is None:
        raise NoSuchIdentity(user=name[:64])
    return found


def find_group(services: Services, tenant: TenantId, name: str) -> Stored[Group]:
    """A group. Raises: NoSuchIdentity."""
    found = GROUPS.read(services.log, services.records, tenant, name)
    if found is None:
        raise NoSuchIdentity(group=name[:64])
    return found


async def create_user(services: Services, tenant: TenantId, name: str, tags: Pairs = ()) -> User:
    """Make a user, who may do nothing until a policy says so.

    Raises: IdentityNameInvalid, IdentityExists, IdentityLimit.
    """
    checked_name(name)
    if len(tags) > TAGS_MAX:
        raise IdentityLimit(tags_max=TAGS_MAX)
    if len(USERS.scan(services.log, services.records, tenant)) >= USERS_MAX:
        raise IdentityLimit(users_max=USERS_MAX)
    user = User(
        tenant=tenant,
        name=name,
        user_id=new_id(services.env, USER_ID_PREFIX),
        created_at_ms=services.env.now_ms(),
        tags=tags,
    )

    def decide() -> tuple[Step, User]:
        if USERS.read(services.log, services.records, tenant, name) is not None:
            raise IdentityExists(user=name)
        write = USERS.set(services.records, services.nonces, user)
        return Step((Check(write.key, None),), (write,)), user

    return await change(services, decide)


async def change_user(
    services: Services, tenant: TenantId, name: str, edit: Callable[[User], User]
) -> User:
    """Set what `edit` makes of a user. Raises: NoSuchIdentity, as `edit`."""

    def decide() -> tuple[Step, User]:
        stored = find_user(services, tenant, name)
        user = edit(stored.held)
        write = USERS.set(services.records, services.nonces, user)
        return Step((Check(write.key, stored.revision),), (write,)), user

    return await change(services, decide)


async def delete_user(services: Services, tenant: TenantId, name: str) -> User:
    """Drop a user and its access keys. Raises: NoSuchIdentity."""

    def decide() -> tuple[Step, User]:
        stored = find_user(services, tenant, name)
        keys = tuple(accounts.drop_access_key(one) for one in stored.held.access_keys)
        drop = USERS.drop(tenant, name)
        return Step((Check(drop.key, stored.revision),), (drop, *keys)), stored.held

    return await change(services, decide)


async def create_group(services: Services, tenant: TenantId, name: str) -> Group:
    """Make a group. Raises: IdentityNameInvalid, IdentityExists, IdentityLimit."""
    checked_name(name)
    if len(GROUPS.scan(services.log, services.records, tenant)) >= GROUPS_MAX:
        raise IdentityLimit(groups_max=GROUPS_MAX)
    group = Group(
        tenant=tenant,
        name=name,
        group_id=new_id(services.env, GROUP_ID_PREFIX),
        created_at_ms=services.env.now_ms(),
    )

    def decide() -> tuple[Step, Group]:
        if GROUPS.read(services.log, services.records, tenant, name) is not None:
            raise IdentityExists(group=name)
        write = GROUPS.set(services.records, services.nonces, group)
        return Step((Check(write.key, None),), (write,)), group

    return await change(services, decide)


async def delete_group(services: Services, tenant: TenantId, name: str) -> Group:
    """Drop a group that nobody is in. Raises: NoSuchIdentity, IdentityInUse."""

    def decide() -> tuple[Step, Group]:
        stored = find_group(services, tenant, name)
        members = [one.name for one in users(services, tenant) if name in one.groups]
        if members:
            raise IdentityInUse(group=name, members=len(members), first=members[0])
        drop = GROUPS.drop(tenant, name)
        return Step((Check(drop.key, stored.revision),), (drop,)), stored.held

    return await change(services, decide)


async def set_member(
    services: Services, tenant: TenantId, group: str, user: str, *, is_member: bool
) -> User:
    """Put a user into a group, or take it out. Raises: NoSuchIdentity, IdentityLimit."""

    def decide() -> tuple[Step, User]:
        in_group = find_group(services, tenant, group)
        stored = find_user(services, tenant, user)
        names = [one for one in stored.held.groups if one != group]
        if is_member:
            names.append(group)
        if len(names) > GROUPS_OF_USER_MAX:
            raise IdentityLimit(groups_max=GROUPS_OF_USER_MAX)
        edited = replace(stored.held, groups=tuple(names))
        write = USERS.set(services.records, services.nonces, edited)
        # A group that is being deleted takes in nobody: its row is checked as it was read.
        checks = (
            Check(write.key, stored.revision),
            Check(GROUPS.row(tenant, group), in_group.revision),
        )
        touched = GROUPS.set(services.records, services.nonces, in_group.held)
        return Step(checks, (write, touched)), edited

    return await change(services, decide)


def access_keys(services: Services, tenant: TenantId, user: str) -> list[AccessKey]:
    """Access keys of a user, or of the root of a tenant. Raises: NoSuchIdentity."""
    if user == ROOT_USER:
        return [stored.access_key for stored in _root_keys(services, tenant)]
    held = [
        accounts.read_access_key(services.log, services.records, one)
        for one in find_user(services, tenant, user).held.access_keys
    ]
    return [stored.access_key for stored in held if stored is not None]


async def create_access_key(services: Services, tenant: TenantId, user: str) -> AccessKey:
    """Make an access key of a user. Raises: NoSuchIdentity, IdentityLimit (it has two)."""
    key = new_access_key(services.env, tenant, user)
    stored_key = stored_form(services.bucket_keys.provider, key)
    write = accounts.set_access_key(services.records, services.nonces, stored_key)
    fresh = Check(write.key, None)

    def decide() -> tuple[Step, AccessKey]:
        if user == ROOT_USER:
            _check_room(services, tenant, len(_root_keys(services, tenant)))
            return Step((fresh,), (write,)), key
        stored = find_user(services, tenant, user)
        _check_room(services, tenant, len(stored.held.access_keys))
        edited = replace(stored.held, access_keys=(*stored.held.access_keys, key.access_key_id))
        of_user = USERS.set(services.records, services.nonces, edited)
        return Step((fresh, Check(of_user.key, stored.revision)), (write, of_user)), key

    async with services.queues.turn(keyspace.tenant_row(tenant)):
        return await change(services, decide)


async def set_access_key_enabled(
    services: Services, access_key_id: str, *, enabled: bool
) -> AccessKey:
    """Take an access key, or no longer. Raises: NoSuchIdentity."""

    def decide() -> tuple[Step, AccessKey]:
        stored = find_access_key(services, access_key_id)
        edited = replace(stored.access_key, enabled=enabled)
        write = accounts.set_access_key(services.records, services.nonces, edited)
        return Step((Check(write.key, stored.revision),), (write,)), edited

    return await change(services, decide)


async def delete_access_key(services: Services, access_key_id: str) -> AccessKey:
    """Drop an access key. Raises: NoSuchIdentity, IdentityInUse (that of the cluster's root)."""

    def decide() -> tuple[Step, AccessKey]:
        stored = find_access_key(services, access_key_id)
        key = stored.access_key
        root = read_root(services.log, services.records)
        if root is not None and root.access_key_id == access_key_id:
            raise IdentityInUse(access_key=access_key_id, reason="the cluster starts with this one")
        drop = accounts.drop_access_key(access_key_id)
        checks = [Check(drop.key, stored.revision)]
        writes: list[Write] = [drop]
        owner = USERS.read(services.log, services.records, key.tenant, key.user)
        if owner is not None:
            left = tuple(one for one in owner.held.access_keys if one != access_key_id)
            edited = replace(owner.held, access_keys=left)
            writes.append(USERS.set(services.records, services.nonces, edited))
            checks.append(Check(writes[-1].key, owner.revision))
        return Step(tuple(checks), tuple(writes)), key

    return await change(services, decide)


def find_access_key(services: Services, access_key_id: str) -> StoredAccessKey:
    """An access key. Raises: NoSuchIdentity."""
    found = None
    if access_key_id.isascii() and 1 <= len(access_key_id) <= 128:
        found = accounts.read_access_key(services.log, services.records, access_key_id)
    if found is None:
        raise NoSuchIdentity(access_key=access_key_id[:64])
    return found


def _check_room(services: Services, tenant: TenantId, held: int) -> None:
    quota = services.quotas.of(Subject.TENANT, tenant).access_keys
    most = ACCESS_KEYS_MAX if quota is None else min(quota, ACCESS_KEYS_MAX)
    if held >= most:
        raise AccessKeyLimit(access_keys_max=most)


def _root_keys(services: Services, tenant: TenantId) -> list[StoredAccessKey]:
    found: list[StoredAccessKey] = []
    after: str | None = None
    while True:
        page = accounts.scan_access_keys(services.log, services.records, after, limit=PAGE)
        found += [
            one
            for one in page
            if one.access_key.tenant == tenant and one.access_key.user == ROOT_USER
        ]
        if len(page) < PAGE:
            return found
        after = page[-1].access_key.access_key_id
