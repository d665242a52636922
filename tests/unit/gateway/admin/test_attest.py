"""S-01, S-02: statements about the place of shards: nodes have to produce what nobody could
foretell, and whoever gets a statement finds every change of it without asking anybody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from gateway.admin import attest, attestation
from gateway.admin.attest import Attester, ChallengeInvalid
from gateway.admin.attestation import AttestationInvalid, public_key_of, signed, verified
from gateway.cli import tables, where_cli
from gateway.data.topology import Region, Topology
from gateway.limits import TAG_UNIT_BYTES
from gateway.model.errors import NoSuchKey
from gateway.objects.buckets import create_bucket
from storaged.base.ids import DatacenterId
from tests.support.admin_rig import AdminRig, admin_rig
from tests.support.gateway import BUCKET

pytestmark = pytest.mark.proves("S-01", "S-02")

SEED = b"s" * 32
LARGE = bytes(range(256)) * 16 * 1024  # cells of a mebibyte: sixteen tag units
CERTIFICATES = {number: f"{number:064x}" for number in range(1, 7)}


def attester_of(rig: AdminRig, *, integrity_key: bytes = b"i" * 32) -> Attester:
    cluster = rig.gateway.cluster
    view = replace(rig.view, topology=cluster.store.topology)
    return Attester(
        view.locator,
        cluster.nodes,
        cluster.store.topology,
        rig.view.config.cluster,
        seed=lambda: SEED,
        integrity_key=integrity_key,
        cluster_id=b"c" * 16,
        certificate_of=CERTIFICATES.get,
        env=cluster.env,
    )


def run(test: Callable[[AdminRig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with admin_rig() as rig:
            await rig.gateway.put("large", LARGE)
            await test(rig)

    asyncio.run(main())


def checked(document: dict[str, Any]) -> dict[str, Any]:
    return verified(json.dumps(document).encode(), public_key_of(SEED))


def test_every_shard_answers_a_challenge_that_was_not_known_before() -> None:
    async def check(rig: AdminRig) -> None:
        attester = attester_of(rig)
        first = await attester.attest(BUCKET, "large", "")
        report = checked(first)
        assert report["sound"] and report["problems"] == []
        statement = report["statement"]
        shards = [shard for stripe in statement["stripes"] for shard in stripe["shards"]]
        assert len(shards) == 6 and {s["datacenter"] for s in shards} == {
            "paris",
            "lyon",
            "marseille",
        }
        assert {s["certificate_sha256"] for s in shards} == set(CERTIFICATES.values())
        assert statement["says"].startswith("Attested, not proved")
        assert "never left" not in json.dumps(first)
        again = (await attester.attest(BUCKET, "large", ""))["statement"]
        assert again["challenge"] != statement["challenge"]
        asked = [[s["offset"] for s in one["stripes"][0]["shards"]] for one in (statement, again)]
        assert asked[0] != asked[1]
        given = "ab" * 32
        own = (await attester.attest(BUCKET, "large", given))["statement"]
        assert (own["challenge"], own["challenge_was_given"]) == (given, True)
        for bad in ("ab", "zz" * 32):
            with pytest.raises(ChallengeInvalid):
                await attester.attest(BUCKET, "large", bad)
        with pytest.raises(NoSuchKey):
            await attester.attest(BUCKET, "nothing", "")

    run(check)


@pytest.mark.parametrize("fault", ["corrupt_gets", "truncate_gets", "deny_shards", "down"])
def test_a_node_that_cannot_produce_its_shard_is_named(fault: str) -> None:
    async def check(rig: AdminRig) -> None:
        setattr(rig.gateway.cluster.nodes[1], fault, True)
        report = checked(await attester_of(rig).attest(BUCKET, "large", ""))
        assert not report["sound"]
        failed = [s for s in report["statement"]["stripes"][0]["shards"] if s["failed"]]
        assert [shard["node"] for shard in failed] == ["paris-1"]
        assert "certificate_sha256" in failed[0] and "answer_sha256" not in failed[0]

    run(check)


def test_bytes_that_another_key_has_tagged_are_no_answer() -> None:
    async def check(rig: AdminRig) -> None:
        stranger = attester_of(rig, integrity_key=b"x" * 32)
        report = checked(await stranger.attest(BUCKET, "large", ""))
        shards = report["statement"]["stripes"][0]["shards"]
        assert all(shard["failed"] for shard in shards) and not report["sound"]

    run(check)


def test_a_shard_outside_of_its_region_is_named() -> None:
    async def check(rig: AdminRig) -> None:
        cluster, services = rig.gateway.cluster, rig.gateway.services

        def bind(*names: str) -> None:
            datacenters = frozenset(DatacenterId(name) for name in names)
            region = Region(number=3, name="south", datacenters=datacenters)
            cluster.store.set_topology(Topology(1, cluster.topology.nodes, (region,)))

        bind("paris", "lyon")
        services.regions = {"south": 3}
        await create_bucket(rig.gateway.ctx(), "bound", "south")
        await rig.gateway.put("k", b"small", bucket="bound")
        report = checked(await attester_of(rig).attest("bound", "k", ""))
        assert report["sound"]
        assert report["statement"]["regions"]["south"]["datacenters"] == ["lyon", "paris"]
        bind("lyon", "marseille")
        report = checked(await attester_of(rig).attest("bound", "k", ""))
        outside = [problem for problem in report["problems"] if "is outside of region" in problem]
        assert outside and all("paris" in problem for problem in outside)
        view = replace(rig.view, topology=cluster.store.topology)
        found = await view.where("bound", "k")
        assert found["shards_outside"] == len(outside)

    run(check)


def test_of_a_large_object_the_challenge_draws_some_stripes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attest, "STRIPES_MAX", 2)

    async def check(rig: AdminRig) -> None:
        await rig.gateway.put("huge", LARGE * 4)
        drawn = set()
        for number in range(8):
            report = checked(await attester_of(rig).attest(BUCKET, "huge", f"{number:064x}"))
            statement = report["statement"]
            assert report["sound"] and statement["stripes_asked"] == 2 < statement["stripe_count"]
            drawn |= {stripe["stripe"] for stripe in statement["stripes"]}
        assert len(drawn) > 2

    run(check)


def changed(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The statement with one thing in it different, each time another."""
    raw = json.dumps(document)
    found = []
    for old, new in (
        ('"datacenter": "lyon"', '"datacenter": "lille"'),
        ('"country": "fr"', '"country": "de"'),
        ('"key": "large"', '"key": "other"'),
        ('"failed": ""', '"failed": "x"'),
        (document["statement"]["challenge"], "00" * 32),
        ('"began_at_ms": 1', '"began_at_ms": 2'),
    ):
        assert old in raw
        found.append(json.loads(raw.replace(old, new, 1)))
    shorter = json.loads(raw)
    shorter["statement"]["stripes"][0]["shards"].pop()
    return [*found, shorter]


