"""What a client is told of versions, parts and uploads. Pure."""

from __future__ import annotations

from gateway.model.attributes import NO_ATTRIBUTES, Encryption
from gateway.model.names import ObjectKey, upload_id_text, version_id_text
from gateway.model.version import Part, Upload, Version
from gateway.objects.values import NO_METADATA, Metadata, ObjectHead, PartHead, UploadHead


def head_of(key: ObjectKey, version: Version, *, is_versioned: bool) -> ObjectHead:
    """A version as get, head and put answer it.

    Args:
        is_versioned: the bucket has, or had, versioning: its null versions are called that.
    """
    metadata = NO_METADATA
    if (
        version.headers
        or version.user_metadata
        or version.storage_class != metadata.storage_class
        or version.tags
        or version.attributes is not NO_ATTRIBUTES
    ):
        metadata = Metadata(
            headers=version.headers,
            user=version.user_metadata,
            storage_class=version.storage_class,
            tags=version.tags,
            attributes=version.attributes,
        )
    return ObjectHead(
        key=key.decode("utf-8"),
        version_id=version_id_text(version.version_id) if is_versioned else None,
        etag=version.etag,
        length=version.content_bytes,
        modified_at_ms=version.created_at_ms,
        metadata=metadata,
        checksum=version.checksum,
        part_count=version.part_count if version.part_runs else 0,
        encryption=version.attributes.encryption,
    )


def part_head_of(part: Part, encryption: Encryption | None = None) -> PartHead:
    """A part as upload and ListParts answer it."""
    return PartHead(
        part_number=part.number,
        etag=part.etag,
        length=part.plain_bytes,
        modified_at_ms=part.created_at_ms,
        checksum=part.checksum,
        encryption=encryption,
    )


def upload_head_of(upload: Upload) -> UploadHead:
    """An upload as create and ListMultipartUploads answer it."""
    return UploadHead(
        key=upload.key.decode("utf-8"),
        upload_id=upload_id_text(upload.upload_id),
        created_at_ms=upload.created_at_ms,
        storage_class=upload.storage_class,
        checksum_algorithm=upload.checksum_algorithm or None,
        checksum_composite=upload.checksum_type == "COMPOSITE",
        encryption=upload.attributes.encryption,
        owner_id=upload.attributes.owner_id,
    )
