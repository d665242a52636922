"""Commands that run something of an installed gateway here: the gateway, a rebuild; and the check
of a configuration.

Not for how a gateway serves: `gateway.serve`; nor for a whole cluster: `gateway.up_cli`.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.compose import open_gateway
from gateway.config import GatewayConfig
from gateway.config_check import check_config
from gateway.core import rebuild as rebuild_from_nodes
from gateway.journal.events import CLUSTER
from gateway.journal.opening import command_event
from gateway.keyd.child import keyd_beside
from gateway.running import DEFAULT_DATA, DataOption, TakeoverOption, run_here
from gateway.serve import serve, write_credentials
from gateway.terminal.language import say
from gateway.up import Laid
from storaged.base.config import effective_values, read_config, render_effective
from storaged.base.env import RealEnv
from storaged.base.log import configure_logs

config_app = typer.Typer(no_args_is_help=True, help="Look at a configuration.")
gateway_app = typer.Typer(no_args_is_help=True, help="Run one gateway of a cluster.")

ConfigOption = Annotated[Path, typer.Option("--config", help="gateway.toml")]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on the `hexagone` command."""
    target.command("rebuild")(rebuild)
    target.add_typer(config_app, name="config")
    target.add_typer(gateway_app, name="gateway")


@gateway_app.command("run")
def gateway_run(config: ConfigOption, takeover: TakeoverOption = False) -> None:
    """Serve S3 until SIGTERM, then finish what is under way and stop.

    Example: hexagone gateway run --config /etc/hexagone/gateway.toml
    """

    async def main() -> None:
        settings = _read(config)
        configure_logs(settings.log.format)
        await serve(settings, RealEnv(), takeover=takeover, folder=None)

    run_here(main)


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

    run_here(main)


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

    run_here(main)


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

    run_here(main)


def _read(path: Path) -> GatewayConfig:
    settings = read_config(GatewayConfig, path)
    check_config(settings)
    return settings
