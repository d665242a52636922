"""Multipart uploads: create, upload parts, complete, abort. Listings are in `uploads`."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.objects.body import Body
from gateway.objects.context import Context
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CopySource,
    CreateUploadOptions,
    ObjectHead,
    PartHead,
    UploadHead,
)


async def create_upload(
    ctx: Context, bucket: str, key: str, options: CreateUploadOptions
) -> UploadHead:
    """Begin an upload. Raises AccessDenied, NoSuchBucket, KeyTooLong, MetadataTooLarge,
    InvalidStorageClass.
    """
    raise NotImplementedError


async def upload_part(
    ctx: Context,
    bucket: str,
    key: str,
    upload_id: str,
    part_number: int,
    body: Body,
    checksum_algorithm: str | None,
) -> PartHead:
    """Store one part; a part of the same number is replaced.

    Raises: AccessDenied, NoSuchBucket, NoSuchUpload, InvalidArgument (part number), EntityTooLarge,
        InvalidRequest (another checksum algorithm than the upload's), whatever the body raises.
    """
    raise NotImplementedError


async def upload_part_copy(
    ctx: Context,
    bucket: str,
    key: str,
    upload_id: str,
    part_number: int,
    source: CopySource,
    range_header: str | None,
) -> PartHead:
    """Store one part from an object or `bytes=first-last` of it.

    Raises: as get_object of the source and upload_part; InvalidArgument (range form), InvalidRange.
    """
    raise NotImplementedError


async def complete_upload(
    ctx: Context,
    bucket: str,
    key: str,
    upload_id: str,
    parts: Sequence[CompletePart],
    options: CompleteOptions,
) -> ObjectHead:
    """Make the listed parts the object. Repeating a completed call succeeds while its object is the
    current one.

    Raises: AccessDenied, NoSuchBucket, NoSuchUpload, InvalidPart, InvalidPartOrder, EntityTooSmall,
        BadDigest,
        InvalidRequest, PreconditionFailed, NoSuchKey, ConditionalRequestConflict.
    """
    raise NotImplementedError


async def abort_upload(ctx: Context, bucket: str, key: str, upload_id: str) -> None:
    """Drop an upload and its parts. Raises AccessDenied, NoSuchBucket, NoSuchUpload."""
    raise NotImplementedError