def test_every_change_is_found_offline() -> None:
    async def check(rig: AdminRig) -> None:
        document = await attester_of(rig).attest(BUCKET, "large", "")
        for other in changed(document):
            with pytest.raises(AttestationInvalid):
                checked(other)
        forged = signed(document["statement"], b"z" * 32)
        with pytest.raises(AttestationInvalid, match="another cluster's key"):
            checked(forged)
        assert not verified(json.dumps(forged).encode())["key_was_given"]
        # Whoever has a key can sign anything; what contradicts itself is still seen.
        moved = json.loads(json.dumps(document["statement"]))
        moved["stripes"][0]["shards"][0]["offset"] += TAG_UNIT_BYTES
        report = verified(json.dumps(signed(moved, b"z" * 32)).encode())
        assert "other bytes than the challenge" in report["problems"][0]

    run(check)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"statement": {}, "public_key": "00", "signature": ""}',
        json.dumps(signed({"format": attestation.FORMAT}, SEED)).encode(),
        json.dumps(signed({"format": "another"}, SEED)).encode(),
        json.dumps(
            signed({"format": attestation.FORMAT, "challenge": "x", "stripes": 5}, SEED)
        ).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_no_statement_is_refused(raw: bytes) -> None:
    with pytest.raises(AttestationInvalid):
        verified(raw)


def test_the_command_checks_a_file_without_a_gateway(tmp_path: Path) -> None:
    app = typer.Typer()
    where_cli.add_commands(app)
    path, key = tmp_path / "object.attested", public_key_of(SEED)

    async def check(rig: AdminRig) -> None:
        document = await attester_of(rig).attest(BUCKET, "large", "")
        path.write_text(json.dumps(document))

    run(check)
    good = CliRunner().invoke(app, ["--verify", str(path), "--key", key])
    assert good.exit_code == 0 and "6 of 6 shards" in good.output and "paris-1" in good.output
    assert "Attested, not proved" in good.output
    other = CliRunner().invoke(app, ["--verify", str(path), "--key", "00" * 32])
    assert other.exit_code == 1 and "another cluster's key" in other.output
    path.write_text(path.read_text().replace('"fr"', '"de"'))
    assert CliRunner().invoke(app, ["--verify", str(path), "--json"]).exit_code == 1
    assert CliRunner().invoke(app, ["--verify", str(tmp_path / "none")]).exit_code == 2
    assert CliRunner().invoke(app, []).exit_code == 2


def test_the_status_says_which_regions_take_writes() -> None:
    async def check(rig: AdminRig) -> None:
        cluster = rig.gateway.cluster
        names = frozenset({DatacenterId("paris"), DatacenterId("lyon")})
        regions = (
            Region(number=0, name="fr", countries=frozenset({"fr"})),
            Region(number=3, name="north", datacenters=names),
        )
        cluster.store.set_topology(Topology(1, cluster.topology.nodes, regions))
        view = replace(rig.view, topology=cluster.store.topology)
        said = {region["name"]: region for region in view.status()["regions"]}
        assert (said["fr"]["nodes"], said["fr"]["reachable"]) == (6, "FULL")
        assert (said["north"]["nodes"], said["north"]["reachable"]) == (4, "NODE")
        assert not any("region" in warning for warning in view.warnings())
        await rig.lose("lyon")
        assert not view.status()["regions"][1]["writes"]
        wanted = "writes to buckets of region north are refused: 2 of its 4 nodes are usable"
        assert wanted in view.warnings()
        assert "north" in str(status_text(view.status()))

    run(check)


def status_text(answer: dict[str, Any]) -> str:
    console = Console(width=200, record=True, file=StringIO())
    console.print(tables.status_view(answer))
    return console.export_text()
