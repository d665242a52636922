"""Routes of the admin port about usage, limits and plans.

    GET  /v1/metering/usage?tenant=…&bucket=…
    GET  /v1/metering/metered | hours ?tenant=…&bucket=…&from_hour=…&to_hour=…
    GET  /v1/metering/quotas
    POST /v1/metering/quotas/set?subject=…&name=…&limits={…} | clear?subject=…&name=…
    GET  /v1/metering/plan?tenant=…
    POST /v1/metering/plan/set?tenant=…&reserved_bytes=…&reserved_out_bytes=…&switching=1

Not for what they do (`gateway.admin.metering_desk`).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.admin.metering_desk import Fields, MeteringDesk
from gateway.admin.outlook import Document


def metering_routes(desk: MeteringDesk) -> list[web.RouteDef]:
    """One route for each command."""

    def shows(show: Callable[[Fields], Document]) -> Callable[..., Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            return _json(show(request.query))

        return answer

    def sets(
        change: Callable[[Fields], Awaitable[Document]],
    ) -> Callable[..., Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            return _json(await change(request.query))

        return answer

    return [
        web.get("/v1/metering/usage", shows(desk.usage)),
        web.get("/v1/metering/metered", shows(desk.metered)),
        web.get("/v1/metering/hours", shows(desk.hours)),
        web.get("/v1/metering/quotas", shows(lambda fields: desk.quotas())),
        web.post("/v1/metering/quotas/set", sets(desk.set_quota)),
        web.post("/v1/metering/quotas/clear", sets(desk.clear_quota)),
        web.get("/v1/metering/plan", shows(desk.plan)),
        web.post("/v1/metering/plan/set", sets(desk.set_plan)),
    ]


def _json(document: Document) -> web.Response:
    return web.Response(
        body=json.dumps(document).encode("ascii") + b"\n",
        content_type="application/json",
        charset="utf-8",
    )
