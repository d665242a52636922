"""restic: a repository, two snapshots, a full check, a restore, forget and prune."""

from __future__ import annotations

import json
from pathlib import Path

from tests.clients.server import Server, command, make_tree, payload, read_tree, same


def version() -> str:
    return command(["restic", "version"]).split()[1]


def run(server: Server, work: Path) -> str:
    style = "dns" if server.is_virtual else "path"
    words = ["restic", "--cache-dir", work / "cache", "-o", f"s3.bucket-lookup={style}"]
    words += ["--repo", f"s3:{server.url}/{server.bucket()}/repository"]
    words += ["--cacert", server.authority] if server.authority else []

    def restic(*more: str | Path) -> str:
        return command([*words, *more], env={"RESTIC_PASSWORD": "correct horse"})

    restic("init")
    tree = work / "up"
    first = make_tree(tree)
    restic("backup", "--quiet", tree)
    (tree / "large.bin").write_bytes(payload(3_000_000, 9))
    (tree / "added").write_bytes(b"added\n")
    restic("backup", "--quiet", tree)
    restic("check", "--read-data")
    snapshots = json.loads(restic("snapshots", "--json"))
    same(len(snapshots), 2, "snapshots")
    for snapshot, wanted in ((snapshots[0], first), (snapshots[1], read_tree(tree))):
        folder = work / f"restored-{snapshot['short_id']}"
        restic("restore", snapshot["id"], "--target", folder)
        same(read_tree(folder / tree.relative_to("/")), wanted, "the restored tree")
    restic("forget", "--keep-last", "1", "--prune")
    restic("check", "--read-data")
    same(len(json.loads(restic("snapshots", "--json"))), 1, "snapshots left")
    return "init, two backups, check --read-data, restore of both compared, forget --prune, check"
