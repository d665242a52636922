"""Who may do something to a bucket or an object: asked of the one place where rights are decided,
for everybody there is.

Not for requests. What a condition asks about a request (its address, its encryption) is unknown
here and counts as not given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

from gateway.meta.records import open_version
from gateway.model.action import Action
from gateway.model.errors import AccessDenied
from gateway.model.identity_names import ROOT_USER
from gateway.objects.attachments import roles
from gateway.objects.context import Context, Principal, Services
from gateway.objects.credentials import principal_of_role, principal_of_user
from gateway.objects.target import current_bucket, read_row
from gateway.objects.tenancy import tenants
from gateway.objects.users import users

CALLERS_MAX = 20_000
PAUSE_AFTER = 100  # callers: requests come between
ANYBODY = "anybody"
ROLE_SESSION = "session"  # the name that sessions of roles are asked with


class Answered(NamedTuple):
    """What one caller may, of what was asked.

    Args:
        kind: root, user, role; anybody: without a signature.
    """

    tenant: str
    kind: str
    name: str
    actions: tuple[Action, ...]


async def who_may(
    services: Services, bucket: str, key: str, actions: Sequence[Action]
) -> AsyncIterator[Answered]:
    """Everybody who may do some of that; `key` "" = to the bucket itself. An object that is not
    there counts as one that is about to be made.

    Raises: NoSuchBucket, KeyTooLong, InvalidArgument, RowCorrupt.
    """
    for count, (tenant, kind, name, principal) in enumerate(_callers(services)):
        if count >= CALLERS_MAX:
            return
        if count % PAUSE_AFTER == PAUSE_AFTER - 1:
            await services.env.sleep(0.0)
        may = tuple(one for one in actions if _may(services, principal, bucket, key, one))
        if may:
            yield Answered(tenant, kind, name, may)


def _callers(services: Services) -> Iterator[tuple[str, str, str, Principal | None]]:
    """(tenant, kind, name, caller) of all who are let in."""
    yield "", ANYBODY, "", None
    source = services.credentials.rights
    for tenant in tenants(services):
        if not tenant.enabled:
            continue
        tenant_id = tenant.tenant_id
        root = Principal(tenant=tenant_id, access_key_id="", owner_id=tenant.owner_id)
        yield tenant.name, ROOT_USER, ROOT_USER, root
        for user in users(services, tenant_id):
            found = source.of_user(tenant_id, user.name)
            if found is not None:
                yield tenant.name, "user", user.name, principal_of_user(tenant, *found)
        for role in roles(services, tenant_id):
            held = source.of_role(tenant_id, role.name)
            if held is not None:
                caller = principal_of_role(tenant, *held, ROLE_SESSION)
                yield tenant.name, "role", role.name, caller


def _may(
    services: Services, principal: Principal | None, bucket: str, key: str, action: Action
) -> bool:
    env = services.env
    ctx = Context(services, principal, env.random_bytes(16), env.monotonic_s())
    try:
        if not key:
            current_bucket(ctx, bucket, action)
            return True
        target, value = read_row(ctx, bucket, key, action)
        if value is not None:
            target.admit(open_version(services.records, target.row_key, value).version)
        elif target.judge is not None:
            target.judge.admit_new()
    except AccessDenied:
        return False
    return True
