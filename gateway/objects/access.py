"""May this caller do that here? The one place where rights are decided.

Not for who the caller is (`gateway.s3` proves that), nor for locks of objects. Every use case asks
before it tells anything of an object. What may be decided by the bucket alone is decided when it is
opened; what depends on the object (its owner, its ACL, its tags, whether it is there) by the
`ObjectJudge` that comes with the target.

The order: an explicit denial of the bucket's policy; what its owner, or that of the object, may by
right; what the policy allows; what ACLs grant, where they have a meaning. The owner's root always
reaches the policy itself. A policy allows nothing about objects of other owners than the bucket's.

An account's rights are those of its root. A user, or a role, has of them what `Principal.rights`
allow, and never what those deny. Beside that, the policy of a bucket of the same account lets in
whom it names, or everybody, not whom it means by the account's name alone.

Source: Amazon S3 User Guide, "How Amazon S3 authorizes a request", "Blocking public access"; AWS
IAM User Guide, "Policy evaluation logic".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from gateway.model import acl
from gateway.model.action import Action
from gateway.model.attributes import Grant
from gateway.model.errors import AccessDenied, NoSuchBucket
from gateway.model.names import ObjectKey
from gateway.model.policy import Caller, Effect
from gateway.model.version import Pairs, Version
from gateway.objects.access_actions import (
    OBJECT_ACTIONS,
    OF_BUCKET_OWNER,
    OF_OBJECT_OWNER,
    OF_SOURCE,
    POLICY_ACTIONS,
)
from gateway.objects.access_request import ROOT_USER, Asked, Values, caller_of
from gateway.objects.access_rules import RULING, BucketRules, rules_of
from gateway.objects.context import Context, Principal, Services
from gateway.objects.values import WriteConditions

if TYPE_CHECKING:
    from gateway.objects.target import OpenBucket

ANY_ETAG = "*"
_EXPECTED_OWNER = "x-amz-expected-bucket-owner"
_EXPECTED_SOURCE_OWNER = "x-amz-source-expected-bucket-owner"


def check_account(ctx: Context, action: Action, resource: str) -> Principal:
    """The caller, who may do something of its account that is about no bucket that is there.

    Args:
        resource: `*`, or the name of a bucket that is to be made.

    Raises: AccessDenied.
    """
    principal = ctx.principal
    if principal is None:
        raise AccessDenied()
    rights, asked = principal.rights, Asked(ctx, None, action)
    if rights is not None and rights.effect(action, resource, asked) is not Effect.ALLOW:
        raise AccessDenied()
    return principal


def admit_anonymous(services: Services, bucket: str) -> None:
    """Go on if something of a bucket may be open to anonymous callers.

    Asked before a byte of an anonymous body is read; `check` decides for the action itself.

    Raises: AccessDenied, NoSuchBucket.
    """
    if not bucket:
        raise AccessDenied()
    opened = services.buckets.find(bucket)
    if opened is None:
        raise NoSuchBucket(bucket=bucket)
    if RULING.isdisjoint(opened.bucket.documents):
        raise AccessDenied()
    rules = rules_of(opened)
    if not rules.has_acls and rules.policy is None:
        raise AccessDenied()


def check(ctx: Context, opened: OpenBucket, action: Action, key: ObjectKey | None) -> None:
    """Go on if the caller may; for what depends on the object, as if it were about to be written:
    the bucket owner's, with neither ACL nor tags. Raises AccessDenied.
    """
    judge = judge_of(ctx, opened, action, key)
    if judge is not None:
        judge.admit_new()


def check_not_denied(ctx: Context, opened: OpenBucket, action: Action, key: ObjectKey) -> None:
    """Go on unless the policy forbids it: for what needs other actions' rights and has a name of
    its own besides. Raises AccessDenied.
    """
    has_rights = ctx.principal is not None and ctx.principal.rights is not None
    if RULING.isdisjoint(opened.bucket.documents) and not has_rights:
        return
    if _said(Asked(ctx, opened, action), rules_of(opened), key).effect is Effect.DENY:
        raise AccessDenied()


def check_any(ctx: Context, opened: OpenBucket) -> None:
    """Go on if the caller may perhaps do something in the bucket: each key is checked by itself.

    Raises: AccessDenied.
    """
    _check_expected_owner(ctx, opened, Action.LIST_BUCKET)
    if not _is_owner(ctx, opened) and RULING.isdisjoint(opened.bucket.documents):
        raise AccessDenied()


def judge_of(
    ctx: Context, opened: OpenBucket, action: Action, key: ObjectKey | None
) -> ObjectJudge | None:
    """Decide, as far as the bucket tells: None = the caller may, whatever the object is.

    Raises: AccessDenied, RowCorrupt.
    """
    headers = ctx.facts.headers
    if _EXPECTED_OWNER in headers or _EXPECTED_SOURCE_OWNER in headers:
        _check_expected_owner(ctx, opened, action)
    principal = ctx.principal
    is_owner = principal is not None and principal.tenant == opened.bucket.tenant
    has_rights = principal is not None and principal.rights is not None
    if RULING.isdisjoint(opened.bucket.documents):
        if not is_owner:
            raise AccessDenied()
        if not has_rights:
            return None
    rules = rules_of(opened)
    if action in OBJECT_ACTIONS:
        if is_owner and rules.policy is None and not rules.has_acls and not has_rights:
            return None
        assert key is not None, "what is about an object names it"
        return ObjectJudge(ctx, opened, rules, action, key)
    if not _may_in_bucket(Asked(ctx, opened, action), action, rules, key):
        raise AccessDenied()
    return None


def _is_owner(ctx: Context, opened: OpenBucket) -> bool:
    principal = ctx.principal
    return principal is not None and principal.tenant == opened.bucket.tenant


def _may_in_bucket(asked: Asked, action: Action, rules: BucketRules, key: ObjectKey | None) -> bool:
    """Whether the caller may, where the object does not matter."""
    ctx = asked.ctx
    is_owner = asked.opened is not None and _is_owner(ctx, asked.opened)
    effect, is_account = _said(asked, rules, key)
    if effect is Effect.DENY:
        principal = ctx.principal
        is_root = principal is not None and principal.user == ROOT_USER
        return is_owner and is_root and action in POLICY_ACTIONS
    if not is_owner and action in POLICY_ACTIONS:
        return False  # whom a policy lets in does not become its master
    if (is_owner and is_account) or _lets_in(rules, effect, is_owner):
        return True
    return (
        is_account
        and rules.has_acls
        and _grants(rules, rules.grants, acl.bucket_permission(action), ctx.principal)
    )


def _lets_in(rules: BucketRules, effect: Effect, is_owner: bool) -> bool:
    """Whether a policy that says this counts: where it is public, perhaps for the owner only."""
    return effect is Effect.ALLOW and (is_owner or not rules.only_owner_by_policy)


class _Said(NamedTuple):
    """What policies say of a request.

    Args:
        effect: that of the bucket's, or a denial of the caller's own.
        is_account: the caller has what its account has: as the owner, and by ACLs.
    """

    effect: Effect
    is_account: bool


def _said(asked: Asked, rules: BucketRules, key: ObjectKey | None) -> _Said:
    effect = _policy_effect(asked, rules, key)
    principal = asked.ctx.principal
    rights = None if principal is None else principal.rights
    if rights is None or effect is Effect.DENY:
        return _Said(effect, True)
    action, resource = asked.action, _resource(asked, key)
    said = rights.effect(action, resource, asked)
    if said is not Effect.NOTHING:
        return _Said(effect if said is Effect.ALLOW else said, said is Effect.ALLOW)
    assert asked.opened is not None, "what is about no bucket asks no rules of one"
    if effect is not Effect.ALLOW or not _is_owner(asked.ctx, asked.opened):
        return _Said(Effect.NOTHING, False)
    # What the account is given, the account gives on; only who is named needs nothing of its own.
    assert rules.policy is not None, "something has allowed it"
    named = caller_of(principal)._replace(accounts=frozenset())
    is_let_in = rules.policy.permits(action, resource, named, asked)
    is_let_in = is_let_in and rights.admits(action, resource, asked)
    return _Said(Effect.ALLOW if is_let_in else Effect.NOTHING, False)


def _resource(asked: Asked, key: ObjectKey | None) -> str:
    assert asked.opened is not None, "what is about no bucket asks no rules of one"
    name = asked.opened.bucket.name
    return name if key is None else f"{name}/{key.decode('utf-8')}"


def _policy_effect(asked: Asked, rules: BucketRules, key: ObjectKey | None) -> Effect:
    if rules.policy is None:
        return Effect.NOTHING
    resource = _resource(asked, key)
    return rules.policy.effect(asked.action, resource, caller_of(asked.ctx.principal), asked)


def _grants(
    rules: BucketRules,
    grants: tuple[Grant, ...],
    permission: str | None,
    principal: Principal | None,
) -> bool:
    if permission is None or not grants:
        return False
    return acl.grants(
        grants,
        permission,
        None if principal is None else principal.owner_id,
        ignores_public=rules.public_access.ignores_acls,
    )


class ObjectJudge:
    """Decides about one object name once it is known what is there."""

    __slots__ = ("_action", "_ctx", "_key", "_opened", "_rules")

    def __init__(
        self, ctx: Context, opened: OpenBucket, rules: BucketRules, action: Action, key: ObjectKey
    ) -> None:
        self._ctx = ctx
        self._opened = opened
        self._rules = rules
        self._action = action
        self._key = key

    def admit(self, version: Version | None) -> None:
        """Go on if the caller may do that to this version; None or a delete marker: if he may be
        told that there is nothing. Raises: AccessDenied.
        """
        if version is None or version.is_delete_marker:
            may = self._may_know_of_nothing()
        else:
            may = self._may(version)
        if not may:
            raise AccessDenied()

    def admit_new(self) -> None:
        """Go on if the caller may do that to an object that is not there. Raises: AccessDenied."""
        effect, is_account = self._said(())
        is_owner = _is_owner(self._ctx, self._opened)
        may = is_account and (is_owner or self._may_tag_what_is_made())
        if effect is Effect.DENY or not (may or _lets_in(self._rules, effect, is_owner)):
            raise AccessDenied()

    def _may_tag_what_is_made(self) -> bool:
        """Whom the bucket's ACL lets write may bring tags along: the new object is the writer's."""
        rules = self._rules
        if self._action is not Action.PUT_OBJECT_TAGGING or not rules.has_acls:
            return False
        wanted = acl.bucket_permission(Action.PUT_OBJECT)
        return _grants(rules, rules.grants, wanted, self._ctx.principal)

    def _may_know_of_nothing(self) -> bool:
        prefix = self._key.decode("utf-8")
        asked = Asked(self._ctx, self._opened, Action.LIST_BUCKET, prefix=prefix)
        return _may_in_bucket(asked, Action.LIST_BUCKET, self._rules, None)

    def _may(self, version: Version) -> bool:
        ctx, rules, action = self._ctx, self._rules, self._action
        attributes = version.attributes
        is_bucket_owner = _is_owner(ctx, self._opened)
        owner_id = attributes.owner_id if rules.has_acls else ""
        effect, is_account = self._said(version.tags)
        if effect is Effect.DENY:
            return False
        principal = ctx.principal
        is_owner = is_bucket_owner
        if owner_id and action not in OF_BUCKET_OWNER:
            is_owner = principal is not None and principal.owner_id == owner_id
        is_owner = is_owner or (is_bucket_owner and action not in OF_OBJECT_OWNER)
        if is_owner and is_account:
            return True
        if not owner_id and _lets_in(rules, effect, is_bucket_owner):
            return True
        return (
            is_account
            and rules.has_acls
            and _grants(rules, attributes.acl, acl.object_permission(action), principal)
        )

    def _said(self, tags: Pairs) -> _Said:
        asked = Asked(self._ctx, self._opened, self._action, tags=tags)
        return _said(asked, self._rules, self._key)


def check_own_upload(
    ctx: Context, opened: OpenBucket, action: Action, key: ObjectKey, initiator_id: str
) -> None:
    """Go on if the caller, whom `check` lets do that to uploads, may do it to this one: whom only
    an ACL lets write has to have begun it. Raises AccessDenied.

    Args:
        initiator_id: canonical id; "": the bucket's owner.
    """
    if _is_owner(ctx, opened):
        return
    rules = rules_of(opened)
    if _policy_effect(Asked(ctx, opened, action), rules, key) is Effect.ALLOW:
        return
    if ctx.principal is None or ctx.principal.owner_id != initiator_id:
        raise AccessDenied()


def check_may_compare(
    ctx: Context,
    opened: OpenBucket,
    key: ObjectKey,
    conditions: WriteConditions,
    current: Version | None,
) -> None:
    """Go on if the caller may learn what the conditions of a write tell: whether an ETag is that
    of the object is for who may read it. Raises AccessDenied.
    """
    if {conditions.if_match, conditions.if_none_match} <= {None, ANY_ETAG}:
        return
    judge = judge_of(ctx, opened, Action.GET_OBJECT, key)
    if judge is not None:
        judge.admit(current)


def admits_service(
    ctx: Context,
    opened: OpenBucket,
    service: str,
    action: Action,
    key: str,
    given: Mapping[str, Values],
) -> bool:
    """Whether a service of our own may do something for somebody else: by the policy, or as the
    group of log deliverers by the ACL.

    A service works for every account: what lets it in without a word about the source means that it
    works for the bucket's owner.

    Args:
        service: its host name, such as logging.s3.amazonaws.com.
        given: aws:sourcearn, aws:sourceaccount.
    """
    if RULING.isdisjoint(opened.bucket.documents):
        return False
    rules = rules_of(opened)
    owner = ctx.services.identities.of_tenant(opened.bucket.tenant)
    is_for_owner = given.get("aws:sourceaccount") == (owner.owner_id,)

    def said(known: Mapping[str, Values]) -> Effect:
        if rules.policy is None:
            return Effect.NOTHING
        asked = Asked(ctx, opened, action, given={**known, "aws:principalisawsservice": ("true",)})
        resource = f"{opened.bucket.name}/{key}"
        return rules.policy.effect(action, resource, Caller(service=service), asked)

    effect = said(given)
    if effect is not Effect.NOTHING:
        return effect is Effect.ALLOW and (is_for_owner or said({}) is not Effect.ALLOW)
    if not is_for_owner:
        return False
    permission = acl.bucket_permission(action)
    return rules.has_acls and any(
        grant.grantee == acl.LOG_DELIVERY and grant.permission in (permission, acl.FULL_CONTROL)
        for grant in rules.grants
    )


def _check_expected_owner(ctx: Context, opened: OpenBucket, action: Action) -> None:
    """Raises AccessDenied when the bucket is another's than the client expects."""
    headers = ctx.facts.headers
    is_source = "x-amz-copy-source" in headers and action in OF_SOURCE
    expected = headers.get(_EXPECTED_SOURCE_OWNER if is_source else _EXPECTED_OWNER)
    if expected is None:
        return
    owner = ctx.services.identities.of_tenant(opened.bucket.tenant)
    if expected not in (owner.owner_id, owner.tenant.hex()):
        raise AccessDenied()
