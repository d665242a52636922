"""`hexagone keyd token-check` and `token-erase`: for whoever sets up an HSM or looks after one.

They work on the key service's machine, with its own file and PIN; it may be running or not.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.config_keys import KeydConfig
from gateway.keyd.cli import ConfigOption, JsonOption, keyd_app
from gateway.keyd.pkcs11_port import KEY_ID_BYTES
from gateway.keyd.pkcs11_report import TokenReport, erase_orphan, look_at_token
from gateway.terminal.language import heard, say
from gateway.terminal.questions import confirm
from gateway.terminal.refusals import stop
from storaged.base.config import read_config
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError

SHOWN_MECHANISMS = ("AES_KEY_GEN", "AES_GCM")


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on the `hexagone` command."""
    target.add_typer(keyd_app, name="keyd")


@keyd_app.command("token-check")
def token_check(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Open the PKCS#11 module and the token that keyd.toml names, try AES-GCM in it, and say what
    is missing. The PIN is tried once.

    Example: hexagone keyd token-check --config /etc/hexagone/keyd.toml

    Exit codes: 0 keys can be kept there; 1 something is missing; 2 the command is wrong
    """
    try:
        report = look_at_token(read_config(KeydConfig, config), RealEnv(threads_max=1))
    except StorageError as error:
        stop(error)
    if as_json:
        print(json.dumps(document_of(report)))
    else:
        _print(report)
    if report.lacking:
        raise typer.Exit(1)


@keyd_app.command("token-erase")
def token_erase(
    config: ConfigOption,
    key: Annotated[str, typer.Option("--key", help="id of an orphan, as token-check shows it")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Erase a key of this cluster from the token that the key service's record does not name. If
    the record is an old one, what is under the key is lost with it.

    Example: hexagone keyd token-erase --config /etc/hexagone/keyd.toml --key 8f3c…
    """
    try:
        settings, env = read_config(KeydConfig, config), RealEnv(threads_max=1)
        orphans = {one.key_id: one.label for one in look_at_token(settings, env).orphans}
        key_id = _key_id(key)
        if key_id not in orphans:
            raise typer.BadParameter(say("no orphan has this id: token-check shows them"))
        label = orphans[key_id]
        if dry_run:
            print(say("{label} would be erased from the token", label=label))
            return
        loss = say(
            "{label} is erased from the token, and what is under it LOST FOR EVER.", label=label
        )
        confirm(loss, yes=yes)
        erase_orphan(settings, key_id, env)
    except StorageError as error:
        stop(error)
    print(say("{label} was erased from the token", label=label))


def _key_id(text: str) -> bytes:
    try:
        key_id = bytes.fromhex(text)
    except ValueError:
        key_id = b""
    if len(key_id) != KEY_ID_BYTES:
        raise typer.BadParameter(say("an id has 32 hexadecimal digits"))
    return key_id


def document_of(report: TokenReport) -> dict[str, Any]:
    """The report for programs."""
    document = asdict(report)
    document["keys"] = len(report.keys)
    document["orphans"] = [{"id": one.key_id.hex(), "label": one.label} for one in report.orphans]
    return document


def _print(report: TokenReport) -> None:
    table = Table.grid(padding=(0, 2))
    mechanisms = [name for name in SHOWN_MECHANISMS if name in report.mechanisms]
    rows = {
        say("module"): f"{report.module} ({report.library})" if report.library else report.module,
        say("token"): f"{report.token} ({report.model}, {report.serial})"
        if report.model
        else report.token,
        say("tokens there"): ", ".join(report.tokens),
        say("mechanisms"): f"{', '.join(mechanisms)} ({len(report.mechanisms)})",
        say("logged in"): say("yes") if report.is_logged_in else say("no"),
        say("keys of this cluster"): str(len(report.keys)),
    }
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
    console.print(table)
    for one in report.orphans:
        console.print(Text(say("orphan: {id} {label}", id=one.key_id.hex(), label=one.label)))
    for key_id in report.unfinished:
        console.print(Text(say("unfinished: {id}; the next call ends it", id=key_id)))
    for lack in report.lacking:
        console.print(Text(say("missing: {what}", what=heard(lack)), style="red"))
    if not report.lacking:
        console.print(Text(say("keys can be kept in this token"), style="green"))
