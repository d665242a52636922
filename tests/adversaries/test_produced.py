"""What an order could obtain: the report of `hexagone produce` against the files themselves, tried
with the program that restores objects by the document alone, and with a gateway over a copy.
"""

from __future__ import annotations

import asyncio
import shutil
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from gateway.admin.produce import PartyInvalid, Producer
from gateway.admin.produce_says import custody_of, sentences
from gateway.admin.produce_shards import Shards
from gateway.cli.produce_cli import produce_view
from gateway.compose import Gateway
from gateway.model.key_states import KeyState
from gateway.objects.get import get_object
from gateway.objects.key_epochs import destroy_bucket_epoch, set_bucket_epoch
from gateway.objects.key_rotation import rotate_bucket_key
from gateway.objects.values import GetOptions
from tests.support.gateway import content_of
from tests.support.rotations import CUSTOMER_KEY
from tests.support.seized import (
    BUCKET,
    CANARY,
    LARGE,
    NAME,
    OPERATORS,
    PLAIN,
    Seized,
    context_of,
    opened,
    readable,
    restorable,
    seize,
    shards_in,
)

KMS, CLIENT = f"{NAME}/kms", f"{NAME}/customer"
SECRETS = (CANARY, NAME.encode(), BUCKET.encode())


@pytest.fixture(scope="module")
def seized(tmp_path_factory: pytest.TempPathFactory) -> Seized:
    return asyncio.run(seize(tmp_path_factory.mktemp("seized")))


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.proves("B-01", "B-12", "S-05", "S-07", "K-01")
@pytest.mark.parametrize(
    ("kind", "name"),
    [("operator", name) for name in OPERATORS.values()] + [("site", name) for name in OPERATORS],
)
def test_one_operator_or_site_gives_no_whole_ciphertext(
    seized: Seized, tmp_path: Path, kind: str, name: str
) -> None:
    """Even with the cluster's root key beside them, its drives decode no stripe."""
    report = seized.reports[kind, name]
    nodes = seized.nodes_of(name)
    assert [node["node"] for node in report["nodes"]] == nodes
    folder = seized.handed_over(tmp_path, nodes, keys=True)
    cluster = shards_in(folder)
    decoded = [stripe for stripe in cluster.shards if cluster.stripe(stripe)[1]]
    assert decoded == [] and report["drives"]["whole_stripes"] == 0
    assert report["drives"]["whole_bodies"] == 0 and not report["gateway_is_there"]
    assert not any(report["content"]["versions"].values()) and report["in_clear"] == []
    assert [key["opens"] for key in report["keys"]] == ["nothing stored"]
    held = sum(len(shards) for shards in cluster.shards.values())
    assert held == report["drives"]["shards"] > 0
    assert len(cluster.shards) == report["drives"]["stripes"]
    assert restorable(folder, BUCKET, PLAIN) == {}
    for path, content in contents_of(folder / "nodes").items():
        assert not [secret for secret in SECRETS if secret in content], path


@pytest.mark.proves("S-07")
@pytest.mark.parametrize("has_gateway", [True, False])
def test_what_no_figure_has_is_said(has_gateway: bool) -> None:
    """Not less than is possible: uploads under way, and a gateway that no node tells of."""
    config: Any = SimpleNamespace(
        replication_targets=(), storage=SimpleNamespace(keys=Path("/keys"))
    )
    custody = custody_of("gateway: file", config)
    said = " ".join(sentences(config, custody, has_gateway=has_gateway, held=Shards()))
    assert ("Parts of uploads that go on and annotations can be read" in said) is has_gateway
    assert ("it can give what the provider can" in said) is not has_gateway


@pytest.mark.proves("B-03", "K-01")
def test_two_operators_together_have_ciphertext_and_nothing_that_opens_it(
    seized: Seized, tmp_path: Path
) -> None:
    nodes = seized.nodes_of("alpha", "bravo")
    folder = seized.handed_over(tmp_path, nodes, keys=True)
    cluster = shards_in(folder)
    payloads = {stripe: cluster.stripe(stripe)[1] for stripe in cluster.shards}
    assert payloads and all(payloads.values()), "loss of one site must lose nothing"
    for payload in payloads.values():
        assert not [secret for secret in SECRETS if secret in payload]
    assert restorable(folder, BUCKET, PLAIN) == PLAIN, "keys open it: they are what is missing"
    (folder / "keys" / "root.key").write_bytes(bytes(32))
    other = shards_in(folder)
    assert not any(other.stripe(stripe)[1] for stripe in other.shards)
    assert restorable(folder, BUCKET, PLAIN) == {}


