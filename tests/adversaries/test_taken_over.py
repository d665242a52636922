"""A gateway, or a key service, in somebody else's hands: what neither of them can do alone."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from gateway.config_keys import KeysFrom
from gateway.data.envelope import KeyChangeRefused
from gateway.model.key_states import KeyState
from storaged.base.errors import StorageError
from storaged.base.ids import DatacenterId, NodeId, ShardId, StripeFamily, StripeId
from storaged.memory import MemoryNode
from storaged.node import NodeIdentity, ShardRetained
from tests.support.erasure_rig import two_of
from tests.support.keyd_rig import keyd
from tests.support.processes import BIN, Cluster, end
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


@pytest.mark.proves("B-08", "LCK-04")
def test_a_node_deletes_nothing_before_its_time_whoever_asks() -> None:
    async def main() -> None:
        now_ms = 1_000
        identity = NodeIdentity(node=NodeId("p1"), datacenter=DatacenterId("paris"), country="fr")
        node = MemoryNode(identity, now_ms=lambda: now_ms)
        shard = ShardId(StripeId(StripeFamily.DATA, 1, 1), 0)
        await node.put(shard, b"a", b"content", fence=None, retain_until_ms=2_000)
        (refused,) = await node.delete([shard])
        assert isinstance(refused, ShardRetained)
        assert bytes((await node.get(shard, offset=0, length=7)).content) == b"content"
        now_ms = 2_001
        assert list(await node.delete([shard])) == [None]

    asyncio.run(main())


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
