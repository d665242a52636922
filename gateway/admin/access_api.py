"""Routes of the admin port about access: POST /v1/access/NOUN/VERB with a JSON object of texts.

Not for what they do (`gateway.admin.access_desk`). An answer that has a secret says that nobody is
to keep it.
"""

from __future__ import annotations

from aiohttp import web

from gateway.admin.access_desk import AccessDesk
from gateway.admin.answers import json_answer
from gateway.admin.gate import ENTRY
from gateway.admin.text_fields import text_fields


def access_routes(desk: AccessDesk) -> list[web.RouteDef]:
    """One route for each command."""

    async def answer(request: web.Request) -> web.Response:
        matched = request.match_info
        fields = text_fields(await request.read(), request[ENTRY])
        document = await desk.run(f"{matched['noun']} {matched['verb']}", fields)
        return json_answer(document, has_secret=True)

    return [web.post("/v1/access/{noun}/{verb}", answer)]
