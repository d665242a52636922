"""`hexagone keys signing` and `keys rotate-attestation`: the keys that sign for the cluster.

Only the admin port's client. Exit codes: 0 done; 1 refused; 2 no gateway answers, or the command is
wrong.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.key_views import when
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.cli.tables import Answer, text, titled_table
from gateway.terminal.language import say
from gateway.terminal.questions import confirm

KEY_SHOWN = 80  # characters; one of ML-DSA has some 2,700


def signing(
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """What signs the journal and statements about places: the public keys, and whether they were
    drawn at random or follow from the root key, as in clusters of before.

    Example: hexagone keys signing
    """
    show(asked(client_of(data, socket).signing_keys), _view, as_json=as_json)


def rotate_attestation(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign statements about places with another key, drawn at random. The one before is erased;
    what it has signed is verified with its public key, as before.

    Example: hexagone keys rotate-attestation
    """
    confirm(say("Whoever verifies statements about places needs the new public key."), yes=yes)
    done = asked(client_of(data, socket).rotate_attestation_key)
    show(done, lambda answer: _view({"keys": [answer]}), as_json=as_json)


def _view(answer: Answer) -> RenderableType:
    rows = [
        (
            text(one["signs"]),
            text(say("drawn") if one["drawn"] else say("follows from the root key")),
            text(when(one["drawn_at_ms"])),
            Text("\n").join(text(_short(key)) for key in one["public_keys"]),
        )
        for one in answer["keys"]
    ]
    columns = ("signs", "key", "since", "public keys")
    table = titled_table("keys that sign", columns, rows)
    if all(len(key) <= KEY_SHOWN for one in answer["keys"] for key in one["public_keys"]):
        return table
    whole = say("whole keys: --json; those of the journal: `hexagone journal keys`")
    return Group(table, text(whole, "dim"))


def _short(key: str) -> str:
    return key if len(key) <= KEY_SHOWN else f"{key[: KEY_SHOWN - 1]}…"
