"""Keys that a request will need, asked for before it needs them, where a provider may take long.

The synchronous parts of a request cannot wait; what they find missing they ask for and block the
event loop, everybody with it. So a request waits here, alone, at the points where it can.
"""

from __future__ import annotations

from gateway.objects.context import Services


async def warm_bucket(services: Services, name: str) -> None:
    """Have the keys of a bucket in use; nothing where there is no such bucket.

    Raises: RowCorrupt.
    """
    if not name or not services.bucket_keys.is_remote:
        return
    opened = services.buckets.find(name)
    if opened is None:
        return
    bucket_id = opened.bucket.bucket_id
    if services.bucket_keys.is_cold(bucket_id):
        await services.bucket_keys.warm(bucket_id)
    services.bucket_keys.note_name(name, bucket_id)
