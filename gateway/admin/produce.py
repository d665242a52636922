"""`hexagone produce`: what an order addressed to a party could obtain, and what of it can be read.

A party is an operator of nodes, a site, or the provider who runs the gateway. What drives hold is
counted by asking the nodes for their shards, not by what rows say: shards that no row names are on
drives all the same. What can be read is found out with the keys themselves, version by version.

Not for orders, nor for what somebody who obeys one could do from then on.

Source: docs/security.md. Requirements: S-05, S-07.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.admin.outlook import LOOPBACK, Document
from gateway.admin.produce_says import (
    IN_CLEAR_AT_GATEWAY,
    IN_CLEAR_ON_DRIVES,
    custody_of,
    gateway_keys,
    node_keys,
    sentences,
)
from gateway.admin.produce_shards import Shards, count_shards
from gateway.config import GatewayConfig
from gateway.data.topology import Topology, TopologyNode
from gateway.meta import accounts, bucket_key_rows, keyspace
from gateway.meta import buckets as bucket_rows
from gateway.meta.kv import Row, RowCorrupt
from gateway.meta.record_fields import IS_MARKER
from gateway.meta.records import open_stored_bytes, open_version
from gateway.model.attributes import CUSTOMER
from gateway.model.key_states import KeyState
from gateway.model.layout import Layout, Packed
from gateway.model.names import BucketId, TenantId
from gateway.model.version import Version
from gateway.objects import named_keys
from gateway.objects.context import Services
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import StripeId

PAGE_ROWS = 500
VERSIONS_COUNTED_MAX = 1_000_000  # half a minute
BUCKETS_PAGE = 500


class PartyInvalid(StorageError):
    """There is no such party."""

    kind = Kind.INVALID
    hint = "name an operator or a site of `hexagone status`, or the provider"


class PartyKind(StrEnum):
    """Whom an order can be addressed to."""

    OPERATOR = "operator"
    SITE = "site"
    PROVIDER = "provider"


class Fate(StrEnum):
    """What who has all keys of the service can do with a version."""

    READABLE = "readable"
    DISABLED = "disabled"  # its key is there and refuses: who may enable it can read
    CLIENT_KEY = "client_key"  # SSE-C: only with the key that the client keeps
    DESTROYED = "destroyed"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Whom is asked about: its nodes, and whether the gateway runs on a machine of its."""

    kind: PartyKind
    name: str
    nodes: tuple[TopologyNode, ...]
    has_gateway: bool


@dataclass(slots=True)
class _Contents:
    versions: Counter[Fate] = field(default_factory=Counter)
    content_bytes: Counter[Fate] = field(default_factory=Counter)
    counted_all: bool = True


