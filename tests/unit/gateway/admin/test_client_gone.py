"""A client of the admin port that goes away in the middle of a request is no error of ours."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web

from gateway.admin.api import _answer_errors


def test_a_client_that_goes_in_the_middle_of_its_body_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[type[BaseException]] = []

    async def reading(request: web.Request) -> web.Response:
        try:
            await request.content.readexactly(100)
        except BaseException as error:
            ended.append(type(error))
            raise
        return web.Response()

    async def scene() -> None:
        app = web.Application(middlewares=[_answer_errors])
        app.router.add_post("/", reading)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbegun")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        while not ended:
            await asyncio.sleep(0.01)
        await runner.cleanup()

    with caplog.at_level(logging.ERROR):
        asyncio.run(scene())
    assert issubclass(ended[0], ConnectionError)
    assert caplog.records == []
