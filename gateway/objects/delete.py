"""DeleteObject and DeleteObjects."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.objects.context import Context
from gateway.objects.values import UNCONDITIONAL_WRITE, DeleteKey, DeleteOutcome, WriteConditions


async def delete_object(
    ctx: Context,
    bucket: str,
    key: str,
    *,
    version_id: str | None = None,
    conditions: WriteConditions = UNCONDITIONAL_WRITE,
) -> None:
    """Delete an object; succeeds without a commit when there is none.

    Raises: AccessDenied, NoSuchBucket, PreconditionFailed, NoSuchKey (If-Match and nothing there),
        ConditionalRequestConflict, InvalidArgument (version id).
    """
    raise NotImplementedError


async def delete_objects(
    ctx: Context, bucket: str, keys: Sequence[DeleteKey]
) -> tuple[DeleteOutcome, ...]:
    """Delete up to 1,000 keys in one commit; one outcome per key, in order.

    Raises: AccessDenied, NoSuchBucket. Everything else is an outcome of its key.
    """
    raise NotImplementedError
