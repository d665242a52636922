"""`hexagone admin second-factor …` and `hexagone admin logout`: what an administrator has beside a
certificate. Only the admin port's client.

Invitations and codes are asked for, never taken from the command line, which other users of the
machine can read. Where there is no terminal, they are lines of standard input.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from gateway.cli.access_views import one_view
from gateway.cli.admin_cli import AccountArgument, admin_app, one_administrator_view
from gateway.cli.client import AdminClient, AdminRefused
from gateway.cli.session_file import typed_secret
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.cli.tables import Answer
from gateway.model.second_factor_errors import CodeNotTaken, CodesTooEarly
from gateway.terminal.language import heard, say
from gateway.terminal.refusals import said_error, stop, write_refusal

second_factor_app = typer.Typer(
    no_args_is_help=True, help="Codes beside certificates: invite, enrol, reset."
)


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on `hexagone admin`, and that on another app."""
    admin_app.add_typer(second_factor_app, name="second-factor")
    admin_app.command("logout")(log_out)
    target.add_typer(admin_app, name="admin")


@second_factor_app.command("invite")
def invite(
    name: AccountArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an administrator enrol a second factor, once, within a day. What is printed goes to that
    person, by another way than the certificate. On the gateway's machine.

    Example: hexagone admin second-factor invite alice
    """
    client = client_of(data, socket)
    answer = asked(lambda: client.change_administrator("invite", {"name": name}))
    show(answer, _invitation_view, as_json=as_json)


@second_factor_app.command("enrol")
def enrol(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="write the secret to a new file, mode 0600, and do not show it"),
    ] = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enrol your own second factor: asks for the invitation, shows the secret once as an otpauth
    URI for an authenticator, and asks for its first code, with which it takes effect.

    Example: hexagone admin second-factor enrol --out alice.otpauth
    """
    if out is None and not sys.stdout.isatty():
        raise typer.BadParameter(say("no terminal shows the secret: --out FILE keeps it"))
    if out is not None and out.exists():
        raise typer.BadParameter(say("{path} exists", path=out))
    client = client_of(data, socket)
    invitation = typed_secret(say("Invitation"))
    uri = asked(lambda: client.begin_enrolment(invitation))["uri"]
    if out is None:
        typer.echo(uri)
    else:
        _write_new(out, uri)
    show(asked(lambda: _confirmed(client)), _session_view, as_json=as_json)


@second_factor_app.command("reset")
def reset(
    name: AccountArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an administrator's second factor away, with all sessions, and end a lock-out. On the
    gateway's machine: nobody resets his own from elsewhere.

    Example: hexagone admin second-factor reset alice
    """
    client = client_of(data, socket)
    answer = asked(lambda: client.change_administrator("reset-second-factor", {"name": name}))
    show(answer, one_administrator_view, as_json=as_json)


def log_out(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """End the session that was begun with a second factor. Example: hexagone admin logout"""
    answer = asked(lambda: client_of(data, socket).end_session())
    show(answer, lambda found: one_view("session", found), as_json=as_json)


def _confirmed(client: AdminClient) -> Answer:
    """The answer to the first code that is taken. A slip, or a gateway that has just started, does
    not make the secret that is in the authenticator already worthless: it is asked for again.
    """
    while True:
        code = typed_secret(say("First code"))
        try:
            return client.confirm_enrolment(code)
        except AdminRefused as refused:
            again = (CodeNotTaken.title(), CodesTooEarly.title())
            if not code or refused.said_title not in again:
                raise
            title, details = refused.said_title, refused.details
            write_refusal(said_error(title, details), heard(refused.advice))


def _write_new(path: Path, uri: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(uri + "\n")
    except OSError as error:
        stop(error)


def _invitation_view(answer: Answer) -> RenderableType:
    return one_view("invitation", answer)


def _session_view(answer: Answer) -> RenderableType:
    return one_view("session", answer)
