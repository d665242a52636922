"""Routes of the admin port by which a tenant's data comes in.

    POST /v1/import/begin                    {"tenant", "name": digest, "customer_keys"} → ticket
    POST /v1/import/stream/plan?ticket=…     {"export", "account", "buckets", "renamed"} → conflicts
    POST /v1/import/stream/account?ticket=…
    POST /v1/import/stream/bucket | settle ?ticket=…&bucket=…
    POST /v1/import/stream/missing?ticket=…&bucket=…    {"versions": […]}
    POST /v1/import/stream/versions?ticket=…&bucket=…   frames
    POST /v1/import/finish                   {"ticket"}

Not for what they do (`gateway.admin.import_desk`), which records what the journal is to know.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.admin.act_recording import peer_of
from gateway.admin.answers import json_answer
from gateway.admin.export_api import export_routes, json_body, shown
from gateway.admin.export_desk import ExportDesk
from gateway.admin.frames import HEAD_BYTES, Document, decode_object, frame_length
from gateway.admin.import_desk import ImportDesk
from gateway.admin.tickets import Tickets
from gateway.objects.body import Buffer
from gateway.objects.context import Services
from storaged.base.errors import ProtocolError

DOCUMENT_BYTES_MAX = 64 * 1024 * 1024  # an account with its buckets, or the records of one lot


def transfer_routes(services: Services, tickets: Tickets | None = None) -> list[web.RouteDef]:
    """The routes of both ways, which share their tickets."""
    tickets = tickets or Tickets(services.env)
    exports = ExportDesk(services, tickets)
    return [
        *export_routes(exports),
        *import_routes(ImportDesk(services, tickets, exports), exports),
    ]


def import_routes(desk: ImportDesk, exports: ExportDesk) -> list[web.RouteDef]:
    """The routes."""

    def ticket(request: web.Request) -> str:
        return shown(request, exports)["ticket"]

    async def begin(request: web.Request) -> web.Response:
        answer = await desk.begin(await json_body(request), peer_of(request))
        return json_answer(answer, has_secret=True)

    async def plan(request: web.Request) -> web.Response:
        return json_answer(await desk.plan(ticket(request), await _document(request)))

    async def account(request: web.Request) -> web.Response:
        return json_answer(await desk.account(ticket(request)), has_secret=True)

    async def bucket(request: web.Request) -> web.Response:
        return json_answer(await desk.bucket(ticket(request), _bucket(request)))

    async def settle(request: web.Request) -> web.Response:
        return json_answer(await desk.settle(ticket(request), _bucket(request)))

    async def missing(request: web.Request) -> web.Response:
        told = await _document(request)
        return json_answer(await desk.missing(ticket(request), _bucket(request), told))

    async def versions(request: web.Request) -> web.Response:
        stream = _Frames(request)
        return json_answer(await desk.versions(ticket(request), _bucket(request), stream))

    async def finish(request: web.Request) -> web.Response:
        said = await json_body(request)
        exports.check_holder(said.get("ticket"), peer_of(request))
        return json_answer(await desk.finish(said))

    return [
        web.post("/v1/import/begin", begin),
        web.post("/v1/import/stream/plan", plan),
        web.post("/v1/import/stream/account", account),
        web.post("/v1/import/stream/bucket", bucket),
        web.post("/v1/import/stream/settle", settle),
        web.post("/v1/import/stream/missing", missing),
        web.post("/v1/import/stream/versions", versions),
        web.post("/v1/import/finish", finish),
    ]


class _Frames:
    """Frames of a request's body; see `import_desk.Stream`."""

    def __init__(self, request: web.Request) -> None:
        self._content = request.content

    async def frame(self) -> Document | None:
        """See the port."""
        try:
            head = await self._content.readexactly(HEAD_BYTES)
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                return None
            raise ProtocolError(reason="the stream ended in the middle of a frame") from error
        try:
            raw = await self._content.readexactly(frame_length(head))
        except asyncio.IncompleteReadError as error:
            raise ProtocolError(reason="the stream ended in the middle of a frame") from error
        return decode_object(raw)

    async def read(self, bytes_max: int) -> Buffer:
        """See the port."""
        return await self._content.read(bytes_max)


async def _document(request: web.Request) -> Document:
    """A JSON object that is larger than other requests. Raises: ProtocolError."""
    pieces, held_bytes = [], 0
    async for piece in request.content.iter_any():
        held_bytes += len(piece)
        if held_bytes > DOCUMENT_BYTES_MAX:
            raise ProtocolError(reason=f"more than {DOCUMENT_BYTES_MAX} bytes")
        pieces.append(piece)
    return decode_object(b"".join(pieces) or b"{}")


def _bucket(request: web.Request) -> str:
    return request.query.get("bucket", "")
