"""Drills over deploy/, by the commands of docs/install.md: a datacenter goes and returns; a node is
replaced, the CA changed, the gateway's machine lost.

Run by `python -m tests.support.deploy_drill FOLDER datacenter|runbook` inside
`three_sites.command`; the first thing that is not as it must be ends it with a traceback.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from gateway.ca_cli import ca_app
from gateway.cli.keys_app import keys_app
from tests.support import three_sites
from tests.support.three_sites import CONFIGS, GATEWAY_ADDRESS, NODES, STATE, await_that

HEXAGONE = str(Path(sys.executable).parent / "hexagone")
SOCKET = ("--socket", "/run/hexagone/admin.sock")
LOST, LOST_NEXT = "lyon", "marseille"
REPLACED = "paris-2"
CONFIG = ("--config", str(CONFIGS / "gateway.toml"))
TLS = CONFIGS / "tls"
KEYS = STATE / "gateway" / "keys"
INDEX = STATE / "gateway" / "index"
BUCKET = "drill"
LENGTHS = (0, 1, 4096, 100_000, 1_048_577, 9_000_000)
TIER_BACK_S = 30.0


def issue_node(ca: Path, node: str) -> None:
    who = ["--id", node, "--datacenter", node.partition("-")[0], "--country", "fr"]
    where = ["--dir", str(ca), "--out", str(TLS)]
    with redirect_stdout(None):
        ca_app(["issue-node", *where, *who], standalone_mode=False)


def install(ca: Path) -> None:
    """Certificates and root key."""
    where = ["--dir", str(ca), "--out", str(TLS)]
    names = ["--name", GATEWAY_ADDRESS, "--name", "s3.example.internal"]
    with redirect_stdout(None):
        ca_app(["init", "--dir", str(ca)], standalone_mode=False)
        ca_app(["issue-gateway", *where, "--id", "gateway-1"], standalone_mode=False)
        ca_app(["issue-server", *where, *names], standalone_mode=False)
        keys_app(["init", "--keys", str(KEYS)], standalone_mode=False)
    for node in NODES:
        issue_node(ca, node)


class Store:
    """The S3 client, and what it has been promised."""

    def __init__(self, exports: Path) -> None:
        given = dict(
            line.removeprefix("export ").split("=", 1) for line in exports.read_text().splitlines()
        )
        self._s3 = boto3.client(
            "s3",
            endpoint_url=given["AWS_ENDPOINT_URL"],
            aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
            region_name=given["AWS_REGION"],
            verify=given["AWS_CA_BUNDLE"],
            config=Config(
                s3={"addressing_style": "path"}, retries={"max_attempts": 3}, read_timeout=30
            ),
        )
        self._rng = random.Random(54)
        self._promised: dict[str, str] = {}
        self._s3.create_bucket(Bucket=BUCKET)

    def write(self, prefix: str) -> None:
        """Objects of all lengths; every one must be accepted."""
        for length in LENGTHS:
            body = self._rng.randbytes(length)
            self._s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{length}", Body=body)
            self._promised[f"{prefix}/{length}"] = hashlib.sha256(body).hexdigest()

    def put(self, key: str, body: io.BytesIO) -> None:
        """One object from a file; it must be accepted."""
        self._s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        self._promised[key] = hashlib.sha256(body.getvalue()).hexdigest()

    def delete(self, key: str) -> None:
        self._s3.delete_object(Bucket=BUCKET, Key=key)
        del self._promised[key]

    def check(self) -> None:
        """The list is what was promised, and every byte reads back."""
        listed = self._s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        assert sorted(self._promised) == [item["Key"] for item in listed]
        for key, digest in self._promised.items():
            body = self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            assert hashlib.sha256(body).hexdigest() == digest, key


def hexagone(*words: str) -> str:
    """A `hexagone` command in Paris, beside the gateway; returns what it printed."""
    command = ["ip", "netns", "exec", "paris", HEXAGONE, *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def status() -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(hexagone("status", "--json", *SOCKET))
    return answer


def tier() -> str:
    return str(status()["tier"]["name"])


def await_usable(name: str) -> None:
    """Until the gateway gives shards to a node."""

    def is_usable() -> bool:
        return any(node["node"] == name and node["usable"] for node in status()["nodes"])

    await_that(f"{name} is usable", is_usable, TIER_BACK_S)


class Story:
    """Prints what was done and how long it took."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()

    def tell(self, what: str) -> None:
        now_s = time.monotonic()
        print(f"{now_s - self._since_s:6.1f} s  {what}", flush=True)
        self._since_s = now_s


