"""`hexagone journal forget`: bodies of events erased, where a law wants somebody forgotten.

Not for erasing objects (`gateway.cli.erasure_cli`). Exit codes as in `gateway.cli.journal_cli`.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.cli.journal_cli import app
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of
from gateway.terminal.language import say
from gateway.terminal.questions import confirm

AT_ONCE = 2000  # events of one request


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on the `hexagone` command."""
    target.add_typer(app, name="journal")


@app.command("forget")
def forget(
    tenant: Annotated[str, typer.Option("--tenant", help="whose log: name or id")],
    who: Annotated[str, typer.Option("--who", help="all events that this access key caused")] = "",
    seq: Annotated[list[int] | None, typer.Option("--seq", min=0, help="this event")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say which they are")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase who, whence and about what of events of S3; that they happened, their time and type
    stay, and so does every proof. An event says that this was done.

    Example: hexagone journal forget --tenant mairie --who HXAAAAAAAAAAAAAAAAAA --dry-run
    """
    if bool(who) == bool(seq):
        raise typer.BadParameter(say("say --who or --seq"))
    client = client_of(data, socket)
    seqs = list(seq or ())
    if who:
        query = {"log": tenant, "subject": who}
        seqs = asked(lambda: client.erasure("GET", "journal-bodies", query))["seqs"]
    if not dry_run and seqs:
        confirm(say("{count} event(s) are forgotten for ever.", count=len(seqs)), yes=yes)
    erased = 0
    for at in range(0, 0 if dry_run else len(seqs), AT_ONCE):
        some = ",".join(map(str, seqs[at : at + AT_ONCE]))
        query = {"log": tenant, "seqs": some}
        erased += asked(lambda: client.erasure("POST", "journal-bodies/erase", query))["erased"]  # noqa: B023
    if as_json:
        typer.echo(json.dumps({"seqs": seqs, "erased": erased, "dry_run": dry_run}))
    else:
        typer.echo(say("events: {count}, erased: {erased}", count=len(seqs), erased=erased))
