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

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.metering_desk import Fields, MeteringDesk
from gateway.admin.outlook import Document

Work = Callable[[Fields], Awaitable[Document]]


def metering_routes(desk: MeteringDesk) -> list[web.RouteDef]:
    """One route for each command."""

    def answering(work: Work) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            return json_answer(await work(request.query))

        return answer

    async def quotas(fields: Fields) -> Document:
        return desk.quotas()

    async def plan(fields: Fields) -> Document:
        return desk.plan(fields)

    return [
        web.get("/v1/metering/usage", answering(desk.usage)),
        web.get("/v1/metering/metered", answering(desk.metered)),
        web.get("/v1/metering/hours", answering(desk.hours)),
        web.get("/v1/metering/quotas", answering(quotas)),
        web.post("/v1/metering/quotas/set", answering(desk.set_quota)),
        web.post("/v1/metering/quotas/clear", answering(desk.clear_quota)),
        web.get("/v1/metering/plan", answering(plan)),
        web.post("/v1/metering/plan/set", answering(desk.set_plan)),
    ]
