"""Routes of the admin port about recovery of keys.

    GET  /v1/recovery                 what is known without a share
    POST /v1/recovery/backup          make a backup now
    POST /v1/recovery/init | reshare | verify | ceremony ?set=…&…

The last four do nothing: what needs shares is done by the command, on the machine of the keys, and
is in the journal before it is.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.jobs.recovery import RecoveryKeeper
from gateway.recovery.folder import recovery_document
from storaged.base.env import Env

ANNOUNCED = ("init", "reshare", "verify", "ceremony")


def recovery_routes(keeper: RecoveryKeeper, keys: Path, env: Env) -> list[web.RouteDef]:
    """The routes."""

    async def status(request: web.Request) -> web.Response:
        return json_answer(await env.offload(lambda: recovery_document(keys)))

    async def backup(request: web.Request) -> web.Response:
        manifest = await keeper.back_up()
        return json_answer({"number": manifest.number, "made_at_ms": manifest.made_at_ms})

    async def announced(request: web.Request) -> web.Response:
        return json_answer({"recorded": True})

    return [
        web.get("/v1/recovery", status),
        web.post("/v1/recovery/backup", backup),
        *(web.post(f"/v1/recovery/{verb}", announced) for verb in ANNOUNCED),
    ]
