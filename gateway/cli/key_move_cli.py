"""`hexagone keys move`: keys go from the key service's file into an HSM. Only the admin port's
client.

Exit codes: 0 done; 1 refused, or not all could be destroyed; 2 no gateway answers, or the command
is wrong.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group

from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.cli.tables import Answer, text, titled_table
from gateway.terminal.language import heard, say
from gateway.terminal.questions import confirm


def move(
    disable: Annotated[
        bool, typer.Option("--disable", help="disable the older keys that nothing is under")
    ] = False,
    destroy: Annotated[
        bool, typer.Option("--destroy", help="destroy those that are disabled, for good")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only say what is in the file still")
    ] = False,
    rate: Annotated[
        int, typer.Option("--rate", min=0, help="most rows re-wrapped in a second; 0 = no limit")
    ] = 2000,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move keys from the key service's file into the HSM: each is made anew there, and what is
    under the older ones is wrapped anew. No byte of an object moves, nobody waits.

    Say it until nothing is left, then --disable, wait for a day, then --destroy. The key service
    has to be told before, in keyd.toml: provider = "pkcs11", from_file = true.

    Examples:

        hexagone keys move --dry-run

        hexagone keys move --destroy
    """
    if disable and destroy:
        raise typer.BadParameter(say("say one of --disable and --destroy"))
    client = client_of(data, socket)
    planned = asked(lambda: client.key_move("GET", "", {}))
    if not dry_run:
        verb = "/disable" if disable else "/destroy" if destroy else "/begin"
        confirm(_asked_text(planned, verb), yes=yes)
        fields = {"rate": str(rate)} if verb == "/begin" else {}
        planned = asked(lambda: client.key_move("POST", verb, fields))
    show(planned, move_view, as_json=as_json)
    if planned.get("refused"):
        raise typer.Exit(1)


def _asked_text(planned: Answer, verb: str) -> str:
    count = planned["tenants_left"]
    if verb == "/destroy":
        return say("Disabled keys of {count} tenant(s) in the file are DESTROYED.", count=count)
    return say("{count} tenant(s) have keys in the file.", count=count)


def move_view(answer: Answer) -> Group:
    """`hexagone keys move`."""
    if not answer["is_moving"]:
        return Group(text(say("the key service moves no keys")))
    if not answer["tenants_left"]:
        return Group(text(say("all keys are in the HSM; take from_file out of keyd.toml"), "green"))
    columns = ("tenant", "epochs", "named keys", "state")
    rows = [
        (
            text(one["tenant"]),
            text(", ".join(f"{held['epoch']} {held['state']}" for held in one["epochs"])),
            text(", ".join(one["named_keys"])),
            text(_state_of(one)),
        )
        for one in answer["tenants"]
    ]
    title = say("{count} tenant(s) with keys in the file", count=answer["tenants_left"])
    refused = [
        text(f"{one['tenant']}/{one['epoch']}: {heard(one['why'])}", "yellow")
        for one in answer.get("refused", ())
    ]
    return Group(text(title), titled_table("keys in the file", columns, rows), *refused)


def _state_of(one: Answer) -> str:
    if not one["is_begun"]:
        return say("not begun")
    if one["is_rotating"] or not one["named_done"]:
        return say("being wrapped anew")
    states = {held["state"] for held in one["epochs"]}
    return say("can be destroyed") if states == {"DISABLED"} else say("can be disabled")
