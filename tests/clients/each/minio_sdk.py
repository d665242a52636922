"""minio's Python SDK."""

from __future__ import annotations

import io
import ssl
from datetime import timedelta
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import minio
import urllib3
from minio.commonconfig import ENABLED, ComposeSource, CopySource, Tags
from minio.deleteobjects import DeleteObject
from minio.versioningconfig import VersioningConfig

from tests.clients.server import MIB, Server, payload, same


def version() -> str:
    return installed("minio")


def client_of(server: Server) -> Any:
    context = ssl.create_default_context(cafile=server.authority) if server.is_tls else None
    pool = urllib3.PoolManager(ssl_context=context, retries=False)
    client = minio.Minio(
        server.netloc,
        access_key=server.access_key,
        secret_key=server.secret_key,
        secure=server.is_tls,
        region=server.region,
        http_client=pool,
    )
    if server.is_virtual:
        client.enable_virtual_style_endpoint()
    return client


def read(client: Any, *arguments: Any, **options: Any) -> bytes:
    answer = client.get_object(*arguments, **options)
    try:
        return bytes(answer.read())
    finally:
        answer.close()
        answer.release_conn()


def run(server: Server, work: Path) -> str:
    client, bucket = client_of(server), server.bucket()
    client.make_bucket(bucket)
    same(client.bucket_exists(bucket), True, "bucket_exists")
    body = payload(12 * MIB + 3)
    client.put_object(bucket, "dir/large é", io.BytesIO(body), -1, part_size=5 * MIB,
                      metadata={"colour": "blue"})  # fmt: skip
    same(read(client, bucket, "dir/large é"), body, "body")
    same(read(client, bucket, "dir/large é", offset=10, length=20), body[10:30], "range")
    stat = client.stat_object(bucket, "dir/large é")
    same((stat.size, stat.metadata["x-amz-meta-colour"]), (len(body), "blue"), "stat")
    (work / "small").write_bytes(body[:1000])
    client.fput_object(bucket, "dir/small", str(work / "small"))
    client.copy_object(bucket, "copy", CopySource(bucket, "dir/large é"))
    client.fget_object(bucket, "copy", str(work / "copy"))
    same((work / "copy").read_bytes(), body, "copy")
    sources = [ComposeSource(bucket, name) for name in ("copy", "dir/small")]
    client.compose_object(bucket, "composed", sources)
    same(read(client, bucket, "composed"), body + body[:1000], "compose (UploadPartCopy)")
    tags = Tags.new_object_tags()
    tags["a"] = "é 1"
    client.set_object_tags(bucket, "copy", tags)
    same(dict(client.get_object_tags(bucket, "copy")), {"a": "é 1"}, "tags")
    listed = [found.object_name for found in client.list_objects(bucket, recursive=True)]
    same(listed, ["composed", "copy", "dir/large é", "dir/small"], "listing")
    url = client.presigned_get_object(bucket, "dir/small", expires=timedelta(minutes=5))
    answer = client._http.request("GET", url)
    same(answer.data, body[:1000], "presigned GET")
    client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    second = client.put_object(bucket, "copy", io.BytesIO(b"2"), 1)
    same(read(client, bucket, "copy", version_id=second.version_id), b"2", "a version")
    same(read(client, bucket, "copy", version_id="null"), body, "the null version")
    everything = client.list_objects(bucket, recursive=True, include_version=True)
    doomed = [DeleteObject(e.object_name, e.version_id or "null") for e in everything]
    errors = list(client.remove_objects(bucket, doomed))
    same(errors, [], "remove_objects")
    client.remove_bucket(bucket)
    same(client.bucket_exists(bucket), False, "bucket_exists of a removed one")
    return (
        "streamed multipart put, get, range, stat with metadata, copy, compose from parts, tags, "
        "listing, presigned GET, versions and the null version, remove_objects"
    )
