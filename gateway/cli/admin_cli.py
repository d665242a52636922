"""`hexagone admin …`: administrators' accounts and roles. Only the admin port's client.

Not for their certificates (`gateway.cli.authority_cli`).
"""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from gateway.cli.access_views import one_view, rows_view
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.cli.tables import Answer, text
from gateway.model.administrators import GIVEN_ROLES
from gateway.terminal.language import heard, say

AccountArgument = Annotated[str, typer.Argument(metavar="NAME", help="of the account")]
RolesArgument = Annotated[
    list[str], typer.Argument(metavar="ROLE…", help=", ".join(sorted(GIVEN_ROLES)))
]
RoleOption = Annotated[
    list[str], typer.Option("--role", help=f"{', '.join(sorted(GIVEN_ROLES))}; repeatable")
]
PersonOption = Annotated[
    str, typer.Option("--person", help="who it is for, as the certificate says it")
]
COLUMNS = ("name", "person", "roles", "enabled", "second_factor")

admin_app = typer.Typer(
    no_args_is_help=True, help="Administrators: who they are, what they may, who you are."
)


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app (the `hexagone` command)."""
    target.add_typer(admin_app, name="admin")


@admin_app.command("list")
def list_administrators(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """All administrators with their roles, and what the local root may.

    Example: hexagone admin list
    """
    answer = asked(lambda: client_of(data, socket).administrators())
    show(answer, _all_view, as_json=as_json)


@admin_app.command("whoami")
def whoami(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """Who you are to the gateway, and every route that is open to you.

    Example: hexagone admin whoami
    """
    answer = asked(lambda: client_of(data, socket).whoami())
    show(answer, _whoami_view, as_json=as_json)


@admin_app.command("add")
def add_administrator(
    name: AccountArgument,
    person: PersonOption,
    roles: RoleOption,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an account of one person. Roles that exclude each other are refused, over all accounts
    of the same person. A role counts once the certificate has it, too.

    Example: hexagone admin add alice --person "Alice Martin" --role custodian
    """
    fields = {"name": name, "person": person, "roles": ",".join(roles)}
    _change("add", fields, data, socket, as_json=as_json)


@admin_app.command("grant")
def grant_roles(
    name: AccountArgument,
    roles: RolesArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give an administrator roles.

    Example: hexagone admin grant alice billing
    """
    fields = {"name": name, "roles": ",".join(roles)}
    _change("grant", fields, data, socket, as_json=as_json)


@admin_app.command("revoke")
def revoke_roles(
    name: AccountArgument,
    roles: RolesArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take roles from an administrator, at once.

    Example: hexagone admin revoke alice billing
    """
    fields = {"name": name, "roles": ",".join(roles)}
    _change("revoke", fields, data, socket, as_json=as_json)


@admin_app.command("disable")
def disable_administrator(
    name: AccountArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an administrator in no longer, at once; the roles stay with the account.

    Example: hexagone admin disable alice
    """
    _change("disable", {"name": name}, data, socket, as_json=as_json)


@admin_app.command("enable")
def enable_administrator(
    name: AccountArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an administrator in again. Example: hexagone admin enable alice"""
    _change("enable", {"name": name}, data, socket, as_json=as_json)


@admin_app.command("distrust")
def distrust_certificates(
    name: AccountArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take no certificate of an account that was made before this moment: its key was lost.

    Example: hexagone admin distrust alice
    """
    _change("distrust", {"name": name}, data, socket, as_json=as_json)


@admin_app.command("api")
def print_api(data: DataOption = None, socket: SocketOption = None) -> None:
    """Print the admin API as an OpenAPI document. Example: hexagone admin api > admin-api.json"""
    typer.echo(json.dumps(asked(lambda: client_of(data, socket).api_document()), indent=1))


def _change(
    verb: str,
    fields: dict[str, str],
    data: DataOption,
    socket: SocketOption,
    *,
    as_json: bool,
) -> None:
    answer = asked(lambda: client_of(data, socket).change_administrator(verb, fields))
    show(answer, one_administrator_view, as_json=as_json)


def one_administrator_view(answer: Answer) -> RenderableType:
    """An account after an act."""
    held = answer["administrator"]
    shown = {name: value for name, value in held.items() if value != 0}
    return one_view("administrator", shown)


def _all_view(answer: Answer) -> Group:
    held = answer["administrators"]
    lines: list[RenderableType] = [
        rows_view("administrators", COLUMNS, held),
        text(say("the local root {rights}", rights=heard(answer["local"]))),
    ]
    if answer["listening"]:
        lines.append(text(say("the admin listener is {address}", address=answer["listening"])))
    else:
        lines.append(text(say("there is no admin listener: [admin] has no port")))
    given = {role for one in held if one["enabled"] for role in one["roles"]}
    missing = sorted(GIVEN_ROLES - given)
    if held and missing:
        lines.append(text(say("nobody is: {roles}", roles=", ".join(missing)), "yellow"))
    return Group(*lines)


def _whoami_view(answer: Answer) -> Group:
    shown = {name: value for name, value in answer.items() if name != "may"}
    routes = [text(f"  {route}") for route in answer["may"]]
    return Group(one_view("administrator", shown), text(say("may ask:")), *routes)
