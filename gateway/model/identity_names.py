"""Names and limits of tenants, users, groups, roles and policies.

Source: AWS IAM User Guide, "IAM and AWS STS quotas, name requirements, and character limits".
"""

from __future__ import annotations

import re

from storaged.base.errors import Kind, StorageError

ROOT_USER = "root"  # the tenant itself; nobody else can have the name

USERS_MAX = 5000  # of a tenant
GROUPS_MAX = 300
ROLES_MAX = 1000
POLICIES_MAX = 1500
ACCESS_KEYS_MAX = 2  # of a user: one in use, and the next one
GROUPS_OF_USER_MAX = 10
ATTACHED_MAX = 10  # policies of a user, a group or a role
PROVIDERS_MAX = 100
AUDIENCES_MAX = 100  # of an identity provider
TAGS_MAX = 50
IDENTITY_POLICY_CHARACTERS_MAX = 6144  # without white space
TRUST_POLICY_CHARACTERS_MAX = 2048
SESSION_POLICY_CHARACTERS_MAX = 2048

_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}\Z")
_POLICY_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,128}\Z")
_TENANT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.@-]{0,62}[A-Za-z0-9])?\Z")
_SESSION_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}\Z")


class IdentityNameInvalid(StorageError):
    """No tenant, user, group, role or policy can have this name."""

    kind = Kind.INVALID
    hint = "letters, digits and _+=,.@- ; 64 at most, 128 for policies; `root` is taken"


def checked_name(name: str) -> str:
    """A name for a user, a group or a role. Raises: IdentityNameInvalid."""
    if _NAME.match(name) is None or name.lower() == ROOT_USER:
        raise IdentityNameInvalid(name=name[:64])
    return name


def checked_policy_name(name: str) -> str:
    """A name for a policy. Raises: IdentityNameInvalid."""
    if _POLICY_NAME.match(name) is None:
        raise IdentityNameInvalid(name=name[:64])
    return name


def checked_tenant_name(name: str) -> str:
    """A name for a tenant. Raises: IdentityNameInvalid."""
    if _TENANT_NAME.match(name) is None:
        raise IdentityNameInvalid(name=name[:64])
    return name


def is_session_name(name: str) -> bool:
    """Whether a session can be called so."""
    return _SESSION_NAME.match(name) is not None
