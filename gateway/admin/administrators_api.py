"""Routes of the admin port about administrators, who asks, and the API's own document.

    GET  /v1/whoami      GET /v1/administrators      GET /v1/openapi.json
    POST /v1/administrators/add | grant | revoke | disable | enable | distrust

with a JSON object of texts: `name`, `person`, `roles` (with commas between).

Not for who may do what (`gateway.admin.routes`), nor for second factors
(`gateway.admin.second_factor_api`). Requirements: A-03, A-05.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.gate import ACTOR, ENTRY, Gate
from gateway.admin.openapi import api_document
from gateway.admin.outlook import Document
from gateway.admin.second_factors import SecondFactors
from gateway.admin.text_fields import text_fields
from gateway.model.administrators import Administrator, AdministratorInvalid
from gateway.objects.administrators import Administrators

Fields = Mapping[str, str]
Routes = list[web.RouteDef]
Work = Callable[[Fields], Awaitable[Administrator]]


def administrator_routes(held: Administrators, gate: Gate, factors: SecondFactors) -> Routes:
    """The routes."""

    def answering(work: Work) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            fields = text_fields(await request.read(), request[ENTRY])
            return json_answer({"administrator": administrator_document(await work(fields))})

        return answer

    async def listed(request: web.Request) -> web.Response:
        shown = [administrator_document(one) for one in held.all()]
        told = {"local": gate.local_means(), "listening": gate.listening}
        rule = {"second_factor": factors.means()}
        return json_answer({"administrators": shown, **told, **rule})

    async def whoami(request: web.Request) -> web.Response:
        actor = request[ACTOR]
        document: Document = {
            "name": actor.name,
            "roles": sorted(actor.roles),
            "origin": actor.origin,
            "may": [entry.name for entry in gate.table.entries if actor.may(entry)],
        }
        if actor.person:
            document["person"] = actor.person
        return json_answer(document)

    async def described(request: web.Request) -> web.Response:
        return json_answer(api_document(gate.table))

    async def add(fields: Fields) -> Administrator:
        return await held.add(_needed(fields, "name"), _needed(fields, "person"), _roles(fields))

    async def grant(fields: Fields) -> Administrator:
        return await held.grant(_needed(fields, "name"), _roles(fields))

    async def revoke(fields: Fields) -> Administrator:
        return await held.revoke(_needed(fields, "name"), _roles(fields))

    async def disable(fields: Fields) -> Administrator:
        return await held.set_enabled(_needed(fields, "name"), enabled=False)

    async def enable(fields: Fields) -> Administrator:
        return await held.set_enabled(_needed(fields, "name"), enabled=True)

    async def distrust(fields: Fields) -> Administrator:
        return await held.distrust(_needed(fields, "name"))

    return [
        web.get("/v1/whoami", whoami),
        web.get("/v1/openapi.json", described),
        web.get("/v1/administrators", listed),
        web.post("/v1/administrators/add", answering(add)),
        web.post("/v1/administrators/grant", answering(grant)),
        web.post("/v1/administrators/revoke", answering(revoke)),
        web.post("/v1/administrators/disable", answering(disable)),
        web.post("/v1/administrators/enable", answering(enable)),
        web.post("/v1/administrators/distrust", answering(distrust)),
    ]


def administrator_document(held: Administrator) -> Document:
    """An account as it is shown: nothing in it is a secret."""
    return {
        "name": held.name,
        "person": held.person,
        "roles": sorted(held.roles),
        "enabled": held.enabled,
        "created_at_ms": held.created_at_ms,
        "changed_at_ms": held.changed_at_ms,
        "certificates_from_ms": held.certificates_from_ms,
        "second_factor": held.second_factor is not None,
    }


def _roles(fields: Fields) -> list[str]:
    return _needed(fields, "roles").split(",")


def _needed(fields: Fields, name: str) -> str:
    value = fields.get(name, "")
    if not value:
        raise AdministratorInvalid(reason=f"{name} is needed")
    return value
