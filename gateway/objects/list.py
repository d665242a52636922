"""ListObjects, both versions. A delimiter seeks past each common prefix: nothing below is read."""

from __future__ import annotations

from gateway.objects.context import Context
from gateway.objects.values import ListOptions, ListPage


async def list_objects(ctx: Context, bucket: str, options: ListOptions) -> ListPage:
    """One page of a bucket.

    Raises: AccessDenied, NoSuchBucket, InvalidArgument (a token that is not ours, keys_max below
        0).
    """
    raise NotImplementedError
