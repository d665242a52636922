"""The port for machines that watch: /metrics, /healthz and /readyz, plain HTTP, nothing secret.

Not for people (`gateway.admin.api`). /healthz says only that the process answers; /readyz is 503
with one word while writes cannot be taken, so reads may well work then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.metrics import CONTENT_TYPE

SERVER_NAME = "hexagone"  # not which versions it is made of
REQUEST_BYTES_MAX = 1024
CLOSE_S = 1.0
READ_S = 10.0


class HealthServer:
    """Answers probes and scrapes. `start`, then `close`.

    Args:
        metrics: makes the exposition (`gateway.metrics.exposition` of the registry).
        not_ready: "" when the gateway takes writes, else one word that says why not
            (`ClusterView.not_ready`).
    """

    def __init__(self, *, metrics: Callable[[], bytes], not_ready: Callable[[], str]) -> None:
        self._metrics = metrics
        self._not_ready = not_ready
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address, which matters for port 0. Raises OSError."""
        application = web.Application(middlewares=[_name_server], client_max_size=REQUEST_BYTES_MAX)
        application.add_routes(
            [
                web.get("/metrics", self._answer_metrics),
                web.get("/healthz", self._answer_health),
                web.get("/readyz", self._answer_readiness),
            ]
        )
        runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=CLOSE_S, keepalive_timeout=READ_S
        )
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        address = runner.addresses[0]
        return str(address[0]), int(address[1])

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": CONTENT_TYPE})

    async def _answer_health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _answer_readiness(self, request: web.Request) -> web.Response:
        word = self._not_ready()
        return web.Response(text=f"{word or 'ready'}\n", status=503 if word else 200)


@web.middleware
async def _name_server(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as refused:
        response = web.Response(text=f"{refused.reason}\n", status=refused.status)
    response.headers["Server"] = SERVER_NAME
    return response
