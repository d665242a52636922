"""`hexagone durability`: what the model says of the layout in use, and of the one production should
use.

Not the model (`gateway.model.durability`) and not an observation: the margins in `status` are one.

Source: docs/durability.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gateway.config import GatewayConfig
from gateway.data.placement import (
    OPERATORS_BOUND,
    operator_shards_max,
    place,
    reachable_tier,
)
from gateway.data.topology import OWN_REGION, Topology
from gateway.model.durability import (
    HOURS_PER_YEAR,
    NINES_SHOWN_MAX,
    Assumptions,
    Durability,
    durability,
)
from gateway.model.layout import Geometry, Tier
from storaged.base.ids import StripeFamily, StripeId

Document = dict[str, Any]
"""What is sent as JSON."""

PRODUCTION_GEOMETRY = Geometry(5, 4)
PRODUCTION_SHARDS = (3, 3, 3)  # nine nodes in three datacenters, one shard on each node
ANY_STRIPE = StripeId(StripeFamily.DATA, 0, 0)  # every stripe is spread over sites alike
LOOPBACK = ("127.", "localhost:", "[::1]:")

PRODUCTION_USES = "Production uses 5+4 on nine nodes in three datacenters, which keeps margin 1."
PRODUCTION_SENTENCE = (
    "4+2 over three datacenters has margin 0 after losing one: until its shards exist elsewhere, "
    f"one more bad drive or one unreadable sector loses stripes. {PRODUCTION_USES}"
)


def durability_report(config: GatewayConfig, topology: Topology) -> Document:
    """Both layouts, the assumptions and the caveats, ready for JSON."""
    assumed = Assumptions()
    geometry = config.cluster.geometry
    return {
        "present": present_layout(config, topology, assumed),
        "production": layout_report(
            PRODUCTION_SHARDS,
            PRODUCTION_GEOMETRY,
            durability(PRODUCTION_SHARDS, PRODUCTION_GEOMETRY.k, assumed),
        ),
        "sentence": PRODUCTION_SENTENCE,
        "assumptions": {
            "drive_failures_per_year": assumed.drive_failures_per_year,
            "repair_hours": assumed.repair_hours,
            "datacenter_losses_per_year": assumed.site_losses_per_year,
            "datacenter_restore_hours": assumed.site_restore_hours,
            "hours_per_year": HOURS_PER_YEAR,
        },
        "meaning": "annual probability that one given stripe is lost; a model, not a measurement",
        "caveats": [
            *caveats(config, geometry, spread(topology, geometry)),
            *operator_caveats(topology, geometry),
        ],
    }


def spread(topology: Topology, geometry: Geometry) -> tuple[int, ...]:
    """Node numbers a stripe gets with every active node usable; () where none reaches tier NODE."""
    return place(ANY_STRIPE, topology, geometry, topology.active) or ()


def shards_by_datacenter(numbers: Sequence[int], topology: Topology) -> dict[str, int]:
    """Shards of one stripe in each datacenter, by its name."""
    held = Counter(str(topology.by_number[number].datacenter) for number in numbers if number)
    return dict(sorted(held.items()))


def shards_by_operator(numbers: Sequence[int], topology: Topology) -> dict[str, int]:
    """Shards of one stripe with each operator, by its name."""
    held = Counter(topology.by_number[number].operator for number in numbers if number)
    return dict(sorted(held.items()))


def present_layout(config: GatewayConfig, topology: Topology, assumed: Assumptions) -> Document:
    """The layout that the configured nodes give, all of them being up."""
    geometry = config.cluster.geometry
    numbers = spread(topology, geometry)
    held = shards_by_datacenter(numbers, topology)
    if not held:
        return {
            "layout": f"{geometry.k}+{geometry.m}",
            "shards_by_datacenter": {},
            "possible": False,
            "reason": "the active nodes cannot hold a stripe that survives the loss of a node",
        }
    shards = tuple(held.values())
    report = layout_report(shards, geometry, durability(shards, geometry.k, assumed))
    operators = shards_by_operator(numbers, topology)
    return report | {"shards_by_datacenter": held, "shards_by_operator": operators}


def layout_report(shards: Sequence[int], geometry: Geometry, found: Durability) -> Document:
    """One layout's figures. Probabilities are per stripe and year."""
    capped = found.nines >= NINES_SHOWN_MAX
    return {
        "layout": f"{geometry.k}+{geometry.m}",
        "possible": True,
        "shards_per_datacenter": list(shards),
        "raw_bytes_per_byte": round(geometry.n / geometry.k, 3),
        "margin_after_datacenter": found.margin_after_site,
        "after_datacenter": after_datacenter(found.margin_after_site),
        "loss_per_year": found.total,
        "loss_per_year_by_cause": {
            "drives": found.shards,
            "one_datacenter": found.one_site,
            "two_datacenters": found.two_sites,
        },
        "nines": round(found.nines, 1),
        "nines_text": f"at least {NINES_SHOWN_MAX:.0f}, model"
        if capped
        else f"{found.nines:.1f}, model",
        "dominant_cause": found.dominant,
    }


def after_datacenter(margin: int) -> str:
    """What a margin after the loss of a datacenter means, for people."""
    if margin < 0:
        return "stripes are lost with a datacenter"
    if margin == 0:
        return "everything is still readable, but the next lost shard loses its stripe"
    if margin == 1:
        return "everything is still readable, and 1 more shard may go"
    return f"everything is still readable, and {margin} more shards may go"


def caveats(config: GatewayConfig, geometry: Geometry, numbers: Sequence[int]) -> list[str]:
    """What the figure does not know of this cluster."""
    found = [
        "Faults of software and of operators, and faults that hit many drives at once, are not in "
        f"the model, so it never shows more than {NINES_SHOWN_MAX:.0f} nines.",
    ]
    if on_one_machine(config):
        found.append(
            "All nodes of this cluster are on one machine: the figure is that of the layout with a "
            "drive for each node and a building for each datacenter. This machine's own drive and "
            "building are not safer for it."
        )
    per_node = max(Counter(number for number in numbers if number).values(), default=0)
    if per_node > 1:
        found.append(
            f"Up to {per_node} shards of a stripe share a node, and the model counts them as "
            "independent: the real figure is worse."
        )
    if len({node.datacenter for node in config.cluster.nodes}) < 3:
        found.append(
            f"With fewer than three datacenters, {geometry.k}+{geometry.m} cannot survive the loss "
            "of one."
        )
    return found


def operator_caveats(topology: Topology, geometry: Geometry) -> list[str]:
    """What operators are not kept from, and which of them writes cannot do without."""
    named = topology.operators(OWN_REGION) - {""}
    if not named:
        return []
    if len(named) < OPERATORS_BOUND:
        return [
            f"With fewer than three operators ({', '.join(sorted(named))}) nothing keeps one of "
            f"them from holding {geometry.k} shards of a stripe, which are a whole ciphertext."
        ]
    found = []
    for operator in sorted(named):
        left = frozenset(
            number for number in topology.active if topology.by_number[number].operator != operator
        )
        if reachable_tier(topology, geometry, left) is Tier.NONE:
            found.append(
                f"With operator {operator} away nothing can be written: the others may hold at "
                f"most {operator_shards_max(geometry, topology, OWN_REGION)} shards each."
            )
    return found


def on_one_machine(config: GatewayConfig) -> bool:
    """Whether every node is a folder here or an address on loopback."""
    return all(
        node.directory is not None or (node.address or "").startswith(LOOPBACK)
        for node in config.cluster.nodes
    )
