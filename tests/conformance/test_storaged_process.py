"""A real `storaged run` process on a drive, reached over mutual TLS: ready, restart, SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.node_link import DOMAIN, Certificates, make_certificates, remote, shard

CONFIG = """
data_directory = "drive"
capacity_bytes = 1073741824

[listen]
port = 0

[metrics]
port = {metrics_port}

[tls]
certificate = "node.crt"
key = "node.key"
authority = "ca.crt"
"""


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def _storaged(folder: Path, environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """The process until SIGTERM; it must end by itself, with status 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "storaged.main", "run", "--config", str(folder / "node.toml")],
        stdout=subprocess.PIPE,
        stderr=(folder / "log").open("ab"),
        text=True,
        env=os.environ | environment,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready node=p1 address="), (folder / "log").read_text()
        host, _, port = line.split("address=")[1].strip().rpartition(":")
        yield host, int(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_node_process_keeps_its_shards(certificates: Certificates, tmp_path: Path) -> None:
    metrics_port = _free_port()
    (tmp_path / "node.toml").write_text(CONFIG.format(metrics_port=metrics_port))
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(tmp_path / "notify"))
    notified.settimeout(10)
    content = bytes(range(256)) * 4096

    async def put(address: tuple[str, int]) -> None:
        client = remote(address, certificates.client())
        await client.put(shard(1), b"head", content, fence=None, retain_until_ms=0)
        await client.close()

    async def get(address: tuple[str, int]) -> None:
        client = remote(address, certificates.client())
        got = await client.get(shard(1), offset=5, length=500_000)
        assert got.content == content[5:500_005] and got.attributes == b"head"
        assert (await client.status()).shard_count == 1
        await client.close()

    with _storaged(tmp_path, {"NOTIFY_SOCKET": str(tmp_path / "notify")}) as address:
        assert notified.recv(100) == b"READY=1"
        asyncio.run(put(address))
        assert _get(metrics_port, "/healthz") == (200, "ok\n")
        assert _get(metrics_port, "/readyz") == (200, "ready\n")
        assert _get(metrics_port, "/nothing")[0] == 404
        status, text = _get(metrics_port, "/metrics")
        assert status == 200
        assert 'storaged_requests_total{outcome="ok",verb="put"} 1.0' in text
        assert 'storaged_content_bytes_total{direction="received"} 1.048576e+06' in text
    assert notified.recv(100) == b"STOPPING=1"
    notified.close()
    with _storaged(tmp_path, {}) as address:
        asyncio.run(get(address))
    entries = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [entry["event"] for entry in entries].count("stopped") == 2
    assert "PRIVATE KEY" not in (tmp_path / "log").read_text()


def _check(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "storaged.main", "config", "check", "--config"]
    return subprocess.run(
        [*command, str(folder / "node.toml"), *more], capture_output=True, text=True, timeout=30
    )


def test_config_check(certificates: Certificates, tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(CONFIG.format(metrics_port=0))
    shown = _check(tmp_path)
    assert shown.returncode == 0
    assert f"node=p1 datacenter=paris country=fr operator= domain={DOMAIN}" in shown.stdout
    assert "capacity_bytes = 1073741824" in shown.stdout
    values = json.loads(_check(tmp_path, "--json").stdout)
    assert values["config"]["tls"]["key"] == str(tmp_path / "node.key")
    (tmp_path / "node.key").chmod(0o644)
    refused = _check(tmp_path)
    assert refused.returncode == 1
    assert "tls.key" in refused.stderr and "chmod 600" in refused.stderr
    assert "Traceback" not in refused.stderr
