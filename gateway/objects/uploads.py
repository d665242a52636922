"""ListParts and ListMultipartUploads."""

from __future__ import annotations

from gateway.meta import keyspace
from gateway.meta.keyspace import HEAD_BYTES
from gateway.meta.kv import Row
from gateway.meta.uploads import open_upload, scan_parts
from gateway.model.action import Action
from gateway.model.names import upload_id as parse_upload_id
from gateway.objects.context import Context
from gateway.objects.multipart import open_upload_of
from gateway.objects.target import OpenBucket, current_bucket
from gateway.objects.values import ListUploadsOptions, PartPage, UploadHead, UploadPage
from gateway.objects.views import part_head_of, upload_head_of
from gateway.objects.walk import rolled_up

_ID_BYTES = 17  # NUL and upload id, behind the object key


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
    services = ctx.services
    target, stored = open_upload_of(ctx, bucket, key, upload_id, Action.LIST_MULTIPART_UPLOAD_PARTS)
    held = scan_parts(
        services.log,
        services.records,
        target.bucket_id,
        stored.upload.object_uuid,
        after=after_part_number,
        limit=parts_max + 1,
    )
    page = [part_head_of(row.part) for row in held[:parts_max]]
    is_truncated = len(held) > parts_max and bool(page)
    return PartPage(
        upload=upload_head_of(stored.upload),
        parts=tuple(page),
        next_part_number=page[-1].part_number if is_truncated else None,
    )


async def list_uploads(ctx: Context, bucket: str, options: ListUploadsOptions) -> UploadPage:
    """Uploads of a bucket in (key, upload id) order. Raises AccessDenied, NoSuchBucket,
    NoSuchUpload (an upload id that cannot be one).
    """
    services = ctx.services
    opened = current_bucket(ctx, bucket, Action.LIST_BUCKET_MULTIPART_UPLOADS)
    prefix = options.prefix.encode("utf-8", "surrogatepass")
    start, end = keyspace.upload_prefix_range(opened.bucket.bucket_id, prefix)
    start = max(start, _start_after(opened, options))
    if options.delimiter:
        walk = rolled_up(
            services.log.scan,
            start=start,
            end=end,
            name_of=_name_of,
            prefix_bytes=len(prefix),
            delimiter=options.delimiter.encode("utf-8", "surrogatepass"),
        )
        found = [item for item, _ in zip(walk, range(options.uploads_max + 1), strict=False)]
    else:
        found = list(services.log.scan(start, end, limit=options.uploads_max + 1))
    is_truncated = len(found) > options.uploads_max > 0
    uploads: list[UploadHead] = []
    prefixes: list[str] = []
    next_key = next_id = None
    for item in found[: options.uploads_max]:
        if isinstance(item, Row):
            head = upload_head_of(open_upload(services.records, item.key, item.value).upload)
            uploads.append(head)
            next_key, next_id = head.key, head.upload_id
        else:
            prefixes.append(item.decode("utf-8", "replace"))
            next_key, next_id = prefixes[-1], ""
    return UploadPage(
        uploads=tuple(uploads),
        common_prefixes=tuple(prefixes),
        is_truncated=is_truncated,
        next_key=next_key if is_truncated else None,
        next_upload_id=next_id if is_truncated else None,
    )


def _name_of(row_key: bytes) -> bytes:
    return row_key[HEAD_BYTES:-_ID_BYTES]


def _start_after(opened: OpenBucket, options: ListUploadsOptions) -> bytes:
    """First row beyond the markers; a key marker that is a common prefix stands for all below."""
    bucket = opened.bucket.bucket_id
    after_key = options.after_key.encode("utf-8", "surrogatepass")
    if not after_key:
        return b""
    if options.after_upload_id:
        upload = parse_upload_id(options.after_upload_id)
        return keyspace.after(keyspace.UPLOAD + bucket + after_key + b"\x00" + upload)
    if options.delimiter and options.after_key.endswith(options.delimiter):
        return keyspace.after_upload_prefix(bucket, after_key)
    return keyspace.after_uploads_of(bucket, after_key)
