"""Buckets: list, create, head, delete, locate."""

from __future__ import annotations

from gateway.objects.context import Context
from gateway.objects.values import BucketEntry, BucketPage


async def list_buckets(
    ctx: Context, *, prefix: str = "", token: str | None = None, buckets_max: int = 10_000
) -> BucketPage:
    """The caller's buckets in name order. Raises AccessDenied, InvalidArgument (a token that is not
    ours).
    """
    raise NotImplementedError


async def create_bucket(ctx: Context, name: str, location: str | None) -> BucketEntry:
    """Make a bucket in a location (None or "": the endpoint's own).

    Raises:
        AccessDenied, InvalidBucketName, InvalidLocationConstraint, TooManyBuckets.
        BucketAlreadyOwnedByYou: also in the us-east-1 location, where AWS answers 200 to be kind to
            old clients.
        BucketAlreadyExists: another tenant's.
    """
    raise NotImplementedError


async def head_bucket(ctx: Context, name: str) -> BucketEntry:
    """The bucket. Raises AccessDenied, NoSuchBucket. GetBucketLocation answers `location` of it."""
    raise NotImplementedError


async def delete_bucket(ctx: Context, name: str) -> None:
    """Delete an empty bucket; uploads in progress go with it.

    Raises: AccessDenied, NoSuchBucket, BucketNotEmpty.
    """
    raise NotImplementedError
