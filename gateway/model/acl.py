"""Access control lists: canned ones, what a permission allows, who is public.

Not for syntax, nor for who owns what. Groups come before users in every list made here.

Source: Amazon S3 User Guide, "Access control list (ACL) overview", "Controlling ownership of
objects and disabling ACLs for your bucket".
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from gateway.model.action import Action
from gateway.model.attributes import Grant

USER, GROUP = "CanonicalUser", "Group"
FULL_CONTROL, READ, WRITE = "FULL_CONTROL", "READ", "WRITE"
READ_ACP, WRITE_ACP = "READ_ACP", "WRITE_ACP"
PERMISSIONS = frozenset({FULL_CONTROL, READ, WRITE, READ_ACP, WRITE_ACP})
GRANTS_MAX = 100

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
GROUPS = frozenset({ALL_USERS, AUTHENTICATED, LOG_DELIVERY})
PUBLIC_GROUPS = frozenset({ALL_USERS, AUTHENTICATED})

# Owner of what somebody wrote who has not signed, as AWS names it.
ANONYMOUS_ID = "65a011a29cdf8ec533ec3d1ccaae921c"


class Ownership(StrEnum):
    """Who owns what is written to a bucket; ACLs have a meaning unless ENFORCED."""

    ENFORCED = "BucketOwnerEnforced"
    PREFERRED = "BucketOwnerPreferred"
    WRITER = "ObjectWriter"


class Canned(StrEnum):
    """ACLs that have a name."""

    PRIVATE = "private"
    PUBLIC_READ = "public-read"
    PUBLIC_READ_WRITE = "public-read-write"
    AUTHENTICATED_READ = "authenticated-read"
    AWS_EXEC_READ = "aws-exec-read"
    LOG_DELIVERY_WRITE = "log-delivery-write"
    BUCKET_OWNER_READ = "bucket-owner-read"
    BUCKET_OWNER_FULL_CONTROL = "bucket-owner-full-control"


BUCKET_CANNED = frozenset(Canned) - {Canned.BUCKET_OWNER_READ, Canned.BUCKET_OWNER_FULL_CONTROL}
OBJECT_CANNED = frozenset(Canned) - {Canned.LOG_DELIVERY_WRITE}

_GROUPS_OF: dict[Canned, tuple[tuple[str, str], ...]] = {
    Canned.PUBLIC_READ: ((ALL_USERS, READ),),
    Canned.PUBLIC_READ_WRITE: ((ALL_USERS, READ), (ALL_USERS, WRITE)),
    Canned.AUTHENTICATED_READ: ((AUTHENTICATED, READ),),
    Canned.LOG_DELIVERY_WRITE: ((LOG_DELIVERY, WRITE), (LOG_DELIVERY, READ_ACP)),
}
_OF_BUCKET_OWNER = {
    Canned.BUCKET_OWNER_READ: READ,
    Canned.BUCKET_OWNER_FULL_CONTROL: FULL_CONTROL,
}

_BUCKET_PERMISSION: dict[Action, str] = {
    Action.LIST_BUCKET: READ,
    Action.LIST_BUCKET_VERSIONS: READ,
    Action.LIST_BUCKET_MULTIPART_UPLOADS: READ,
    Action.PUT_OBJECT: WRITE,
    Action.DELETE_OBJECT: WRITE,
    Action.ABORT_MULTIPART_UPLOAD: WRITE,
    Action.LIST_MULTIPART_UPLOAD_PARTS: WRITE,
    Action.GET_BUCKET_ACL: READ_ACP,
    Action.PUT_BUCKET_ACL: WRITE_ACP,
}
_OBJECT_PERMISSION: dict[Action, str] = {
    Action.GET_OBJECT: READ,
    Action.GET_OBJECT_VERSION: READ,
    Action.GET_OBJECT_ATTRIBUTES: READ,
    Action.GET_OBJECT_VERSION_ATTRIBUTES: READ,
    Action.GET_OBJECT_ACL: READ_ACP,
    Action.GET_OBJECT_VERSION_ACL: READ_ACP,
    Action.PUT_OBJECT_ACL: WRITE_ACP,
    Action.PUT_OBJECT_VERSION_ACL: WRITE_ACP,
}


def grants_of(canned: Canned, owner_id: str, bucket_owner_id: str) -> tuple[Grant, ...]:
    """The grants of a canned ACL; () where the owner has everything and nobody else anything."""
    owner = Grant(kind=USER, grantee=owner_id, permission=FULL_CONTROL)
    groups = _GROUPS_OF.get(canned, ())
    permission = _OF_BUCKET_OWNER.get(canned)
    if permission is not None and bucket_owner_id != owner_id:
        return (owner, Grant(kind=USER, grantee=bucket_owner_id, permission=permission))
    if not groups:
        return ()
    return (*(Grant(kind=GROUP, grantee=uri, permission=one) for uri, one in groups), owner)


def in_order(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """Groups first, otherwise as given."""
    return tuple(sorted(grants, key=lambda grant: grant.kind != GROUP))


def written_out(grants: tuple[Grant, ...], owner_id: str) -> tuple[Grant, ...]:
    """What is printed of stored grants."""
    return grants or (Grant(kind=USER, grantee=owner_id, permission=FULL_CONTROL),)


def is_public(grants: Iterable[Grant]) -> bool:
    """Whether a grant is for everybody, or everybody with an account anywhere."""
    return any(grant.kind == GROUP and grant.grantee in PUBLIC_GROUPS for grant in grants)


def bucket_permission(action: Action) -> str | None:
    """What an ACL of a bucket must grant for an action; None: no ACL grants it."""
    return _BUCKET_PERMISSION.get(action)


def object_permission(action: Action) -> str | None:
    """What an ACL of an object must grant for an action; None: no ACL grants it."""
    return _OBJECT_PERMISSION.get(action)


def grants(
    held: Iterable[Grant], permission: str, caller_id: str | None, *, ignores_public: bool
) -> bool:
    """Whether one of the grants gives a caller a permission.

    Args:
        caller_id: canonical id; None for who has not signed.
        ignores_public: grants to everybody count for nothing.
    """
    for grant in held:
        if grant.permission not in (permission, FULL_CONTROL):
            continue
        if grant.kind == USER:
            if grant.grantee == caller_id:
                return True
        elif not ignores_public and (
            grant.grantee == ALL_USERS or (grant.grantee == AUTHENTICATED and caller_id is not None)
        ):
            return True
    return False


def gives_bucket_owner_everything(held: Iterable[Grant], bucket_owner_id: str) -> bool:
    """Whether grants are what bucket-owner-full-control says, and nothing else."""
    listed = list(held)
    return bool(listed) and all(
        grant.kind == USER and grant.grantee == bucket_owner_id and grant.permission == FULL_CONTROL
        for grant in listed
    )
