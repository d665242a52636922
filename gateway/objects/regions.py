"""In which region the bodies of a bucket lie, and whether one can be written there.

A bucket's location constraint names a region of the configuration: datacenters and countries. Its
bodies get stripes of their own, however small, whose rows carry the region's number; placement,
hand-off, repair, re-coding and restore obey that number. Rows go with the log, in the cluster's own
region. Whatever cannot be kept inside is refused.

Source: docs/residency.md. Requirements: S-01, S-02.
"""

from __future__ import annotations

import logging

from gateway.data.placement import reachable_tier
from gateway.data.topology import OWN_REGION
from gateway.model.bucket import Bucket
from gateway.model.errors import IllegalLocationConstraint, InvalidLocationConstraint
from gateway.model.layout import Geometry, Tier
from gateway.objects.context import Services
from storaged.base.errors import Kind, StorageError

logger = logging.getLogger(__name__)


class RegionUnknown(StorageError):
    """The region of a bucket is not in the configuration."""

    kind = Kind.UNAVAILABLE
    hint = "put the region back into cluster.regions with its number, or cluster.locations"


class RegionUnreachable(StorageError):
    """Too few nodes of a region answer for a write that must stay inside it."""

    kind = Kind.UNAVAILABLE
    hint = "see which nodes are away with `hexagone status`"


def region_of(services: Services, bucket: Bucket) -> int:
    """Number of the region whose nodes alone may hold bodies of a bucket. Raises: RegionUnknown."""
    location = bucket.location
    if not location:
        return OWN_REGION
    number = services.regions.get(location)
    if number is not None:
        return number
    if location == services.region or location in services.locations:
        return OWN_REGION
    logger.error("bucket %s is of region %s, which is not configured", bucket.name, location)
    raise RegionUnknown(bucket=bucket.name, region=location)


def check_location(services: Services, location: str) -> None:
    """Whether a bucket may be made there.

    Raises:
        InvalidLocationConstraint: nobody knows the name.
        IllegalLocationConstraint: no write could ever be acknowledged there, as its datacenters
            have too few active nodes.
    """
    number = services.regions.get(location)
    if number is None:
        if location not in services.locations and location not in ("", services.region):
            raise InvalidLocationConstraint(location_constraint=location)
        return
    topology = services.stripes.topology
    if _reachable(services, number, services.geometry, topology.active) < services.tier_floor:
        logger.warning("no bucket in region %s: too few active nodes", location)
        raise IllegalLocationConstraint(location_constraint=location)


def check_region(services: Services, region: int, geometry: Geometry) -> None:
    """Refuse a write that the nodes of its region cannot acknowledge, before its body is read.

    Raises: RegionUnreachable.
    """
    usable = services.stripes.health.usable()
    reachable = _reachable(services, region, geometry, usable)
    if reachable < services.tier_floor:
        logger.warning(
            "a write is refused: nodes of region %d reach %s, not %s",
            region,
            reachable.name,
            services.tier_floor.name,
        )
        raise RegionUnreachable(region=region, reachable=reachable.name)


def _reachable(services: Services, region: int, geometry: Geometry, nodes: frozenset[int]) -> Tier:
    return reachable_tier(services.stripes.topology, geometry, nodes, region)
