"""Storage classes of the configuration: what a cluster takes, and what it refuses at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.compose import _pool
from gateway.config import GatewayConfig, check_config
from gateway.limits import FULL_CELL_BYTES
from gateway.model.layout import Geometry
from storaged.base.config import read_config
from storaged.base.errors import ConfigError

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
