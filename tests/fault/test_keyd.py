"""The key service as a process beside a gateway: killed under load, hung, refused, moved to; and
what is in the memory of either.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.compose import Gateway
from gateway.config_keys import KeysFrom
from gateway.data.bucket_sealing import record_key_of
from gateway.data.keyring import TENANTS_FILE, FileKeyring, RootKey
from gateway.keyd.secret import SECRET_FILE, KeydSecret
from gateway.meta import accounts, bucket_key_rows, keyspace
from storaged.base.env import RealEnv
from tests.support.processes import BIN, Cluster, running

KEYD = KeysFrom.KEYD
PATIENCE_S = 30.0
BODY = b"b" * 4096

pytestmark = pytest.mark.timeout(240)


def keyd_pid(cluster: Cluster) -> int:
    return int(cluster.laid.keyd.pid.read_text())


def _status(cluster: Cluster) -> dict[str, Any]:
    """What `hexagone status` says."""
    ask = [str(BIN / "hexagone"), "status", "--json", "--data", str(cluster.folder)]
    answer: dict[str, Any] = json.loads(
        subprocess.run(ask, capture_output=True, check=True, timeout=60).stdout
    )
    return answer


def await_that(what: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until_s, "it does not happen"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


class Load:
    """Puts and reads that go on until `stop`; what was acknowledged, and every status."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(3)]
        self.stored: dict[str, bytes] = {}
        self.statuses: set[int] = set()
        self.wrong: list[str] = []
        for thread in self._threads:
            thread.start()

    def _work(self, worker: int) -> None:
        rng, number = Random(worker), 0
        with self._cluster.client() as client:
            while not self._stopping.is_set():
                number += 1
                name, body = f"w{worker}-{number}", rng.randbytes(700)
                status = client.request("PUT", f"/bucket/{name}", body).status
                self.statuses.add(status)
                if status == 200:
                    self.stored[name] = body
                known = [one for one in list(self.stored) if one.startswith(f"w{worker}-")]
                if known:
                    asked = rng.choice(known)
                    answer = client.request("GET", f"/bucket/{asked}")
                    self.statuses.add(answer.status)
                    if answer.status == 200 and answer.body != self.stored[asked]:
                        self.wrong.append(asked)
                # A bucket that nobody has used: its key is cold.
                self.statuses.add(client.request("PUT", f"/cold-{worker}-{number}").status)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.proves("CRY-14", "K-06")
def test_killed_under_load_it_costs_503s_and_nothing_else(tmp_path: Path) -> None:
    with running(tmp_path / "c", keys=KEYD) as cluster:
        load = Load(cluster)
        try:
            for _ in range(3):
                before = keyd_pid(cluster)
                time.sleep(0.6)
                os.kill(before, signal.SIGKILL)
                await_that(lambda before=before: keyd_pid(cluster) != before)  # type: ignore[misc]
            time.sleep(1.0)
        finally:
            load.stop()
        assert load.statuses == {200, 503} and not load.wrong and len(load.stored) > 20
        with cluster.client() as client:
            await_that(lambda: client.request("PUT", "/after").status == 200)
            for name, body in load.stored.items():
                assert client.request("GET", f"/bucket/{name}").body == body


@pytest.mark.proves("CRY-14")
def test_while_it_hangs_warm_requests_are_answered_and_cold_ones_refused_at_once(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "c", keys=KEYD) as cluster, cluster.client() as client:
        assert client.request("PUT", "/bucket/warm", BODY).status == 200
        assert client.request("GET", "/bucket/warm").body == BODY
        pid = keyd_pid(cluster)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert client.request("PUT", "/cold").status == 503
            told = _status(cluster)
            assert told["keys"]["answers"] is False
            assert any("key service does not answer" in one for one in told["warnings"])
            began = time.monotonic()
            for _ in range(20):
                assert client.request("PUT", "/cold").status == 503
                assert client.request("GET", "/bucket/warm").body == BODY
                assert client.request("PUT", "/bucket/other", BODY).status == 200
            assert time.monotonic() - began < 5.0
        finally:
            os.kill(pid, signal.SIGCONT)
        await_that(lambda: client.request("PUT", "/cold").status == 200)


def test_it_ends_with_the_cluster_however_that_ends(tmp_path: Path) -> None:
    with running(tmp_path / "c", keys=KEYD) as cluster:
        with cluster.client() as client:
            assert client.request("PUT", "/bucket/key", BODY).status == 200
        first = keyd_pid(cluster)
        cluster.kill()
        await_that(lambda: not is_alive(first))
        cluster.start()
        second = keyd_pid(cluster)
        with cluster.client() as client:
            assert client.request("GET", "/bucket/key").body == BODY
        assert cluster.stop_gateway() == 0
        assert not is_alive(second) and not cluster.laid.keyd.socket.exists()


