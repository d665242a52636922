"""What a gateway is told: one TOML file → frozen dataclasses.

Units are in the names; secrets are paths to files that only their owner can read. `hexagone config
check` prints the effective values; `hexagone up` writes such a file for a cluster on one machine.
Not for rules that span fields: `gateway.config_check`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from gateway.config_admin import AdminConfig as AdminConfig
from gateway.config_erasure import ErasureConfig
from gateway.config_keys import KeysConfig
from gateway.config_tls import RenewalConfig
from gateway.data.topology import (
    OWN_REGION,
    REGION_NUMBER_MAX,
    NodeState,
    Region,
    Topology,
    TopologyNode,
)
from gateway.journal.journal import JournalConfig
from gateway.limits import STRIPE_BUFFERS_MAX
from gateway.model.layout import Geometry
from storaged.base.config import Bounds, SecretPath, read_config
from storaged.base.ids import datacenter_id, node_id, operator_id
from storaged.base.log import LogFormat

Port = Annotated[int, Bounds(0, 65535)]
FRANCE = "fr"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One node: either a `directory` (kept by this process) or an `address` host:port.

    `number` is written into stripe rows: it stays with the node for ever and is never given again.
    `operator` is who runs it, as its certificate says; all nodes have one, or none has.
    """

    number: Annotated[int, Bounds(1, 65535)]
    id: str
    datacenter: str
    country: str = "fr"
    operator: str = ""
    directory: Path | None = None
    address: str | None = None
    capacity_bytes: int | None = None
    state: NodeState = NodeState.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClassConfig:
    """A storage class of S3 whose bodies have a geometry of their own."""

    name: str
    data_shards: Annotated[int, Bounds(1, 20)]
    parity_shards: Annotated[int, Bounds(1, 12)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionConfig:
    """What a location constraint means: bodies of its buckets lie in these datacenters and
    countries, and nowhere else. Empty: any.

    Args:
        number: is written into stripe rows, so it stays with the region for ever. The region that
            is the cluster's own (`cluster.region`) has 0, no other one has.
    """

    name: str
    number: Annotated[int, Bounds(0, REGION_NUMBER_MAX)] = OWN_REGION
    datacenters: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """The cluster and its geometry. `region` is where the endpoint signs for.

    Args:
        locations: other names of the cluster's own region, for location constraints.
        regions: what location constraints mean. `fr`, where it is the cluster's own region and not
            among them, means nodes in France.
        storage_classes: those with another geometry; all others have the cluster's.
    """

    name: str = "hexagone"
    region: str = "fr"
    locations: tuple[str, ...] = ()
    data_shards: Annotated[int, Bounds(1, 20)] = 4
    parity_shards: Annotated[int, Bounds(1, 12)] = 2
    nodes: tuple[NodeConfig, ...]
    storage_classes: tuple[StorageClassConfig, ...] = ()
    regions: tuple[RegionConfig, ...] = ()

    @property
    def region_numbers(self) -> dict[str, int]:
        """Number by name, of the regions beside the cluster's own."""
        return {held.name: held.number for held in self.regions if held.name != self.region}

    @property
    def bounded_regions(self) -> tuple[RegionConfig, ...]:
        """The regions, with what `fr` means where nobody has said it."""
        if self.region == FRANCE and all(held.name != FRANCE for held in self.regions):
            return (RegionConfig(name=FRANCE, countries=(FRANCE,)), *self.regions)
        return self.regions

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.data_shards, self.parity_shards)

    @property
    def class_geometries(self) -> dict[str, Geometry]:
        """Geometry by name, of the classes that have one of their own."""
        return {
            held.name: Geometry(held.data_shards, held.parity_shards)
            for held in self.storage_classes
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Config:
    """The S3 endpoint. Without a certificate it speaks plain HTTP, and then only on loopback."""

    host: str = "127.0.0.1"
    port: Port = 9000
    base_domains: tuple[str, ...] = ()
    website_domains: tuple[str, ...] = ()
    certificate: Path | None = None
    key: SecretPath | None = None
    unsafe_plain_http: bool = False
    access_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """Folders of this gateway: the index, and the keys without which nothing opens."""

    index: Path
    keys: Path
    index_map_mib: Annotated[int, Bounds(64, 64 * 1024 * 1024)] = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """Where /metrics, /healthz and /readyz are answered."""

    host: str = "127.0.0.1"
    port: Port = 9001


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTlsConfig:
    """What this gateway shows to nodes that are reached by address."""

    certificate: Path
    key: SecretPath
    authority: Path
    domain: str = "hexagone.internal"
    renewal: RenewalConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """What the operator has decided.

    Args:
        refuse_reduced_margin: no writes while they could not survive the loss of a datacenter.
        checkpoint_mib: log payload after which the index is checkpointed.
        scrub_mib_per_s: what a local node reads in the background to find rot.
        lock_days_away: how long a gateway may have been off for its clock to be believed where
            locks of objects are judged.
    """

    refuse_reduced_margin: bool = False
    checkpoint_mib: Annotated[int, Bounds(1, 1 << 20)] = 256
    stripe_buffers: Annotated[int, Bounds(2, 4096)] = STRIPE_BUFFERS_MAX
    scrub_mib_per_s: Annotated[int, Bounds(1, 1 << 20)] = 20
    lock_days_away: Annotated[int, Bounds(1, 36_500)] = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Form of the log on standard error."""

    format: LogFormat = LogFormat.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAccount:
    """An account with known credentials. `display_name` and `owner_id` are what S3 prints."""

    name: str
    access_key_id: str
    secret: str = field(repr=False)
    owner_id: str
    display_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAccounts:
    """The file that `unsafe_test_profile.accounts` names."""

    accounts: tuple[GivenAccount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsafeTestProfileConfig:
    """What public suites of tests need and no owner of objects can want; on loopback only.

    Args:
        lifecycle_day_s: seconds that lifecycle rules take for a day.
        log_roll_s: seconds after which a log of accesses is delivered.
        sse_over_http: keys of clients, and named keys, are taken over plain HTTP.
        sigv2: signatures of version 2 are taken, which sign neither body nor headers whole.
        new_buckets_open: new buckets have ACLs in force and let the public in where they say so.
        kms_keys: named keys that exist from the start.
        accounts: TOML file of `[[accounts]]`, made at the start.
    """

    lifecycle_day_s: Annotated[float, Bounds(0.1, 86400.0)] = 10.0
    log_roll_s: Annotated[float, Bounds(0.1, 86400.0)] = 5.0
    sse_over_http: bool = True
    sigv2: bool = True
    new_buckets_open: bool = True
    kms_keys: tuple[str, ...] = ("testkey-1", "testkey-2")
    accounts: SecretPath | None = None


NATS_SCHEMES = ("nats://", "tls://")  # of event targets; the others are HTTP's


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTargetConfig:
    """What may be told of events in buckets: a notification rule names it by the last part of its
    ARN, as `arn:aws:sns:fr:0:<name>`.

    Args:
        url: http:// or https://: each message is one POST of JSON; nats://host/subject or
            tls://host/subject: a subject of a JetStream stream.
        token: file whose text is sent as a bearer token, or to log on to NATS.
        accounts: canonical ids of those whose buckets may name it; none: all.
    """

    name: str
    url: str
    token: SecretPath | None = None
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationTargetConfig:
    """A bucket of another S3 endpoint: a replication rule names it as `arn:aws:s3:::<name>`.

    Args:
        bucket: its name there; by default `name`.
        authority: CA certificate that the endpoint's is checked against.
        accounts: canonical ids of those whose buckets may name it; none: all.
    """

    name: str
    endpoint: str
    access_key_id: str
    secret: SecretPath
    region: str = "us-east-1"
    bucket: str | None = None
    authority: Path | None = None
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Everything a gateway is told."""

    cluster: ClusterConfig
    storage: StorageConfig
    admin: AdminConfig
    s3: S3Config = field(default_factory=S3Config)
    metrics: MetricsConfig | None = None
    node_tls: NodeTlsConfig | None = None
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    log: LogConfig = field(default_factory=LogConfig)
    keys: KeysConfig = field(default_factory=KeysConfig)
    journal: JournalConfig | None = None
    erasure: ErasureConfig = field(default_factory=ErasureConfig)
    event_targets: tuple[EventTargetConfig, ...] = ()
    replication_targets: tuple[ReplicationTargetConfig, ...] = ()
    unsafe_test_profile: UnsafeTestProfileConfig | None = None


def given_accounts(config: GatewayConfig) -> tuple[GivenAccount, ...]:
    """Accounts of the unsafe test profile; none without one. Raises ConfigError."""
    profile = config.unsafe_test_profile
    if profile is None or profile.accounts is None:
        return ()
    return read_config(GivenAccounts, profile.accounts).accounts


def profile_values(config: GatewayConfig) -> dict[str, Any]:
    """Fields of `Services` that the unsafe test profile changes."""
    profile = config.unsafe_test_profile
    if profile is None:
        return {}
    return {
        "new_buckets_open": profile.new_buckets_open,
        "sse_over_http": profile.sse_over_http,
        "lifecycle_day_s": profile.lifecycle_day_s,
        "log_roll_s": profile.log_roll_s,
        "sigv2": profile.sigv2,
        "test_kms_keys": profile.kms_keys,
    }


def topology_of(config: GatewayConfig, *, all_active: bool = False) -> Topology:
    """The nodes as placement sees them, or would with all of them active. Raises ConfigError."""
    return Topology(
        epoch=1,
        nodes=tuple(
            TopologyNode(
                number=node.number,
                node=node_id(node.id),
                datacenter=datacenter_id(node.datacenter),
                country=node.country,
                operator=operator_id(node.operator),
                state=NodeState.ACTIVE if all_active else node.state,
            )
            for node in config.cluster.nodes
        ),
        regions=tuple(
            Region(
                number=held.number,
                name=held.name,
                datacenters=frozenset(datacenter_id(name) for name in held.datacenters),
                countries=frozenset(held.countries),
            )
            for held in config.cluster.bounded_regions
        ),
    )
