"""S-02, S-05: operators of nodes in configuration and certificate, and what is said of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.admin.attestation import public_key_of, signed, verified
from gateway.admin.outlook import operator_caveats
from gateway.config import GatewayConfig, topology_of
from gateway.config_check import check_config
from gateway.data.topology import Topology
from gateway.model.layout import Geometry
from storaged.base.config import read_config
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError
from storaged.base.ids import InvalidId, datacenter_id, node_id
from storaged.identity import (
    CertificateRefused,
    check_node_peer,
    create_authority,
    issue_node,
    node_uri,
    read_node_identity,
    write_public,
)
from storaged.node import NodeIdentity
from tests.support.admin_rig import admin_rig
from tests.support.gateway import BUCKET

HEAD = '[storage]\nindex = "index"\nkeys = "keys"\n[admin]\nsocket = "admin.sock"\n[cluster]\n'
STRICT = "[policy]\nrefuse_reduced_margin = true\n"
ENV = RealEnv()
DOMAIN = "cluster.test"
PLAIN = NodeIdentity(node=node_id("p1"), datacenter=datacenter_id("paris"), country="fr")
NAMED = replace(PLAIN, operator="alpha")


def config_of(folder: Path, *operators: str, head: str = "") -> GatewayConfig:
    """One node for each operator, two in a datacenter."""
    table, own = (head, "") if head.startswith("[") else ("", head)
    lines = [HEAD + own]
    for number, operator in enumerate(operators, 1):
        lines.append(
            f'[[cluster.nodes]]\nnumber = {number}\nid = "n-{number}"\noperator = "{operator}"\n'
            f'datacenter = "dc{(number - 1) // 2}"\ndirectory = "node-{number}"\n'
        )
    path = folder / "gateway.toml"
    path.write_text("\n".join([*lines, table]))
    config = read_config(GatewayConfig, path)
    check_config(config)
    return config


def test_operators_come_into_the_topology(tmp_path: Path) -> None:
    config = config_of(tmp_path, "alpha", "alpha", "bravo", "bravo", "charlie", "charlie")
    assert topology_of(config).operators(0) == {"alpha", "bravo", "charlie"}
    assert operator_caveats(topology_of(config), Geometry(4, 2)) == []
    unnamed = topology_of(config_of(tmp_path, *[""] * 6))
    assert unnamed.operators(0) == {""} and operator_caveats(unnamed, Geometry(4, 2)) == []
    two = topology_of(config_of(tmp_path, *("alpha", "bravo") * 3))
    assert "fewer than three operators" in operator_caveats(two, Geometry(4, 2))[0]
    uneven = topology_of(
        config_of(tmp_path, "alpha", "alpha", "alpha", "alpha", "bravo", "charlie")
    )
    needed = operator_caveats(uneven, Geometry(5, 2))
    assert [said.split()[2] for said in needed] == ["alpha", "bravo", "charlie"]


@pytest.mark.proves("S-05")
@pytest.mark.parametrize(
    ("said", "head", "operators"),
    [
        ("this one none", "", ["alpha", "", "bravo", "bravo", "charlie", "charlie"]),
        ("none of its operators holding 4 shards", STRICT, [*["alpha"] * 4, "bravo", "charlie"]),
        ("holds whole ciphertexts", "data_shards = 1\n", ["a", "b", "c"]),
        ("operator_id", "", [*["al/pha"] * 6]),
    ],
)
def test_what_is_refused_at_start(
    tmp_path: Path, said: str, head: str, operators: list[str]
) -> None:
    """Three shards may lie with alpha, so three would lie in one datacenter: writes could not
    survive its loss.
    """
    with pytest.raises((ConfigError, InvalidId), match=said):
        config_of(tmp_path, *operators, head=head)


@pytest.mark.proves("NOD-04", "S-05")
def test_a_certificate_names_the_operator_and_is_held_against_it(tmp_path: Path) -> None:
    authority = create_authority(DOMAIN, ENV)
    assert node_uri(DOMAIN, NAMED) == (
        "spiffe://cluster.test/operator/alpha/country/fr/site/paris/node/p1"
    )
    pem = {who: issue_node(authority, who, ENV).certificate_pem for who in (PLAIN, NAMED)}
    der = {
        who: x509.load_pem_x509_certificate(made).public_bytes(serialization.Encoding.DER)
        for who, made in pem.items()
    }
    write_public(tmp_path / "node.pem", pem[NAMED])
    assert read_node_identity(tmp_path / "node.pem") == NAMED
    check_node_peer(der[NAMED], domain=DOMAIN, expected=NAMED)
    check_node_peer(der[PLAIN], domain=DOMAIN, expected=PLAIN)
    check_node_peer(der[NAMED], domain=DOMAIN, expected=PLAIN)  # renewed first, configured later
    for made, expected in ((PLAIN, NAMED), (NAMED, replace(NAMED, operator="bravo"))):
        with pytest.raises(CertificateRefused):
            check_node_peer(der[made], domain=DOMAIN, expected=expected)
    for name in ("a/node/x", "Alpha", "x" * 33):
        with pytest.raises(InvalidId):
            issue_node(authority, replace(PLAIN, operator=name), ENV)


def test_where_and_status_name_operators_and_what_lies_too_much_with_one() -> None:
    async def main() -> None:
        async with admin_rig() as rig:
            await rig.gateway.put("k", b"body")
            plain = await rig.view.where(BUCKET, "k")
            assert plain["operators"] == [{"operator": "", "shards": 6}]
            of = {"paris": "alpha", "lyon": "alpha", "marseille": "bravo"}
            nodes = tuple(replace(n, operator=of[n.datacenter]) for n in rig.view.topology.nodes)
            two = replace(rig.view, topology=Topology(2, nodes))
            found = await two.where(BUCKET, "k")
            assert found["operators"] == [
                {"operator": "alpha", "shards": 4},
                {"operator": "bravo", "shards": 2},
            ]
            assert found["stripes_too_much_with_one"] == 0
            assert {s["operator"] for s in found["stripes"][0]["shards"]} == {"alpha", "bravo"}
            three = (*nodes[:-1], replace(nodes[-1], operator="charlie"))
            against = replace(rig.view, topology=Topology(3, three))
            assert (await against.where(BUCKET, "k"))["stripes_too_much_with_one"] == 1
            assert {n["operator"] for n in against.status()["nodes"]} == {
                "alpha",
                "bravo",
                "charlie",
            }

    asyncio.run(main())


def test_a_statement_that_gives_an_operator_a_whole_stripe_is_not_sound() -> None:
    def statement(operators: list[str]) -> bytes:
        shards = [
            {"index": i, "operator": operator, "failed": "no answer in time"}
            for i, operator in enumerate(operators)
        ]
        stripe = {
            "stripe": "data-1-1",
            "id": "00" * 16,
            "region": "fr",
            "k": 2,
            "cell_bytes": 8,
            "operator_shards_max": 1,
            "shards": shards,
        }
        document = {
            **dict.fromkeys(("bucket", "key", "cluster", "says"), "x"),
            **dict.fromkeys(("began_at_ms", "ended_at_ms", "stripe_count"), 1),
            "format": "hexagone/attestation/v1",
            "challenge": "00" * 32,
            "stripes_asked": 1,
            "regions": {"fr": {"datacenters": [], "countries": []}},
            "stripes": [stripe],
        }
        return json.dumps(signed(document, b"s" * 32)).encode()

    key = public_key_of(b"s" * 32)
    told = verified(statement(["alpha", "alpha", "bravo"]), key)["problems"]
    assert any("operator alpha holds 2 shards" in problem for problem in told)
    for fine in (["alpha", "bravo", "charlie"], ["", "", ""]):
        told = verified(statement(fine), key)["problems"]
        assert not any("holds" in problem for problem in told)
