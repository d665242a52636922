"""fsspec's s3fs: files as objects, as pandas and dask use it."""

from __future__ import annotations

from pathlib import Path

import s3fs

from tests.clients.server import MIB, Server, check, make_tree, payload, read_tree, same


def version() -> str:
    return f"s3fs {s3fs.__version__}"


def run(server: Server, work: Path) -> str:
    fs = s3fs.S3FileSystem(
        endpoint_url=server.url,
        key=server.access_key,
        secret=server.secret_key,
        client_kwargs={"region_name": server.region},
        config_kwargs={"s3": {"addressing_style": "virtual" if server.is_virtual else "path"}},
        use_listings_cache=False,
        skip_instance_cache=True,
        version_aware=False,
    )
    bucket = server.bucket()
    fs.mkdir(bucket)
    wanted = make_tree(work / "up")
    fs.put(f"{work}/up/", f"{bucket}/tree", recursive=True)
    found = {name.removeprefix(f"{bucket}/tree/") for name in fs.find(f"{bucket}/tree")}
    same(found, set(wanted), "find")
    fs.get(f"{bucket}/tree/", f"{work}/down/", recursive=True)
    same(read_tree(work / "down"), wanted, "the tree")
    body = payload(13 * MIB)
    with fs.open(f"{bucket}/large", "wb", block_size=5 * MIB) as out:
        for at in range(0, len(body), 1_000_000):
            out.write(body[at : at + 1_000_000])
    with fs.open(f"{bucket}/large", "rb", block_size=MIB) as stream:
        stream.seek(7 * MIB)
        same(stream.read(100), body[7 * MIB : 7 * MIB + 100], "seek and read")
    same(fs.cat_file(f"{bucket}/large", start=-9), body[-9:], "the end")
    with fs.open(f"{bucket}/large", "ab") as out:
        out.write(b"more")
    same(fs.cat(f"{bucket}/large"), body + b"more", "appended (copied part)")
    fs.setxattr(f"{bucket}/large", colour="blue")
    same(fs.getxattr(f"{bucket}/large", "colour"), "blue", "metadata")
    fs.mv(f"{bucket}/large", f"{bucket}/moved")
    check(not fs.exists(f"{bucket}/large"), "moved away")
    same(fs.du(f"{bucket}/moved"), len(body) + 4, "du")
    globbed = {name.rpartition("/")[2] for name in fs.glob(f"{bucket}/tree/d1/*1é.bin")}
    same(globbed, {f"file {n}é.bin" for n in (1, 11, 21, 31)}, "glob")
    fs.rm(bucket, recursive=True)
    check(bucket not in fs.ls(""), "the bucket is gone")
    return "put and get of a tree, find, glob, multipart writes, seek, append, metadata, mv, rm"
