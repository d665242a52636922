"""A cluster under strace: it connects to its nodes, its key service and its own sockets, to nobody
else, and asks no name server.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import BIN, Cluster, end, free_port, start

pytestmark = pytest.mark.timeout(300)
TRACE = ["-f", "-qq", "-s", "256", "-e", "trace=connect,sendto,sendmsg,sendmmsg"]
_CALL = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\(")
_INET = re.compile(r"sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|AF_INET6, )\"([^\"]+)\"")
_UNIX = re.compile(r"sun_path=@?\"([^\"]+)\"")


def destinations(trace: str) -> Iterator[str]:
    """Addresses that calls name: `host:port`, or the path of a socket; what is neither as it is."""
    for line in trace.splitlines():
        if not _CALL.search(line) or "sa_family=" not in line:
            continue  # on a connection that is there
        inet, unix = _INET.search(line), _UNIX.search(line)
        if inet is not None:
            yield f"{inet[2]}:{inet[1]}"
        elif unix is not None:
            yield unix[1]
        else:
            yield line


@pytest.mark.proves("S-04")
def test_a_stranger_in_the_trace_is_seen() -> None:
    lines = [
        'connect(7, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}, 16)',
        "connect(7, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 0',
        '9 sendto(5, "x", 1, MSG_NOSIGNAL, {sa_family=AF_INET, sin_port=htons(53), '
        'sin_addr=inet_addr("192.0.2.53")}, 16) = 1',
        'sendmsg(5, {msg_name={sa_family=AF_UNIX, sun_path="/run/other"}, msg_namelen=9}, 0) = 1',
        "connect(7, {sa_family=AF_NETLINK, nl_pid=0}, 12) = 0",
        'sendto(5, "x", 1, 0, NULL, 0) = 1',
    ]
    seen = list(destinations("\n".join(lines)))
    assert seen[:4] == ["192.0.2.1:443", "2001:db8::1:443", "192.0.2.53:53", "/run/other"]
    assert seen[4:] == [lines[4]]


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _command(trace: Path, *words: str | Path) -> None:
    strace = ["strace", *TRACE, "-A", "-o", str(trace)]
    subprocess.run([*strace, *map(str, words)], check=True, capture_output=True, timeout=120)


@pytest.mark.proves("S-04", "S-05")
def test_a_cluster_connects_to_its_own_and_to_nobody_else(tmp_path: Path) -> None:
    trace, port = tmp_path / "trace", free_port()
    cluster = Cluster(tmp_path / "data", port=port)
    cluster.folder.mkdir()
    up = [BIN / "hexagone", "up", "--data", cluster.folder, "--port", str(port), "--processes"]
    process = start(["strace", *TRACE, "-o", trace, *up], cluster.log)
    gateway = _child(process.pid)
    try:
        with cluster.client() as client:
            assert client.request("PUT", "/bucket").status == 200
            for size in (10, 3_000_000):
                assert client.request("PUT", f"/bucket/{size}", bytes(size)).status == 200
                assert len(client.request("GET", f"/bucket/{size}").body) == size
            assert client.request("DELETE", "/bucket/10").status == 204
        for words in (("status",), ("keys", "rotate", "--bucket", "bucket", "--yes", "--wait")):
            _command(trace, BIN / "hexagone", *words, "--data", cluster.folder)
    finally:
        os.kill(gateway, signal.SIGTERM)
        end(process, 0)
    seen = set(destinations(trace.read_text(errors="replace")))
    nodes = {f"127.0.0.1:{port + offset}" for offset in range(101, 107)}
    assert nodes <= seen, "the trace does not show what there is"
    sockets = {one for one in seen - nodes if one.startswith(str(cluster.folder))}
    assert sockets, "neither the key service nor the admin socket"
    assert seen - nodes - sockets == set()
