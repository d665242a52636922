"""Routes of the admin port about the journal.

    GET  /v1/journal                                      logs, keys, state
    GET  /v1/journal/lines?log=…&first=…&count=…
    GET  /v1/journal/proof?log=…&seq=…                    a C2SP tlog-proof
    GET  /v1/journal/hashes?log=…&bucket=…&key=…          /v1/journal/names
    GET  /v1/journal/request?old=…                        what a witness is asked (tlog-witness)
    POST /v1/journal/checkpoint?log=…                     sign now
    POST /v1/journal/cosign                               a checkpoint with cosignatures, as body
    POST /v1/journal-keys/rotate                          sign with other keys from here on

Not for what they do (`gateway.admin.journal_desk`).
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.admin.act_recording import ActRecorder
from gateway.admin.answers import json_answer
from gateway.admin.concerned import Concerned
from gateway.admin.journal_desk import JournalDesk, JournalInputInvalid
from gateway.admin.tickets import Tickets
from gateway.objects.context import Services


def recording(services: Services, tickets: Tickets | None = None) -> list[Middleware]:
    """What records admin requests, where there is a journal. `tickets`: of who takes data out, or
    brings it.
    """
    if services.journal is None:
        return []
    return [ActRecorder(services.journal, Concerned(services, tickets)).recorded]


def journal_routes(services: Services) -> list[web.RouteDef]:
    """The routes, where there is a journal."""
    if services.journal is None:
        return []
    desk = JournalDesk(services.journal, services)

    async def status(request: web.Request) -> web.Response:
        return json_answer(await desk.status())

    async def lines(request: web.Request) -> web.Response:
        first, count = _number(request, "first"), _number(request, "count")
        return json_answer(desk.lines(request.query.get("log", ""), first, count))

    async def proof(request: web.Request) -> web.Response:
        return json_answer(await desk.proof(request.query.get("log", ""), _number(request, "seq")))

    async def hashes(request: web.Request) -> web.Response:
        query = request.query
        found = desk.hashes(query.get("log", ""), query.get("bucket", ""), query.get("key", ""))
        return json_answer(found)

    async def names(request: web.Request) -> web.Response:
        return json_answer(desk.names())

    async def ask(request: web.Request) -> web.Response:
        old = _number(request, "old") if "old" in request.query else None
        return json_answer(await desk.request(old))

    async def rotate(request: web.Request) -> web.Response:
        return json_answer(await desk.rotate_key())

    async def checkpoint(request: web.Request) -> web.Response:
        return json_answer(await desk.checkpoint(request.query.get("log", "")))

    async def cosign(request: web.Request) -> web.Response:
        return json_answer(await desk.cosign(await request.read()))

    return [
        web.get("/v1/journal", status),
        web.get("/v1/journal/lines", lines),
        web.get("/v1/journal/proof", proof),
        web.get("/v1/journal/hashes", hashes),
        web.get("/v1/journal/names", names),
        web.get("/v1/journal/request", ask),
        web.post("/v1/journal/checkpoint", checkpoint),
        web.post("/v1/journal/cosign", cosign),
        web.post("/v1/journal-keys/rotate", rotate),
    ]


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise JournalInputInvalid(reason=f"{name} is a number")
    return int(text)
