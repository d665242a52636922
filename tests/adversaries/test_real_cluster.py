"""A real cluster under errors: its drives, index and logs are searched for what clients have sent,
and everything that it says for every secret that it has.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from gateway.config_keys import KeysFrom
from gateway.data.keyring import FileKeyring, RootKey
from gateway.keyd.secret import KeydSecret
from storaged.base.env import RealEnv
from tests.support.processes import BIN, Cluster, end, wait_until
from tests.support.raw_s3 import Credentials, RawClient, presign

pytestmark = pytest.mark.timeout(300)
CONTENT, META, TAG = b"canary-content-81f2", "canary-metadata-4cd0", "canary-tag-77ab"
TYPE, NAME = "canary/type-93e1", "canary-name-2b6f"
SMALL = b"small " + CONTENT
LARGE = CONTENT + Random(4).randbytes(700_000) + CONTENT
CLIENT_KEY = hashlib.sha256(b"canary of a client's key").digest()
HEADERS = {"content-type": TYPE, "x-amz-meta-note": META, "x-amz-tagging": f"k={TAG}"}
OURS = ("keys", "keyd", "tls", "aws.env")  # where secrets are kept, on purpose


@dataclass
class Told:
    """The cluster's folder after it was stopped, and all that it has said."""

    folder: Path
    said: dict[str, bytes] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Files beside those that secrets are kept in."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path.relative_to(self.folder).parts[0] not in OURS:
                yield path.relative_to(self.folder), path.read_bytes()


def _traffic(told: Told, client: RawClient) -> bytes:
    """Every way to write, and requests that fail in many ways; what was read of `large`."""

    def ask(method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = client.request(method, target, body, named)
        seen = repr(answer.headers).encode()
        if method != "GET" or answer.status >= 400:
            seen += answer.body
        told.said[f"{len(told.said)} {method} {target} {answer.status}"] = seen
        return answer.body

    given = {name.replace("-", "_"): value for name, value in HEADERS.items()}
    ask("PUT", f"/bucket/{NAME}-small", SMALL, **given)
    ask("PUT", f"/bucket/{NAME}-large", LARGE, **given)
    source = f"/bucket/{NAME}-large"
    ask("PUT", f"/bucket/{NAME}-copy", x_amz_copy_source=source)
    made = ask("POST", f"/bucket/{NAME}-parts?uploads", **given)
    upload = made.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    ask("PUT", f"/bucket/{NAME}-parts?partNumber=1&uploadId={upload}", LARGE)
    ask("PUT", f"/bucket/{NAME}-gone", SMALL, **given)
    ask("DELETE", f"/bucket/{NAME}-gone")
    got = ask("GET", f"/bucket/{NAME}-large")
    sse_c = {
        "x_amz_server_side_encryption_customer_algorithm": "AES256",
        "x_amz_server_side_encryption_customer_key": base64.b64encode(CLIENT_KEY).decode(),
        "x_amz_server_side_encryption_customer_key_md5": base64.b64encode(
            hashlib.md5(CLIENT_KEY).digest()
        ).decode(),
    }
    ask("PUT", f"/bucket/{NAME}-client", SMALL, **sse_c)
    ask("GET", f"/bucket/{NAME}-small", **sse_c)
    ask("GET", f"/bucket/{NAME}-absent")
    ask("PUT", "/bucket?encryption", b"<broken")
    ask("GET", "/nobody/x")
    linked = presign(client.credentials, "GET", f"/bucket/{NAME}-small", {"host": client.authority})
    told.secrets["signature of a link"] = linked.signature.encode()
    client.send_head("GET", linked.target, linked.headers)
    client.read_answer()
    for target in ("/bucket/%zz", "/bucket/x?uploadId=1&uploadId=2", "/bucket/x?acl"):
        ask("GET", target)
    wrong = Credentials(client.credentials.access_key_id, "not-the-secret", "fr")
    with RawClient(client.host, client.port, wrong) as other:
        answer = other.request("GET", f"/bucket/{NAME}-small")
        assert answer.status == 403
        told.said["wrong secret"] = answer.body
    return got


def _commands(told: Told, cluster: Cluster) -> None:
    """What people ask, and what they ask wrongly."""

    def hexagone(*words: str) -> None:
        command = [str(BIN / "hexagone"), *words, "--data", str(cluster.folder)]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        told.said[" ".join(words)] = done.stdout + done.stderr

    for words in (
        ("status", "--json"),
        ("keys", "list", "--json"),
        ("keys", "status", "--json"),
        ("journal", "show"),
        ("where", f"s3://bucket/{NAME}-large", "--json"),
        ("produce", "--provider", "--json"),
        ("usage", "--json"),
        ("user", "create", "nobody", "--tenant", "there-is-none"),
        ("keys", "destroy", "--bucket", "bucket", "--epoch", "7", "--yes"),
        ("where", "s3://bucket/absent"),
    ):
        hexagone(*words)
    secret = cluster.folder / "aws.env.of-a-user"
    hexagone("tenant", "create", "mairie", "--secret-file", str(secret) + "-root")
    hexagone("user", "create", "anne", "--tenant", "mairie", "--json")
    of_user = ("--user", "anne", "--tenant", "mairie", "--json")
    hexagone("access-key", "create", *of_user, "--secret-file", str(secret))
    hexagone("access-key", "list", "--tenant", "mairie", "--json")
    for path in (secret, Path(f"{secret}-root")):
        (value,) = [word for word in re.split(r"[\s='\"]+", path.read_text()) if len(word) == 40]
        told.secrets[path.name] = value.encode()
        path.unlink()
    hexagone("keys", "rotate", "--bucket", "bucket", "--yes", "--wait")


def _bad_days(told: Told, cluster: Cluster) -> None:
    """A drive that lies, a key service that dies, garbage at the admin's door."""
    for volume in (cluster.folder / "nodes" / "paris-1").glob("*.vol"):
        with volume.open("r+b") as file:
            for at in range(8192, volume.stat().st_size - 64, 8192):
                file.seek(at + 100)
                file.write(b"\xff" * 16)
    pid = cluster.folder / "keyd.pid"
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGKILL)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(cluster.laid.socket))
        sock.sendall(b"POST /v1/keys?name=%ff HTTP/1.1\r\nHost: x\r\n\r\n")
        told.said["garbage at the admin port"] = sock.recv(65536)


