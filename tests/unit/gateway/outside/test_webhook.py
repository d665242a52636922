"""The webhook against a real HTTP server: what counts as taken."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from gateway.outside.webhook import MessageRefused, Webhook


async def serve(status: int, seen: list[tuple[str, bytes]]) -> tuple[web.AppRunner, str]:
    async def answer(request: web.Request) -> web.Response:
        seen.append((request.headers.get("Authorization", ""), await request.read()))
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_post("/hook", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{host}:{port}/hook"


@pytest.mark.parametrize("status", [200, 204, 302, 404, 500])
def test_only_success_counts(status: int) -> None:
    async def scenario() -> None:
        seen: list[tuple[str, bytes]] = []
        runner, url = await serve(status, seen)
        hook = Webhook(url, "secret")
        try:
            if status < 300:
                await hook.send(b"{}")
            else:
                with pytest.raises(MessageRefused):
                    await hook.send(b"{}")
        finally:
            await hook.close()
            await runner.cleanup()
        assert seen == [("Bearer secret", b"{}")]

    asyncio.run(scenario())


def test_nobody_there() -> None:
    async def scenario() -> None:
        hook = Webhook("http://127.0.0.1:9/")
        with pytest.raises(MessageRefused):
            await hook.send(b"{}")
        await hook.close()

    asyncio.run(scenario())
