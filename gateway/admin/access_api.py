"""Routes of the admin port about access: POST /v1/access/NOUN/VERB with a JSON object of texts.

Not for what they do (`gateway.admin.access_desk`). An answer that has a secret says that nobody is
to keep it.
"""

from __future__ import annotations

import json

from aiohttp import web

from gateway.admin.access_desk import AccessCommandInvalid, AccessDesk
from gateway.admin.answers import json_answer


def access_routes(desk: AccessDesk) -> list[web.RouteDef]:
    """One route for each command."""

    async def answer(request: web.Request) -> web.Response:
        matched = request.match_info
        fields = _fields(await request.read())
        document = await desk.run(f"{matched['noun']} {matched['verb']}", fields)
        return json_answer(document, has_secret=True)

    return [web.post("/v1/access/{noun}/{verb}", answer)]


def _fields(body: bytes) -> dict[str, str]:
    if not body:
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AccessCommandInvalid(reason="the body is no JSON") from error
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise AccessCommandInvalid(reason="the body is no object of texts")
    return found
