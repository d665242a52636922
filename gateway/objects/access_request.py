"""The condition keys of a request: what a policy may ask about who asks, how, and for what.

Not for what is done with the answers (`gateway.model.policy`).

Source: AWS IAM User Guide, "AWS global condition context keys"; Service Authorization Reference,
"Condition keys for Amazon S3".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from gateway.model.action import Action
from gateway.model.identity_names import ROOT_USER as ROOT_USER
from gateway.model.policy import (
    ANYBODY,
    Caller,
    role_name,
    root_name,
    session_name,
    user_name,
)
from gateway.model.policy_names import TokenAction
from gateway.model.version import Pairs
from gateway.objects.context import Context, Principal

if TYPE_CHECKING:
    from gateway.objects.target import OpenBucket

CALLERS_CACHED_MAX = 1024
DAY_MS = 86_400_000
PRINCIPAL_TAG = "aws:principaltag/"

Values = tuple[str, ...] | None


@lru_cache(maxsize=CALLERS_CACHED_MAX)
def caller_of(principal: Principal | None) -> Caller:
    """Who asks, by the names that policies use."""
    if principal is None:
        return ANYBODY
    owner, tenant = principal.owner_id, principal.tenant.hex()
    accounts = frozenset({root_name(owner), root_name(tenant)})
    if principal.user == ROOT_USER:
        return Caller(accounts, accounts)
    user, role = principal.user, principal.role
    if not role:
        return Caller(accounts, frozenset({user_name(owner, user), user_name(tenant, user)}))
    session = user.removeprefix(f"{role}/")
    names = [
        name
        for account in (owner, tenant)
        for name in (role_name(account, role), session_name(account, role, session))
    ]
    return Caller(accounts, frozenset(names))


class Asked:
    """The values of one request, looked up as they are asked for.

    Args:
        opened: the bucket; None where the request is about none that is there.
        prefix: what listing is asked for where the request itself lists nothing.
        tags: of the object; None where they are not known (yet).
        given: keys whose values the asker brings, by their names in lower case.
    """

    __slots__ = ("_held", "action", "ctx", "opened", "prefix", "tags")

    def __init__(
        self,
        ctx: Context,
        opened: OpenBucket | None,
        action: Action | TokenAction,
        *,
        prefix: str | None = None,
        tags: Pairs | None = None,
        given: Mapping[str, Values] | None = None,
    ) -> None:
        self.ctx = ctx
        self.opened = opened
        self.action = action
        self.prefix = prefix
        self.tags = tags
        self._held: dict[str, Values] = dict(given or ())

    def __call__(self, key: str) -> Values:
        """See `policy_patterns.Lookup`."""
        held = self._held
        if key not in held:
            held[key] = self._looked_up(key)
        return held[key]

    def _looked_up(self, key: str) -> Values:
        source = _SOURCES.get(key)
        if source is not None:
            return source(self)
        if key.startswith("s3:x-amz-") or key in _HEADERS:
            header = _HEADERS.get(key) or key[len("s3:") :]
            return _one(self.ctx.facts.headers.get(header))
        if key.startswith("s3:existingobjecttag/"):
            return _one(dict(self.tags or ()).get(key.partition("/")[2]))
        if key.startswith("s3:requestobjecttag/"):
            return _one(_request_tags(self).get(key.partition("/")[2]))
        if key.startswith(PRINCIPAL_TAG):
            principal = self.ctx.principal
            return (
                None
                if principal is None
                else _one(dict(principal.tags).get(key[len(PRINCIPAL_TAG) :]))
            )
        return None


def _one(value: str | None) -> Values:
    return None if value is None else (value,)


def _request_tags(asked: Asked) -> Mapping[str, str]:
    facts = asked.ctx.facts
    if facts.request_tags is not None:
        return facts.request_tags
    return dict(parse_qsl(facts.headers.get("x-amz-tagging", ""), keep_blank_values=True))


def _account(asked: Asked) -> Values:
    principal = asked.ctx.principal
    return None if principal is None else (principal.owner_id,)


def _arn(asked: Asked) -> Values:
    principal = asked.ctx.principal
    if principal is None:
        return None
    if principal.user == ROOT_USER:
        return (root_name(principal.owner_id),)
    if principal.role:
        return (role_name(principal.owner_id, principal.role),)
    return (user_name(principal.owner_id, principal.user),)


def _principal_type(asked: Asked) -> Values:
    principal = asked.ctx.principal
    if principal is None:
        return ("Anonymous",)
    if principal.role:
        return ("AssumedRole",)
    return ("Account",) if principal.user == ROOT_USER else ("User",)


def _user_id(asked: Asked) -> Values:
    # Nobody has an id: a policy that asks for a certain one is none for everybody.
    principal = asked.ctx.principal
    return None if principal is None else (principal.user_id or principal.owner_id,)


def _user_name(asked: Asked) -> Values:
    principal = asked.ctx.principal
    if principal is None or principal.user == ROOT_USER or principal.role:
        return None
    return (principal.user,)


def _token_issued(asked: Asked) -> Values:
    principal = asked.ctx.principal
    if principal is None or principal.issued_at_ms is None:
        return None
    return (_iso(principal.issued_at_ms),)


def _now(asked: Asked) -> Values:
    return (_iso(asked.ctx.services.env.now_ms()),)


def _iso(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _prefix(asked: Asked) -> Values:
    return _one(asked.ctx.facts.query.get("prefix") if asked.prefix is None else asked.prefix)


def _copy_source(asked: Asked) -> Values:
    # Read as `s3.routes.split_copy_source` reads it: two readings of it would be a way around.
    value = asked.ctx.facts.headers.get("x-amz-copy-source")
    if value is None:
        return None
    source, mark, _ = value.rpartition("?versionId=")
    return (unquote((source if mark else value).replace("+", " ")).removeprefix("/"),)


def _request_tag_keys(asked: Asked) -> Values:
    return tuple(_request_tags(asked)) or None


def _auth_type(asked: Asked) -> Values:
    facts = asked.ctx.facts
    if asked.ctx.principal is None:
        return None
    if facts.is_form:
        return ("POST",)
    return ("REST-QUERY-STRING",) if facts.is_presigned else ("REST-HEADER",)


def _signature_version(asked: Asked) -> Values:
    facts = asked.ctx.facts
    if asked.ctx.principal is None:
        return None
    if facts.form_signature:
        return (facts.form_signature,)
    is_old = facts.headers.get("authorization", "").startswith("AWS ") or "Signature" in facts.query
    return ("AWS",) if is_old else ("AWS4-HMAC-SHA256",)


def _signature_age(asked: Asked) -> Values:
    """Milliseconds since a presigned request was signed."""
    try:
        signed = datetime.strptime(asked.ctx.facts.query["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
    except (KeyError, ValueError):
        return None
    return (str(max(0, asked.ctx.services.env.now_ms() - int(signed.timestamp() * 1000))),)


def _makes_object(asked: Asked) -> Values:
    query = asked.ctx.facts.query
    is_part = "uploads" in query or "partNumber" in query
    return ("false" if is_part or asked.action is not Action.PUT_OBJECT else "true",)


def _remaining_days(asked: Asked) -> Values:
    """Days until the end of the retention that is asked for."""
    until = asked.ctx.facts.headers.get("x-amz-object-lock-retain-until-date")
    if until is None:
        return None
    try:
        end = datetime.fromisoformat(until)
    except ValueError:
        return None
    if end.tzinfo is None:
        end = end.replace(tzinfo=UTC)
    left_ms = int(end.timestamp() * 1000) - asked.ctx.services.env.now_ms()
    return (str(-(-left_ms // DAY_MS)),)


def _bucket_account(asked: Asked) -> Values:
    if asked.opened is None:
        return _account(asked)  # what is made, or listed, is the caller's
    services = asked.ctx.services
    return (services.identities.of_tenant(asked.opened.bucket.tenant).owner_id,)


# Keys whose header has another name.
_HEADERS = {
    "aws:referer": "referer",
    "aws:useragent": "user-agent",
    "s3:if-match": "if-match",
    "s3:if-none-match": "if-none-match",
    "s3:object-lock-mode": "x-amz-object-lock-mode",
    "s3:object-lock-retain-until-date": "x-amz-object-lock-retain-until-date",
    "s3:object-lock-legal-hold": "x-amz-object-lock-legal-hold",
}
_SOURCES: dict[str, Callable[[Asked], Values]] = {
    "aws:currenttime": _now,
    "aws:epochtime": lambda asked: (str(asked.ctx.services.env.now_ms() // 1000),),
    "aws:principalaccount": _account,
    "aws:principalarn": _arn,
    "aws:principalisawsservice": lambda _: ("false",),
    "aws:principaltype": _principal_type,
    "aws:requestedregion": lambda asked: (asked.ctx.services.region,),
    "aws:resourceaccount": _bucket_account,
    "aws:securetransport": lambda asked: ("true" if asked.ctx.facts.is_secure else "false",),
    "aws:sourceip": lambda asked: _one(asked.ctx.facts.source_ip or None),
    "aws:tokenissuetime": _token_issued,
    "aws:userid": _user_id,
    "aws:username": _user_name,
    "aws:viaawsservice": lambda _: ("false",),
    "s3:authtype": _auth_type,
    "s3:delimiter": lambda asked: _one(asked.ctx.facts.query.get("delimiter")),
    "s3:max-keys": lambda asked: _one(asked.ctx.facts.query.get("max-keys")),
    "s3:object-lock-remaining-retention-days": _remaining_days,
    "s3:objectcreationoperation": _makes_object,
    "s3:prefix": _prefix,
    "s3:requestobjecttagkeys": _request_tag_keys,
    "s3:resourceaccount": _bucket_account,
    "s3:signatureage": _signature_age,
    "s3:signatureversion": _signature_version,
    "s3:tlsversion": lambda asked: _one(asked.ctx.facts.tls_version or None),
    "s3:versionid": lambda asked: _one(asked.ctx.facts.query.get("versionId")),
    "s3:x-amz-copy-source": _copy_source,
}
