"""Regions for `hexagone status`: which nodes may hold their bytes, and what a write there gets.

Not for placement. Requirement: S-01.
"""

from __future__ import annotations

from gateway.admin.outlook import Document
from gateway.data.placement import operator_shards_max, reachable_tier
from gateway.data.topology import Topology
from gateway.model.layout import Geometry, Tier


def regions_report(
    topology: Topology, geometry: Geometry, usable: frozenset[int], floor: Tier
) -> list[Document]:
    """Each region that bounds something, the cluster's own included.

    Args:
        floor: the lowest tier that policy lets writes go on at.
    """
    every = frozenset(topology.by_number)
    report: list[Document] = []
    for region in topology.regions:
        reachable = reachable_tier(topology, geometry, usable, region.number)
        report.append(
            {
                "name": region.name,
                "number": region.number,
                "datacenters": sorted(region.datacenters),
                "countries": sorted(region.countries),
                "operators": sorted(topology.operators(region.number) - {""}),
                "operator_shards_max": operator_shards_max(geometry, topology, region.number),
                "nodes": len(topology.within(every, region.number)),
                "usable": len(topology.within(usable, region.number)),
                "reachable": reachable.name,
                "writes": reachable >= floor,
            }
        )
    return report


def refused_regions(report: list[Document]) -> list[str]:
    """Warnings: regions whose writes get 503."""
    return [
        f"writes to buckets of region {region['name']} are refused: {region['usable']} of its "
        f"{region['nodes']} nodes are usable"
        for region in report
        if not region["writes"]
    ]
