"""Whether what a gateway is told can be: rules that span fields, and geometries on these nodes.

Not for one field's own bounds (they stand in its type, in `gateway.config`), nor for what changes
while a gateway runs. `hexagone config check`, `hexagone up` and every start ask here.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from gateway.config import NATS_SCHEMES, GatewayConfig, topology_of
from gateway.config_admin import check_admin
from gateway.data.placement import OPERATORS_BOUND, reachable_tier
from gateway.data.topology import OWN_REGION
from gateway.model.layout import Tier
from gateway.model.version import STORAGE_CLASSES
from storaged.base.errors import ConfigError

LOOPBACK = ("127.", "localhost", "::1")
_COUNTRY = re.compile(r"[a-z]{2}")


def check_config(config: GatewayConfig) -> None:
    """Rules that no single field can state. Raises ConfigError."""
    s3 = config.s3
    if (s3.certificate is None) != (s3.key is None):
        raise ConfigError(key="s3.key", reason="certificate and key go together")
    if s3.certificate is None and not s3.unsafe_plain_http and not s3.host.startswith(LOOPBACK):
        raise ConfigError(
            key="s3.certificate",
            reason="plain HTTP beyond loopback needs unsafe_plain_http = true",
        )
    if config.unsafe_test_profile is not None and not s3.host.startswith(LOOPBACK):
        raise ConfigError(key="unsafe_test_profile", reason="serves on loopback only")
    for node in config.cluster.nodes:
        if (node.directory is None) == (node.address is None):
            raise ConfigError(key=f"cluster.nodes {node.id}", reason="a directory or an address")
        if node.address is not None and config.node_tls is None:
            raise ConfigError(key="node_tls", reason="nodes with an address need it")
    for target in config.event_targets:
        key = f"event_targets {target.name}"
        if not target.url.startswith(("http://", "https://", *NATS_SCHEMES)):
            raise ConfigError(key=key, reason="url is http, https, nats or tls")
        _check_address(key, target.url)
    for replica in config.replication_targets:
        key = f"replication_targets {replica.name}"
        if not replica.endpoint.startswith(("http://", "https://")):
            raise ConfigError(key=key, reason="endpoint is http or https")
        _check_address(key, replica.endpoint)
    if len(config.cluster.nodes) * 2 < config.cluster.geometry.n:
        raise ConfigError(
            key="cluster.nodes",
            reason=f"{len(config.cluster.nodes)} nodes cannot hold {config.cluster.geometry.n} "
            "shards, two on each at the most",
        )
    _check_admin(config)
    _check_regions(config)
    _check_classes(config)


def _check_admin(config: GatewayConfig) -> None:
    """The admin listener is where nothing else is, and trusts nobody that others trust."""
    taken = {"s3": (config.s3.host, config.s3.port)}
    if config.metrics is not None:
        taken["metrics"] = (config.metrics.host, config.metrics.port)
    authorities = {}
    if config.node_tls is not None:
        authorities["node_tls.authority"] = config.node_tls.authority
    check_admin(config.admin, taken, authorities)


def _check_address(key: str, url: str) -> None:
    """An address of the link, where machines in clouds find their own credentials, is no target.
    A name is not looked up. Raises ConfigError.
    """
    try:
        host = urlsplit(url).hostname or ""
    except ValueError as error:
        raise ConfigError(key=key, reason="not a URL") from error
    try:
        address = ip_address(host)
    except ValueError:
        return
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if (mapped or address).is_link_local:
        raise ConfigError(key=key, reason="a link-local address")


def _check_regions(config: GatewayConfig) -> None:
    """Regions are told apart, and each could hold every class if all its nodes were there."""
    cluster = config.cluster
    seen: set[str] = set(cluster.locations)
    for held in cluster.bounded_regions:
        key = f"cluster.regions {held.name}"
        if held.name in seen:
            raise ConfigError(key=key, reason="is there twice, or in cluster.locations too")
        seen.add(held.name)
        if (held.number == OWN_REGION) != (held.name == cluster.region):
            raise ConfigError(key=key, reason="0 is the number of cluster.region and of no other")
        if any(not _COUNTRY.fullmatch(country) for country in held.countries):
            raise ConfigError(key=key, reason="a country is two lower-case letters")
        missing = {*held.datacenters} - {node.datacenter for node in cluster.nodes}
        if missing:
            raise ConfigError(key=key, reason=f"no node is in {', '.join(sorted(missing))}")
    _check_operators(config)
    floor = Tier.FULL if config.policy.refuse_reduced_margin else Tier.NODE
    # A node that is away for good must not keep the gateway from starting: it is counted here, and
    # CreateBucket does without it.
    whole = topology_of(config, all_active=True)
    names = {OWN_REGION: cluster.region} | {held.number: held.name for held in whole.regions}
    for number, name in names.items():
        bound = len(whole.operators(number)) >= OPERATORS_BOUND
        if not bound and whole.within(whole.active, number) == whole.active:
            continue
        for geometry in (cluster.geometry, *cluster.class_geometries.values()):
            if bound and geometry.k < 2:
                raise ConfigError(
                    key=f"cluster.regions {name}",
                    reason="with one data shard every operator holds whole ciphertexts",
                )
            if reachable_tier(whole, geometry, whole.active, number) < floor:
                rule = f", none of its operators holding {geometry.k} shards" if bound else ""
                raise ConfigError(
                    key=f"cluster.regions {name}",
                    reason=f"{geometry.k}+{geometry.m} cannot be placed on its nodes so that it "
                    f"reaches {floor.name}{rule}: no write there could ever be acknowledged",
                )


def _check_operators(config: GatewayConfig) -> None:
    """All nodes say who runs them, or none does: a rule over some would bound nobody."""
    unnamed = [node.id for node in config.cluster.nodes if not node.operator]
    if unnamed and len(unnamed) < len(config.cluster.nodes):
        raise ConfigError(
            key=f"cluster.nodes {unnamed[0]}", reason="other nodes name an operator, this one none"
        )


def _check_classes(config: GatewayConfig) -> None:
    """Each class is known, said once, and as safe on these nodes as what the cluster has."""
    topology, seen = topology_of(config), set[str]()
    usable = topology.active
    wanted = reachable_tier(topology, config.cluster.geometry, usable)
    for name, geometry in config.cluster.class_geometries.items():
        key = f"cluster.storage_classes {name}"
        if name == STORAGE_CLASSES[0] or name not in STORAGE_CLASSES:
            raise ConfigError(key=key, reason="no class of S3, or the cluster's own")
        if reachable_tier(topology, geometry, usable) < wanted:
            raise ConfigError(
                key=key,
                reason=f"{geometry.k}+{geometry.m} cannot be placed on these nodes so that it "
                f"reaches {wanted.name}, as the cluster's own geometry does",
            )
    for held in config.cluster.storage_classes:
        if held.name in seen:
            raise ConfigError(key="cluster.storage_classes", reason=f"{held.name} is there twice")
        seen.add(held.name)
