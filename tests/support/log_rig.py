"""A log over faulty memory nodes: six nodes in three datacenters, 4+2, one index, no S3 on top."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.commit.change import Change, Committed, Draft, StripeChange
from gateway.commit.checkpoint import Checkpointer
from gateway.commit.fencing import EpochHistory
from gateway.commit.group_store import GroupStore
from gateway.commit.keys import LogKeys
from gateway.commit.log import Log
from gateway.commit.opening import LogParts, open_log, rebuild_index
from gateway.data.health import HealthView
from gateway.data.placement import reachable_tier
from gateway.data.stripes import StripeStore
from gateway.data.topology import Topology, TopologyNode
from gateway.meta.kv import Batch, Check, Index, Write, revision_of
from gateway.meta.memory import MemoryStore
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.meta.stripes import StripeCodec
from gateway.model.layout import Geometry, Packed, Tier
from storaged.base.env import Env, RealEnv
from storaged.base.ids import DatacenterId, LogId, NodeId
from storaged.memory import MemoryNode
from storaged.node import Node, NodeIdentity
from tests.support.faulty_node import FaultyNode

SITES = ("paris", "lyon", "marseille")
BUCKET = b"b" * 16


class MemoryHistory(EpochHistory):
    """Epoch history without a file."""

    def __init__(self) -> None:
        self._noted: set[int] = set()

    def epochs(self) -> frozenset[int]:
        return frozenset(self._noted)

    def note(self, epoch: int) -> None:
        self._noted.add(epoch)


def site_nodes(per_site: int, seed: int) -> dict[int, FaultyNode]:
    """Numbered nodes, the same count in each datacenter."""
    nodes = {}
    for at in range(per_site * len(SITES)):
        site = SITES[at % len(SITES)]
        identity = NodeIdentity(
            node=NodeId(f"{site}-{at // len(SITES) + 1}"),
            datacenter=DatacenterId(site),
            country="fr",
        )
        nodes[at + 1] = FaultyNode(MemoryNode(identity), Random(seed + at))
    return nodes


def keys_of(root: bytes) -> LogKeys:
    """Log keys from any seed bytes."""

    def derive(label: bytes) -> bytes:
        return hashlib.sha256(root + label).digest()

    return LogKeys(
        log=LogId(derive(b"log")[:16]),
        log_key=derive(b"mac"),
        cipher=lambda epoch: AESGCM(derive(b"records" + epoch.to_bytes(8, "big"))),
        segments=AESGCM(derive(b"segments")),
    )


class LogRig:
    """The parts, and runs of gateways on them."""

    def __init__(
        self,
        *,
        seed: int = 1,
        per_site: int = 2,
        geometry: Geometry | None = None,
        env: Env | None = None,
        tier_floor: Tier = Tier.NODE,
        nodes: dict[int, FaultyNode] | None = None,
    ) -> None:
        self.env = env or RealEnv(threads_max=2)
        self.geometry = geometry or Geometry(4, 2)
        self.tier_floor = tier_floor
        self.nodes = nodes or site_nodes(per_site, seed)
        self.topology = Topology(
            epoch=1,
            nodes=tuple(
                TopologyNode(
                    number=number,
                    node=node.identity.node,
                    datacenter=node.identity.datacenter,
                    country="fr",
                )
                for number, node in self.nodes.items()
            ),
        )
        self.keys = keys_of(b"root")
        self.index: Index = MemoryStore(bytes(32))
        self.history: EpochHistory = MemoryHistory()
        self.runs = 0
        self.log: Log
        self.store: StripeStore
        self.health: HealthView
        self.records: RecordKeys
        self.nonces: NonceSource

    def parts(self, index: Index | None = None, history: EpochHistory | None = None) -> LogParts:
        """Everything a run is made of, with an instance of its own."""
        self.runs += 1
        nodes: dict[int, Node] = dict(self.nodes)
        health = HealthView(self.topology, nodes, self.env)
        store = StripeStore(
            nodes,
            self.topology,
            health,
            integrity_key=b"i" * 32,
            cluster_id=b"c" * 16,
            env=self.env,
        )
        groups = GroupStore(
            store=store,
            nodes=nodes,
            geometry=self.geometry,
            log=self.keys.log,
            instance=self.runs.to_bytes(16, "big"),
            history=history or self.history,
            tier_floor=self.tier_floor,
            reachable=lambda: reachable_tier(self.topology, self.geometry, health.usable()),
        )
        self.health, self.store = health, store
        records = RecordKeys(b"r" * 32, _no_bucket_cipher)
        self.records = records

        def codec_of(epoch: int) -> StripeCodec:
            self.nonces = NonceSource(epoch)
            return StripeCodec(records, self.nonces)

        return LogParts(
            index=index or self.index,
            groups=groups,
            keys=self.keys,
            codec_of=codec_of,
            geometry=self.geometry,
            env=self.env,
        )

    async def open(self, *, probe: bool = True, takeover: bool = False) -> Log:
        """Start a gateway's log on the rig's index."""
        parts = self.parts()
        if probe:
            await self.health.probe()
        self.log = await open_log(parts, takeover=takeover)
        return self.log

    async def rebuild(self) -> list[str]:
        """A fresh index from the nodes; returns what was lost."""
        self.index = MemoryStore(bytes(32))
        parts = self.parts()
        await self.health.probe()
        _, lost = await rebuild_index(parts)
        return lost

    def checkpointer(self) -> Checkpointer:
        return Checkpointer(
            log=self.log,
            store=self.store,
            keys=self.keys,
            records=self.records,
            nonces=self.nonces,
            env=self.env,
        )

    def site(self, name: str) -> list[FaultyNode]:
        return [node for node in self.nodes.values() if node.identity.datacenter == name]

    # Rows for tests: value = marker ‖ revision ‖ text

    def value(self, text: bytes) -> bytes:
        return b"\x01" + self.env.random_bytes(12) + text

    def row_key(self, name: str) -> bytes:
        return b"O" + BUCKET + name.encode()

    def change(
        self,
        name: str,
        text: bytes | None,
        *,
        expected: bytes | str | None = "any",
        body: bytes | None = None,
        stripes: tuple[StripeChange, ...] = (),
    ) -> Change:
        """Set (or delete) a row, optionally checked, optionally with a small body riding along."""
        key = self.row_key(name)
        checks = () if expected == "any" else (Check(key, expected),)  # type: ignore[arg-type]
        writes: tuple[Write, ...] = ()
        drafts: tuple[Draft, ...] = ()
        if body is None:
            writes = (Write(key, None if text is None else self.value(text)),)
        else:
            drafts = (Draft(key, 0, _packed_value(self.value(text or b""))),)
        return Change(
            batch=Batch(
                partition=BUCKET,
                request_id=self.env.random_bytes(16),
                checks=checks,
                writes=writes,
            ),
            bodies=() if body is None else (body,),
            drafts=drafts,
            stripes=stripes,
        )

    async def put(self, name: str, text: bytes, **more: object) -> Committed:
        return await self.log.commit_change(self.change(name, text, **more))  # type: ignore[arg-type]

    def get(self, name: str, index: Index | None = None) -> bytes | None:
        value = (index or self.index).read((self.row_key(name),))[0]
        return None if value is None else value[13:]

    def revision(self, name: str) -> bytes | None:
        value = self.index.read((self.row_key(name),))[0]
        return None if value is None else revision_of(value)


def _packed_value(value: bytes) -> Callable[[Packed], bytes]:
    def seal(place: Packed) -> bytes:
        return value + b"@%s:%d:%d" % (
            place.stripe.encode().hex().encode(),
            place.offset,
            place.sealed_bytes,
        )

    return seal


def _no_bucket_cipher(bucket: bytes, epoch: int) -> AESGCM:
    raise AssertionError("no tenant rows here")


def history_at(path: Path) -> EpochHistory:
    """The real thing, for tests of its file."""
    return EpochHistory(path)
