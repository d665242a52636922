"""Inventory reports: all objects of a bucket as files of CSV in another one, with a manifest.

Not for when (`gateway.jobs.inventory`). A report sees each page of the bucket at an instant of its
own, as S3's do.

Source: Amazon S3 User Guide, "Amazon S3 Inventory", "Locating your inventory list".
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gateway.meta import keyspace
from gateway.meta.records import open_version
from gateway.model.action import Action
from gateway.model.bucket import Bucket
from gateway.model.errors import AccessDenied, NoSuchBucket
from gateway.model.inventory import FIELDS, columns, csv_row
from gateway.objects import access
from gateway.objects.access_request import ROOT_USER, Values
from gateway.objects.context import Context, Principal, Services
from gateway.objects.log_delivery import TextBody
from gateway.objects.put import put_object
from gateway.objects.values import Metadata, PutOptions

KIND = "inventory/"
SERVICE = "s3.amazonaws.com"
ARN = "arn:aws:s3:::"
PAGE_ROWS = 250
FILE_ROWS_MAX = 200_000
FILE_BYTES_MAX = 16 << 20  # compressed
REPORT_S = 6 * 3600.0
_GZIP = 31  # zlib's window bits for a gzip head


class _Report(NamedTuple):
    """One report in the making."""

    ctx: Context
    source: Bucket
    target: str
    folder: str
    at: datetime
    fields: list[str]
    with_versions: bool


async def write_report(services: Services, source: Bucket, config: Mapping[str, Any]) -> int:
    """Write a report; how many rows it has.

    Raises: NoSuchBucket, AccessDenied (the destination takes no reports), and as put_object.
    """
    report = _begin(services, source, config)
    files: list[dict[str, Any]] = []
    count = rows = size = 0
    packer = zlib.compressobj(wbits=_GZIP)
    packed: list[bytes] = []
    async for text in _rows(services, report, config.get("Filter", {}).get("Prefix", "")):
        packed.append(packer.compress(text.encode()))
        size += len(packed[-1])
        rows += 1
        count += 1
        if rows >= FILE_ROWS_MAX or size >= FILE_BYTES_MAX:
            files.append(await _put_file(services, report, b"".join(packed) + packer.flush()))
            packer, packed = zlib.compressobj(wbits=_GZIP), []
            rows = size = 0
    if rows or not files:
        files.append(await _put_file(services, report, b"".join(packed) + packer.flush()))
    await _put_manifest(report, files)
    return count


def _begin(services: Services, source: Bucket, config: Mapping[str, Any]) -> _Report:
    destination = config["Destination"]["S3BucketDestination"]
    name = destination["Bucket"].removeprefix(ARN)
    target = services.buckets.find(name)
    if target is None:
        raise NoSuchBucket(bucket=name)
    owner = services.identities.of_tenant(target.bucket.tenant)
    principal = Principal(
        tenant=target.bucket.tenant, access_key_id="", owner_id=owner.owner_id, user=ROOT_USER
    )
    env = services.env
    ctx = Context(services, principal, env.random_bytes(16), env.monotonic_s() + REPORT_S)
    prefix = destination.get("Prefix", "")
    folder = f"{prefix}/" if prefix and not prefix.endswith("/") else prefix
    folder += f"{source.name}/{config['Id']}"
    given: dict[str, Values] = {
        "aws:sourcearn": (ARN + source.name,),
        "aws:sourceaccount": (services.identities.of_tenant(source.tenant).owner_id,),
    }
    if not access.admits_service(ctx, target, SERVICE, Action.PUT_OBJECT, folder, given):
        raise AccessDenied(bucket=name)
    fields = [name for name in config.get("OptionalFields", {}).get("Field", []) if name in FIELDS]
    at = datetime.fromtimestamp(env.now_ms() / 1000, UTC)
    with_versions = config["IncludedObjectVersions"] == "All"
    return _Report(ctx, source, target.bucket.name, folder, at, fields, with_versions)


async def _rows(services: Services, report: _Report, prefix: str) -> AsyncIterator[str]:
    """Lines of current versions, then of noncurrent ones."""
    bucket, raw = report.source.bucket_id, prefix.encode()
    spans = [(*keyspace.object_prefix_range(bucket, raw), True)]
    if report.with_versions:
        spans.append((*keyspace.noncurrent_prefix_range(bucket, raw), False))
    for start, end, is_latest in spans:
        while True:
            page = services.log.scan(start, end, limit=PAGE_ROWS)
            for row in page:
                version = open_version(services.records, row.key, row.value).version
                if version.is_delete_marker and not report.with_versions:
                    continue
                parse = keyspace.parse_current if is_latest else keyspace.parse_noncurrent
                yield csv_row(
                    report.source.name,
                    parse(row.key)[1].decode("utf-8"),
                    version,
                    report.fields,
                    with_versions=report.with_versions,
                    is_latest=is_latest,
                )
            if len(page) < PAGE_ROWS:
                break
            start = keyspace.after(page[-1].key)
            await services.env.sleep(0)


async def _put_file(services: Services, report: _Report, content: bytes) -> dict[str, Any]:
    unique = services.env.random_bytes(16).hex()
    key = f"{report.folder}/data/{unique}.csv.gz"
    await _put(report, key, content, "application/gzip")
    return {"key": key, "size": len(content), "MD5checksum": _md5(content)}


async def _put_manifest(report: _Report, files: list[dict[str, Any]]) -> None:
    """The manifest, its digest, and the list of files that Hive reads."""
    schema = ", ".join(columns(report.fields, with_versions=report.with_versions))
    manifest = {
        "sourceBucket": report.source.name,
        "destinationBucket": ARN + report.target,
        "version": "2016-11-30",
        "creationTimestamp": str(round(report.at.timestamp() * 1000)),
        "fileFormat": "CSV",
        "fileSchema": schema,
        "files": files,
    }
    content = json.dumps(manifest, indent=2).encode()
    listed = "\n".join(f"s3://{report.target}/{one['key']}" for one in files).encode()
    hive = f"{report.folder}/hive/dt={report.at:%Y-%m-%d-%H-%M}/symlink.txt"
    await _put(report, hive, listed, "text/plain")
    folder = f"{report.folder}/{report.at:%Y-%m-%dT%H-%M}Z"
    await _put(report, f"{folder}/manifest.json", content, "application/json")
    await _put(report, f"{folder}/manifest.checksum", _md5(content).encode(), "text/plain")


async def _put(report: _Report, key: str, content: bytes, content_type: str) -> None:
    metadata = Metadata(headers=(("content-type", content_type),))
    options = PutOptions(metadata=metadata)
    await put_object(report.ctx, report.target, key, TextBody(content), options)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
