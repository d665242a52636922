"""PutBucketVersioning, GetBucketVersioning, ListObjectVersions.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.limits import LIST_KEYS_MAX
from gateway.model.bucket import Versioning
from gateway.objects import versioning
from gateway.objects.versioning import ListedVersion, VersionsOptions
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.xml_reader import malformed, read

VERSIONING_BODY_MAX_BYTES = 4096
_STATES = {"Enabled": Versioning.ENABLED, "Suspended": Versioning.SUSPENDED}
_NAMES = {state: name for name, state in _STATES.items()}


async def put_versioning(call: Call) -> Reply:
    fields.check_supported(call)
    document = await call.body.read_document(VERSIONING_BODY_MAX_BYTES)
    root = read(document, "VersioningConfiguration", VERSIONING_BODY_MAX_BYTES)
    status, mfa = root.child("Status"), root.child("MfaDelete")
    if mfa is not None and mfa.text.strip() != "Disabled":
        raise S3Error("NotImplemented")
    state = None if status is None else _STATES.get(status.text.strip())
    if status is None:
        raise S3Error(
            "IllegalVersioningConfigurationException",
            "The Versioning element must be specified",
        )
    if state is None:
        malformed()
    await versioning.set_versioning(call.context, call.bucket, state)
    return Reply()


async def get_versioning(call: Call) -> Reply:
    fields.check_supported(call)
    state = versioning.get_versioning(call.context, call.bucket)
    children = [] if state is Versioning.OFF else [xml.element("Status", _NAMES[state])]
    return xml_reply(xml.document("VersioningConfiguration", *children))


async def list_versions(call: Call) -> Reply:
    fields.check_supported(call)
    query = call.query
    encoded = xml.encode_url if fields.encoding_is_url(call) else str
    keys_max = min(fields.integer(call, "max-keys", LIST_KEYS_MAX, least=0), LIST_KEYS_MAX)
    if "version-id-marker" in query and not query["version-id-marker"]:
        raise S3Error("InvalidArgument", "A version-id marker cannot be empty.")
    options = VersionsOptions(
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        after_key=query.get("key-marker", ""),
        after_version_id=query.get("version-id-marker", ""),
        keys_max=keys_max,
    )
    page = await versioning.list_versions(call.context, call.bucket, options)
    children = [
        xml.element("Name", call.bucket),
        xml.element("Prefix", encoded(options.prefix)),
        xml.element("KeyMarker", encoded(options.after_key)),
        xml.element("VersionIdMarker", options.after_version_id),
        xml.element("MaxKeys", keys_max),
        xml.element("IsTruncated", page.is_truncated),
    ]
    if options.delimiter:
        children.append(xml.element("Delimiter", encoded(options.delimiter)))
    if query.get("encoding-type"):
        children.append(xml.element("EncodingType", "url"))
    if page.next_key is not None:
        children.append(xml.element("NextKeyMarker", encoded(page.next_key)))
    if page.next_version_id:
        children.append(xml.element("NextVersionIdMarker", page.next_version_id))
    owners = [item.version.attributes.owner_id for item in page.versions]
    if not page.has_owners:
        owners = [""] * len(owners)
    written = {owner: fields.owner_of(call, "Owner", owner) for owner in set(owners)}
    children += [
        _row(item, encoded, written[owner])
        for item, owner in zip(page.versions, owners, strict=True)
    ]
    children.append(xml.common_prefixes(map(encoded, page.common_prefixes)))
    return xml_reply(xml.document("ListVersionsResult", *children))


def _row(item: ListedVersion, encoded: Callable[[str], str], owner: str) -> str:
    version = item.version
    children = [
        xml.element("Key", encoded(item.key)),
        xml.element("VersionId", item.version_id),
        xml.element("IsLatest", item.is_latest),
        xml.element("LastModified", xml.told_time(version.created_at_ms)),
    ]
    if version.is_delete_marker:
        return xml.group("DeleteMarker", *children, owner)
    children.append(xml.element("ETag", f'"{version.etag}"'))
    if version.checksum is not None:
        children.append(xml.element("ChecksumAlgorithm", version.checksum.algorithm))
        children.append(xml.element("ChecksumType", version.checksum.type))
    children.append(xml.element("Size", version.content_bytes))
    children.append(xml.element("StorageClass", version.storage_class))
    return xml.group("Version", *children, owner)


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutBucketVersioning": put_versioning,
    "GetBucketVersioning": get_versioning,
    "ListObjectVersions": list_versions,
}
