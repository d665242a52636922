"""Routes of the admin port about second factors and sessions.

    POST /v1/administrators/invite       {name}: who may enrol next
    POST /v1/administrators/reset-second-factor     {name}: it is taken away
    POST /v1/second-factor/begin         {invitation}: the secret, once
    POST /v1/second-factor/confirm       {code}: it takes effect; a session
    POST /v1/session                     {code}: a session
    POST /v1/session/end                 of the token that is shown

A token is shown as `Authorization: Bearer …`. Not for what is looked at with every request
(`gateway.admin.gate`). Requirement: A-02.
"""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from gateway.admin.administrators_api import administrator_document
from gateway.admin.answers import json_answer
from gateway.admin.gate import ACTOR, ENTRY, token_of, who_of
from gateway.admin.second_factors import Begun, SecondFactors, Who
from gateway.admin.text_fields import text_fields
from gateway.model.second_factor_errors import NoSecondFactorHere, SecondFactorInvalid
from gateway.objects.administrators import Administrators


def second_factor_routes(held: Administrators, factors: SecondFactors) -> list[web.RouteDef]:
    """The routes."""

    async def invite(request: web.Request) -> web.Response:
        name = await _field(request, "name")
        made = factors.invite(name)
        told = {"name": name, "invitation": made.token, "expires_at_ms": made.expires_at_ms}
        return json_answer(told, has_secret=True)

    async def reset(request: web.Request) -> web.Response:
        name = await _field(request, "name")
        await factors.reset(name)
        return json_answer({"administrator": administrator_document(held.find(name))})

    async def begin_enrolment(request: web.Request) -> web.Response:
        who = _named(request)
        uri = factors.begin_enrolment(who, await _field(request, "invitation"))
        return json_answer({"uri": uri}, has_secret=True)

    async def confirm(request: web.Request) -> web.Response:
        who = _named(request)
        return _session(await factors.confirm(who, await _field(request, "code")))

    async def begin(request: web.Request) -> web.Response:
        who = _named(request)
        return _session(factors.begin(who, await _field(request, "code")))

    async def end(request: web.Request) -> web.Response:
        factors.end(_named(request), token_of(request))
        return json_answer({"ended": True})

    return [
        web.post("/v1/administrators/invite", invite),
        web.post("/v1/administrators/reset-second-factor", reset),
        web.post("/v1/second-factor/begin", begin_enrolment),
        web.post("/v1/second-factor/confirm", confirm),
        web.post("/v1/session", begin),
        web.post("/v1/session/end", end),
    ]


def _session(begun: Begun) -> web.Response:
    return json_answer(asdict(begun), has_secret=True)


def _named(request: web.Request) -> Who:
    """Who asks. Raises: NoSecondFactorHere."""
    actor = request[ACTOR]
    if actor.is_local:
        raise NoSecondFactorHere()
    return who_of(actor)


async def _field(request: web.Request, name: str) -> str:
    """A field that is needed. Raises: FieldsUnusable, SecondFactorInvalid."""
    value = text_fields(await request.read(), request[ENTRY]).get(name, "")
    if not value:
        raise SecondFactorInvalid(reason=f"{name} is needed")
    return value
