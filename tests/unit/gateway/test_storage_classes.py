"""Storage classes of the configuration: what a cluster takes, and what it refuses at start."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.compose import _pool, open_gateway
from gateway.config import GatewayConfig, StorageClassConfig
from gateway.config_check import check_config
from gateway.limits import FULL_CELL_BYTES
from gateway.meta.stripes import scan_stripes
from gateway.model.layout import Geometry, Tier
from gateway.model.lifecycle import Filter, Rule, Transition
from gateway.objects.bootstrap import read_root
from gateway.objects.buckets import create_bucket
from gateway.objects.context import Context, Principal
from gateway.objects.get import get_object
from gateway.objects.lifecycle import put_lifecycle
from gateway.objects.put import put_object
from gateway.objects.values import GetOptions, PutOptions
from gateway.up import UpOptions, lay_out
from storaged.base.config import read_config
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError
from storaged.base.ids import StripeFamily
from tests.support.gateway import BytesBody, content_of

CONFIG = """
[storage]
index = "index"
keys = "keys"
[admin]
socket = "admin.sock"
[cluster]
"""


def config_of(folder: Path, *classes: tuple[str, int, int], node_count: int = 12) -> GatewayConfig:
    lines = [CONFIG]
    for number in range(1, node_count + 1):
        site = "abc"[number % 3]
        lines.append(
            f'[[cluster.nodes]]\nnumber = {number}\nid = "{site}-{number}"\n'
            f'datacenter = "{site}"\ndirectory = "node-{number}"\n'
        )
    for name, k, m in classes:
        lines.append(
            f'[[cluster.storage_classes]]\nname = "{name}"\ndata_shards = {k}\n'
            f"parity_shards = {m}\n"
        )
    path = folder / "gateway.toml"
    path.write_text("\n".join(lines))
    config = read_config(GatewayConfig, path)
    check_config(config)
    return config


def test_classes_have_geometries_and_buffers_that_hold_them(tmp_path: Path) -> None:
    config = config_of(tmp_path, ("GLACIER", 8, 4), ("STANDARD_IA", 6, 3))
    assert config.cluster.class_geometries == {
        "GLACIER": Geometry(8, 4),
        "STANDARD_IA": Geometry(6, 3),
    }
    pool, plain = _pool(config), _pool(config_of(tmp_path))
    assert pool.buffer_bytes == 12 * FULL_CELL_BYTES
    memory = plain.count_max * plain.buffer_bytes
    assert memory // 2 < pool.count_max * pool.buffer_bytes <= memory


@pytest.mark.parametrize(
    ("said", "classes", "node_count"),
    [
        ("cannot be placed", [("GLACIER", 8, 4)], 3),
        ("cannot be placed", [("GLACIER", 8, 2)], 12),  # a datacenter holds more than two shards
        ("no class of S3", [("ARCHIVE", 8, 4)], 12),
        ("no class of S3", [("STANDARD", 8, 4)], 12),
        ("there twice", [("GLACIER", 8, 4), ("GLACIER", 6, 3)], 12),
    ],
)
def test_what_is_refused(
    tmp_path: Path, said: str, classes: list[tuple[str, int, int]], node_count: int
) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(tmp_path, *classes, node_count=node_count)


def test_a_rule_moves_a_body_to_a_class_on_real_nodes(tmp_path: Path) -> None:
    async def main() -> None:
        env = RealEnv(threads_max=2)
        laid = lay_out(UpOptions(folder=tmp_path, port=9000, processes=False, tls=False), env)
        classes = (StorageClassConfig(name="GLACIER", data_shards=8, parity_shards=4),)
        config = replace(laid, cluster=replace(laid.cluster, storage_classes=classes))
        check_config(config)
        gateway = await open_gateway(config, env)
        gateway.services.lifecycle_day_s = 0.001
        try:
            key = read_root(gateway.log, gateway.core.records)
            assert key is not None
            root = Principal(tenant=key.tenant, access_key_id=key.access_key_id, owner_id="root")

            def ctx() -> Context:
                return Context(gateway.services, root, bytes(16), env.monotonic_s() + 60)

            await create_bucket(ctx(), "bucket", None)
            content = bytes(range(256)) * 40_000  # more than one stripe of 8+4
            await put_object(ctx(), "bucket", "key", BytesBody(content), PutOptions())
            move = Transition(days=1, storage_class="GLACIER")
            rule = Rule(rule_id="r", is_enabled=True, filter=Filter(), transitions=(move,))
            await put_lifecycle(ctx(), "bucket", [rule], None)
            await gateway.run_job("lifecycle")
            assert gateway.lifecycle.progress().detail == "1 moved"
            found = await get_object(ctx(), "bucket", "key", GetOptions())
            assert found.head.metadata.storage_class == "GLACIER"
            assert await content_of(found) == content
            await gateway.run_job("sweep")
            await gateway.run_job("free")
            rows = [
                held.row
                for held in scan_stripes(gateway.log, gateway.core.records, None, limit=1000)
            ]
            data = [row for row in rows if row.stripe.family is StripeFamily.DATA]
            assert {row.geometry for row in data} == {Geometry(8, 4)}
            assert all(row.tier is Tier.FULL and 0 not in row.nodes for row in data)
        finally:
            await gateway.close()
            env.close()

    asyncio.run(main())
