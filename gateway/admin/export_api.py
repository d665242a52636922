"""Routes of the admin port by which a tenant's data leaves.

    POST /v1/export/begin    {"tenant", "buckets": "a,b", "customer_keys": [base64, …]} → ticket
    GET  /v1/export/bucket?ticket=…&bucket=…
    GET  /v1/export/page?ticket=…&bucket=…&bodies=1&after_key=…&after_sequence=…   frames
    GET  /v1/export/body?ticket=…&bucket=…&key=…&sequence=…&uuid=…&offset=…&length=…
    POST /v1/export/finish   {"ticket", "name": digest}

Not for what they do (`gateway.admin.export_desk`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from gateway.admin.act_recording import peer_of
from gateway.admin.answers import json_answer
from gateway.admin.export_desk import ExportDesk, ExportInputInvalid
from gateway.objects.fetch import Piece

TOGETHER_BYTES = 128 * 1024  # small frames are written together


def export_routes(desk: ExportDesk) -> list[web.RouteDef]:
    """The routes."""

    async def begin(request: web.Request) -> web.Response:
        answer = await desk.begin(await json_body(request), peer_of(request))
        return json_answer(answer, has_secret=True)

    async def bucket(request: web.Request) -> web.Response:
        return json_answer(desk.bucket(shown(request, desk)))

    async def page(request: web.Request) -> web.StreamResponse:
        return await _streamed(request, await desk.page(shown(request, desk)))

    async def body(request: web.Request) -> web.StreamResponse:
        length, pieces = desk.body(shown(request, desk))
        return await _streamed(request, pieces, length)

    async def finish(request: web.Request) -> web.Response:
        said = await json_body(request)
        desk.check_holder(said.get("ticket"), peer_of(request))
        return json_answer(await desk.finish(said))

    return [
        web.post("/v1/export/begin", begin),
        web.get("/v1/export/bucket", bucket),
        web.get("/v1/export/page", page),
        web.get("/v1/export/body", body),
        web.post("/v1/export/finish", finish),
    ]


def shown(request: web.Request, desk: ExportDesk) -> Mapping[str, str]:
    """The fields of a request that shows a ticket of its own. Raises: TicketUnknown."""
    desk.check_holder(request.query.get("ticket", ""), peer_of(request))
    return request.query


async def json_body(request: web.Request) -> dict[str, Any]:
    """The JSON object that a request brings. Raises: ExportInputInvalid."""
    try:
        found = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError) as error:
        raise ExportInputInvalid(reason="the body is no JSON") from error
    if not isinstance(found, dict):
        raise ExportInputInvalid(reason="the body is no JSON object")
    return found


async def _streamed(
    request: web.Request, pieces: AsyncIterator[Piece] | AsyncIterator[bytes], length: int = -1
) -> web.StreamResponse:
    """What comes, as it comes. What fails before the first byte is answered, what fails later
    breaks the connection: there is never a clean end to a short answer.
    """
    first = await anext(pieces, b"")
    headers = {"Content-Type": "application/octet-stream", "Cache-Control": "no-store"}
    response = web.StreamResponse(headers=headers)
    if length >= 0:
        response.content_length = length
    await response.prepare(request)
    is_whole = False
    try:
        held = [bytes(first)] if len(first) < TOGETHER_BYTES else []
        held_bytes = sum(map(len, held))
        if not held:
            await response.write(first)
        async for piece in pieces:
            if len(piece) >= TOGETHER_BYTES:
                await response.write(b"".join((*held, piece)) if held else piece)
                held, held_bytes = [], 0
                continue
            held.append(bytes(piece))
            held_bytes += len(piece)
            if held_bytes >= TOGETHER_BYTES:
                await response.write(b"".join(held))
                held, held_bytes = [], 0
        if held_bytes:
            await response.write(b"".join(held))
        is_whole = True
    finally:
        if not is_whole and request.transport is not None:
            request.transport.abort()
    await response.write_eof()
    return response
