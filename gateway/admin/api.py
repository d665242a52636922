"""The admin port: JSON over HTTP, on a Unix socket that only the owner of the process can open and,
where it is configured, over TLS for administrators with a name.

Not for S3, and not for deciding who may: `gateway.admin.gate` does, before anything here is called.
The CLI (`gateway.cli.status_cli`) is its only client. `gateway.admin.routes` lists all routes:

    GET  /v1/status  /v1/durability  /v1/where?bucket=…&key=…  /v1/jobs
    GET  /v1/where/attest?bucket=…&key=…&challenge=…     `gateway.admin.attest_api`
    POST /v1/jobs/NAME/run        answers when the round has ended; with ?follow=1 as JSON lines,
                                  {"job": …} once a second, then {"result": …} or {"error": …}
    POST /v1/jobs/NAME/pause | resume
    GET  /v1/keys?access_key_id=…     POST /v1/keys?name=…&access_key_id=…
    POST /v1/access/NOUN/VERB         tenants, users, policies: `gateway.admin.access_api`
    /v1/metering/…                    usage, limits, plans: `gateway.admin.metering_api`
    /v1/journal/…                     the journal: `gateway.admin.journal_api`

Errors are {"error", "kind", "hint"} with the status of their kind; "title" and "fields" are what
"error" is made of, for a client that says it in another language.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.admin.answers import json_answer, json_line
from gateway.admin.gate import Gate
from gateway.admin.listener import AdminListener
from gateway.admin.named_keys import NamedKeyDesk
from gateway.admin.outlook import Document
from gateway.admin.socket_file import bind_socket
from gateway.admin.status import ClusterView, job_report
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Scheduler

logger = logging.getLogger(__name__)

JobRunner = Callable[[str], Awaitable[object]]
"""Runs one round of a job to its end; what it returns, if a dict, is part of the answer."""

PROGRESS_EVERY_S = 1.0
REQUEST_BYTES_MAX = 64 * 1024
CLOSE_S = 2.0

STATUS_OF_KIND = {
    Kind.INVALID: 400,
    Kind.DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.PRECONDITION: 412,
    Kind.EXHAUSTED: 507,
    Kind.UNAVAILABLE: 503,
    Kind.TIMEOUT: 504,
    Kind.UNKNOWN_OUTCOME: 504,
    Kind.CORRUPT: 500,
}


class NoSuchJob(StorageError):
    """There is no job of this name."""

    kind = Kind.NOT_FOUND
    hint = "`hexagone jobs list` shows the names"


class AdminInputInvalid(StorageError):
    """The admin request is not usable."""

    kind = Kind.INVALID


class AdminServer:
    """The admin port of one gateway. `start`, then `close`."""

    def __init__(
        self,
        *,
        view: ClusterView,
        scheduler: Scheduler,
        run_job: JobRunner,
        path: Path,
        env: Env,
        keys: NamedKeyDesk | None = None,
        more: Sequence[web.AbstractRouteDef] = (),
        journaled: Sequence[Middleware] = (),
        gate: Gate | None = None,
        listener: AdminListener | None = None,
    ) -> None:
        self._view = view
        self._scheduler = scheduler
        self._run_job = run_job
        self._path = path
        self._env = env
        self._keys = keys
        self._more = more
        self._journaled = journaled  # records what changes something, or refuses it
        self.gate = gate or Gate(env)
        self._listener = listener
        self._runner: web.AppRunner | None = None
        self._inode = 0
        self._rounds: set[asyncio.Task[object]] = set()

    async def start(self) -> Path:
        """Listen, on the socket and where there is a listener. Raises: AdminSocketTooLong,
        AdminSocketTaken, OSError.
        """
        bound = bind_socket(self._path)
        self._inode = self._path.lstat().st_ino
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=CLOSE_S)
        await self._runner.setup()
        await web.SockSite(self._runner, bound).start()
        if self._listener is not None:
            await self._listener.start(self._runner)
        self.gate.opened("" if self._listener is None else self._listener.address)
        return self._path

    async def close(self) -> None:
        """Stop listening and remove the socket, if it is still ours. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for task in self._rounds:
            task.cancel()
        await asyncio.gather(*self._rounds, return_exceptions=True)
        if self._listener is not None:
            await self._listener.close()
        await runner.cleanup()
        try:
            if self._path.lstat().st_ino == self._inode:
                os.unlink(self._path)
        except FileNotFoundError:
            return  # somebody has tidied up already

    def _application(self) -> web.Application:
        passed: list[Middleware] = [_answer_errors, self.gate.admitted, *self._journaled]
        application = web.Application(middlewares=passed, client_max_size=REQUEST_BYTES_MAX)
        application.add_routes(
            [
                web.get("/v1/status", self._status),
                web.get("/v1/durability", self._durability),
                web.get("/v1/where", self._where),
                web.get("/v1/jobs", self._jobs),
                web.post("/v1/jobs/{name}/run", self._run),
                web.post("/v1/jobs/{name}/pause", self._pause),
                web.post("/v1/jobs/{name}/resume", self._resume),
            ]
        )
        application.add_routes(self._more)
        if self._keys is not None:
            application.add_routes(
                [
                    web.get("/v1/keys", self._list_keys),
                    web.post("/v1/keys", self._create_key),
                ]
            )
        return application

    async def _status(self, request: web.Request) -> web.Response:
        await self._view.count_margins()
        told = {"local": self.gate.local_means(), "listening": self.gate.listening}
        found = self._view.status()
        warnings = [*self.gate.warnings(), *found["warnings"]]
        return json_answer({**found, "warnings": warnings, "admin": told})

    async def _durability(self, request: web.Request) -> web.Response:
        return json_answer(self._view.durability())

    async def _where(self, request: web.Request) -> web.Response:
        query = parse_qs(
            request.rel_url.raw_query_string, keep_blank_values=True, errors="surrogateescape"
        )
        bucket, key = query.get("bucket", [""])[0], query.get("key", [""])[0]
        if not bucket or not key:
            raise AdminInputInvalid(reason="bucket and key are needed")
        return json_answer(await self._view.where(bucket, key))

    async def _list_keys(self, request: web.Request) -> web.Response:
        assert self._keys is not None
        return json_answer(self._keys.names(request.query.get("access_key_id", "")))

    async def _create_key(self, request: web.Request) -> web.Response:
        assert self._keys is not None
        query = request.query
        created = await self._keys.create(query.get("name", ""), query.get("access_key_id", ""))
        return json_answer(created)

    async def _jobs(self, request: web.Request) -> web.Response:
        return json_answer({"jobs": self._view.jobs()})

    async def _pause(self, request: web.Request) -> web.Response:
        name = self._known(request)
        self._scheduler.pause(name)
        return json_answer({"job": self._job(name)})

    async def _resume(self, request: web.Request) -> web.Response:
        name = self._known(request)
        self._scheduler.resume(name)
        return json_answer({"job": self._job(name)})

    async def _run(self, request: web.Request) -> web.StreamResponse:
        name = self._known(request)
        round_task: asyncio.Task[object] = asyncio.ensure_future(self._one_round(name))
        self._rounds.add(round_task)
        round_task.add_done_callback(self._rounds.discard)
        if request.query.get("follow") == "1":
            return await self._follow(request, name, round_task)
        result = await round_task
        return json_answer(self._outcome(name, result))

    async def _one_round(self, name: str) -> object:
        return await self._run_job(name)

    async def _follow(
        self, request: web.Request, name: str, round_task: asyncio.Task[object]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        while not round_task.done():
            await response.write(json_line({"job": self._job(name)}))
            waking = asyncio.ensure_future(self._env.sleep(PROGRESS_EVERY_S))
            await asyncio.wait({round_task, waking}, return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
        error = round_task.exception()
        if error is None:
            await response.write(json_line(self._outcome(name, round_task.result())))
        else:
            await response.write(json_line(_error_of(error)[1]))
        await response.write_eof()
        return response

    def _outcome(self, name: str, result: object) -> Document:
        return {"job": self._job(name), "result": result if isinstance(result, dict) else {}}

    def _known(self, request: web.Request) -> str:
        name = request.match_info["name"]
        if name not in {job.name for job in self._scheduler.status()}:
            raise NoSuchJob(job=name[:64])
        return name

    def _job(self, name: str) -> Document:
        return next(job_report(job) for job in self._scheduler.status() if job.name == name)


def _error_of(error: BaseException) -> tuple[int, Document]:
    """Status and body of an error; what is our own mistake is logged and not described."""
    if isinstance(error, StorageError):
        body: Document = {
            "error": error.message(),
            "kind": error.kind.value,
            "hint": error.hint,
            "title": error.title(),
            "fields": {name: str(value) for name, value in error.fields.items()},
        }
        return getattr(error, "status", STATUS_OF_KIND[error.kind]), body
    logger.error("an admin request failed", exc_info=error)
    return 500, {
        "error": f"internal error ({type(error).__name__})",
        "kind": "internal",
        "hint": "see the gateway's log",
    }


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as refused:
        return json_answer(
            {"error": refused.reason, "kind": "invalid", "hint": None}, refused.status
        )
    except ConnectionError:
        if request.transport is not None and not request.transport.is_closing():
            raise
        return web.Response(status=400)  # the client has gone: nobody is left to read it
    except Exception as error:
        # The request boundary: whatever went wrong is answered as JSON, and logged if it is ours.
        status, body = _error_of(error)
        return json_answer(body, status)
