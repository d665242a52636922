"""Routes of the admin port about tenants that leave, a line each; and what they answer.

Not what they do: `gateway.objects.departing`.
"""

from __future__ import annotations

from typing import TypedDict

from gateway.admin.answer_shapes import Row
from gateway.admin.route_table import RouteEntry, acts, reads
from gateway.model.administrators import GIVEN_ROLES, Role


class Departures(TypedDict):
    """Tenants that leave or have left, by the end of their time to retrieve."""

    departures: list[Row]


DEPARTURE_ROUTES: tuple[RouteEntry, ...] = (
    reads("/v1/departure", "Tenants that leave", sorted(GIVEN_ROLES), Departures),
    acts(
        "/v1/departure/begin",
        "A tenant has given notice",
        (Role.TENANT_ADMIN,),
        Departures,
        "tenant notice_days transition_days retrieval_days",
    ),
    acts(
        "/v1/departure/extend",
        "Have the transition of a tenant last longer, once",
        (Role.TENANT_ADMIN,),
        Departures,
        "tenant days",
    ),
    acts(
        "/v1/departure/cancel",
        "A tenant that has given notice stays",
        (Role.TENANT_ADMIN,),
        Departures,
        "tenant",
    ),
)
