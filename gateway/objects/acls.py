"""ACLs and owners: what new buckets and objects get, and GetBucketAcl, PutBucketAcl, GetObjectAcl,
PutObjectAcl.

Not for what a grant allows (`objects.access`). Grants of a bucket are its document "acl", those of
an object lie with its version.

Source: Amazon S3 API Reference, these operations; User Guide, "Controlling ownership of objects".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gateway.model import acl
from gateway.model.acl import Canned, Ownership
from gateway.model.acl_headers import AskedAcl, asked_acl
from gateway.model.action import Action
from gateway.model.attributes import Grant
from gateway.model.bucket import Bucket
from gateway.model.errors import (
    AccessControlListNotSupported,
    AccessDenied,
    InvalidArgument,
    InvalidBucketAclWithBlockPublicAccessError,
    InvalidBucketAclWithObjectOwnership,
)
from gateway.model.version import Version
from gateway.objects import access
from gateway.objects.access_rules import (
    ACL,
    OWNERSHIP,
    PUBLIC_ACCESS,
    acl_document,
    ownership_of,
    public_access_of,
    rules_of,
)
from gateway.objects.bucket_config import update_bucket
from gateway.objects.context import Context, Principal, Services
from gateway.objects.rewriting import named_version, rewrite_version
from gateway.objects.target import OpenBucket, Target, current_bucket, open_bucket
from gateway.objects.values import Metadata

Documents = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedAcl:
    """An ACL that is to be set: by name, or grant by grant.

    Args:
        owner_id: whose it is, as the client believes; "" when it does not say.
    """

    asked: AskedAcl
    owner_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAcl:
    """An ACL as clients are told it."""

    owner_id: str
    grants: tuple[Grant, ...]
    version_id: str | None = None


def documents_of_new(ctx: Context, principal: Principal) -> Documents:
    """Documents of a bucket in the making, by the headers of the request.

    Raises: InvalidArgument, InvalidRequest, MethodNotAllowed, InvalidBucketAclWithObjectOwnership,
        InvalidBucketAclWithBlockPublicAccessError.
    """
    headers, services = ctx.facts.headers, ctx.services
    documents: Documents = {}
    if services.new_buckets_open:
        documents = {OWNERSHIP: {"rule": ""}, PUBLIC_ACCESS: {}}
    stated = headers.get("x-amz-object-ownership")
    if stated:
        if stated not in set(Ownership):
            raise InvalidArgument(
                message=f"Invalid x-amz-object-ownership header: {stated[:64]}",
                argument_name="x-amz-object-ownership",
                argument_value=stated[:64],
            )
        documents[OWNERSHIP] = {"rule": stated}
    asked = asked_acl(headers, acl.BUCKET_CANNED)
    if asked is None or asked.canned is Canned.PRIVATE:
        return documents
    if ownership_of(documents.get(OWNERSHIP)) is Ownership.ENFORCED:
        raise InvalidBucketAclWithObjectOwnership()
    _check_grantees(services, asked.grants)
    grants = _resolved(asked, principal.owner_id, principal.owner_id)
    is_blocked = public_access_of(documents.get(PUBLIC_ACCESS)).blocks_acls
    if is_blocked and acl.is_public(grants):
        raise InvalidBucketAclWithBlockPublicAccessError()
    if grants:
        documents[ACL] = acl_document(grants)
    return documents


def _resolved(asked: AskedAcl, owner_id: str, bucket_owner_id: str) -> tuple[Grant, ...]:
    if asked.canned is None:
        return acl.in_order(asked.grants)
    return acl.grants_of(asked.canned, owner_id, bucket_owner_id)


def _check_grantees(services: Services, grants: tuple[Grant, ...]) -> None:
    """Raises InvalidArgument for an account that is not there."""
    for grant in grants:
        if grant.kind != acl.USER or grant.grantee == acl.ANONYMOUS_ID:
            continue
        if services.identities.of_owner(grant.grantee) is None:
            raise InvalidArgument(
                message="Invalid id",
                argument_name="CanonicalUser/ID",
                argument_value=grant.grantee[:128],
            )


def owned(ctx: Context, target: Target, metadata: Metadata) -> Metadata:
    """What a client says about a new object, with the owner and the ACL that it gets.

    Where ACLs are off, `private` is let through for the bucket's owner, to whom it gives what is
    theirs anyway: older rclone sends it with every object.

    Raises: AccessControlListNotSupported, AccessDenied (a public ACL where those are blocked),
        InvalidArgument, InvalidRequest, MethodNotAllowed.
    """
    principal, bucket = ctx.principal, target.opened.bucket
    asked = asked_acl(ctx.facts.headers, acl.OBJECT_CANNED)
    if asked is None and principal is not None and principal.tenant == bucket.tenant:
        return metadata
    services, rules = ctx.services, rules_of(target.opened)
    bucket_owner_id = _bucket_owner_id(services, bucket)
    gives_all = asked is not None and _gives_bucket_owner_everything(asked, bucket_owner_id)
    if not rules.has_acls:
        is_owner = principal is not None and principal.tenant == bucket.tenant
        says_nothing = is_owner and asked is not None and asked.canned is Canned.PRIVATE
        if asked is not None and not gives_all and not says_nothing:
            raise AccessControlListNotSupported()
        return metadata
    owner_id = acl.ANONYMOUS_ID if principal is None else principal.owner_id
    grants: tuple[Grant, ...] = ()
    if asked is not None:
        _check_may_grant(ctx, target)
        _check_grantees(services, asked.grants)
        grants = _resolved(asked, owner_id, bucket_owner_id)
        if rules.public_access.blocks_acls and acl.is_public(grants):
            raise AccessDenied()
        if gives_all and rules.ownership is Ownership.PREFERRED:
            owner_id, grants = bucket_owner_id, ()
    attributes = replace(
        metadata.attributes,
        owner_id="" if owner_id == bucket_owner_id else owner_id,
        acl=grants,
    )
    return replace(metadata, attributes=attributes)


def _check_may_grant(ctx: Context, target: Target) -> None:
    """A write that brings an ACL needs the right to set it; whom another account lets write owns
    what is made, and is only not to be forbidden it. Raises AccessDenied.
    """
    principal, opened = ctx.principal, target.opened
    is_user = principal is not None and principal.rights is not None
    if is_user and principal is not None and principal.tenant == opened.bucket.tenant:
        access.check(ctx, opened, Action.PUT_OBJECT_ACL, target.key)
    else:
        access.check_not_denied(ctx, opened, Action.PUT_OBJECT_ACL, target.key)


def _gives_bucket_owner_everything(asked: AskedAcl, bucket_owner_id: str) -> bool:
    if asked.canned is not None:
        return asked.canned is Canned.BUCKET_OWNER_FULL_CONTROL
    return acl.gives_bucket_owner_everything(asked.grants, bucket_owner_id)


def _bucket_owner_id(services: Services, bucket: Bucket) -> str:
    return services.identities.of_tenant(bucket.tenant).owner_id


def bucket_owner_id(services: Services, bucket: str) -> str:
    """Canonical id of a bucket's owner; "" when there is no such bucket."""
    opened = services.buckets.find(bucket)
    return "" if opened is None else _bucket_owner_id(services, opened.bucket)