class Producer:
    """Answers what a party could be made to give.

    Args:
        services: of the gateway; its keys are tried, nothing is written.
        kept_in: says where keys of tenants are; by default with the gateway itself.
    """

    def __init__(
        self,
        services: Services,
        config: GatewayConfig,
        kept_in: Callable[[], str] = lambda: "gateway: file",
    ) -> None:
        self._services = services
        self._config = config
        self._kept_in = kept_in

    async def report(self, kind: str, name: str, tenant: str = "") -> Document:
        """What an order to a party could obtain.

        Args:
            kind: "operator", "site" or "provider"; the last one has no name.
            tenant: name or id; "" = of all tenants.

        Raises: PartyInvalid.
        """
        services = self._services
        party = _party(services.stripes.topology, self._config, kind, name)
        owner = self._tenant(tenant) if tenant else None
        held = await count_shards(services.stripes, {node.number for node in party.nodes})
        custody = custody_of(self._kept(), self._config)
        contents = await self._contents(owner) if party.has_gateway else _Contents()
        keys = gateway_keys(custody) if party.has_gateway else node_keys()
        return {
            "party": {"kind": party.kind.value, "name": party.name},
            "tenant": owner.name if owner else "",
            "at_ms": services.env.now_ms(),
            "nodes": [_node_report(node, held) for node in party.nodes],
            "gateway_is_there": party.has_gateway,
            "drives": {
                "shards": held.shards,
                "cell_bytes": held.cell_bytes,
                "stripes": held.stripes,
                "whole_stripes": held.whole,
                "whole_by_family": dict(sorted(held.whole_by_family.items())),
                "whole_bodies": await self._whole_bodies(held, owner),
                "counted_all": held.counted_all,
                "in_clear": list(IN_CLEAR_ON_DRIVES),
            },
            "keys": keys,
            "custody": {"where": custody.where, "at": custody.at} if party.has_gateway else None,
            "in_clear": list(IN_CLEAR_AT_GATEWAY) if party.has_gateway else [],
            "content": _content_report(contents, party.has_gateway),
            "says": sentences(self._config, custody, has_gateway=party.has_gateway, held=held),
        }

    def _kept(self) -> str:
        try:
            return self._kept_in()
        except StorageError:
            return "key service: it does not answer"

    # What drives hold

    async def _whole_bodies(self, held: Shards, owner: accounts.Tenant | None) -> int | None:
        """Bodies whose stripes are all whole there; None: too many stripes to say."""
        if not held.whole:
            return 0
        if held.whole_ids is None:
            return None
        count = 0
        families = (keyspace.CURRENT, keyspace.NONCURRENT, keyspace.PART, keyspace.ANNOTATION)
        for bucket in self._buckets(owner):
            for family in families:
                for page in self._pages(*keyspace.family_range(family, bucket)):
                    for row in page:
                        stored = open_stored_bytes(self._services.records, row.key, row.value)
                        ids = [*_stripes_of(stored.layout)]
                        count += bool(ids) and held.whole_ids.issuperset(ids)
                    await self._services.env.sleep(0)
        return count

    # What keys open

    async def _contents(self, owner: accounts.Tenant | None) -> _Contents:
        found = _Contents()
        states: dict[tuple[bytes, int], Fate] = {}
        for bucket in self._buckets(owner):
            for family in (keyspace.CURRENT, keyspace.NONCURRENT):
                for page in self._pages(*keyspace.family_range(family, bucket)):
                    if found.versions.total() >= VERSIONS_COUNTED_MAX:
                        found.counted_all = False
                        return found
                    for row in page:
                        self._judge(found, states, bucket, row)
                    await self._services.env.sleep(0)
        return found

    def _judge(
        self,
        found: _Contents,
        states: dict[tuple[bytes, int], Fate],
        bucket: BucketId,
        row: Row,
    ) -> None:
        """Count one version by what its keys do. Delete markers have no content."""
        try:
            stored = open_stored_bytes(self._services.records, row.key, row.value)
        except RowCorrupt:
            found.versions[Fate.DAMAGED] += 1
            return
        if stored.mark >= IS_MARKER:
            return
        epoch = int.from_bytes(row.value[25:29], "big")
        if (bucket, epoch) not in states:
            states[bucket, epoch] = self._fate_of_key(bucket, epoch)
        fate = states[bucket, epoch]
        if fate is Fate.READABLE:
            fate = self._fate_of_version(row)
        found.versions[fate] += 1
        found.content_bytes[fate] += stored.plain_bytes

    def _fate_of_key(self, bucket: BucketId, epoch: int) -> Fate:
        """By the states of a bucket's key and of the tenant's above it."""
        services = self._services
        try:
            key = bucket_key_rows.read_bucket_key(services.log, services.records, bucket, epoch)
        except RowCorrupt:
            return Fate.DAMAGED
        above = {
            one.epoch: one.state for one in services.bucket_keys.provider.tenant_epochs(key.tenant)
        }
        chain = (key.about.state, above.get(key.tenant_epoch, KeyState.DESTROYED))
        if KeyState.DESTROYED in chain:
            return Fate.DESTROYED
        return Fate.DISABLED if KeyState.DISABLED in chain else Fate.READABLE

    def _fate_of_version(self, row: Row) -> Fate:
        """By what the version says of its own keys, once it opens under the bucket's."""
        services = self._services
        try:
            version = open_version(services.records, row.key, row.value).version
        except StorageError:
            return Fate.DAMAGED
        return _fate_of_encryption(services, version)

    # Tenants and rows

    def _tenant(self, name: str) -> accounts.Tenant:
        after: TenantId | None = None
        found: list[accounts.Tenant] = []
        while True:
            page = accounts.scan_tenants(
                self._services.log, self._services.records, after, limit=BUCKETS_PAGE
            )
            found += [
                stored.tenant
                for stored in page
                if name in (stored.tenant.name, stored.tenant.tenant_id.hex())
            ]
            if len(page) < BUCKETS_PAGE:
                break
            after = page[-1].tenant.tenant_id
        if len(found) != 1:
            raise PartyInvalid(tenant=name[:64], found=len(found))
        return found[0]

    def _buckets(self, owner: accounts.Tenant | None) -> Iterator[BucketId]:
        after: BucketId | None = None
        while True:
            page = bucket_rows.scan_buckets(
                self._services.log, self._services.records, after, limit=BUCKETS_PAGE
            )
            for stored in page:
                if owner is None or stored.bucket.tenant == owner.tenant_id:
                    yield stored.bucket.bucket_id
            if len(page) < BUCKETS_PAGE:
                return
            after = page[-1].bucket.bucket_id

    def _pages(self, start: bytes, end: bytes) -> Iterator[list[Row]]:
        while True:
            page = self._services.log.scan(start, end, limit=PAGE_ROWS)
            yield list(page)
            if len(page) < PAGE_ROWS:
                return
            start = keyspace.after(page[-1].key)


