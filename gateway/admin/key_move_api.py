"""The admin port about keys that move from the key service's file into an HSM.

    GET  /v1/key-move
    POST /v1/key-move/begin?rate=…       POST /v1/key-move/disable | destroy

Not for what they do (`gateway.admin.key_move_desk`).
"""

from __future__ import annotations

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.key_move_desk import KeyMoveDesk
from gateway.admin.requester import requester_of


def key_move_routes(desk: KeyMoveDesk) -> list[web.RouteDef]:
    """The routes."""

    async def status(request: web.Request) -> web.Response:
        return json_answer(await desk.status())

    async def begin(request: web.Request) -> web.Response:
        return json_answer(await desk.begin(request.query))

    async def disable(request: web.Request) -> web.Response:
        return json_answer(await desk.disable())

    async def destroy(request: web.Request) -> web.Response:
        return json_answer(await desk.destroy(requester_of(request)))

    return [
        web.get("/v1/key-move", status),
        web.post("/v1/key-move/begin", begin),
        web.post("/v1/key-move/disable", disable),
        web.post("/v1/key-move/destroy", destroy),
    ]