def get_bucket_acl(ctx: Context, bucket: str) -> HeldAcl:
    """The ACL of a bucket. Raises: AccessDenied, NoSuchBucket."""
    opened = current_bucket(ctx, bucket, Action.GET_BUCKET_ACL)
    owner_id = _bucket_owner_id(ctx.services, opened.bucket)
    if ACL in opened.bucket.documents and rules_of(opened).has_acls:
        return HeldAcl(owner_id=owner_id, grants=rules_of(opened).grants)
    return HeldAcl(owner_id=owner_id, grants=acl.written_out((), owner_id))


async def put_bucket_acl(ctx: Context, bucket: str, wanted: WantedAcl) -> None:
    """Set the ACL of a bucket.

    Raises: AccessDenied (also: a public ACL where those are blocked), NoSuchBucket,
        AccessControlListNotSupported, InvalidArgument.
    """
    services = ctx.services
    opened = current_bucket(ctx, bucket, Action.PUT_BUCKET_ACL)
    owner_id = _bucket_owner_id(services, opened.bucket)
    _check_settable(services, opened, wanted, owner_id)
    grants = _resolved(wanted.asked, owner_id, owner_id)
    document = None if wanted.asked.canned and not grants else acl_document(grants)

    def change(held: Bucket) -> Bucket:
        documents = {name: held.documents[name] for name in held.documents if name != ACL}
        if ownership_of(documents.get(OWNERSHIP)) is Ownership.ENFORCED:
            raise AccessControlListNotSupported()
        if public_access_of(documents.get(PUBLIC_ACCESS)).blocks_acls and acl.is_public(grants):
            raise AccessDenied()
        if document is not None:
            documents[ACL] = document
        return replace(held, documents=documents)

    await update_bucket(ctx, bucket, change, Action.PUT_BUCKET_ACL)


