"""AUT-12: what is asked of the outside goes where the operator wrote, and to no other address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from gateway.config import EventTargetConfig, ReplicationTargetConfig
from gateway.config_check import check_config
from gateway.outside.remote_s3 import RemoteBucket, RemoteS3
from gateway.outside.webhook import Webhook
from gateway.up import UpOptions, lay_out
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError, StorageError


@asynccontextmanager
async def server(status: int, location: str, seen: list[str]) -> AsyncIterator[str]:
    """An HTTP server that notes what it is asked; yields its address."""

    async def answer(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.url}")
        return web.Response(status=status, headers={"Location": location} if location else {})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def tell(url: str) -> None:
    hook = Webhook(f"{url}/hook", "secret")
    try:
        await hook.send(b"{}")
    finally:
        await hook.close()


async def replicate(url: str) -> None:
    env = RealEnv(threads_max=1)
    target = RemoteS3(RemoteBucket(url, "fr", "there", "AKID", "secret"), env)
    try:
        await target.delete("k")
    finally:
        await target.close()
        env.close()


ASKING = pytest.mark.parametrize("ask", [tell, replicate])


@ASKING
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_aut_12_redirects_are_not_followed(
    ask: Callable[[str], Awaitable[None]], status: int
) -> None:
    async def scenario() -> None:
        elsewhere: list[str] = []
        asked: list[str] = []
        async with (
            server(200, "", elsewhere) as other,
            server(status, f"{other}/latest/meta-data", asked) as url,
        ):
            with pytest.raises(StorageError):
                await ask(url)
        assert len(asked) == 1
        assert elsewhere == []

    asyncio.run(scenario())


@ASKING
def test_aut_12_the_environment_names_no_proxy(
    ask: Callable[[str], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        elsewhere: list[str] = []
        asked: list[str] = []
        async with server(200, "", elsewhere) as proxy, server(204, "", asked) as url:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy)
            monkeypatch.delenv("no_proxy", raising=False)
            await ask(url)
        assert len(asked) == 1
        assert elsewhere == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("host", "is_refused"),
    [
        ("169.254.169.254", True),
        ("169.254.0.1:8080", True),
        ("user@169.254.169.254", True),
        ("[fe80::1]", True),
        ("[::ffff:169.254.169.254]:80", True),
        ("[fe80::", True),  # no address at all
        ("127.0.0.1:8080", False),
        ("[2001:db8::1]", False),
        ("hooks.example.org", False),
    ],
)
def test_aut_12_addresses_of_the_link_are_no_targets(
    tmp_path: Path, host: str, is_refused: bool
) -> None:
    env = RealEnv(threads_max=1)
    config = lay_out(UpOptions(folder=tmp_path, port=9000, processes=False, tls=False), env)
    env.close()
    secret = tmp_path / "secret"
    hook = EventTargetConfig(name="hook", url=f"https://{host}/events")
    stream = EventTargetConfig(name="hook", url=f"nats://{host}/events")
    bucket = ReplicationTargetConfig(
        name="bucket", endpoint=f"https://{host}", access_key_id="a", secret=secret
    )
    for changed in (
        replace(config, event_targets=(hook,)),
        replace(config, event_targets=(stream,)),
        replace(config, replication_targets=(bucket,)),
    ):
        if is_refused:
            with pytest.raises(ConfigError):
                check_config(changed)
        else:
            check_config(changed)
