"""`hexagone produce`: what an order addressed to an operator, a site or the provider could obtain.

Exit codes: 0 it is said; 1 the gateway refused; 2 no gateway answers, or the command is wrong.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from gateway.cli import tables
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.cli.tables import Answer, text
from gateway.terminal.language import heard, say

FATES = {
    "readable": "readable with the keys of the service",
    "disabled": "readable once somebody enables their key again",
    "client_key": "only with the client's own key",
    "destroyed": "their key is destroyed",
    "damaged": "their row does not open",
}


def add_commands(target: typer.Typer) -> None:
    """Put the command on an app."""
    target.command("produce")(produce)


def produce(
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
    operator: Annotated[
        str, typer.Option("--operator", metavar="NAME", help="who runs nodes")
    ] = "",
    site: Annotated[str, typer.Option("--site", metavar="DC", help="a datacenter")] = "",
    provider: Annotated[
        bool, typer.Option("--provider", help="who runs the gateway, keys and all nodes")
    ] = False,
    tenant: Annotated[
        str, typer.Option("--tenant", help="only what is this tenant's: name or id")
    ] = "",
) -> None:
    """What an order addressed to an operator, a site or the provider could obtain.

    Examples: hexagone produce --operator alpha

    hexagone produce --site paris --json

    hexagone produce --provider --tenant mairie
    """
    if sum((bool(operator), bool(site), provider)) != 1:
        raise typer.BadParameter(say("name one: --operator, --site or --provider"))
    kind = "operator" if operator else "site" if site else "provider"
    answer = asked(lambda: client_of(data, socket).produce(kind, operator or site, tenant))
    show(answer, produce_view, as_json=as_json)


def produce_view(answer: Answer) -> Group:
    """What drives hold, what keys there are, what opens."""
    party, drives = answer["party"], answer["drives"]
    whole = text(
        say(
            "{whole} of {stripes} stripes are whole there: their ciphertext is complete",
            whole=drives["whole_stripes"],
            stripes=drives["stripes"],
        ),
        "yellow" if drives["whole_stripes"] else "green",
    )
    lines: list[RenderableType] = [
        text(say("an order to: {kind} {name}", kind=say(party["kind"]), name=party["name"])),
        text(
            say(
                "drives of {nodes} nodes: {shards} shards, {size}",
                nodes=len(answer["nodes"]),
                shards=drives["shards"],
                size=tables.bytes_text(drives["cell_bytes"]),
            )
        ),
        whole,
        tables.titled_table(
            "keys there",
            ("key", "where", "opens"),
            [
                [text(heard(key[name])) for name in ("what", "where", "opens")]
                for key in answer["keys"]
            ],
        ),
        _content(answer["content"]),
        text(say("in clear on drives:")),
        *(text("  " + heard(line)) for line in drives["in_clear"]),
    ]
    if answer["in_clear"]:
        lines.append(text(say("in clear with the gateway:")))
        lines += [text("  " + heard(line)) for line in answer["in_clear"]]
    lines += [text(heard(line), "dim") for line in answer["says"]]
    return Group(*lines)


def _content(content: Answer) -> RenderableType:
    if not content["keys_are_there"]:
        return text(say("content: none of it can be read there, as no key is there"), "green")
    rows = [
        [
            text(say(means)),
            text(content["versions"][fate]),
            text(tables.bytes_text(content["bytes"][fate])),
        ]
        for fate, means in FATES.items()
    ]
    return tables.titled_table("content", ("versions that are", "count", "bytes"), rows)
