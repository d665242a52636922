"""The drill over deploy/: install as docs/install.md says, store, lose a datacenter, get it back.

Run by `python -m tests.support.deploy_drill FOLDER` inside `three_sites.command`; the first thing
that is not as it must be ends it with a traceback.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from gateway.ca_cli import ca_app, keys_app
from tests.support import three_sites
from tests.support.three_sites import CONFIGS, GATEWAY_ADDRESS, NODES, STATE, await_that

HEXAGONE = str(Path(sys.executable).parent / "hexagone")
SOCKET = ("--socket", "/run/hexagone/admin.sock")
LOST, LOST_NEXT = "lyon", "marseille"
BUCKET = "drill"
LENGTHS = (0, 1, 4096, 100_000, 1_048_577, 9_000_000)
TIER_BACK_S = 30.0


def install(folder: Path) -> None:
    """Certificates and root key, by the commands of docs/install.md."""
    ca, tls = ["--dir", str(folder / "ca")], ["--out", str(CONFIGS / "tls")]
    ca_app(["init", *ca], standalone_mode=False)
    for node in NODES:
        who = ["--id", node, "--datacenter", node.partition("-")[0], "--country", "fr"]
        ca_app(["issue-node", *ca, *who, *tls], standalone_mode=False)
    ca_app(["issue-gateway", *ca, "--id", "gateway-1", *tls], standalone_mode=False)
    names = ["--name", GATEWAY_ADDRESS, "--name", "s3.example.internal"]
    ca_app(["issue-server", *ca, *names, *tls], standalone_mode=False)
    keys_app(["init", "--keys", str(STATE / "gateway" / "keys")], standalone_mode=False)


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


def drill(folder: Path, daemons: three_sites.Daemons) -> None:
    told = time.monotonic()

    def tell(what: str) -> None:
        nonlocal told
        print(f"{time.monotonic() - told:6.1f} s  {what}", flush=True)
        told = time.monotonic()

    with redirect_stdout(None):
        install(folder)
    tell("CA, eleven certificates, root key")
    three_sites.start_nodes(daemons)
    tell("nine nodes are ready")
    exports = CONFIGS / "aws.env"
    config = str(CONFIGS / "gateway.toml")
    hexagone("gateway", "credentials", "--config", config, "--to", str(exports))
    three_sites.start_gateway(daemons)
    tell("the gateway is ready")
    store = Store(exports)
    store.write("whole")
    store.check()
    tell("written and read")

    three_sites.cut(LOST)
    assert three_sites.reachable("10.77.3.1", 7400) and not three_sites.reachable("10.77.2.1", 7400)
    store.check()
    tell(f"everything reads without {LOST}")
    store.write("reduced")
    store.delete("whole/1")
    store.check()
    tell("writes are accepted and read")

    assert tier() == "NODE"
    three_sites.join(LOST)
    await_that("tier FULL", lambda: tier() == "FULL", TIER_BACK_S)
    tell(f"{LOST} is back, the tier is FULL")
    store.check()
    store.write("again")
    store.check()
    tell("written and read")
    daemons.stop("gateway")
    three_sites.start_gateway(daemons)
    tell("the gateway was restarted")
    hexagone("jobs", "run", "repair", *SOCKET)
    tell("repair has spread what was written meanwhile")
    three_sites.cut(LOST_NEXT)
    store.check()
    tell(f"everything reads without {LOST_NEXT}")

    daemons.stop("gateway")
    daemons.stop(*NODES)
    tell("all have drained")


def main() -> None:
    folder = Path(sys.argv[1])
    three_sites.private_folders(folder)
    three_sites.network()
    drill(folder, three_sites.Daemons(folder))


if __name__ == "__main__":
    main()
