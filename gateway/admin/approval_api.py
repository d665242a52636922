"""Routes of the admin port about approvals.

    GET  /v1/approvals                GET /v1/approvals/show?id=…
    POST /v1/approvals/submit         {"id", "by", "signature"}
    GET  /v1/approvers                POST /v1/approvers/set {"document"}

Not for what they do (`gateway.admin.approval_desk`).
"""

from __future__ import annotations

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.approval_desk import ApprovalDesk
from gateway.admin.gate import ENTRY
from gateway.admin.requester import requester_of
from gateway.admin.text_fields import text_fields


def approval_routes(desk: ApprovalDesk) -> list[web.RouteDef]:
    """The routes."""

    async def listed(request: web.Request) -> web.Response:
        return json_answer(desk.listed())

    async def show(request: web.Request) -> web.Response:
        return json_answer(desk.shown(request.query))

    async def submit(request: web.Request) -> web.Response:
        fields = text_fields(await request.read(), request[ENTRY])
        return json_answer(await desk.submit(fields))

    async def approvers(request: web.Request) -> web.Response:
        return json_answer(desk.approvers())

    async def register(request: web.Request) -> web.Response:
        fields = text_fields(await request.read(), request[ENTRY])
        return json_answer(await desk.register(fields, requester_of(request)))

    return [
        web.get("/v1/approvals", listed),
        web.get("/v1/approvals/show", show),
        web.post("/v1/approvals/submit", submit),
        web.get("/v1/approvers", approvers),
        web.post("/v1/approvers/set", register),
    ]
