"""Sessions that callers ask for: of themselves for a while, or of a role they may become.

Not for the tokens themselves (`objects.sessions`). Whoever asks for a role is trusted by the role's
own policy of trust, and, unless that names the caller, allowed to by a policy of the caller's
account. That there is no such role is told to nobody.

Source: AWS STS API Reference, "AssumeRole", "AssumeRoleWithWebIdentity", "GetSessionToken"; AWS IAM
User Guide, "Policy evaluation logic".
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from gateway.meta.identities import Role
from gateway.model.errors import AccessDenied, InvalidArgument
from gateway.model.identity_names import ROOT_USER, is_session_name
from gateway.model.names import UUID_BYTES, TenantId
from gateway.model.policy import (
    Caller,
    Effect,
    Policy,
    federated_name,
    role_name,
    root_name,
    session_name,
    user_name,
)
from gateway.model.policy_identity import parse_trust_policy
from gateway.model.policy_names import TokenAction
from gateway.objects.access_request import Asked, Values, caller_of
from gateway.objects.attachments import SESSION_S_DEFAULT, SESSION_S_MIN
from gateway.objects.context import Context, Principal
from gateway.objects.identities import Identity
from gateway.objects.rights import session_policy
from gateway.objects.sessions import (
    TOKEN_CHARACTERS_MAX,
    Session,
    new_credentials,
    seal_session,
)
from gateway.objects.web_identity import Claims, IdentityTokenInvalid, verified

OWN_SESSION_S_DEFAULT = 43_200
OWN_SESSION_S_MAX = 129_600
ROOT_SESSION_S_MAX = 3600
CHAINED_SESSION_S_MAX = 3600  # of a role got with a session of a role
TRUSTS_CACHED_MAX = 256
EXTERNAL_ID_MAX = 1224

_ROLE_ARN = re.compile(
    r"arn:aws[a-z-]*:iam::([A-Za-z0-9_.@-]{1,128}):role/([A-Za-z0-9_+=,.@-]{1,64})\Z"
)


class Issued(NamedTuple):
    """A session with its token, and how policies name its holder."""

    session: Session
    token: str
    arn: str
    holder_id: str


class Wish(NamedTuple):
    """What is asked for of a session of a role.

    Args:
        name: of the session.
        policy: what narrows it; "" = nothing.
        duration_s: None = the usual.
    """

    role_arn: str
    name: str
    policy: str
    duration_s: int | None
    external_id: str


def holder_arn(principal: Principal) -> str:
    """How a caller is told who he is."""
    owner_id = principal.owner_id
    if principal.role:
        name = principal.user.removeprefix(f"{principal.role}/")
        return session_name(owner_id, principal.role, name).replace(":iam:", ":sts:", 1)
    if principal.user == ROOT_USER:
        return root_name(owner_id)
    return user_name(owner_id, principal.user)


def get_session(ctx: Context, principal: Principal, duration_s: int | None) -> Issued:
    """A session of the caller itself, as long as its access key is taken.

    Raises: AccessDenied (the caller is a session: it would outlive itself), InvalidArgument.
    """
    if principal.issued_at_ms is not None:
        raise AccessDenied()
    longest_s = ROOT_SESSION_S_MAX if principal.rights is None else OWN_SESSION_S_MAX
    lasting_s = min(OWN_SESSION_S_DEFAULT, longest_s) if duration_s is None else duration_s
    # AWS shortens those of the root as well, instead of refusing them.
    lasting_s = min(lasting_s, longest_s) if principal.rights is None else lasting_s
    _check_duration(lasting_s, longest_s)
    services = ctx.services
    now_ms = services.env.now_ms()
    access_key_id, secret = new_credentials(services.env)
    session = Session(
        access_key_id=access_key_id,
        secret=secret,
        tenant=principal.tenant,
        user=principal.user,
        parent=principal.access_key_id,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + lasting_s * 1000,
    )
    token = seal_session(services.records, services.nonces, session)
    holder_id = principal.user_id or principal.owner_id
    return Issued(session, token, holder_arn(principal), holder_id)


def assume_role(ctx: Context, principal: Principal, wish: Wish) -> Issued:
    """A session of a role that the caller may become.

    Raises: AccessDenied, InvalidArgument, MalformedPolicy.
    """
    found = _ROLE_ARN.match(wish.role_arn)
    if found is None:
        raise InvalidArgument(message="RoleArn is not the ARN of a role")
    check_session_name(wish.name)
    if wish.policy:
        session_policy(wish.policy)
    tenant, role, owner_id = _role(ctx, found[1], found[2])
    given: dict[str, Values] = {"sts:rolesessionname": (wish.name,)}
    if wish.external_id:
        given["sts:externalid"] = (wish.external_id,)
    arns = (role_name(owner_id, role.name), role_name(tenant.hex(), role.name))
    if not _may_become(ctx, principal, tenant, role, arns, given):
        raise AccessDenied()
    longest_s = role.session_s_max
    if principal.role:
        longest_s = min(longest_s, CHAINED_SESSION_S_MAX)
    return issue(ctx, tenant, owner_id, role, wish, longest_s)


def assume_role_with_token(ctx: Context, wish: Wish, token: str) -> tuple[Issued, Claims]:
    """A session of a role for the holder of a token of an identity provider of the role's tenant.

    Raises: AccessDenied, InvalidArgument, MalformedPolicy, IdentityTokenInvalid,
        IdentityTokenExpired.
    """
    found = _ROLE_ARN.match(wish.role_arn)
    if found is None:
        raise InvalidArgument(message="RoleArn is not the ARN of a role")
    check_session_name(wish.name)
    services = ctx.services
    identity = _account(ctx, found[1])
    if identity is None:
        raise IdentityTokenInvalid()
    claims = verified(services, identity.tenant, token)
    if wish.policy:
        session_policy(wish.policy)  # read for nobody who has proved nothing: it is kept
    role = services.credentials.rights.of_role(identity.tenant, found[2])
    if role is None:
        raise AccessDenied()
    accounts = (identity.owner_id, identity.tenant.hex())
    names = [f"arn:aws:iam::{one}:oidc-provider/{claims.host}" for one in accounts]
    holder = frozenset(federated_name(name) for name in (claims.issuer, *names))
    action = TokenAction.ASSUME_ROLE_WITH_WEB_IDENTITY
    given: dict[str, Values] = {"sts:rolesessionname": (wish.name,), **claims.values}
    asked = Asked(ctx, None, action, given=given)
    said = trust_policy(role[0].trust).effect(action, "", Caller(holder, holder), asked)
    if said is not Effect.ALLOW:
        raise AccessDenied()
    longest_s = role[0].session_s_max
    return issue(ctx, identity.tenant, identity.owner_id, role[0], wish, longest_s), claims


def issue(
    ctx: Context, tenant: TenantId, owner_id: str, role: Role, wish: Wish, longest_s: int
) -> Issued:
    """A session of a role, once it is decided that the caller gets one. Raises: InvalidArgument."""
    lasting_s = wish.duration_s
    if lasting_s is None:
        lasting_s = min(SESSION_S_DEFAULT, longest_s)
    _check_duration(lasting_s, longest_s)
    services = ctx.services
    now_ms = services.env.now_ms()
    access_key_id, secret = new_credentials(services.env)
    session = Session(
        access_key_id=access_key_id,
        secret=secret,
        tenant=tenant,
        role=role.name,
        role_id=role.role_id,
        name=wish.name,
        policy=wish.policy,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + lasting_s * 1000,
    )
    token = seal_session(services.records, services.nonces, session)
    if len(token) > TOKEN_CHARACTERS_MAX:  # nobody would take it; white space is policy as well
        raise InvalidArgument(message="The session's policy has too much white space")
    arn = session_name(owner_id, role.name, wish.name).replace(":iam:", ":sts:", 1)
    return Issued(session, token, arn, f"{role.role_id}:{wish.name}")


def check_session_name(name: str) -> None:
    """Raises: InvalidArgument."""
    if not is_session_name(name):
        raise InvalidArgument(message="RoleSessionName is 2 to 64 letters, digits or _+=,.@-")


@lru_cache(maxsize=TRUSTS_CACHED_MAX)
def trust_policy(text: str) -> Policy:
    """A policy of trust, made ready. Raises: MalformedPolicy."""
    return parse_trust_policy(text)


def _role(ctx: Context, account: str, name: str) -> tuple[TenantId, Role, str]:
    """A role by what its ARN says. Raises: AccessDenied."""
    identity = _account(ctx, account)
    if identity is None:
        raise AccessDenied()
    found = ctx.services.credentials.rights.of_role(identity.tenant, name)
    if found is None:
        raise AccessDenied()
    return identity.tenant, found[0], identity.owner_id


def _account(ctx: Context, account: str) -> Identity | None:
    """An account by its canonical id or the hexadecimal id of its tenant."""
    identities = ctx.services.identities
    identity = identities.of_owner(account)
    if identity is None and len(account) == 2 * UUID_BYTES:
        try:
            return identities.of_tenant(TenantId(bytes.fromhex(account)))
        except ValueError:
            return None
    return identity


def _may_become(
    ctx: Context,
    principal: Principal,
    tenant: TenantId,
    role: Role,
    arns: tuple[str, str],
    given: dict[str, Values],
) -> bool:
    action = TokenAction.ASSUME_ROLE
    asked = Asked(ctx, None, action, given=given)
    trusted = trust_policy(role.trust)
    caller = caller_of(principal)
    if trusted.effect(action, "", caller, asked) is not Effect.ALLOW:
        return False
    rights = principal.rights
    if rights is None:
        return True
    said = {rights.effect(action, arn, asked) for arn in arns}
    if Effect.DENY in said:
        return False
    if Effect.ALLOW in said:
        return True
    # Only who is named needs nothing of its own, and only in the role's own account.
    named = caller._replace(accounts=frozenset())
    is_named = principal.tenant == tenant and trusted.permits(action, "", named, asked)
    return is_named and any(rights.admits(action, arn, asked) for arn in arns)


def _check_duration(duration_s: int, longest_s: int) -> None:
    if not SESSION_S_MIN <= duration_s <= longest_s:
        raise InvalidArgument(
            message=f"DurationSeconds is {SESSION_S_MIN} to {longest_s} for this session"
        )