@pytest.mark.proves("C3", "K-05", "C14")
def test_a_cluster_moves_to_the_key_service_and_its_index_can_be_made_again(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "c") as cluster:
        with cluster.client() as client:
            assert client.request("PUT", "/bucket/key", BODY).status == 200
        before = cluster.laid.aws_env.read_bytes()
        assert cluster.stop_gateway() == 0
        assert (cluster.laid.keys / TENANTS_FILE).exists()
        cluster.keys = KEYD
        cluster.start()
        assert not (cluster.laid.keys / TENANTS_FILE).exists()
        assert cluster.laid.aws_env.read_bytes() == before
        with cluster.client() as client:
            assert client.request("GET", "/bucket/key").body == BODY
            assert client.request("PUT", "/bucket/later", BODY).status == 200
        assert _mode(cluster.laid.keyd.folder) == 0o700
        for path in (cluster.laid.keyd.socket, cluster.laid.keyd.folder / SECRET_FILE):
            assert _mode(path) == 0o600
        limits = Path(f"/proc/{keyd_pid(cluster)}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
        assert cluster.stop_gateway() == 0
        # Nodes, root key and the key service's secret bring everything back.
        for path in (cluster.folder / "index").iterdir():
            path.unlink()
        (cluster.laid.keyd.folder / TENANTS_FILE).unlink()
        assert cluster.rebuild().returncode == 0
        cluster.start()
        with cluster.client() as client:
            for name in ("key", "later"):
                assert client.request("GET", f"/bucket/{name}").body == BODY
        assert cluster.stop_gateway() == 0
        cluster.keys = KeysFrom.FILE
        up = [BIN / "hexagone", "up", "--data", cluster.folder, "--keys", "file"]
        refused = subprocess.run(list(map(str, up)), capture_output=True, text=True, timeout=60)
        assert refused.returncode == 1 and "key service" in refused.stderr


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def memory_of(pid: int) -> bytes:
    """Everything that a process can write to."""
    found = []
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            place, rights, _, _, inode, *_ = line.split()
            if not rights.startswith("rw") or inode != "0":
                continue
            start, end = (int(text, 16) for text in place.split("-"))
            memory.seek(start)
            try:
                found.append(memory.read(end - start))
            except OSError:
                continue
    return b"\0".join(found)


@pytest.mark.skipif(os.geteuid() != 0, reason="the memory of another process is root's")
@pytest.mark.proves("K-06", "C12", "K-14", "C14")
def test_no_key_of_a_tenant_and_no_long_term_secret_is_in_a_gateways_memory(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "c", keys=KEYD) as cluster:
        with cluster.client() as client:
            assert client.request("PUT", "/bucket/before", BODY).status == 200
        assert cluster.stop_gateway() == 0
        secrets, known = _canaries(cluster)
        cluster.start()
        with cluster.client() as client:
            for number in range(30):
                assert client.request("PUT", f"/bucket/{number}", BODY).status == 200
                assert client.request("GET", f"/bucket/{number}").body == BODY
            assert client.request("GET", "/bucket/before").body == BODY
            assert client.request("GET", "/bucket?list-type=2").status == 200
        memory = memory_of(cluster.pid)
        for name, value in known.items():
            assert value in memory, f"the search does not find {name}, which is there"
        for name, value in secrets.items():
            assert value not in memory, f"{name} is in the gateway's memory"
        service = memory_of(keyd_pid(cluster))
        assert secrets["the tenant's key"] in service


def _canaries(cluster: Cluster) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What a gateway must not have, and, so that the search is known to find, what it has."""
    env = RealEnv(1)
    root = RootKey.load(cluster.laid.keys)
    secret = KeydSecret.load(cluster.laid.keyd.folder, root.cluster_id, None)
    ring = FileKeyring(cluster.laid.keyd.folder, secret, env)
    raw = (cluster.laid.keyd.folder / SECRET_FILE).read_bytes()
    found = {
        "the key service's secret": raw,
        "the access key's secret": cluster.credentials().secret.encode(),
    }
    for (_, name, _), held in ring._keys.items():
        assert name == b""
        found["the tenant's key"] = held.key
    known: dict[str, bytes] = {"the root key": (cluster.laid.keys / "root.key").read_bytes()}

    async def look(gateway: Gateway) -> None:
        core = gateway.core
        start = keyspace.BUCKET_KEY
        for row in core.index.scan(start, keyspace.successor(start), limit=10):
            bucket, epoch = keyspace.parse_bucket_key(row.key)
            stored = bucket_key_rows.open_bucket_key(core.records, row.key, row.value)
            key = ring.unwrap_bucket_key(
                stored.tenant, bucket, epoch, stored.wrapped, stored.tenant_epoch
            )
            found["the bucket's key"] = key
            known["the key of rows"] = record_key_of(key)
        for one in accounts.scan_access_keys(core.index, core.records, None, limit=10):
            assert one.access_key.sealed and not one.access_key.secret

    cluster.inside(look)
    assert len(found) == 4 and len(known) == 2
    return found, known


@pytest.mark.proves("C12", "K-14")
def test_a_lost_secret_is_replaced_for_nobody_can_show_it(tmp_path: Path) -> None:
    with running(tmp_path / "c", keys=KEYD) as cluster:
        assert cluster.stop_gateway() == 0
        before, former = cluster.credentials(), cluster.laid.aws_env.read_bytes()
        cluster.laid.aws_env.unlink()
        cluster.start()
        after = cluster.credentials()
        assert after.access_key_id != before.access_key_id and after.secret != before.secret
        with cluster.client() as client:
            assert client.request("PUT", "/bucket/after", BODY).status == 200
        # Who still has the former one is let in until it is deleted.
        lost = cluster.laid.aws_env.read_bytes()
        cluster.laid.aws_env.write_bytes(former)
        with cluster.client() as client:
            assert client.request("GET", "/bucket/after").body == BODY
        cluster.laid.aws_env.write_bytes(lost)
