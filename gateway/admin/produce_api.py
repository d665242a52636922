"""Route of the admin port for what an order could obtain: GET /v1/produce?kind=…&name=…&tenant=…

Not for what it says (`gateway.admin.produce`).
"""

from __future__ import annotations

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.produce import Producer


def produce_routes(producer: Producer) -> list[web.RouteDef]:
    """The one route."""

    async def answer(request: web.Request) -> web.Response:
        kind, name, tenant = (request.query.get(key, "") for key in ("kind", "name", "tenant"))
        return json_answer(await producer.report(kind, name, tenant))

    return [web.get("/v1/produce", answer)]
