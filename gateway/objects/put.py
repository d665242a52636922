"""PutObject."""

from __future__ import annotations

from gateway.objects.body import Body
from gateway.objects.context import Context
from gateway.objects.values import ObjectHead, PutOptions


async def put_object(
    ctx: Context, bucket: str, key: str, body: Body, options: PutOptions
) -> ObjectHead:
    """Store a body under a key.

    Raises:
        AccessDenied, NoSuchBucket, InvalidBucketName, KeyTooLong, EntityTooLarge, MetadataTooLarge.
        PreconditionFailed, NoSuchKey (If-Match and nothing there), ConditionalRequestConflict.
        whatever the body raises, and the error of an expected digest that does not match: nothing
            is stored.
    """
    raise NotImplementedError
