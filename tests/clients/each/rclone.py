"""rclone: copy, check with checksums, moves on the server's side, ranges, purge."""

from __future__ import annotations

import json
from pathlib import Path

from tests.clients.server import MIB, Server, check, command, make_tree, payload, read_tree, same


def version() -> str:
    return command(["rclone", "version"]).split()[1]


def run(server: Server, work: Path) -> str:
    config = work / "rclone.conf"
    config.write_text(
        "[hx]\ntype = s3\nprovider = Other\nenv_auth = true\n"
        f"endpoint = {server.url}\nregion = {server.region}\n"
        "chunk_size = 5Mi\nupload_cutoff = 6Mi\n"
        f"copy_cutoff = 6Mi\nforce_path_style = {str(not server.is_virtual).lower()}\n"
    )
    trust = ["--ca-cert", server.authority] if server.authority else []
    bucket = f"hx:{server.bucket()}"

    def rclone(*words: str | Path) -> str:
        # The environment's CA variable makes this version's SDK fail; the option does not.
        bare = ["env", "-u", "AWS_CA_BUNDLE", "rclone", "--config", config, "--retries", "1"]
        return command([*bare, "--low-level-retries", "1", *trust, *words])

    rclone("mkdir", bucket)
    wanted = make_tree(work / "up")
    rclone("copy", "--metadata", work / "up", f"{bucket}/tree")
    rclone("check", "--download", work / "up", f"{bucket}/tree")
    rclone("sync", f"{bucket}/tree", work / "down")
    same(read_tree(work / "down"), wanted, "the tree")
    listed = json.loads(rclone("lsjson", "-R", "--files-only", f"{bucket}/tree"))
    same({e["Path"]: e["Size"] for e in listed}, {n: len(b) for n, b in wanted.items()}, "listing")
    times = {e["Path"]: e["ModTime"][:19] for e in listed}
    check(len(times) == len(wanted) and all(times.values()), "modification times")
    rclone("copyto", f"{bucket}/tree/large.bin", f"{bucket}/copied")
    rclone("moveto", f"{bucket}/copied", f"{bucket}/moved")
    part = rclone("cat", "--offset", "4", "--count", "4", f"{bucket}/tree/a+b=c&d'(1)~.txt")
    same(part, "name", "a range")
    digest = rclone("hashsum", "MD5", "--download", f"{bucket}/moved").split()[0]
    local = rclone("hashsum", "MD5", work / "up" / "large.bin").split()[0]
    same(digest, local, "the moved object")
    command(["env", "-u", "AWS_CA_BUNDLE", "rclone", "--config", config, *trust, "rcat",
             f"{bucket}/stream"], stdin=payload(7 * MIB))  # fmt: skip
    same(json.loads(rclone("size", "--json", f"{bucket}/stream"))["bytes"], 7 * MIB, "streamed")
    (work / "up" / "large.bin").unlink()
    rclone("sync", work / "up", f"{bucket}/tree")
    check("large.bin" not in rclone("lsf", f"{bucket}/tree"), "sync deletes")
    rclone("purge", bucket)
    check(server.bucket() not in rclone("lsd", "hx:"), "the bucket is gone")
    return (
        "copy, check --download, sync both ways, lsjson with times, multipart copy and move on the "
        "server, rcat, hashsum, purge"
    )
