"""S-01, S-02: regions of the configuration, what is refused at start, and what `fr` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import GatewayConfig, topology_of
from gateway.config_check import check_config
from gateway.data.topology import OWN_REGION
from storaged.base.config import read_config
from storaged.base.errors import ConfigError

pytestmark = pytest.mark.proves("S-01", "S-02")

HEAD = '[storage]\nindex = "index"\nkeys = "keys"\n[admin]\nsocket = "admin.sock"\n[cluster]\n'
SITES = {"paris": "fr", "lyon": "fr", "berlin": "de"}


def config_of(
    folder: Path, head: str = "", *regions: str, states: tuple[str, ...] = ()
) -> GatewayConfig:
    """Three nodes in each site; `states` are those of the first ones."""
    lines = [HEAD + head]
    for number in range(1, 10):
        site = list(SITES)[(number - 1) // 3]
        state = states[number - 1] if number <= len(states) else "active"
        lines.append(
            f'[[cluster.nodes]]\nnumber = {number}\nid = "{site}-{number}"\nstate = "{state}"\n'
            f'datacenter = "{site}"\ncountry = "{SITES[site]}"\ndirectory = "node-{number}"\n'
        )
    lines += [f"[[cluster.regions]]\n{region}\n" for region in regions]
    path = folder / "gateway.toml"
    path.write_text("\n".join(lines))
    config = read_config(GatewayConfig, path)
    check_config(config)
    return config


IDF = 'name = "idf"\nnumber = 1\ndatacenters = ["paris"]'
ALL = frozenset(range(1, 10))


def test_a_node_outside_of_france_gets_nothing_of_fr(tmp_path: Path) -> None:
    topology = topology_of(config_of(tmp_path, "", IDF))
    assert topology.within(ALL, OWN_REGION) == set(range(1, 7))
    assert topology.within(ALL, 1) == {1, 2, 3}
    assert topology.within(ALL, 2) == frozenset()


def test_a_cluster_elsewhere_says_what_its_region_is(tmp_path: Path) -> None:
    assert topology_of(config_of(tmp_path, 'region = "eu"\n')).within(ALL, OWN_REGION) == ALL
    own = 'name = "eu"\ncountries = ["de", "fr"]\ndatacenters = ["lyon", "berlin"]'
    config = config_of(tmp_path, 'region = "eu"\n', own, IDF)
    assert topology_of(config).within(ALL, OWN_REGION) == set(range(4, 10))
    assert config.cluster.region_numbers == {"idf": 1}


@pytest.mark.parametrize(
    ("said", "head", "region"),
    [
        ("could ever be acknowledged", "data_shards = 6\n", IDF),
        ("could ever be acknowledged", "", 'name = "x"\nnumber = 1\ncountries = ["us"]'),
        ("could ever be acknowledged", "", IDF + "\n[policy]\nrefuse_reduced_margin = true"),
        ("no node is in", "", 'name = "x"\nnumber = 1\ndatacenters = ["lille"]'),
        ("two lower-case letters", "", 'name = "x"\nnumber = 1\ncountries = ["FR"]'),
        ("of no other", "", 'name = "x"\nnumber = 0\ndatacenters = ["paris"]'),
        ("of no other", "", 'name = "fr"\nnumber = 4\ndatacenters = ["paris"]'),
        ("there twice", 'locations = ["idf"]\n', IDF),
        ("given twice", "", IDF + '\n[[cluster.regions]]\nname = "y"\nnumber = 1'),
    ],
)
def test_what_is_refused_at_start(tmp_path: Path, said: str, head: str, region: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(tmp_path, head, region)


def test_nodes_that_are_away_for_good_do_not_keep_the_gateway_from_starting(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path, "", IDF, states=("gone", "draining"))
    assert topology_of(config).within(ALL, 1) == {1, 2, 3}
