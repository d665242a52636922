"""Tenants, users, groups, access keys, policies and roles, for the admin port: commands with fields
of text, answers as documents.

Not for deciding what anybody may do with S3. A secret is in the one answer that makes its access
key, and in no other.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches

from gateway.admin.access_documents import (
    group_document,
    key_document,
    last_use_of,
    new_key_document,
    policy_document,
    provider_document,
    tenant_document,
    user_document,
)
from gateway.admin.outlook import Document
from gateway.meta.accounts import AccessKey
from gateway.meta.identities import Role
from gateway.model.action import Action
from gateway.model.errors import MalformedPolicy
from gateway.model.names import TenantId
from gateway.objects import attachments, providers, tenancy, users
from gateway.objects.attachments import Holder
from gateway.objects.bootstrap import read_root
from gateway.objects.context import Services
from gateway.objects.who_may import who_may
from storaged.base.errors import Kind, StorageError

_OF_OBJECT = (Action.GET_OBJECT, Action.PUT_OBJECT, Action.DELETE_OBJECT)
_OF_BUCKET = (Action.LIST_BUCKET, Action.PUT_BUCKET_POLICY, Action.DELETE_BUCKET)

Fields = Mapping[str, str]
Command = Callable[[Fields], Awaitable[Document]]


class AccessCommandInvalid(StorageError):
    """The command is not usable as it is."""

    kind = Kind.INVALID


class AccessDesk:
    """Commands about access, by name: `tenant create`, `user list` and so on."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.commands: dict[str, Command] = {
            "tenant create": self._create_tenant,
            "tenant list": self._list_tenants,
            "tenant show": self._show_tenant,
            "tenant disable": lambda fields: self._set_tenant(fields, enabled=False),
            "tenant enable": lambda fields: self._set_tenant(fields, enabled=True),
            "user create": self._create_user,
            "user list": self._list_users,
            "user show": self._show_user,
            "user disable": lambda fields: self._set_user(fields, enabled=False),
            "user enable": lambda fields: self._set_user(fields, enabled=True),
            "user delete": self._delete_user,
            "group create": self._create_group,
            "group list": self._list_groups,
            "group delete": self._delete_group,
            "group add": lambda fields: self._set_member(fields, is_member=True),
            "group remove": lambda fields: self._set_member(fields, is_member=False),
            "access-key create": self._create_key,
            "access-key rotate": self._rotate_key,
            "access-key list": self._list_keys,
            "access-key disable": lambda fields: self._set_key(fields, enabled=False),
            "access-key enable": lambda fields: self._set_key(fields, enabled=True),
            "access-key delete": self._delete_key,
            "policy put": self._put_policy,
            "policy list": self._list_policies,
            "policy show": self._show_policy,
            "policy delete": self._delete_policy,
            "policy attach": lambda fields: self._attach(fields, is_attached=True),
            "policy detach": lambda fields: self._attach(fields, is_attached=False),
            "role put": self._put_role,
            "role list": self._list_roles,
            "role show": self._show_role,
            "role delete": self._delete_role,
            "right who": self._who_may,
            "identity-provider put": self._put_provider,
            "identity-provider list": self._list_providers,
            "identity-provider delete": self._delete_provider,
        }

    async def run(self, command: str, fields: Fields) -> Document:
        """Do it. Raises: AccessCommandInvalid, as the use cases."""
        found = self.commands.get(command)
        if found is None:
            raise AccessCommandInvalid(command=command[:64])
        try:
            return await found(fields)
        except MalformedPolicy as error:
            raise AccessCommandInvalid(reason=str(error.fields.get("message", error))) from error

    def _tenant(self, fields: Fields) -> TenantId:
        """The tenant that is named; without a name, that of the cluster's root."""
        named = fields.get("tenant", "")
        if not named:
            root = read_root(self._services.log, self._services.records)
            if root is not None:
                return root.tenant
            raise AccessCommandInvalid(reason="name a tenant")
        return tenancy.find_tenant(self._services, named).tenant_id

    async def _create_tenant(self, fields: Fields) -> Document:
        tenant, key = await tenancy.create_tenant(self._services, _needed(fields, "name"))
        return {"tenant": tenant_document(tenant), "access_key": new_key_document(key)}

    async def _list_tenants(self, fields: Fields) -> Document:
        return {"tenants": [tenant_document(one) for one in tenancy.tenants(self._services)]}

    async def _show_tenant(self, fields: Fields) -> Document:
        services = self._services
        tenant = tenancy.find_tenant(services, _needed(fields, "name"))
        tenant_id = tenant.tenant_id
        counts = {
            "users": len(users.users(services, tenant_id)),
            "groups": len(users.groups(services, tenant_id)),
            "policies": len(attachments.policies(services, tenant_id)),
            "roles": len(attachments.roles(services, tenant_id)),
        }
        return {"tenant": {**tenant_document(tenant), **counts}}

    async def _set_tenant(self, fields: Fields, *, enabled: bool) -> Document:
        name = _needed(fields, "name")
        tenant = await tenancy.set_tenant_enabled(self._services, name, enabled=enabled)
        return {"tenant": tenant_document(tenant)}

    async def _create_user(self, fields: Fields) -> Document:
        tags = tuple(sorted(_mapping(fields.get("tags", "{}")).items()))
        user = await users.create_user(
            self._services, self._tenant(fields), _needed(fields, "name"), tags
        )
        return {"user": user_document(user)}

    async def _list_users(self, fields: Fields) -> Document:
        found = users.users(self._services, self._tenant(fields))
        group = fields.get("group", "")
        return {"users": [user_document(one) for one in found if not group or group in one.groups]}

    async def _show_user(self, fields: Fields) -> Document:
        name = _needed(fields, "name")
        return {
            "user": user_document(users.find_user(self._services, self._tenant(fields), name).held)
        }

    async def _set_user(self, fields: Fields, *, enabled: bool) -> Document:
        user = await users.change_user(
            self._services,
            self._tenant(fields),
            _needed(fields, "name"),
            lambda held: replace(held, enabled=enabled),
        )
        return {"user": user_document(user)}

    async def _delete_user(self, fields: Fields) -> Document:
        name = _needed(fields, "name")
        deleted = await users.delete_user(self._services, self._tenant(fields), name)
        return {"deleted": user_document(deleted)}

    async def _create_group(self, fields: Fields) -> Document:
        name = _needed(fields, "name")
        group = await users.create_group(self._services, self._tenant(fields), name)
        return {"group": group_document(group, [])}

    async def _list_groups(self, fields: Fields) -> Document:
        tenant = self._tenant(fields)
        members: dict[str, list[str]] = {}
        for user in users.users(self._services, tenant):
            for group in user.groups:
                members.setdefault(group, []).append(user.name)
        found = users.groups(self._services, tenant)
        return {"groups": [group_document(one, members.get(one.name, [])) for one in found]}

    async def _delete_group(self, fields: Fields) -> Document:
        name = _needed(fields, "name")
        deleted = await users.delete_group(self._services, self._tenant(fields), name)
        return {"deleted": group_document(deleted, [])}

    async def _set_member(self, fields: Fields, *, is_member: bool) -> Document:
        user = await users.set_member(
            self._services,
            self._tenant(fields),
            _needed(fields, "name"),
            _needed(fields, "user"),
            is_member=is_member,
        )
        return {"user": user_document(user)}

    async def _create_key(self, fields: Fields) -> Document:
        key = await users.create_access_key(
            self._services, self._tenant(fields), _needed(fields, "user")
        )
        return {"access_key": new_key_document(key)}

    async def _rotate_key(self, fields: Fields) -> Document:
        """A second key beside the one that is to go. Raises: AccessCommandInvalid: it has two."""
        tenant, user = self._tenant(fields), _needed(fields, "user")
        held = [self._used_key(key) for key in users.access_keys(self._services, tenant, user)]
        if len(held) > 1:
            told = "; ".join(last_use_of(one) for one in held)
            raise AccessCommandInvalid(reason=f"two keys are live (last use), delete one: {told}")
        key = await users.create_access_key(self._services, tenant, user)
        return {"access_key": new_key_document(key), "former": held}

    def _used_key(self, key: AccessKey) -> Document:
        uses = self._services.credentials.uses
        return {**key_document(key), "last_used_at_ms": uses.get(key.access_key_id, 0)}

    async def _list_keys(self, fields: Fields) -> Document:
        tenant = self._tenant(fields)
        named = fields.get("user", "")
        names = (
            [named] if named else ["root", *(o.name for o in users.users(self._services, tenant))]
        )
        found = [key for name in names for key in users.access_keys(self._services, tenant, name)]
        return {"access_keys": [self._used_key(key) for key in found]}

    async def _set_key(self, fields: Fields, *, enabled: bool) -> Document:
        key = await users.set_access_key_enabled(
            self._services, _needed(fields, "access_key_id"), enabled=enabled
        )
        return {"access_key": key_document(key)}

    async def _delete_key(self, fields: Fields) -> Document:
        key = await users.delete_access_key(self._services, _needed(fields, "access_key_id"))
        return {"deleted": key_document(key)}

    async def _put_policy(self, fields: Fields) -> Document:
        policy = await attachments.put_policy(
            self._services, self._tenant(fields), _needed(fields, "name"), _needed(fields, "text")
        )
        return {"policy": policy_document(policy)}

    async def _list_policies(self, fields: Fields) -> Document:
        found = attachments.policies(self._services, self._tenant(fields))
        return {"policies": [policy_document(one) for one in found]}

    async def _show_policy(self, fields: Fields) -> Document:
        tenant, name = self._tenant(fields), _needed(fields, "name")
        policy = attachments.find_policy(self._services, tenant, name).held
        holders = attachments.holders_of(self._services, tenant, name)
        return {"policy": {**policy_document(policy), "text": policy.text, "attached": holders}}

    async def _delete_policy(self, fields: Fields) -> Document:
        name = _needed(fields, "name")
        deleted = await attachments.delete_policy(self._services, self._tenant(fields), name)
        return {"deleted": policy_document(deleted)}

    async def _attach(self, fields: Fields, *, is_attached: bool) -> Document:
        kinds: list[Holder] = ["user", "group", "role"]
        named = [(kind, fields[kind]) for kind in kinds if fields.get(kind)]
        if len(named) != 1:
            raise AccessCommandInvalid(reason="name one user, one group or one role")
        kind, holder = named[0]
        names = await attachments.set_attached(
            self._services,
            self._tenant(fields),
            _needed(fields, "name"),
            kind,
            holder,
            is_attached=is_attached,
        )
        return {"attached": {"kind": kind, "name": holder, "policies": list(names)}}

    async def _put_role(self, fields: Fields) -> Document:
        session_s = fields.get("session_s", "") or str(attachments.SESSION_S_DEFAULT)
        if not (session_s.isascii() and session_s.isdigit()) or len(session_s) > 6:
            raise AccessCommandInvalid(reason="session_s is a number of seconds")
        role = await attachments.put_role(
            self._services,
            self._tenant(fields),
            _needed(fields, "name"),
            _needed(fields, "trust"),
            int(session_s),
        )
        return {"role": self._role_document(role)}

    async def _list_roles(self, fields: Fields) -> Document:
        found = attachments.roles(self._services, self._tenant(fields))
        return {"roles": [self._role_document(one) for one in found]}

    async def _show_role(self, fields: Fields) -> Document:
        tenant, name = self._tenant(fields), _needed(fields, "name")
        role = attachments.find_role(self._services, tenant, name).held
        return {"role": {**self._role_document(role), "trust": role.trust}}

    async def _delete_role(self, fields: Fields) -> Document:
        name = _needed(fields, "name")
        deleted = await attachments.delete_role(self._services, self._tenant(fields), name)
        return {"deleted": self._role_document(deleted)}

    async def _who_may(self, fields: Fields) -> Document:
        bucket, key = _needed(fields, "bucket"), fields.get("key", "")
        named = [one for one in fields.get("actions", "").split("\n") if one]
        known = [action.value for action in Action]
        for one in named:
            if one not in known:
                near = get_close_matches(f"s3:{one.removeprefix('s3:')}", known, 1)
                example = near[0] if near else Action.GET_OBJECT.value
                raise AccessCommandInvalid(reason=f"{one[:64]} is no action, as {example} is one")
        actions = [Action(one) for one in named] or list(_OF_OBJECT if key else _OF_BUCKET)
        found = [
            {
                "tenant": one.tenant,
                "kind": one.kind,
                "name": one.name,
                "actions": [action.value for action in one.actions],
            }
            async for one in who_may(self._services, bucket, key, actions)
        ]
        return {"bucket": bucket, "key": key, "asked": [a.value for a in actions], "who": found}

    async def _put_provider(self, fields: Fields) -> Document:
        provider = await providers.put_provider(
            self._services,
            self._tenant(fields),
            _needed(fields, "name"),
            _needed(fields, "issuer"),
            tuple(_needed(fields, "audiences").split("\n")),
            _needed(fields, "jwks"),
        )
        return {"identity_provider": provider_document(provider)}

    async def _list_providers(self, fields: Fields) -> Document:
        found = providers.providers(self._services, self._tenant(fields))
        return {"identity_providers": [provider_document(one) for one in found]}

    async def _delete_provider(self, fields: Fields) -> Document:
        name = _needed(fields, "name")
        deleted = await providers.delete_provider(self._services, self._tenant(fields), name)
        return {"deleted": provider_document(deleted)}

    def _role_document(self, role: Role) -> Document:
        owner_id = self._services.identities.of_tenant(role.tenant).owner_id
        return {
            "name": role.name,
            "role_id": role.role_id,
            "arn": f"arn:aws:iam::{owner_id}:role/{role.name}",
            "created_at_ms": role.created_at_ms,
            "session_s_max": role.session_s_max,
            "policies": list(role.policies),
        }


def _needed(fields: Fields, name: str) -> str:
    value = fields.get(name, "")
    if not value:
        raise AccessCommandInvalid(reason=f"{name} is needed")
    return value


def _mapping(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise AccessCommandInvalid(reason="tags are no JSON") from error
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise AccessCommandInvalid(reason="tags are no object of texts")
    if any(not key or len(key) > 128 or len(value) > 256 for key, value in found.items()):
        raise AccessCommandInvalid(reason="a tag is too long")
    return found