def _processes(told: Told, cluster: Cluster) -> None:
    """What anybody of the machine's users could see of the processes."""
    pids = [cluster.pid]
    if (cluster.folder / "keyd.pid").exists():
        pids.append(int((cluster.folder / "keyd.pid").read_text()))
    for pid in pids:
        for name in ("cmdline", "environ"):
            told.said[f"{name} of {pid}"] = Path(f"/proc/{pid}/{name}").read_bytes()


def _all_secrets(told: Told, cluster: Cluster) -> None:
    """Root, key service, tenants', signing keys, keys of certificates, of clients and of users."""
    secrets, folder = told.secrets, cluster.folder
    secrets["root key"] = (folder / "keys" / "root.key").read_bytes()
    secrets["client's key"] = CLIENT_KEY
    secrets["root user's secret"] = cluster.credentials().secret.encode()
    root, env = RootKey.load(folder / "keys"), RealEnv(threads_max=1)
    for label in ("integrity", "cluster-record", "log-mac", "log-seal", "sums", "attestation"):
        secrets[f"derived {label}"] = root.derive(label)
    if (folder / "keyd" / "keyd.key").exists():
        secrets["key service's secret"] = (folder / "keyd" / "keyd.key").read_bytes()
        sealing = KeydSecret.load(folder / "keyd", root.cluster_id, None)
        keyring = FileKeyring(folder / "keyd", sealing, env)
    else:
        keyring = FileKeyring(folder / "keys", root, env)
    for (_, name, epoch), held in keyring._keys.items():
        secrets[f"tenant's key {name!r} {epoch}"] = held.key
    for path in [*folder.rglob("*.key"), *folder.rglob("*.seed")]:
        content = path.read_bytes()
        if b"PRIVATE KEY" in content:
            content = b"".join(content.split(b"\n")[1:-2])[:60]
        secrets[f"file {path.name}"] = content
    env.close()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("real")
    found = Told(folder)
    cluster = Cluster(folder, keys=KeysFrom.KEYD)
    try:
        cluster.start()
        with cluster.client() as client:
            assert client.request("PUT", "/bucket").status == 200
            assert _traffic(found, client) == LARGE
            _commands(found, cluster)
            _processes(found, cluster)
            _bad_days(found, cluster)
            _traffic(found, client)
            path = f"/bucket/{NAME}-small"
            wait_until(lambda: client.request("GET", path).status == 200, 30, "it reads again")
        _all_secrets(found, cluster)
        assert cluster.stop_gateway() == 0
    finally:
        if cluster.gateway is not None:
            end(cluster.gateway, signal.SIGKILL)
    return found


def forms(secret: bytes) -> dict[str, bytes]:
    """How a secret might be written."""
    return {
        "raw": secret,
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "base64": base64.b64encode(secret).rstrip(b"="),
        "url": base64.urlsafe_b64encode(secret).rstrip(b"="),
        "repr": repr(secret)[2:-1].encode(),
        "list": repr(list(secret))[1:-1].encode(),
    }


@pytest.mark.proves("CRY-17", "K-14", "JRN-04", "C14")
def test_no_secret_is_in_anything_that_the_cluster_says(told: Told) -> None:
    outputs = dict(told.said)
    outputs |= {str(path): content for path, content in told.files()}
    assert len(told.secrets) > 14 and "aws.env.of-a-user" in told.secrets
    assert any(name.endswith(".log") and content for name, content in outputs.items())
    found = [
        (secret, how, where)
        for secret, value in told.secrets.items()
        for how, written in forms(value).items()
        for where, content in outputs.items()
        if len(value) >= 16 and written in content
    ]
    assert found == []


@pytest.mark.proves("B-04", "K-01", "K-16", "CRY-03", "CRY-20", "I2", "S-05", "LDB-01")
def test_drives_and_index_hold_nothing_that_clients_have_sent(told: Told) -> None:
    """Every way of writing, an upload in progress too, and what was deleted. Names are keys of rows
    of the index, and of nothing else.
    """
    etags = [hashlib.md5(content) for content in (SMALL, LARGE)]
    sent = [CONTENT, META.encode(), TAG.encode(), TYPE.encode()]
    sent += [etag.digest() for etag in etags] + [etag.hexdigest().encode() for etag in etags]
    drives = 0
    for path, content in told.files():
        drives += path.suffix == ".vol"
        assert not [one for one in sent if one in content], path
        if path.parts[0] != "index":
            assert NAME.encode() not in content, path
    assert drives >= 6
    index = (told.folder / "index" / "data.mdb").read_bytes()
    assert NAME.encode() in index, "what docs/security.md says of names"


@pytest.mark.proves("A-09")
def test_what_is_counted_for_bills_names_no_object(told: Told) -> None:
    said = told.said["usage --json"]
    assert b'"bucket"' in said and NAME.encode() not in said and b"127.0.0.1" not in said
