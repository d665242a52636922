"""GetObject and HeadObject."""

from __future__ import annotations

from gateway.objects.context import Context
from gateway.objects.values import GetOptions, ObjectRead


async def get_object(ctx: Context, bucket: str, key: str, options: GetOptions) -> ObjectRead:
    """Read an object, a range of it, or one part. The first bytes are verified before this returns.

    Raises:
        AccessDenied, NoSuchBucket, NoSuchKey, NoSuchVersion, InvalidArgument (version id).
        PreconditionFailed, NotModified (field `head`: the ObjectHead), InvalidRange,
        InvalidPartNumber, InvalidRequest.
        StripeUnreadable: too few good shards.
    """
    raise NotImplementedError


async def head_object(ctx: Context, bucket: str, key: str, options: GetOptions) -> ObjectRead:
    """As get_object, without body. Raises: as get_object, StripeUnreadable excepted."""
    raise NotImplementedError