def start_cluster(ca: Path, daemons: three_sites.Daemons, story: Story) -> Store:
    """From nothing to a first bucket."""
    install(ca)
    story.tell("CA, eleven certificates, root key")
    three_sites.start_nodes(daemons, *NODES)
    story.tell("nine nodes are ready")
    exports = CONFIGS / "aws.env"
    authority = str(CONFIGS / "tls" / "authority.pem")
    hexagone("gateway", "credentials", *CONFIG, "--to", str(exports), "--authority", authority)
    three_sites.start_gateway(daemons)
    story.tell("the gateway is ready")
    store = Store(exports)
    store.write("whole")
    store.check()
    story.tell("written and read")
    return store


def restart_gateway(daemons: three_sites.Daemons) -> None:
    daemons.stop("gateway")
    three_sites.start_gateway(daemons)


def datacenter(folder: Path, daemons: three_sites.Daemons) -> None:
    """One datacenter is cut off and comes back; then another goes."""
    story = Story()
    store = start_cluster(folder / "ca", daemons, story)

    three_sites.cut(LOST)
    assert three_sites.reachable("10.77.3.1", 7400) and not three_sites.reachable("10.77.2.1", 7400)
    store.check()
    story.tell(f"everything reads without {LOST}")
    store.write("reduced")
    store.delete("whole/1")
    store.check()
    assert tier() == "NODE"
    story.tell("writes are accepted and read, the tier is NODE")

    three_sites.join(LOST)
    await_that("tier FULL", lambda: tier() == "FULL", TIER_BACK_S)
    story.tell(f"{LOST} is back, the tier is FULL")
    store.check()
    store.write("again")
    store.check()
    story.tell("written and read")

    restart_gateway(daemons)
    hexagone("jobs", "run", "repair", *SOCKET)
    story.tell("the gateway was restarted, repair has spread what was written meanwhile")
    three_sites.cut(LOST_NEXT)
    store.check()
    story.tell(f"everything reads without {LOST_NEXT}")
    daemons.stop("gateway")
    daemons.stop(*NODES)
    story.tell("all have drained")


def runbook(folder: Path, daemons: three_sites.Daemons) -> None:
    """A drive is replaced, the CA changed under a running cluster, the index and keyring lost."""
    story = Story()
    store = start_cluster(folder / "ca", daemons, story)

    daemons.stop(REPLACED)
    shutil.rmtree(STATE / "nodes" / REPLACED)
    three_sites.start_nodes(daemons, REPLACED)
    await_usable(REPLACED)
    hexagone("jobs", "run", "sweep", *SOCKET)
    hexagone("jobs", "run", "repair", *SOCKET)
    three_sites.cut(LOST)
    daemons.stop("marseille-1")
    store.check()
    story.tell(f"{REPLACED} was replaced by an empty drive, which is needed for every read")
    three_sites.start_nodes(daemons, "marseille-1")
    three_sites.join(LOST)

    old = (TLS / "authority.pem").read_bytes()
    with redirect_stdout(None):
        ca_app(["init", "--dir", str(folder / "ca2")], standalone_mode=False)
    issue_node(folder / "ca2", REPLACED)
    (TLS / "authority.pem").write_bytes(old + (TLS / "authority.pem").read_bytes())
    daemons.stop(REPLACED)
    three_sites.start_nodes(daemons, REPLACED)
    restart_gateway(daemons)
    await_that("tier FULL", lambda: tier() == "FULL", TIER_BACK_S)
    await_usable(REPLACED)
    store.write("two authorities")
    store.check()
    story.tell(f"{REPLACED} has a certificate of another CA")

    daemons.stop("gateway")
    shutil.rmtree(INDEX)
    (KEYS / "tenants.sealed").unlink()
    hexagone("rebuild", *CONFIG)
    three_sites.start_gateway(daemons)
    store.check()
    store.write("rebuilt")
    store.check()
    story.tell("index and tenant keys are back from nodes and root key")


def main() -> None:
    folder, name = Path(sys.argv[1]), sys.argv[2]
    three_sites.private_folders(folder)
    three_sites.network()
    {"datacenter": datacenter, "runbook": runbook}[name](folder, three_sites.Daemons(folder))


if __name__ == "__main__":
    main()
