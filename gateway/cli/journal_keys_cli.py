"""`hexagone journal rotate-key`: what the journal is signed with changes.

Not for verifying (`gateway.cli.journal_cli`). Exit codes as there.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.cli.journal_cli import app
from gateway.cli.policy_cli import confirm
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of
from gateway.terminal.language import say


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on the `hexagone` command."""
    target.add_typer(app, name="journal")


@app.command("rotate-key")
def rotate_key(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign the journal with new keys, which the present ones announce in it. Whoever has the keys
    of before verifies on: exports bring the chain along.

    Example: hexagone journal rotate-key
    """
    confirm(say("Checkpoints will be signed with new keys from then on."), yes=yes)
    done = asked(lambda: client_of(data, socket).rotate_journal_key())
    if as_json:
        typer.echo(json.dumps(done))
        return
    typer.echo(say("key {number} signs from here on", number=done["number"]))
    for line in done["keys"]:
        typer.echo(line)
