"""Commands about groups of users. Only the admin port's client."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.access_views import one_view, rows_view
from gateway.cli.policy_cli import NameArgument, TenantOption, YesOption
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.terminal.language import say
from gateway.terminal.questions import confirm

UserOption = Annotated[str, typer.Option("--user", help="name of the user")]

group_app = typer.Typer(
    no_args_is_help=True, help="Groups of users: create, list, add, remove, delete."
)


@group_app.command("create")
def create_group(
    name: NameArgument,
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a group.

    Example: hexagone group create readers --tenant mairie
    """
    fields = {"tenant": tenant, "name": name}
    answer = asked(lambda: client_of(data, socket).access("group", "create", fields))
    show(answer, lambda got: one_view("group", got["group"]), as_json=as_json)


@group_app.command("list")
def list_groups(
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Groups of a tenant and who is in them. Example: hexagone group list --tenant mairie"""
    answer = asked(lambda: client_of(data, socket).access("group", "list", {"tenant": tenant}))
    columns = ("name", "group_id", "policies", "members")
    show(answer, lambda got: rows_view("groups", columns, got["groups"]), as_json=as_json)


@group_app.command("delete")
def delete_group(
    name: NameArgument,
    tenant: TenantOption = "",
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a group that nobody is in. Example: hexagone group delete readers --tenant mairie"""
    confirm(say("Group {name} will be gone.", name=name), yes=yes)
    fields = {"tenant": tenant, "name": name}
    answer = asked(lambda: client_of(data, socket).access("group", "delete", fields))
    show(answer, lambda got: one_view("deleted", got["deleted"]), as_json=as_json)


@group_app.command("add")
def add_member(
    name: NameArgument,
    user: UserOption,
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a user into a group.

    Example: hexagone group add readers --user alice
    """
    fields = {"tenant": tenant, "name": name, "user": user}
    answer = asked(lambda: client_of(data, socket).access("group", "add", fields))
    show(answer, lambda got: one_view("user", got["user"]), as_json=as_json)


@group_app.command("remove")
def remove_member(
    name: NameArgument,
    user: UserOption,
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a user out of a group. Example: hexagone group remove readers --user alice"""
    fields = {"tenant": tenant, "name": name, "user": user}
    answer = asked(lambda: client_of(data, socket).access("group", "remove", fields))
    show(answer, lambda got: one_view("user", got["user"]), as_json=as_json)
