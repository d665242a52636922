"""Routes of the admin port about erasures and purges.

    GET  /v1/erasure                      GET /v1/erasure/certificate?id=…
    GET  /v1/erasure/plan?tenant=…|bucket=…&key=…&version=…
    POST /v1/erasure/begin?tenant=…|bucket=…&key=…&version=…&certify=1&lose=NAME
    POST /v1/erasure/cancel?id=…
    GET  /v1/purge/plan?bucket=…          POST /v1/purge?bucket=…

Not for what they do (`gateway.admin.erasure_desk`).
"""

from __future__ import annotations

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.erasure_desk import ErasureDesk
from gateway.admin.requester import requester_of


def erasure_routes(desk: ErasureDesk) -> list[web.RouteDef]:
    """The routes."""

    async def listed(request: web.Request) -> web.Response:
        return json_answer(desk.listed())

    async def certificate(request: web.Request) -> web.Response:
        return json_answer(desk.certificate(request.query))

    async def plan(request: web.Request) -> web.Response:
        return json_answer(await desk.plan(request.query))

    async def begin(request: web.Request) -> web.Response:
        return json_answer(await desk.begin(request.query, requester_of(request)))

    async def cancel(request: web.Request) -> web.Response:
        return json_answer(await desk.cancel(request.query))

    async def purge_plan(request: web.Request) -> web.Response:
        return json_answer(await desk.purge_plan(request.query))

    async def purge(request: web.Request) -> web.Response:
        return json_answer(await desk.purge(request.query))

    return [
        web.get("/v1/erasure", listed),
        web.get("/v1/erasure/certificate", certificate),
        web.get("/v1/erasure/plan", plan),
        web.post("/v1/erasure/begin", begin),
        web.post("/v1/erasure/cancel", cancel),
        web.get("/v1/purge/plan", purge_plan),
        web.post("/v1/purge", purge),
    ]
