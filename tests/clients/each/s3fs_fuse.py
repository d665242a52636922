"""s3fs-fuse: a bucket mounted as a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.clients.curl import make_bucket, request
from tests.clients.server import (
    MIB,
    ClientFailed,
    Server,
    check,
    command,
    make_tree,
    payload,
    read_tree,
    same,
)


def version() -> str:
    return command(["s3fs", "--version"]).split("V", 1)[1].split()[0]


def run(server: Server, work: Path) -> str:
    bucket, mount = server.bucket(), work / "mount"
    make_bucket(server, bucket)
    mount.mkdir()
    passwords = work / "passwd"
    passwords.write_text(f"{server.access_key}:{server.secret_key}\n")
    passwords.chmod(0o600)
    options = [f"passwd_file={passwords}", f"url={server.url}", f"endpoint={server.region}"]
    options += [
        f"logfile={work / 'log'}",
        "curldbg",
        "dbglevel=info",
        "multipart_size=5",
        "retries=2",
        "max_stat_cache_size=0",
    ]
    options += [] if server.is_virtual else ["use_path_request_style"]
    command(["s3fs", bucket, mount, *(word for o in options for word in ("-o", o))])
    try:
        log = work / "log"
        check(os.path.ismount(mount), f"it is mounted: {log.read_text()[-3500:]}")
        _task(mount, work)
    finally:
        _unmount(mount)
    command(["s3fs", bucket, mount, *(word for o in options for word in ("-o", o))])
    try:
        same(list(mount.iterdir()), [], "nothing is left after another mount")
    finally:
        _unmount(mount)
    request(server, "DELETE", bucket)
    return "mount, a tree in and out, seek, writes inside, append, chmod, mv, rm, second mount"


def _task(mount: Path, work: Path) -> None:
    wanted = make_tree(work / "up", files=15)
    shutil.copytree(work / "up", mount / "tree")
    same(read_tree(mount / "tree"), wanted, "the tree")
    body = bytearray(payload(12 * MIB))
    large = mount / "large"
    large.write_bytes(body)
    with large.open("r+b") as stream:
        stream.seek(7 * MIB)
        same(stream.read(99), bytes(body[7 * MIB : 7 * MIB + 99]), "seek and read")
        stream.seek(6 * MIB)
        stream.write(b"changed")
    body[6 * MIB : 6 * MIB + 7] = b"changed"
    with large.open("ab") as stream:
        stream.write(b"more")
    same(large.read_bytes(), bytes(body) + b"more", "written inside and at the end")
    large.chmod(0o640)
    same(large.stat().st_mode & 0o777, 0o640, "mode (metadata by copy)")
    large.rename(mount / "moved")
    check(not large.exists() and (mount / "moved").stat().st_size == len(body) + 4, "moved")
    (mount / "tree").rename(mount / "wood")
    same(read_tree(mount / "wood"), wanted, "the moved tree")
    shutil.rmtree(mount / "wood")
    (mount / "moved").unlink()


def _unmount(mount: Path) -> None:
    for _ in range(50):
        try:
            command(["fusermount3", "-u", mount])
        except ClientFailed:
            time.sleep(0.2)
        else:
            return
    subprocess.run(["fusermount3", "-uz", mount], check=False)
