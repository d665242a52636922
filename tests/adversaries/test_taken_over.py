"""A gateway, or a key service, in somebody else's hands: what neither of them can do alone."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from gateway.config_keys import KeysFrom
from gateway.data.envelope import KeyChangeRefused
from gateway.model.key_states import KeyState
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.local import open_local_node
from storaged.memory import MemoryNode
from storaged.node import Node, ShardMissing, ShardRetained
from tests.support.erasure_rig import two_of
from tests.support.keyd_rig import keyd
from tests.support.node_link import PARIS_1, linked, make_certificates
from tests.support.processes import BIN, Cluster, end, free_port
from tests.support.seized import restorable

TENANT, BUCKET = b"t" * 16, b"b" * 16
BODY = b"what the thief wants " * 9_000


@pytest.mark.proves("B-08", "B-10", "K-06", "ADM-01")
def test_a_gateway_destroys_no_key_that_several_people_have_to_give_up(tmp_path: Path) -> None:
    """It speaks to the key service as a gateway does: approvals are verified there."""
    with keyd(tmp_path) as (_, keys):
        keys.create_tenant_key(TENANT)
        keys.add_tenant_epoch(TENANT)
        keys.set_tenant_epoch(TENANT, 2, KeyState.ACTIVE)
        keys.set_tenant_epoch(TENANT, 1, KeyState.DISABLED)
        keys.set_approvers(two_of().document.encode())
        for warrant in (b"", b"{}", b"\xff" * 64):
            with pytest.raises(StorageError):
                keys.set_tenant_epoch(TENANT, 1, KeyState.DESTROYED, warrant)
        with pytest.raises(StorageError):  # nor does it choose who has to be asked
            keys.set_approvers(two_of("mallory", "denis", version=2).document.encode())
        assert keys.tenant_epochs(TENANT)[0].state is KeyState.DISABLED
        for state in (KeyState.PENDING, KeyState.DECRYPT_ONLY):  # nor what a key may become
            with pytest.raises(KeyChangeRefused):
                keys.set_tenant_epoch(TENANT, 1, state)
        keys.set_tenant_epoch(TENANT, 1, KeyState.ACTIVE)


@pytest.mark.proves("B-08", "K-06", "I2")
def test_a_gateway_gets_no_bucket_key_out_of_the_key_service(tmp_path: Path) -> None:
    with keyd(tmp_path) as (_, keys):
        keys.create_tenant_key(TENANT)
        for ask in (
            lambda: keys.wrap_bucket_key(TENANT, BUCKET, 1, b"k" * 32),
            lambda: keys.unwrap_bucket_key(TENANT, BUCKET, 1, b"w" * 105),
        ):
            with pytest.raises(StorageError):
                ask()


class SteppedEnv(RealEnv):
    """A real one, but for the wall clock, which stands until it is set."""

    now = 1_000

    def now_ms(self) -> int:
        return self.now


@asynccontextmanager
async def node_of(kind: str, folder: Path, env: SteppedEnv) -> AsyncIterator[Node]:
    """In memory; the store of a drive; that of a drive behind TLS, as a gateway reaches it."""
    if kind == "memory":
        yield MemoryNode(PARIS_1, now_ms=env.now_ms)
        return
    node = await open_local_node(folder / "node", PARIS_1, env)
    try:
        if kind == "drive":
            yield node
        else:
            async with linked(node, make_certificates(folder)) as (client, _):
                yield client
    finally:
        await node.close()


@pytest.mark.proves("B-08", "LCK-04")
@pytest.mark.parametrize("kind", ["memory", "drive", "drive behind TLS"])
def test_a_node_deletes_nothing_before_its_time_whoever_asks(tmp_path: Path, kind: str) -> None:
    env = SteppedEnv()
    shard = ShardId(StripeId(StripeFamily.DATA, 1, 1), 0)

    async def main() -> None:
        async with node_of(kind, tmp_path, env) as node:
            await node.put(shard, b"a", b"content", fence=None, retain_until_ms=2_000)
            (refused,) = await node.delete([shard])
            assert isinstance(refused, ShardRetained)
            assert bytes((await node.get(shard, offset=0, length=7)).content) == b"content"
            env.now = 2_001
            assert list(await node.delete([shard])) == [None]
            with pytest.raises(ShardMissing):
                await node.stat(shard)

    try:
        asyncio.run(main())
    finally:
        env.close()


ALLOWED = 3
OBJECTS = 6


@pytest.mark.timeout(300)
@pytest.mark.proves("B-08", "K-06", "L-09")
def test_a_gateway_that_reads_everything_is_stopped_by_a_budget_and_told_of(tmp_path: Path) -> None:
    """It asks for the key of one object after the other, of what it has not in memory."""
    metrics = free_port()
    cluster = Cluster(tmp_path / "data", keys=KeysFrom.KEYD)
    try:
        cluster.start()
        with cluster.client() as client:
            assert client.request("PUT", "/bucket").status == 200
            for number in range(OBJECTS):
                assert client.request("PUT", f"/bucket/{number}", BODY).status == 200
        assert cluster.stop_gateway() == 0
        config, log = cluster.folder / "keyd.toml", cluster.folder / "keyd.log"
        # Tables of what `up` has written are before ours.
        kept = config.read_text().partition("\n[")[0]
        limits = f"[budgets]\nopens_per_hour_max = {ALLOWED}\n[metrics]\nport = {metrics}\n"
        config.write_text(f"{kept}\n{limits}")
        cluster.start()
        with cluster.client() as client:
            answers = [client.request("GET", f"/bucket/{number}") for number in range(OBJECTS)]
            assert [one.status for one in answers] == [200] * ALLOWED + [503] * (OBJECTS - ALLOWED)
            assert answers[-1].code == "SlowDown" and "retry-after" in answers[-1].headers
            assert client.request("GET", "/bucket/0").body == BODY  # in use: asks for nothing
            assert client.request("PUT", "/bucket/more", BODY).status == 200
            assert client.request("GET", "/bucket/more").body == BODY
        with urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=20) as told:
            page = told.read().decode()
        count = OBJECTS - ALLOWED
        refused = f'hexagone_keyd_budget_refused_total{{budget="opens",of="tenant"}} {count}.0'
        assert refused in page
        assert f'verb="open_under_bucket"}} {ALLOWED}.0' in page
        assert cluster.stop_gateway() == 0
        said = log.read_text()
        assert said.count("budget is spent") == 1 and f'"open_under_bucket": {ALLOWED}' in said
        assert journalled(cluster.folder, "keys.budget-spent") == 1
    finally:
        if cluster.gateway is not None:
            end(cluster.gateway, signal.SIGKILL)


def journalled(folder: Path, kind: str) -> int:
    """Events of a type in the journal of a stopped cluster."""
    lines = b"".join(path.read_bytes() for path in (folder / "journal").rglob("*.events"))
    return lines.count(kind.encode())


@pytest.fixture(scope="module")
def served_by_keyd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A stopped cluster with a key service, and what `produce` says of its provider."""
    folder = tmp_path_factory.mktemp("taken")
    cluster = Cluster(folder, keys=KeysFrom.KEYD)
    try:
        cluster.start()
        with cluster.client() as client:
            assert client.request("PUT", "/bucket").status == 200
            assert client.request("PUT", "/bucket/key", BODY).status == 200
        ask = [str(BIN / "hexagone"), "produce", "--provider", "--json", "--data", str(folder)]
        told = json.loads(subprocess.run(ask, capture_output=True, check=True, timeout=60).stdout)
        assert cluster.stop_gateway() == 0
    finally:
        if cluster.gateway is not None:
            end(cluster.gateway, signal.SIGKILL)
    return folder, told


@pytest.mark.timeout(300)
@pytest.mark.proves("B-08", "B-09", "B-12", "B-13", "K-06", "S-07")
@pytest.mark.parametrize("lacks", ["keyd", "keys", "nodes", ""])
def test_neither_the_gateways_folders_nor_the_key_services_open_anything_alone(
    served_by_keyd: tuple[Path, dict[str, object]], tmp_path: Path, lacks: str
) -> None:
    """With all drives: the gateway's keys, or the key service's, bring no object back."""
    source, told = served_by_keyd
    custody = told["custody"]
    assert isinstance(custody, dict) and custody["where"] == "keyd", custody
    folder = tmp_path / "seized"
    for name in {"nodes", "keys", "keyd"} - {lacks}:
        shutil.copytree(source / name, folder / name)
    found = restorable(folder, "bucket", ["key"])
    assert found == ({} if lacks else {"key": BODY})
    if lacks == "keyd":
        assert not (folder / "keys" / "tenants.sealed").exists()
