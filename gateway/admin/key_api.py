"""Routes of the admin port about epochs of keys.

    GET  /v1/key-epochs?bucket=…|tenant=…   GET /v1/key-epochs/status
    GET  /v1/key-epochs/left?WHICH&epoch=…
    GET  /v1/key-epochs/plan?WHICH|all=1     POST /v1/key-epochs/rotate?…&rate=…
    POST /v1/key-epochs/disable | enable?WHICH&epoch=…
    POST /v1/key-epochs/destroy?WHICH&epoch=…&lose=NAME/EPOCH

WHICH is bucket=…, tenant=…, or named_key=… and access_key_id=… of its account.

Not for what they do (`gateway.admin.key_desk`).
"""

from __future__ import annotations

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.key_desk import KeyDesk
from gateway.admin.requester import requester_of
from gateway.model.key_states import KeyState


def key_routes(desk: KeyDesk) -> list[web.RouteDef]:
    """The routes."""

    async def listed(request: web.Request) -> web.Response:
        return json_answer(desk.listed(request.query))

    async def status(request: web.Request) -> web.Response:
        return json_answer(desk.status())

    async def left(request: web.Request) -> web.Response:
        return json_answer(await desk.left(request.query))

    async def plan(request: web.Request) -> web.Response:
        return json_answer(await desk.rotate(request.query, dry_run=True))

    async def rotate(request: web.Request) -> web.Response:
        return json_answer(await desk.rotate(request.query))

    async def disable(request: web.Request) -> web.Response:
        return json_answer(await desk.set_state(request.query, KeyState.DISABLED))

    async def enable(request: web.Request) -> web.Response:
        return json_answer(await desk.set_state(request.query, KeyState.DECRYPT_ONLY))

    async def destroy(request: web.Request) -> web.Response:
        return json_answer(await desk.destroy(request.query, requester_of(request)))

    return [
        web.get("/v1/key-epochs", listed),
        web.get("/v1/key-epochs/status", status),
        web.get("/v1/key-epochs/left", left),
        web.get("/v1/key-epochs/plan", plan),
        web.post("/v1/key-epochs/rotate", rotate),
        web.post("/v1/key-epochs/disable", disable),
        web.post("/v1/key-epochs/enable", enable),
        web.post("/v1/key-epochs/destroy", destroy),
    ]
