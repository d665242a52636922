"""Usage: python -m tests.restore.into_any_s3 FOLDER ENDPOINT_URL

What an export holds, into any S3 server by boto3.

Versions oldest first, with content, headers, metadata, tags; what S3 cannot be told (ids, dates,
ETags of parts) is the server's. A recipe to begin with, see docs/export.md.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3

from tests.restore.read_export import Bucket, read

PARAMETERS = {
    "content-type": "ContentType",
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "expires": "Expires",
    "x-amz-website-redirect-location": "WebsiteRedirectLocation",
}


def bring(s3: Any, bucket: Bucket) -> None:
    s3.create_bucket(Bucket=bucket.name, ObjectLockEnabledForBucket=bucket.settings["object_lock"])
    versioning = bucket.settings["versioning"]
    if versioning != "off":  # so that nothing replaces anything: null versions get ids
        _set_versioning(s3, bucket, "Enabled")
    for record, content, _ in bucket.versions():
        if record.get("delete_marker"):
            s3.delete_object(Bucket=bucket.name, Key=record["key"])
        elif content is not None:
            s3.put_object(Bucket=bucket.name, Key=record["key"], Body=content, **_told(record))
    if versioning == "suspended":
        _set_versioning(s3, bucket, "Suspended")
    documents = bucket.settings["documents"]
    if "policy" in documents:
        s3.put_bucket_policy(Bucket=bucket.name, Policy=documents["policy"]["text"])
    if "tagging" in documents:
        tags = [{"Key": key, "Value": value} for key, value in documents["tagging"]["tags"]]
        s3.put_bucket_tagging(Bucket=bucket.name, Tagging={"TagSet": tags})


def _set_versioning(s3: Any, bucket: Bucket, status: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": status})


def _told(record: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"Metadata": dict(record.get("metadata", []))}
    for name, value in record.get("headers", []):
        told[PARAMETERS[name]] = value
    if "tags" in record:
        told["Tagging"] = "&".join(f"{key}={value}" for key, value in record["tags"])
    if "retention_mode" in record:
        told["ObjectLockMode"] = record["retention_mode"]
        until_s = record["retain_until_ms"] / 1000
        told["ObjectLockRetainUntilDate"] = datetime.fromtimestamp(until_s, UTC)
    if record.get("legal_hold"):
        told["ObjectLockLegalHoldStatus"] = "ON"
    return told


def main() -> None:
    s3 = boto3.client("s3", endpoint_url=sys.argv[2])
    for bucket in read(Path(sys.argv[1]))[2]:
        bring(s3, bucket)


if __name__ == "__main__":
    main()
