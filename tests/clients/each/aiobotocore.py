"""aiobotocore: many requests at once on one event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiobotocore
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from tests.clients.server import MIB, Server, check, payload, same


def version() -> str:
    return str(aiobotocore.__version__)


def run(server: Server, work: Path) -> str:
    asyncio.run(_run(server))
    return "100 puts and gets at once, streamed get, multipart by hand, pages, bulk deletion"


async def _run(server: Server) -> None:
    style = "virtual" if server.is_virtual else "path"
    config = AioConfig(s3={"addressing_style": style}, retries={"total_max_attempts": 1})
    session = get_session()
    async with session.create_client("s3", endpoint_url=server.url, config=config) as s3:
        await _task(s3, server.bucket())


async def _task(s3: Any, bucket: str) -> None:
    await s3.create_bucket(Bucket=bucket)
    bodies = {f"é/{n:03d}": payload(1 + 3000 * n, n) for n in range(100)}
    puts = (s3.put_object(Bucket=bucket, Key=k, Body=b, Metadata={"k": k[2:]})
            for k, b in bodies.items())  # fmt: skip
    await asyncio.gather(*puts)

    async def read(key: str) -> tuple[bytes, str]:
        got = await s3.get_object(Bucket=bucket, Key=key)
        async with got["Body"] as stream:
            return await stream.read(), got["Metadata"]["k"]

    found = await asyncio.gather(*map(read, bodies))
    same(found, [(body, key[2:]) for key, body in bodies.items()], "bodies")
    body = payload(11 * MIB)
    upload = await s3.create_multipart_upload(Bucket=bucket, Key="large")
    of = {"Bucket": bucket, "Key": "large", "UploadId": upload["UploadId"]}
    pieces = [body[at : at + 5 * MIB] for at in range(0, len(body), 5 * MIB)]
    sent = await asyncio.gather(
        *(s3.upload_part(**of, PartNumber=n, Body=piece) for n, piece in enumerate(pieces, 1))
    )
    parts = [{"PartNumber": n, "ETag": part["ETag"]} for n, part in enumerate(sent, 1)]
    await s3.complete_multipart_upload(**of, MultipartUpload={"Parts": parts})
    got = await s3.get_object(Bucket=bucket, Key="large")
    async with got["Body"] as stream:
        chunks = [chunk async for chunk in stream.iter_chunks()]
    same(b"".join(chunks), body, "streamed body")
    ranged = await s3.get_object(Bucket=bucket, Key="large", Range="bytes=5242870-5242889")
    same(await ranged["Body"].read(), body[5242870:5242890], "a range over two parts")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, MaxKeys=30)
    keys = [entry["Key"] async for page in pages for entry in page["Contents"]]
    same(keys, ["large", *bodies], "listing")
    done = await s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in keys]})
    check(len(done["Deleted"]) == len(keys) and "Errors" not in done, "bulk deletion")
    await s3.delete_bucket(Bucket=bucket)
