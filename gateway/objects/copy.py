"""CopyObject: read, open, seal again; the copy shares no key and no stripe with its source."""

from __future__ import annotations

from gateway.objects.context import Context
from gateway.objects.values import CopyOptions, CopySource, ObjectHead


async def copy_object(
    ctx: Context, source: CopySource, bucket: str, key: str, options: CopyOptions
) -> ObjectHead:
    """Copy an object of at most 5 GiB.

    Raises:
        as get_object of the source and put_object of the target.
        InvalidRequest: a copy onto itself that changes nothing; a source of more than 5 GiB.
    """
    raise NotImplementedError
