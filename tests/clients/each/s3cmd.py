"""s3cmd: a sync, metadata, copies, and what it writes into its own headers."""

from __future__ import annotations

from pathlib import Path

from tests.clients.server import MIB, Server, check, command, make_tree, payload, read_tree, same


def version() -> str:
    return command(["s3cmd", "--version"]).split()[-1]


def _config(server: Server, work: Path) -> Path:
    lines = {
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "bucket_location": server.region,
        "host_base": server.netloc,
        "host_bucket": f"%(bucket)s.{server.netloc}" if server.is_virtual else server.netloc,
        "use_https": str(server.is_tls),
        "ca_certs_file": server.authority or "",
        "multipart_chunk_size_mb": "5",
        "max_retries": "1",
    }
    path = work / "s3cfg"
    path.write_text("[default]\n" + "".join(f"{n} = {v}\n" for n, v in lines.items()))
    return path


def run(server: Server, work: Path) -> str:
    config, url = _config(server, work), f"s3://{server.bucket()}"

    def s3cmd(*words: str | Path) -> str:
        return command(["s3cmd", "-c", config, "--no-progress", *words])

    s3cmd("mb", url)
    check(url in s3cmd("ls"), "the bucket is in the list")
    wanted = make_tree(work / "up")
    s3cmd("sync", f"{work}/up/", f"{url}/tree/")
    same(s3cmd("sync", f"{work}/up/", f"{url}/tree/").count("upload:"), 0, "second sync")
    (work / "down").mkdir()
    s3cmd("sync", f"{url}/tree/", f"{work}/down/")
    same(read_tree(work / "down"), wanted, "the tree")
    same(len(s3cmd("ls", "--recursive", f"{url}/tree/").splitlines()), len(wanted), "ls")
    body = payload(11 * MIB)
    (work / "one").write_bytes(body)
    s3cmd(
        "put", "--add-header=x-amz-meta-colour:blue", "--mime-type=text/x", work / "one", f"{url}/1"
    )
    # Without this option s3cmd puts an ACL, which AWS too refuses where ACLs are off.
    s3cmd("cp", "--acl-private", f"{url}/1", f"{url}/2")
    s3cmd("mv", "--acl-private", f"{url}/2", f"{url}/3")
    shown = s3cmd("info", f"{url}/3")
    check("x-amz-meta-colour: blue" in shown and "text/x" in shown, f"info: {shown}")
    s3cmd("get", f"{url}/3", work / "back")
    same((work / "back").read_bytes(), body, "bytes back")
    check(str(len(body)) in s3cmd("du", f"{url}/3"), "du")
    check(f"{url}/2" not in s3cmd("ls", f"{url}/"), "what was moved is gone")
    s3cmd("del", "--recursive", "--force", url)
    s3cmd("rb", url)
    check(url not in s3cmd("ls"), "the bucket is gone")
    return "mb, sync both ways, multipart put with metadata, cp, mv, info, get, du, del, rb"
