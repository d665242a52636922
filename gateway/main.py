"""The `hexagone` command: run a cluster on this machine, run a gateway, rebuild an index, and the
admin verbs, which only talk to a running gateway's socket.

Not for how a gateway serves: `gateway.serve`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway import ca_cli, enrol_cli
from gateway.admin import access_cli, journal_cli, keys_cli, metering_cli, where_cli
from gateway.admin.cli import add_commands
from gateway.compose import open_gateway
from gateway.config import GatewayConfig
from gateway.config_check import check_config
from gateway.core import rebuild as rebuild_from_nodes
from gateway.journal.events import CLUSTER
from gateway.journal.opening import command_event
from gateway.serve import serve, write_credentials
from gateway.up import Laid, NodeProcesses, UpOptions, lay_out
from storaged.base.config import effective_values, read_config, render_effective
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from storaged.base.log import configure_logs

logger = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hexagone: an S3-compatible object store that stays where you put it.",
)
config_app = typer.Typer(no_args_is_help=True, help="Look at a configuration.")
gateway_app = typer.Typer(no_args_is_help=True, help="Run one gateway of a cluster.")
app.add_typer(config_app, name="config")
app.add_typer(gateway_app, name="gateway")
add_commands(app)
where_cli.add_commands(app)
ca_cli.add_commands(app)
enrol_cli.add_commands(ca_cli.ca_app)
access_cli.add_commands(app)
metering_cli.add_commands(app)
keys_cli.add_commands(app)
journal_cli.add_commands(app)

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


@app.command()
def up(
    data: DataOption = DEFAULT_DATA,
    port: Annotated[int, typer.Option(help="S3 port; metrics take the next one")] = 9000,
    processes: Annotated[
        bool, typer.Option("--processes", help="a storaged process per node, mutual TLS")
    ] = False,
    tls: Annotated[bool, typer.Option("--tls", help="S3 over TLS, internal CA")] = False,
    region: Annotated[str, typer.Option(help="what clients sign for")] = "fr",
    takeover: TakeoverOption = False,
    unsafe_test_profile: Annotated[
        Path | None,
        typer.Option(
            "--unsafe-test-profile",
            help="TOML of that section: known accounts, short days; for suites of tests only",
        ),
    ] = None,
) -> None:
    """Run a whole cluster on this machine, in the foreground: six nodes, three datacenters, 4+2."""
    data = data.absolute()
    options = UpOptions(
        folder=data,
        port=port,
        processes=processes,
        tls=tls,
        unsafe_test_profile=unsafe_test_profile,
        region=region,
    )

    async def main() -> None:
        env = RealEnv()
        config = lay_out(options, env)
        configure_logs(config.log.format, logging.WARNING)
        children = NodeProcesses(data, options.nodes_per_site) if processes else None
        if children is not None:
            await children.start()
        try:
            await serve(config, env, takeover=takeover, folder=data)
        finally:
            if children is not None:
                await children.stop()

    _run(main)


@gateway_app.command("run")
def gateway_run(config: ConfigOption, takeover: TakeoverOption = False) -> None:
    """Serve S3 until SIGTERM, then finish what is under way and stop."""

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
    """Write the root user's access key of a stopped gateway to a file that only its owner reads."""

    async def main() -> None:
        settings = _read(config)
        env = RealEnv()
        gateway = await open_gateway(settings, env)
        try:
            if gateway.journal is not None:
                await gateway.journal.record(CLUSTER, command_event("credentials", env))
            await write_credentials(gateway, settings, to, settings.s3.port, authority)
        finally:
            await gateway.close()

    _run(main)


@app.command()
def rebuild(
    data: DataOption = DEFAULT_DATA,
    config: Annotated[Path | None, typer.Option("--config", help="gateway.toml")] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="go on over missing links; lists what goes")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the index again from the nodes and the root key. The gateway must be stopped."""

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
                    tasks[phase] = bars.add_task(phase, total=total or None)
                bars.update(tasks[phase], completed=done, total=total or None)  # type: ignore[arg-type]

            lost = await rebuild_from_nodes(
                settings, RealEnv(), accept_loss=accept_loss, progress=show
            )
        if as_json:
            print(json.dumps({"rebuilt": True, "lost": lost}))
        else:
            print("rebuilt" + (f"; given up: {', '.join(lost)}" if lost else ", nothing lost"))

    _run(main)


@config_app.command("check")
def config_check(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Read a gateway's configuration; print the values in effect."""

    async def main() -> None:
        settings = _read(config)
        if as_json:
            print(json.dumps(effective_values(settings), indent=2))
        else:
            print(render_effective(settings), end="")

    _run(main)


def main() -> None:
    """Entry point of the `hexagone` command."""
    app()


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
        _exit(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _exit(error: Exception) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    hint = getattr(error, "hint", None)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    raise typer.Exit(1) from error


if __name__ == "__main__":
    main()
