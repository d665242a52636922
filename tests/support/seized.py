"""A cluster on disk whose nodes three operators run, with objects of every kind of encryption, and
the folders that each party could be made to give.

Not for how a gateway reads: what is tried on the folders is `tests/restore/restore_object.py`,
which imports nothing of ours, and a gateway over a copy of them.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

from gateway.admin.outlook import Document
from gateway.admin.produce import Producer
from gateway.compose import Gateway, open_gateway
from gateway.config import GatewayConfig
from gateway.config_check import check_config
from gateway.config_keys import KeysFrom
from gateway.model.attributes import KMS
from gateway.model.bucket import Versioning
from gateway.objects.bootstrap import read_root
from gateway.objects.buckets import create_bucket
from gateway.objects.context import Context, Principal
from gateway.objects.get import get_object
from gateway.objects.named_keys import create_named_key
from gateway.objects.put import put_object
from gateway.objects.values import EncryptionAsked, GetOptions, PutOptions
from gateway.objects.versioning import set_versioning
from gateway.up import UpOptions, lay_out
from storaged.base.env import RealEnv
from tests.support.gateway import BytesBody, content_of
from tests.support.rotations import CUSTOMER_KEY

OPERATORS = {"paris": "alpha", "lyon": "bravo", "marseille": "charlie"}
BUCKET = "canary-bucket-zq81"
CANARY = b"canary-content-7f3a91c2"
NAME = "canary-name-5d20e8"
ELSEWHERE = "192.0.2.1:7400"
SMALL = b"small " + CANARY
LARGE = CANARY + Random(3).randbytes(900_000) + CANARY
PLAIN = {f"{NAME}/small": SMALL, f"{NAME}/large": LARGE, f"{NAME}/empty": b""}
_SCRIPT = Path(__file__).resolve().parents[1] / "restore" / "restore_object.py"


@dataclass
class Seized:
    """A cluster's folder as it was when `produce` said something of each party."""

    folder: Path
    config: GatewayConfig
    reports: dict[tuple[str, str], Document]

    def nodes_of(self, *parties: str) -> list[str]:
        """Nodes of operators or sites."""
        return [
            node.id
            for node in self.config.cluster.nodes
            if node.operator in parties or node.datacenter in parties
        ]

    def handed_over(self, to: Path, nodes: Iterable[str], *, keys: bool) -> Path:
        """A folder with these nodes' drives, and the keys folder if it is to be there too."""
        for name in nodes:
            shutil.copytree(self.folder / "nodes" / name, to / "nodes" / name)
        if keys:
            shutil.copytree(self.folder / "keys", to / "keys")
        return to


def _configured(folder: Path, env: RealEnv) -> GatewayConfig:
    options = UpOptions(folder=folder, port=9000, processes=False, tls=False, keys=KeysFrom.FILE)
    config = lay_out(options, env)
    nodes = tuple(replace(n, operator=OPERATORS[n.datacenter]) for n in config.cluster.nodes)
    named = replace(config, cluster=replace(config.cluster, nodes=nodes))
    check_config(named)
    return named


def context_of(gateway: Gateway) -> Context:
    """A request of the root user."""
    root = read_root(gateway.log, gateway.core.records)
    assert root is not None
    principal = Principal(tenant=root.tenant, access_key_id=root.access_key_id, owner_id="owner")
    return Context(gateway.services, principal, bytes(16), 1e12)


async def opened(
    folder: Path, look: Callable[[Gateway], Awaitable[None]], config: GatewayConfig | None = None
) -> GatewayConfig:
    """Open a cluster in a folder, look, close it."""
    env = RealEnv()
    config = config or _configured(folder, env)
    gateway = await open_gateway(config, env)
    gateway.services.sse_over_http = True
    try:
        await gateway.core.health.probe()
        await look(gateway)
    finally:
        await gateway.close()
        env.close()
    return config


async def store_everything(gateway: Gateway) -> None:
    """Plain objects, two versions of one, one under a named key, one under a client's."""
    ctx = context_of(gateway)
    assert ctx.principal is not None
    await create_bucket(ctx, BUCKET, None)
    await create_named_key(gateway.services, ctx.principal.tenant, "named")
    for key, content in PLAIN.items():
        await put_object(ctx, BUCKET, key, BytesBody(content), PutOptions())
    await set_versioning(ctx, BUCKET, Versioning.ENABLED)
    await put_object(ctx, BUCKET, f"{NAME}/small", BytesBody(SMALL), PutOptions())
    asked = {
        "kms": EncryptionAsked(kind=KMS, key_id="named"),
        "customer": EncryptionAsked(customer=CUSTOMER_KEY),
    }
    for key, encryption in asked.items():
        options = PutOptions(encryption=encryption)
        await put_object(ctx, BUCKET, f"{NAME}/{key}", BytesBody(LARGE), options)


async def seize(folder: Path) -> Seized:
    """Make the cluster, fill it, and ask `produce` about everybody."""
    reports: dict[tuple[str, str], Document] = {}

    async def fill(gateway: Gateway) -> None:
        await store_everything(gateway)
        config = gateway.core.config
        nodes = tuple(replace(n, directory=None, address=ELSEWHERE) for n in config.cluster.nodes)
        apart = replace(config, cluster=replace(config.cluster, nodes=nodes))
        parties = [("provider", "")]
        parties += [("site", site) for site in OPERATORS]
        parties += [("operator", operator) for operator in OPERATORS.values()]
        for kind, name in parties:
            # As if the nodes were on machines of their own; and as it is here, all on one.
            reports[kind, name] = await Producer(gateway.services, apart).report(kind, name)
        here = await Producer(gateway.services, config).report("operator", "alpha")
        reports["operator", "alpha and the gateway"] = here
        # Before the gateway closes, which writes another group.
        shutil.copytree(folder / "running", folder / "seized")

    config = await opened(folder / "running", fill)
    return Seized(folder / "seized", config, reports)


def script() -> ModuleType:
    """The program that restores objects by the document alone."""
    spec = importlib.util.spec_from_file_location("restore_object", _SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shards_in(folder: Path) -> Any:
    """The script's view of a folder: its shards, whether or not they make a log that can be read.

    The folder has the root key, so its tags can be checked.
    """
    cluster = script().Cluster.__new__(script().Cluster)
    with suppress(StopIteration, AssertionError):
        cluster.__init__(folder)
    return cluster


def restorable(folder: Path, bucket: str, keys: Iterable[str]) -> dict[str, bytes]:
    """Which objects the script gets out of a folder."""
    found: dict[str, bytes] = {}
    for key in keys:
        with suppress(Exception):
            found[key] = b"".join(script().Cluster(folder).restore(bucket, key))
    return found


async def readable(gateway: Gateway, keys: Iterable[str]) -> dict[str, bytes]:
    """Which objects a gateway with all keys of the service reads, without any client's key."""
    found: dict[str, bytes] = {}
    for key in keys:
        with suppress(Exception):
            got = await get_object(context_of(gateway), BUCKET, key, GetOptions())
            found[key] = await content_of(got)
    return found
