"""ListParts and ListMultipartUploads."""

from __future__ import annotations

from gateway.objects.context import Context
from gateway.objects.values import ListUploadsOptions, PartPage, UploadPage


async def list_parts(
    ctx: Context,
    bucket: str,
    key: str,
    upload_id: str,
    *,
    after_part_number: int = 0,
    parts_max: int = 1000,
) -> PartPage:
    """Parts of an upload in number order. Raises AccessDenied, NoSuchBucket, NoSuchUpload."""
    raise NotImplementedError


async def list_uploads(ctx: Context, bucket: str, options: ListUploadsOptions) -> UploadPage:
    """Uploads of a bucket in (key, upload id) order. Raises AccessDenied, NoSuchBucket."""
    raise NotImplementedError
