"""What the admin port tells of tenants, users, access keys and policies."""

from __future__ import annotations

from gateway.admin.outlook import Document
from gateway.meta.accounts import AccessKey, Tenant
from gateway.meta.identities import Group, IdentityProvider, NamedPolicy, User
from gateway.objects.web_identity import public_keys
from gateway.terminal.times import moment


def tenant_document(tenant: Tenant) -> Document:
    """A tenant."""
    return {
        "name": tenant.name,
        "tenant_id": tenant.tenant_id.hex(),
        "owner_id": tenant.owner_id,
        "created_at_ms": tenant.created_at_ms,
        "enabled": tenant.enabled,
    }


def user_document(user: User) -> Document:
    """A user."""
    return {
        "name": user.name,
        "user_id": user.user_id,
        "created_at_ms": user.created_at_ms,
        "enabled": user.enabled,
        "access_keys": list(user.access_keys),
        "groups": list(user.groups),
        "policies": list(user.policies),
        "tags": dict(user.tags),
    }


def group_document(group: Group, members: list[str]) -> Document:
    """A group and who is in it."""
    return {
        "name": group.name,
        "group_id": group.group_id,
        "created_at_ms": group.created_at_ms,
        "policies": list(group.policies),
        "members": members,
    }


def key_document(key: AccessKey) -> Document:
    """An access key without its secret."""
    return {
        "access_key_id": key.access_key_id,
        "user": key.user,
        "created_at_ms": key.created_at_ms,
        "enabled": key.enabled,
    }


def last_use_of(key: Document) -> str:
    """An access key and when it last proved itself ("-": never), in no language."""
    at_ms = key["last_used_at_ms"]
    when = moment(at_ms) if at_ms else "-"
    return f"{key['access_key_id']} ({when})"


def new_key_document(key: AccessKey) -> Document:
    """An access key with its secret, which is told this once."""
    return {**key_document(key), "secret": key.secret}


def policy_document(policy: NamedPolicy) -> Document:
    """A policy without its text."""
    return {
        "name": policy.name,
        "created_at_ms": policy.created_at_ms,
        "updated_at_ms": policy.updated_at_ms,
        "characters": len(policy.text),
    }


def provider_document(provider: IdentityProvider) -> Document:
    """An identity provider, with the names of its keys."""
    return {
        "name": provider.name,
        "issuer": provider.issuer,
        "audiences": list(provider.audiences),
        "keys": sorted(public_keys(provider.jwks)),
        "created_at_ms": provider.created_at_ms,
    }
