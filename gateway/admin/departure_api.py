"""The admin port about tenants that leave.

    GET  /v1/departure
    POST /v1/departure/begin?tenant=…&notice_days=…&transition_days=…&retrieval_days=…
    POST /v1/departure/extend?tenant=…&days=…
    POST /v1/departure/cancel?tenant=…

Not for what they do (`gateway.objects.departing`).
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.outlook import Document
from gateway.admin.requester import requester_of
from gateway.model.departure import Departure, DepartureInvalid
from gateway.objects import departing, tenancy
from gateway.objects.context import Services

DAYS_DIGITS_MAX = 6


def departure_routes(services: Services) -> list[web.RouteDef]:
    """The routes."""

    async def listed(request: web.Request) -> web.Response:
        return json_answer(_document(services, departing.departures(services)))

    async def begin(request: web.Request) -> web.Response:
        fields = request.query
        departure = await departing.give_notice(
            services,
            fields.get("tenant", ""),
            requester_of(request),
            notice_days=_days(fields, "notice_days"),
            transition_days=_days(fields, "transition_days"),
            retrieval_days=_days(fields, "retrieval_days"),
        )
        return json_answer(_document(services, [departure]))

    async def extend(request: web.Request) -> web.Response:
        tenant, days = request.query.get("tenant", ""), _days(request.query, "days")
        departure = await departing.extend(services, tenant, requester_of(request), days)
        return json_answer(_document(services, [departure]))

    async def cancel(request: web.Request) -> web.Response:
        tenant = request.query.get("tenant", "")
        departure = await departing.take_back(services, tenant, requester_of(request))
        return json_answer(_document(services, [departure]))

    return [
        web.get("/v1/departure", listed),
        web.post("/v1/departure/begin", begin),
        web.post("/v1/departure/extend", extend),
        web.post("/v1/departure/cancel", cancel),
    ]


def _days(fields: Mapping[str, str], name: str) -> int:
    """A whole number of days. Raises: DepartureInvalid."""
    text = fields.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= DAYS_DIGITS_MAX):
        raise DepartureInvalid(field=name, reason="not a whole number of days")
    return int(text)


def _document(services: Services, found: list[Departure]) -> Document:
    names = {one.tenant_id.hex(): one.name for one in tenancy.tenants(services)}
    return {
        "departures": [
            {
                "tenant": names.get(one.tenant, ""),
                "tenant_id": one.tenant,
                "phase": one.phase,
                "requester": one.requester,
                **one.dates,
                "extended_days": one.extended_days,
                "erasable_from_ms": one.erasable_from_ms,
            }
            for one in found
        ]
    }
