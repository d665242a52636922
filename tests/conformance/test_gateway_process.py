"""A gateway as a process: what listens, what it tells whom, and what it does not start without.

Source: MinIO CVE-2023-28432; RustFS GHSA-jqmc-mg33-v45g, GHSA-h956-rh7x-ppgj, GHSA-r5qv-rc46-hv8q.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from gateway.data.keyring import ROOT_FILE
from tests.support.processes import BIN, READY_S, Cluster, running

BUCKET, KEY = "a-bucket-nobody-hears-of", "a-key-nobody-hears-of"
LISTENING = "0A"
OPEN = {"/healthz": b"ok\n", "/readyz": b"ready\n", "/metrics": b""}
SHUT = (
    "/",
    "/debug/pprof/",
    "/env",
    "/healthz/",
    "/healthz/../v1/status",
    "/metrics/../../etc/passwd",
    "/minio/bootstrap/v1/verify",
    "/v1/durability",
    "/v1/jobs",
    "/v1/keys",
    "/v1/status",
    f"/{BUCKET}/{KEY}",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that holds an object."""
    folder = tmp_path_factory.mktemp("gateway") / "cluster"
    with running(folder) as started:
        with started.client() as client:
            assert client.request("PUT", f"/{BUCKET}").status == 200
            assert client.request("PUT", f"/{BUCKET}/{KEY}", b"x").status == 200
            assert client.request("GET", f"/{BUCKET}/missing").status == 404
        yield started
    shutil.rmtree(folder)


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses that a process listens on, of TCP over IPv4 and IPv6."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since; a listener is not
            links.append(os.readlink(entry))
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state != LISTENING or rest[5] not in inodes:
                continue
            words, port = local.split(":")
            raw = b"".join(
                bytes.fromhex(words[at : at + 8])[::-1] for at in range(0, len(words), 8)
            )
            found.add((socket.inet_ntop(family, raw), int(port, 16)))
    return found


def asked(cluster: Cluster, path: str, method: str = "GET") -> tuple[int, bytes]:
    """What the port for machines that watch says."""
    url = f"http://127.0.0.1:{cluster.port + 1}{path}"
    try:
        with urlopen(Request(url, method=method), timeout=5) as answer:
            return answer.status, answer.read()
    except HTTPError as refused:
        return refused.code, refused.read()


def test_aut_08_two_ports_and_a_socket_of_the_owner(cluster: Cluster) -> None:
    wanted = {("127.0.0.1", cluster.port), ("127.0.0.1", cluster.port + 1)}
    assert listening(cluster.pid) == wanted
    admin = cluster.laid.socket.lstat()
    assert stat.S_ISSOCK(admin.st_mode) and stat.S_IMODE(admin.st_mode) == 0o600
    assert stat.S_IMODE(cluster.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("path", SHUT)
def test_aut_08_the_watched_port_has_three_pages(cluster: Cluster, path: str) -> None:
    assert asked(cluster, path) == (404, b"Not Found\n")


@pytest.mark.parametrize("path", OPEN)
def test_aut_08_its_pages_tell_no_names_and_no_secrets(cluster: Cluster, path: str) -> None:
    status, page = asked(cluster, path)
    assert status == 200
    assert page == OPEN[path] or path == "/metrics"
    credentials = cluster.credentials()
    told = page.decode()
    for secret in (BUCKET, KEY, credentials.access_key_id, credentials.secret, str(cluster.folder)):
        assert secret not in told
    for method in ("POST", "PUT", "DELETE"):
        assert asked(cluster, path, method) == (405, b"Method Not Allowed\n")


def test_sig_18_every_cluster_has_secrets_of_its_own(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path / "other") as other:
        mine, theirs = cluster.credentials(), other.credentials()
        assert mine.access_key_id != theirs.access_key_id
        assert mine.secret != theirs.secret and len(mine.secret) == 40
        roots = [one.laid.keys / ROOT_FILE for one in (cluster, other)]
        assert roots[0].read_bytes() != roots[1].read_bytes()
        for path in (*roots, cluster.laid.aws_env, other.laid.aws_env):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with cluster.client() as client:
            client.credentials = theirs
            assert client.request("GET", "/").code == "InvalidAccessKeyId"
            client.credentials.access_key_id = mine.access_key_id
            assert client.request("GET", "/").code == "SignatureDoesNotMatch"
    shutil.rmtree(other.folder)


def refused(cluster: Cluster) -> str:
    """What a gateway says that does not start."""
    command = [BIN / "hexagone", "gateway", "run", "--config", cluster.laid.config]
    ended = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=READY_S, check=False
    )
    assert ended.returncode != 0
    assert ended.stdout == ""
    return ended.stderr


@pytest.mark.parametrize("what", ["gone", "readable", "short"])
def test_sig_18_no_gateway_starts_without_its_root_key(tmp_path: Path, what: str) -> None:
    cluster = Cluster(tmp_path / "cluster", processes=True)
    cluster.lay_out()
    root = cluster.laid.keys / ROOT_FILE
    if what == "gone":
        root.unlink()
    elif what == "readable":
        root.chmod(0o644)
    else:
        root.write_bytes(root.read_bytes()[:-1])
    assert refused(cluster).startswith("error: The root key file is not usable")
    assert root.exists() == (what != "gone")  # none is made in its place


@pytest.mark.parametrize("missing", ["gateway.key", "gateway.pem", "authority.pem"])
def test_sig_18_no_gateway_starts_without_its_certificate(tmp_path: Path, missing: str) -> None:
    """Nodes know gateways by their certificates; there is no token that all clusters share."""
    cluster = Cluster(tmp_path / "cluster", processes=True)
    cluster.lay_out()
    path = cluster.laid.certificates / missing
    path.unlink()
    told = refused(cluster)
    assert told.startswith("error:") and str(path) in told
