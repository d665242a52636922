"""`hexagone up`: a whole cluster on this machine, in the foreground.

Not for what it consists of (`gateway.up`), nor for how its gateway serves (`gateway.serve`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated

import typer

from gateway.config_keys import KeysFrom
from gateway.keyd.child import KeydFiles, keyd_child
from gateway.running import DEFAULT_DATA, DataOption, TakeoverOption, run_here
from gateway.up import Laid, NodeProcesses, UpOptions, lay_out
from storaged.base.env import RealEnv
from storaged.base.log import configure_logs


def add_commands(target: typer.Typer) -> None:
    """Put the command of this module on the `hexagone` command."""
    target.command("up")(up)


def up(
    data: DataOption = DEFAULT_DATA,
    port: Annotated[int, typer.Option(help="S3 port; metrics take the next one")] = 9000,
    processes: Annotated[
        bool, typer.Option("--processes", help="a storaged process per node, mutual TLS")
    ] = False,
    tls: Annotated[bool, typer.Option("--tls", help="S3 over TLS, internal CA")] = False,
    region: Annotated[str, typer.Option(help="what clients sign for")] = "fr",
    takeover: TakeoverOption = False,
    keys: Annotated[
        KeysFrom, typer.Option(help="who keeps keys of tenants: the key service, or the gateway")
    ] = KeysFrom.KEYD,
    hsm: Annotated[
        Path | None,
        typer.Option("--hsm", help="TOML that names module, token and pin_file of a PKCS#11 token"),
    ] = None,
    unsafe_test_profile: Annotated[
        Path | None,
        typer.Option(
            "--unsafe-test-profile",
            help="TOML of that section: known accounts, short days; for suites of tests only",
        ),
    ] = None,
) -> None:
    """Run a whole cluster on this machine, in the foreground: six nodes, three datacenters, 4+2.

    Example: hexagone up --data /srv/hexagone --processes --tls
    """
    data = data.absolute()
    options = UpOptions(
        folder=data,
        port=port,
        processes=processes,
        tls=tls,
        unsafe_test_profile=unsafe_test_profile,
        region=region,
        keys=keys,
        hsm=hsm,
    )

    async def main() -> None:
        env = RealEnv()
        config = lay_out(options, env)
        loading = asyncio.create_task(asyncio.to_thread(_load))  # while others start
        configure_logs(config.log.format, logging.WARNING)
        children = NodeProcesses(data, options.nodes_per_site) if processes else None
        if children is not None:
            await children.start()
        try:
            async with keyd_child(KeydFiles(data), env, wanted=keys is KeysFrom.KEYD):
                serve, renewed_beside = await loading
                async with renewed_beside(Laid(data), env):
                    await serve(config, env, takeover=takeover, folder=data)
        finally:
            if children is not None:
                await children.stop()

    run_here(main)


def _load() -> tuple[
    Callable[..., Awaitable[None]], Callable[..., AbstractAsyncContextManager[None]]
]:
    """What a gateway needs: half a second's work for one core, and there is another."""
    from gateway.renewal_cli import renewed_beside
    from gateway.serve import serve

    return serve, renewed_beside