def _check_settable(
    services: Services, opened: OpenBucket, wanted: WantedAcl, owner_id: str
) -> None:
    if not rules_of(opened).has_acls:
        raise AccessControlListNotSupported()
    if wanted.owner_id and wanted.owner_id != owner_id:
        raise AccessDenied()
    _check_grantees(services, wanted.asked.grants)


def get_object_acl(ctx: Context, bucket: str, key: str, version_id: str | None) -> HeldAcl:
    """The ACL of a version. Raises: as `rewriting.named_version`."""
    action = Action.GET_OBJECT_ACL if version_id is None else Action.GET_OBJECT_VERSION_ACL
    version, shown = named_version(ctx, bucket, key, version_id, action)
    opened = open_bucket_of(ctx, bucket)
    bucket_owner = _bucket_owner_id(ctx.services, opened.bucket)
    if not rules_of(opened).has_acls:
        grants = acl.written_out((), bucket_owner)
        return HeldAcl(owner_id=bucket_owner, grants=grants, version_id=shown)
    owner_id = version.attributes.owner_id or bucket_owner
    grants = acl.written_out(version.attributes.acl, owner_id)
    return HeldAcl(owner_id=owner_id, grants=grants, version_id=shown)


def open_bucket_of(ctx: Context, bucket: str) -> OpenBucket:
    """The bucket of an object that the caller was just let at."""
    opened = ctx.services.buckets.find(bucket)
    return opened if opened is not None else open_bucket(ctx, bucket, Action.GET_BUCKET_ACL)


async def put_object_acl(
    ctx: Context, bucket: str, key: str, version_id: str | None, wanted: WantedAcl
) -> str | None:
    """Set the ACL of a version; its id as clients are told it.

    Raises: as `rewriting.rewrite_version`; AccessControlListNotSupported, InvalidArgument.
    """
    services = ctx.services
    action = Action.PUT_OBJECT_ACL if version_id is None else Action.PUT_OBJECT_VERSION_ACL

    def change(version: Version) -> Version:
        opened = open_bucket_of(ctx, bucket)
        bucket_owner = _bucket_owner_id(services, opened.bucket)
        owner_id = version.attributes.owner_id or bucket_owner
        _check_settable(services, opened, wanted, owner_id)
        grants = _resolved(wanted.asked, owner_id, bucket_owner)
        if rules_of(opened).public_access.blocks_acls and acl.is_public(grants):
            raise AccessDenied()
        return replace(version, attributes=replace(version.attributes, acl=grants))

    return await rewrite_version(ctx, bucket, key, version_id, action, change)
