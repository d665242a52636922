"""The AWS command line: `s3` and `s3api`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.clients.server import MIB, Server, command, make_tree, payload, read_tree, same


def version() -> str:
    return command(["aws", "--version"]).split()[0].partition("/")[2]


def run(server: Server, work: Path) -> str:
    style = "virtual" if server.is_virtual else "path"
    config = work / "config"
    config.write_text(
        f"[default]\ns3 =\n  addressing_style = {style}\n"
        "  multipart_threshold = 6MB\n  multipart_chunksize = 6MB\n"
    )
    env = {"AWS_CONFIG_FILE": str(config), "AWS_ENDPOINT_URL": server.url}
    bucket = server.bucket()
    url = f"s3://{bucket}"

    def aws(*words: str | Path, code: int = 0) -> str:
        return command(["aws", *words], env=env, code=code)

    aws("s3", "mb", url)
    wanted = make_tree(work / "up")
    aws("s3", "sync", "--quiet", work / "up", f"{url}/tree")
    same(aws("s3", "sync", work / "up", f"{url}/tree"), "", "a second sync does nothing")
    aws("s3", "sync", "--quiet", f"{url}/tree", work / "down")
    same(read_tree(work / "down"), wanted, "the tree")
    listed = aws("s3", "ls", "--recursive", f"{url}/tree/").splitlines()
    same(len(listed), len(wanted), "lines of ls")
    body = payload(13 * MIB)
    (work / "one").write_bytes(body)
    aws("s3", "cp", "--quiet", "--metadata", "colour=blue", work / "one", f"{url}/one")
    head = json.loads(aws("s3api", "head-object", "--bucket", bucket, "--key", "one"))
    same((head["ContentLength"], head["Metadata"]), (len(body), {"colour": "blue"}), "head")
    aws("s3", "mv", "--quiet", f"{url}/one", f"{url}/two")
    part = ("--bucket", bucket, "--key", "two", "--range", "bytes=5-104", work / "part")
    aws("s3api", "get-object", *part)
    same((work / "part").read_bytes(), body[5:105], "range")
    _versions(aws, server.bucket("b"), work)
    aws("s3", "rm", "--quiet", "--recursive", url)
    aws("s3", "rb", url)
    same(aws("s3", "ls", url, code=255), "", "ls of a removed bucket")
    return (
        "mb, sync both ways of a tree with odd names, ls, multipart cp with metadata, mv, range, "
        "versions, rm --recursive, rb"
    )


def _versions(aws: Callable[..., str], bucket: str, work: Path) -> None:
    of = ("--bucket", bucket, "--key", "v")
    aws("s3", "mb", f"s3://{bucket}")
    aws("s3api", "put-bucket-versioning", "--bucket", bucket,
        "--versioning-configuration", "Status=Enabled")  # fmt: skip
    ids = []
    for text in ("one", "two"):
        (work / "v").write_text(text)
        put = json.loads(aws("s3api", "put-object", *of, "--body", work / "v"))
        ids.append(put["VersionId"])
    aws("s3api", "get-object", *of, "--version-id", ids[0], work / "v")
    same((work / "v").read_text(), "one", "the first version")

    aws("s3api", "delete-object", *of)
    listed = json.loads(aws("s3api", "list-object-versions", "--bucket", bucket))
    same([found["VersionId"] for found in listed["Versions"]], ids[::-1], "versions")
    for found in listed["Versions"] + listed["DeleteMarkers"]:
        aws("s3api", "delete-object", *of, "--version-id", found["VersionId"])
    aws("s3", "rb", f"s3://{bucket}")
