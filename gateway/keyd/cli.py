"""`hexagone keyd`: run the key service, and make its secret.

Not for keys and their rotation: those are verbs of a running gateway (`hexagone keys`).
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from gateway.config import GatewayConfig
from gateway.config_keys import KeydConfig
from gateway.data.keyring import RootKey
from gateway.keyd.hygiene import keep_memory_private
from gateway.keyd.process import serve_keys
from gateway.keyd.providers import cluster_id_of, open_secret_of, passphrase_of
from gateway.keyd.secret import SECRET_FILE, KeydSecret
from gateway.terminal.language import say
from gateway.terminal.refusals import stop
from storaged.base.config import read_config
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from storaged.base.log import configure_logs

keyd_app = typer.Typer(
    no_args_is_help=True,
    invoke_without_command=True,
    help="The key service: the only process that has keys of tenants.",
)

ConfigOption = Annotated[Path, typer.Option("--config", help="keyd.toml")]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on the `hexagone` command."""
    target.add_typer(keyd_app, name="keyd")


@keyd_app.callback()
def keyd(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="keyd.toml: serve until SIGTERM")
    ] = None,
    while_stdin: Annotated[
        bool, typer.Option("--while-stdin", help="end when standard input does")
    ] = False,
) -> None:
    """The key service: the only process that has keys of tenants.

    Example: hexagone keyd --config /etc/hexagone/keyd.toml
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        print(context.get_help())
        raise typer.Exit(2)
    try:
        settings = read_config(KeydConfig, config)
        configure_logs(settings.log.format, logging.INFO)
        keep_memory_private()
        env = RealEnv(threads_max=2)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_keys(settings, env, while_stdin=while_stdin))
    except (StorageError, OSError) as error:
        stop(error)


@keyd_app.command("init")
def init(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Make the key service's secret, once. Keep a copy of it off this machine.

    Example: hexagone keyd init --config /etc/hexagone/keyd.toml
    """
    try:
        settings = read_config(KeydConfig, config)
        keep_memory_private()
        passphrase = passphrase_of(settings)
        KeydSecret.create(settings.folder, cluster_id_of(settings), RealEnv(1), passphrase)
        open_secret_of(settings)
    except (StorageError, OSError) as error:
        stop(error)
    path = settings.folder / SECRET_FILE
    if as_json:
        print(json.dumps({"secret": str(path), "passphrase": passphrase is not None}))
    else:
        made = "made {path}, mode 0600. Without it nothing opens: keep a copy off this machine."
        print(say(made, path=path))


@keyd_app.command("cluster-id")
def cluster_id(
    config: Annotated[Path, typer.Option("--config", help="gateway.toml")],
    as_json: JsonOption = False,
) -> None:
    """Print the id of a gateway's cluster, as keyd.toml names it; it is no secret.

    Example: hexagone keyd cluster-id --config /etc/hexagone/gateway.toml
    """
    try:
        found = RootKey.load(read_config(GatewayConfig, config).storage.keys).cluster_id.hex()
    except (StorageError, OSError) as error:
        stop(error)
    print(json.dumps({"cluster_id": found}) if as_json else found)