@pytest.mark.proves("B-13", "K-13", "S-07")
def test_the_providers_report_is_what_the_provider_can_read(seized: Seized, tmp_path: Path) -> None:
    """N0: all but what is under a client's key."""
    report = seized.reports["provider", ""]
    versions, sizes = report["content"]["versions"], report["content"]["bytes"]
    assert report["gateway_is_there"] and report["custody"]["where"] == "file"
    assert report["drives"]["whole_stripes"] == report["drives"]["stripes"] > 0
    folder = seized.handed_over(tmp_path / "all", seized.nodes_of(*OPERATORS), keys=True)
    assert restorable(folder, BUCKET, [*PLAIN, KMS, CLIENT]).items() >= PLAIN.items()
    assert CLIENT not in restorable(folder, BUCKET, [CLIENT])
    copy = tmp_path / "copy"
    shutil.copytree(seized.folder, copy)
    found: dict[str, bytes] = {}

    async def look(gateway: Gateway) -> None:
        found.update(await readable(gateway, [*PLAIN, KMS, CLIENT]))
        options = GetOptions(customer_key=CUSTOMER_KEY)
        with_key = await get_object(context_of(gateway), BUCKET, CLIENT, options)
        assert await content_of(with_key) == LARGE

    asyncio.run(opened(copy, look))
    assert found == {**PLAIN, KMS: LARGE}
    older = 1  # the version of `small` that another has followed
    assert versions == {
        "readable": len(found) + older,
        "client_key": 1,
        "disabled": 0,
        "destroyed": 0,
        "damaged": 0,
    }
    assert sizes["readable"] == sum(map(len, found.values())) + len(PLAIN[f"{NAME}/small"])
    assert sizes["client_key"] == len(LARGE)


@pytest.mark.proves("B-13", "K-11", "S-07")
def test_keys_that_are_disabled_or_destroyed_are_told_apart(seized: Seized, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(seized.folder, copy)
    keys = [*PLAIN, KMS]

    async def look(gateway: Gateway) -> None:
        services = gateway.services
        producer = Producer(services, gateway.core.config)
        held = services.buckets.find(BUCKET)
        assert held is not None
        await rotate_bucket_key(services, held.bucket.bucket_id, 0)
        bucket = held.bucket

        async def state() -> tuple[int, int, int, int]:
            report = await producer.report("provider", "", "")
            versions = report["content"]["versions"]
            names = ("readable", "client_key", "disabled", "destroyed")
            a, b, c, d = (versions[name] for name in names)
            return a, b, c, d

        assert await state() == (5, 1, 0, 0)
        await set_bucket_epoch(services, bucket, 1, KeyState.DISABLED)
        assert await state() == (0, 0, 6, 0) and await readable(gateway, keys) == {}
        await set_bucket_epoch(services, bucket, 1, KeyState.DECRYPT_ONLY)
        assert await state() == (5, 1, 0, 0) and len(await readable(gateway, keys)) == 4
        await set_bucket_epoch(services, bucket, 1, KeyState.DISABLED)
        await destroy_bucket_epoch(services, bucket, 1, forced=True)
        assert await state() == (0, 0, 0, 6) and await readable(gateway, keys) == {}

    asyncio.run(opened(copy, look))


def test_where_keys_are_is_said_as_the_key_service_says_it(seized: Seized) -> None:
    def custody(kept_in: str) -> tuple[str, str]:
        found = custody_of(kept_in, seized.config)
        return found.where, found.says

    assert custody("gateway: file")[0] == "file" and custody("key service: file")[0] == "keyd"
    where, says = custody("key service: HSM, token hexagone")
    assert where == "pkcs11" and "do not leave the HSM" in says


def test_the_command_prints_it_for_people(seized: Seized) -> None:
    def printed(kind: str, name: str) -> str:
        out = StringIO()
        Console(file=out, width=200).print(produce_view(seized.reports[kind, name]))
        return out.getvalue()

    operator = printed("operator", "alpha")
    assert "an order to: operator alpha" in operator and "none of it can be read" in operator
    assert "0 of " in operator
    beside = printed("operator", "alpha and the gateway")
    assert "none of it can be read" not in beside and "The gateway is with this party" in beside
    provider = printed("provider", "")
    assert "only with the client's own key" in provider and "root key" in provider


def test_parties_that_there_are_not_are_refused(seized: Seized, tmp_path: Path) -> None:
    async def look(gateway: Gateway) -> None:
        producer = Producer(gateway.services, gateway.core.config)
        for kind, name in (
            ("operator", ""),
            ("operator", "nobody"),
            ("site", "lille"),
            ("provider", "x"),
            ("king", "x"),
        ):
            with pytest.raises(PartyInvalid):
                await producer.report(kind, name)
        with pytest.raises(PartyInvalid):
            await producer.report("provider", "", "nobody")
        owner = context_of(gateway).principal
        assert owner is not None
        mine = await producer.report("provider", "", owner.tenant.hex())
        assert mine["content"]["versions"]["readable"] == 5
        down = gateway.core.nodes[1]
        gateway.core.nodes.pop(1)
        partly = await producer.report("operator", "alpha")
        gateway.core.nodes[1] = down
        assert [node["answered"] for node in partly["nodes"]] == [False, True]
        assert any("did not answer" in line for line in partly["says"])

    copy = tmp_path / "copy"
    shutil.copytree(seized.folder, copy)
    asyncio.run(opened(copy, look))
