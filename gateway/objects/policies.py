"""Policy, public access block and ownership controls of a bucket.

Not for what they mean for a request (`objects.access`).

Source: Amazon S3 API Reference, "PutBucketPolicy", "GetBucketPolicyStatus",
"PutPublicAccessBlock", "PutBucketOwnershipControls".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.model import acl, policy_public
from gateway.model.acl import Ownership
from gateway.model.action import Action
from gateway.model.bucket import Bucket
from gateway.model.errors import (
    AccessDenied,
    InvalidBucketAclWithObjectOwnership,
    NoSuchBucketPolicy,
    NoSuchPublicAccessBlockConfiguration,
    OwnershipControlsNotFoundError,
)
from gateway.model.policy_document import parse_policy
from gateway.objects.access_rules import (
    ACL,
    OWNERSHIP,
    POLICY,
    PUBLIC_ACCESS,
    SWITCHES,
    bucket_grants,
    public_access_of,
    rules_of,
)
from gateway.objects.bucket_config import put_document, read_document, update_bucket
from gateway.objects.context import Context
from gateway.objects.target import current_bucket


def get_policy(ctx: Context, bucket: str) -> str:
    """The policy as it was put. Raises: AccessDenied, NoSuchBucket, NoSuchBucketPolicy."""
    document = read_document(ctx, bucket, POLICY, Action.GET_BUCKET_POLICY)
    if document is None:
        raise NoSuchBucketPolicy(bucket=bucket)
    return str(document["text"])


async def put_policy(ctx: Context, bucket: str, text: str) -> None:
    """Set the policy.

    Raises: AccessDenied (also: it is public where those are blocked), NoSuchBucket,
        MalformedPolicy, OperationAborted.
    """
    action = Action.PUT_BUCKET_POLICY
    current_bucket(ctx, bucket, action)
    is_public = policy_public.is_public(parse_policy(text, bucket))

    def change(held: Bucket) -> Bucket:
        if is_public and public_access_of(held.documents.get(PUBLIC_ACCESS)).blocks_policy:
            raise AccessDenied()
        return replace(held, documents={**held.documents, POLICY: {"text": text}})

    await update_bucket(ctx, bucket, change, action)


async def delete_policy(ctx: Context, bucket: str) -> None:
    """Drop the policy, if there is one. Raises: AccessDenied, NoSuchBucket, OperationAborted."""
    await put_document(ctx, bucket, POLICY, None, Action.DELETE_BUCKET_POLICY)


def is_public(ctx: Context, bucket: str) -> bool:
    """Whether the bucket is open to everybody, by policy or ACL. Raises: AccessDenied,
    NoSuchBucket.
    """
    return rules_of(current_bucket(ctx, bucket, Action.GET_BUCKET_POLICY_STATUS)).is_public


def get_public_access_block(ctx: Context, bucket: str) -> Mapping[str, bool]:
    """The four switches by their names.

    Raises: AccessDenied, NoSuchBucket, NoSuchPublicAccessBlockConfiguration (it was deleted).
    """
    action = Action.GET_BUCKET_PUBLIC_ACCESS_BLOCK
    document = read_document(ctx, bucket, PUBLIC_ACCESS, action)
    if document is None:
        return dict.fromkeys(SWITCHES, True)
    if not document:
        raise NoSuchPublicAccessBlockConfiguration(bucket=bucket)
    return {name: bool(document[name]) for name in SWITCHES}


async def put_public_access_block(
    ctx: Context, bucket: str, switches: Mapping[str, bool] | None
) -> None:
    """Set all four switches, or take the configuration away (None).

    Raises: AccessDenied, NoSuchBucket, OperationAborted.
    """
    document = {} if switches is None else {name: switches[name] for name in SWITCHES}
    await put_document(ctx, bucket, PUBLIC_ACCESS, document, Action.PUT_BUCKET_PUBLIC_ACCESS_BLOCK)


def get_ownership(ctx: Context, bucket: str) -> Ownership:
    """The rule of ownership.

    Raises: AccessDenied, NoSuchBucket, OwnershipControlsNotFoundError (it was deleted).
    """
    document = read_document(ctx, bucket, OWNERSHIP, Action.GET_BUCKET_OWNERSHIP_CONTROLS)
    if document is None:
        return Ownership.ENFORCED
    if not document["rule"]:
        raise OwnershipControlsNotFoundError(bucket=bucket)
    return Ownership(document["rule"])


async def put_ownership(ctx: Context, bucket: str, rule: Ownership | None) -> None:
    """Set the rule of ownership, or take it away (None): then it is as ObjectWriter.

    Raises: AccessDenied, NoSuchBucket, InvalidBucketAclWithObjectOwnership (ACLs would lose their
        meaning, and that of the bucket lets others in), OperationAborted.
    """
    action = Action.PUT_BUCKET_OWNERSHIP_CONTROLS
    owner = ctx.services.identities.of_tenant(current_bucket(ctx, bucket, action).bucket.tenant)

    def change(held: Bucket) -> Bucket:
        documents = {**held.documents, OWNERSHIP: {"rule": rule or ""}}
        if rule is Ownership.ENFORCED:
            grants = bucket_grants(held.documents.get(ACL))
            if not all(one.kind == acl.USER and one.grantee == owner.owner_id for one in grants):
                raise InvalidBucketAclWithObjectOwnership()
            documents.pop(ACL, None)
        return replace(held, documents=documents)

    await update_bucket(ctx, bucket, change, action)
