"""What both boto3 versions do: the widest task, since most Python programs stand on it."""

from __future__ import annotations

import io
import urllib.request
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

from tests.clients.server import MIB, ClientFailed, Server, check, md5, payload, same


def client_of(server: Server) -> Any:
    """A boto3 client as a user would make it; keys and CA come by the environment."""
    style = "virtual" if server.is_virtual else "path"
    config = Config(s3={"addressing_style": style}, retries={"total_max_attempts": 1})
    return boto3.client("s3", endpoint_url=server.url, config=config)


def error_code(call: Any, **arguments: Any) -> str:
    """The code of the error that the call must end with."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    raise ClientFailed(f"no error from {call.__name__} {arguments}")


def run(server: Server, work: Path) -> str:
    s3, bucket = client_of(server), server.bucket()
    s3.create_bucket(Bucket=bucket)
    _objects(s3, bucket)
    _transfers(s3, bucket, work)
    _listings(s3, bucket)
    _presigned(s3, bucket)
    _versions(s3, server.bucket("b"))
    _empty(s3, bucket)
    s3.delete_bucket(Bucket=bucket)
    same(error_code(s3.head_bucket, Bucket=bucket), "404", "HEAD of a deleted bucket")
    return (
        "put, get, ranges, conditions, metadata, 20 MiB multipart both ways, copy, pages of "
        "listings, presigned GET and PUT, tags, checksums, versions and delete markers, bulk "
        "deletion"
    )


def _objects(s3: Any, bucket: str) -> None:
    key, body = "dir/naïve key+&=%41.txt", payload(70_000)
    put = s3.put_object(
        Bucket=bucket,
        Key=key,
        Body=body,
        ContentType="text/x",
        CacheControl="no-cache",
        Metadata={"colour": "blue"},
        Tagging="a=1&b=2",
        ChecksumAlgorithm="SHA256",
    )
    same(put["ETag"], f'"{md5(body)}"', "ETag")
    got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    same(got["Body"].read(), body, "body")
    same(got["ChecksumSHA256"], put["ChecksumSHA256"], "checksum")
    same((got["ContentType"], got["CacheControl"]), ("text/x", "no-cache"), "headers")
    same(got["Metadata"], {"colour": "blue"}, "metadata")
    tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    same(tags, [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}], "tags")
    part = s3.get_object(Bucket=bucket, Key=key, Range="bytes=100-299")
    same(part["Body"].read(), body[100:300], "range")
    same(part["ContentRange"], "bytes 100-299/70000", "Content-Range")
    tail = s3.get_object(Bucket=bucket, Key=key, Range="bytes=-7")
    same(tail["Body"].read(), body[-7:], "range of the end")
    refused = error_code(s3.put_object, Bucket=bucket, Key=key, Body=b"x", IfNoneMatch="*")
    same(refused, "PreconditionFailed", "If-None-Match: *")
    unchanged = error_code(s3.get_object, Bucket=bucket, Key=key, IfNoneMatch=put["ETag"])
    same(unchanged, "304", "If-None-Match of the ETag")
    same(error_code(s3.get_object, Bucket=bucket, Key="none"), "NoSuchKey", "missing key")


def _transfers(s3: Any, bucket: str, work: Path) -> None:
    config = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=6 * MIB)
    body = payload(20 * MIB + 17)
    source, target = work / "source", work / "target"
    source.write_bytes(body)
    s3.upload_file(str(source), bucket, "large", Config=config, ExtraArgs={"Metadata": {"n": "1"}})
    s3.download_file(bucket, "large", str(target), Config=config)
    same(target.read_bytes(), body, "file back")
    check(s3.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-4"'), "parts in the ETag")
    s3.copy({"Bucket": bucket, "Key": "large"}, bucket, "large-copy", Config=config)
    into = io.BytesIO()
    s3.download_fileobj(bucket, "large-copy", into, Config=config)
    same(into.getvalue(), body, "copy back")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="given up")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="given up", UploadId=upload, PartNumber=1, Body=b"x")
    listed = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    same([found["UploadId"] for found in listed], [upload], "uploads")
    s3.abort_multipart_upload(Bucket=bucket, Key="given up", UploadId=upload)
    check("Uploads" not in s3.list_multipart_uploads(Bucket=bucket), "no uploads")


def _listings(s3: Any, bucket: str) -> None:
    wanted = sorted(f"list/{n % 3}/é {n:03d}" for n in range(60))
    for key in wanted:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for name in ("list_objects_v2", "list_objects"):
        pages = s3.get_paginator(name).paginate(
            Bucket=bucket, Prefix="list/", PaginationConfig={"PageSize": 7}
        )
        found = [entry["Key"] for page in pages for entry in page["Contents"]]
        same(found, wanted, name)
        folded = getattr(s3, name)(Bucket=bucket, Prefix="list/", Delimiter="/")
        prefixes = [entry["Prefix"] for entry in folded["CommonPrefixes"]]
        same(prefixes, ["list/0/", "list/1/", "list/2/"], f"{name} with a delimiter")


def _presigned(s3: Any, bucket: str) -> None:
    body = payload(5000)
    params = {"Bucket": bucket, "Key": "signed"}
    url = s3.generate_presigned_url("put_object", Params=params)
    request = urllib.request.Request(url, data=body, method="PUT")
    request.add_header("Content-Type", "")  # else urllib adds one that V2-signed URLs would sign
    with urllib.request.urlopen(request) as answer:
        same(answer.status, 200, "presigned PUT")
    with urllib.request.urlopen(s3.generate_presigned_url("get_object", Params=params)) as answer:
        same(answer.read(), body, "presigned GET")


def _versions(s3: Any, bucket: str) -> None:
    s3.create_bucket(Bucket=bucket)
    enabled = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    ids = [s3.put_object(Bucket=bucket, Key="v", Body=body)["VersionId"] for body in (b"1", b"2")]
    marker = s3.delete_object(Bucket=bucket, Key="v")
    check(marker["DeleteMarker"], "a delete marker")
    same(error_code(s3.get_object, Bucket=bucket, Key="v"), "NoSuchKey", "a deleted key")
    old = s3.get_object(Bucket=bucket, Key="v", VersionId=ids[0])
    same(old["Body"].read(), b"1", "the first version")
    listed = s3.list_object_versions(Bucket=bucket)
    same([found["VersionId"] for found in listed["Versions"]], ids[::-1], "versions")
    s3.delete_object(Bucket=bucket, Key="v", VersionId=marker["VersionId"])
    same(s3.get_object(Bucket=bucket, Key="v")["Body"].read(), b"2", "the latest is back")
    for version in ids:
        s3.delete_object(Bucket=bucket, Key="v", VersionId=version)
    s3.delete_bucket(Bucket=bucket)


def _empty(s3: Any, bucket: str) -> None:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [{"Key": entry["Key"]} for page in pages for entry in page["Contents"]]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
    same(len(done["Deleted"]), len(keys), "deleted")
    same(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0, "keys left")
