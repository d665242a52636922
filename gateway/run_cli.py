"""Commands that run something here: a cluster, a gateway, a rebuild; and the check of a
configuration.

Not for how a gateway serves: `gateway.serve`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.compose import open_gateway
from gateway.config import GatewayConfig
from gateway.config_check import check_config
from gateway.config_keys import KeysFrom
from gateway.core import rebuild as rebuild_from_nodes
from gateway.journal.events import CLUSTER
from gateway.journal.opening import command_event
from gateway.keyd.child import KeydFiles, keyd_beside, keyd_child
from gateway.renewal_cli import renewed_beside
from gateway.serve import serve, write_credentials
from gateway.terminal.language import say
from gateway.terminal.refusals import stop
from gateway.up import Laid, NodeProcesses, UpOptions, lay_out
from storaged.base.config import effective_values, read_config, render_effective
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from storaged.base.log import configure_logs

config_app = typer.Typer(no_args_is_help=True, help="Look at a configuration.")
gateway_app = typer.Typer(no_args_is_help=True, help="Run one gateway of a cluster.")

DataOption = Annotated[
    Path,
    typer.Option("--data", envvar="HEXAGONE_DATA", help="folder of the cluster on this machine"),
]
ConfigOption = Annotated[Path, typer.Option("--config", help="gateway.toml")]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]
TakeoverOption = Annotated[
    bool,
    typer.Option("--takeover", help="the gateway that served this cluster elsewhere is off"),
]
DEFAULT_DATA = Path("hexagone-data")


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on the `hexagone` command."""
    target.command("up")(up)
    target.command("rebuild")(rebuild)
    target.add_typer(config_app, name="config")
    target.add_typer(gateway_app, name="gateway")


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
        configure_logs(config.log.format, logging.WARNING)
        children = NodeProcesses(data, options.nodes_per_site) if processes else None
        if children is not None:
            await children.start()
        try:
            async with (
                keyd_child(KeydFiles(data), env, wanted=keys is KeysFrom.KEYD),
                renewed_beside(Laid(data), env),
            ):
                await serve(config, env, takeover=takeover, folder=data)
        finally:
            if children is not None:
                await children.stop()

    _run(main)


@gateway_app.command("run")
def gateway_run(config: ConfigOption, takeover: TakeoverOption = False) -> None:
    """Serve S3 until SIGTERM, then finish what is under way and stop.

    Example: hexagone gateway run --config /etc/hexagone/gateway.toml
    """

    async def main() -> None:
        settings = _read(config)
        configure_logs(settings.log.format)
        await serve(settings, RealEnv(), takeover=takeover, folder=None)

    _run(main)


@gateway_app.command("credentials")
def gateway_credentials(
    config: ConfigOption,
    to: Annotated[Path, typer.Option(help="file to write, mode 0600")],
    authority: Annotated[
        Path | None, typer.Option(help="CA certificate that clients check the endpoint's against")
    ] = None,
) -> None:
    """Write the root user's access key of a stopped gateway to a file that only its owner reads.

    Example: hexagone gateway credentials --config gateway.toml --to root.env
    """

    async def main() -> None:
        settings = _read(config)
        env = RealEnv()
        async with keyd_beside(settings.keys, env):
            gateway = await open_gateway(settings, env)
            try:
                if gateway.journal is not None:
                    await gateway.journal.record(CLUSTER, command_event("credentials", env))
                await write_credentials(gateway, settings, to, settings.s3.port, authority)
            finally:
                await gateway.close()

    _run(main)


def rebuild(
    data: DataOption = DEFAULT_DATA,
    config: Annotated[Path | None, typer.Option("--config", help="gateway.toml")] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="go on over missing links; lists what goes")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the index again from the nodes and the root key. The gateway must be stopped.

    Example: hexagone rebuild --data /srv/hexagone
    """

    async def main() -> None:
        settings = _read(config or Laid(data.absolute()).config)
        configure_logs(settings.log.format, logging.WARNING)
        console = Console(stderr=True, quiet=as_json)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as bars:
            tasks: dict[str, int] = {}

            def show(phase: str, done: int, total: int) -> None:
                if phase not in tasks:
                    tasks[phase] = bars.add_task(say(phase), total=total or None)
                bars.update(tasks[phase], completed=done, total=total or None)  # type: ignore[arg-type]

            env = RealEnv()
            async with keyd_beside(settings.keys, env):
                lost = await rebuild_from_nodes(
                    settings, env, accept_loss=accept_loss, progress=show
                )
        if as_json:
            typer.echo(json.dumps({"rebuilt": True, "lost": lost}))
        else:
            given_up = say("rebuilt; given up: {names}", names=", ".join(lost))
            typer.echo(given_up if lost else say("rebuilt, nothing lost"))

    _run(main)


@config_app.command("check")
def config_check(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Read a gateway's configuration; print the values in effect.

    Example: hexagone config check --config gateway.toml
    """

    async def main() -> None:
        settings = _read(config)
        if as_json:
            typer.echo(json.dumps(effective_values(settings), indent=2))
        else:
            typer.echo(render_effective(settings), nl=False)

    _run(main)


def _read(path: Path) -> GatewayConfig:
    settings = read_config(GatewayConfig, path)
    check_config(settings)
    return settings


def _run(start: object) -> None:
    """Run a coroutine function on uvloop; errors of ours become one line and exit code 1."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold keys
    _raise_file_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(start())  # type: ignore[operator]
    except (StorageError, OSError) as error:
        stop(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