def _party(topology: Topology, config: GatewayConfig, kind: str, name: str) -> Party:
    """The nodes that are meant. Raises: PartyInvalid."""
    try:
        asked = PartyKind(kind)
    except ValueError as error:
        raise PartyInvalid(kind=kind[:64]) from error
    if asked is PartyKind.PROVIDER:
        if name:
            raise PartyInvalid(kind=kind, name=name[:64], reason="the provider has no name here")
        return Party(kind=asked, name="", nodes=topology.nodes, has_gateway=True)
    if asked is PartyKind.OPERATOR:
        nodes = tuple(node for node in topology.nodes if name and node.operator == name)
    else:
        nodes = tuple(node for node in topology.nodes if node.datacenter == name)
    if not nodes:
        raise PartyInvalid(kind=kind, name=name[:64], reason="no node is of it")
    numbers = {node.number for node in nodes}
    return Party(kind=asked, name=name, nodes=nodes, has_gateway=_is_here(config, numbers))


def _is_here(config: GatewayConfig, numbers: set[int]) -> bool:
    """Whether one of the nodes is on the machine of the gateway itself."""
    return any(
        node.directory is not None or (node.address or "").startswith(LOOPBACK)
        for node in config.cluster.nodes
        if node.number in numbers
    )


def _node_report(node: TopologyNode, held: Shards) -> Document:
    return {
        "node": str(node.node),
        "datacenter": str(node.datacenter),
        "country": node.country,
        "operator": node.operator,
        "answered": node.number not in held.silent,
    }


def _stripes_of(layout: Layout | None) -> Iterator[StripeId]:
    if layout is None:
        return
    if isinstance(layout, Packed):
        yield layout.stripe
        return
    first = layout.first
    for offset in range(layout.stripe_count):
        yield StripeId(first.family, first.epoch, first.counter + offset)


def _fate_of_encryption(services: Services, version: Version) -> Fate:
    held = version.attributes.encryption
    if held is None:
        return Fate.READABLE
    if held.kind == CUSTOMER:
        return Fate.CLIENT_KEY
    name = named_keys.name_of(held.key_id)
    if name and not services.bucket_keys.provider.has_named_key(version.owner, name):
        return Fate.DESTROYED
    return Fate.READABLE


def _content_report(found: _Contents, has_gateway: bool) -> Document:
    """By what becomes of them; all of it zero for who has no gateway, and so no key."""
    return {
        "keys_are_there": has_gateway,
        "counted_all": found.counted_all,
        "versions": {fate.value: found.versions[fate] for fate in Fate},
        "bytes": {fate.value: found.content_bytes[fate] for fate in Fate},
    }
