"""What the admin port answers about tenants, as types: see `gateway.admin.answer_shapes`, of which
this is a part.
"""

from __future__ import annotations

from typing import TypedDict

from gateway.admin.answer_shapes import Row

# Tenants, users, policies


class OneTenant(TypedDict):
    """A tenant."""

    tenant: Row


class NewTenant(TypedDict):
    """A tenant and the access key of its root, whose secret is told this once."""

    tenant: Row
    access_key: Row


class Tenants(TypedDict):
    """All tenants."""

    tenants: list[Row]


class OneUser(TypedDict):
    """A user."""

    user: Row


class Users(TypedDict):
    """Users of a tenant."""

    users: list[Row]


class OneGroup(TypedDict):
    """A group."""

    group: Row


class Groups(TypedDict):
    """Groups of a tenant."""

    groups: list[Row]


class Deleted(TypedDict):
    """What is gone."""

    deleted: Row


class OneAccessKey(TypedDict):
    """An access key; with its secret only where it was made."""

    access_key: Row


class RotatedAccessKey(TypedDict):
    """An access key with its secret, and the one that it takes the place of."""

    access_key: Row
    former: list[Row]


class AccessKeys(TypedDict):
    """Access keys of a tenant or user, without secrets."""

    access_keys: list[Row]


class OnePolicy(TypedDict):
    """A policy."""

    policy: Row


class Policies(TypedDict):
    """Policies of a tenant."""

    policies: list[Row]


class Attached(TypedDict):
    """The policies of a user, a group or a role."""

    attached: Row


class OneRole(TypedDict):
    """A role that users of a tenant may become; no role of an administrator."""

    role: Row


class Roles(TypedDict):
    """Such roles of a tenant."""

    roles: list[Row]


class WhoMay(TypedDict):
    """Who may do something with a bucket or an object."""

    bucket: str
    key: str
    asked: list[str]
    who: list[Row]


class OneProvider(TypedDict):
    """An identity provider of a tenant."""

    identity_provider: Row


class Providers(TypedDict):
    """Identity providers of a tenant."""

    identity_providers: list[Row]


# Usage


class UsageNow(TypedDict):
    """What buckets hold at this moment."""

    usage: list[Row]
    total: Row


class MeteredTime(TypedDict):
    """What buckets used in a time; hours count from 1970."""

    from_hour: int
    to_hour: int
    until_ms: int
    flushed_at_ms: int
    metered: list[Row]
    total: Row


class Hours(TypedDict):
    """The hours from which a statement can be computed again."""

    from_hour: int
    to_hour: int
    until_ms: int
    hours: list[Row]


class Quotas(TypedDict):
    """All limits that are set."""

    quotas: list[Row]
    refused_for_rate: int


class PlanOfTenant(TypedDict):
    """How a tenant pays, and since which hour; all that was in force, the last one last."""

    tenant: str
    tenant_id: str
    kind: str
    since_hour: int
    reserved_bytes: int
    reserved_out_bytes: int
    switching: bool
    changes: list[Row]


# The way in and out


class Transfer(TypedDict):
    """What the way in and out says; the command that drives it knows the rest."""


class Frames(TypedDict):
    """Frames of the way in and out, which are no JSON."""
