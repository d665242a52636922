"""Commands about access: tenant, user, access-key. Only the admin port's client.

Not for policies and roles (`gateway.cli.policy_cli`). A secret is written once: to a file of
its own that only its owner can read, or to the terminal when that is asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from gateway.cli import group_cli, policy_cli
from gateway.cli.access_views import keys_view, one_view, rows_view
from gateway.cli.policy_cli import TenantOption
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.cli.tables import Answer
from gateway.terminal.language import say
from gateway.terminal.questions import confirm

SECRET_MODE = 0o600

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
KeyArgument = Annotated[str, typer.Argument(metavar="ACCESS_KEY_ID")]
UserOption = Annotated[str, typer.Option("--user", help="name of the user; root: the tenant's")]
YesOption = Annotated[bool, typer.Option("--yes", help="do not ask")]
SecretFileOption = Annotated[
    Path | None,
    typer.Option("--secret-file", help="new file for the secret, readable by its owner only"),
]
ShowSecretOption = Annotated[
    bool, typer.Option("--show-secret", help="print the secret, which is shown only this once")
]

tenant_app = typer.Typer(no_args_is_help=True, help="Tenants: create, list, show, disable, enable.")
user_app = typer.Typer(
    no_args_is_help=True, help="Users of a tenant: create, list, show, disable, enable, delete."
)
key_app = typer.Typer(
    no_args_is_help=True,
    help="Access keys, two for each user: create, rotate, list, disable, delete.",
)


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app (the `hexagone` command)."""
    target.add_typer(tenant_app, name="tenant")
    target.add_typer(user_app, name="user")
    target.add_typer(group_cli.group_app, name="group")
    target.add_typer(key_app, name="access-key")
    policy_cli.add_commands(target)


@tenant_app.command("create")
def create_tenant(
    name: NameArgument,
    secret_file: SecretFileOption = None,
    show_secret: ShowSecretOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a tenant with keys of its own, and the access key of its root.

    Example: hexagone tenant create mairie --secret-file mairie.env
    """
    make_key(
        lambda: asked(lambda: client_of(data, socket).access("tenant", "create", {"name": name})),
        lambda answer: one_view("tenant", answer["tenant"]),
        secret_file,
        show_secret=show_secret,
        as_json=as_json,
    )


@tenant_app.command("list")
def list_tenants(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """All tenants. Example: hexagone tenant list"""
    answer = asked(lambda: client_of(data, socket).access("tenant", "list", {}))
    columns = ("name", "tenant_id", "owner_id", "enabled")
    show(answer, lambda got: rows_view("tenants", columns, got["tenants"]), as_json=as_json)


@tenant_app.command("show")
def show_tenant(
    name: NameArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """One tenant, and how much there is of it. Example: hexagone tenant show mairie"""
    answer = asked(lambda: client_of(data, socket).access("tenant", "show", {"name": name}))
    show(answer, lambda got: one_view("tenant", got["tenant"]), as_json=as_json)


@tenant_app.command("disable")
def disable_tenant(
    name: NameArgument,
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse all access keys and sessions of a tenant, within five seconds. Nothing is deleted.

    Example: hexagone tenant disable mairie --yes
    """
    confirm(
        say("Nobody of tenant {name} will be let in until `tenant enable`.", name=name), yes=yes
    )
    answer = asked(lambda: client_of(data, socket).access("tenant", "disable", {"name": name}))
    show(answer, lambda got: one_view("tenant", got["tenant"]), as_json=as_json)


@tenant_app.command("enable")
def enable_tenant(
    name: NameArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a tenant's access keys again. Example: hexagone tenant enable mairie"""
    answer = asked(lambda: client_of(data, socket).access("tenant", "enable", {"name": name}))
    show(answer, lambda got: one_view("tenant", got["tenant"]), as_json=as_json)


@user_app.command("create")
def create_user(
    name: NameArgument,
    tenant: TenantOption = "",
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="aws:PrincipalTag/KEY")
    ] = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a user, who may do nothing until a policy says so.

    Example: hexagone user create alice --tenant mairie --tag service=urbanisme
    """
    tags: dict[str, str] = {}
    for one in tag or ():
        key, mark, value = one.partition("=")
        if not mark:
            raise typer.BadParameter("write it as KEY=VALUE", param_hint="--tag")
        tags[key] = value
    fields = {"tenant": tenant, "name": name, "tags": json.dumps(tags)}
    answer = asked(lambda: client_of(data, socket).access("user", "create", fields))
    show(answer, lambda got: one_view("user", got["user"]), as_json=as_json)


@user_app.command("list")
def list_users(
    tenant: TenantOption = "",
    group: Annotated[str, typer.Option("--group", help="only those who are in it")] = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Users of a tenant, beside its root. Example: hexagone user list --tenant mairie"""
    fields = {"tenant": tenant, "group": group}
    answer = asked(lambda: client_of(data, socket).access("user", "list", fields))
    columns = ("name", "user_id", "enabled", "groups", "policies", "access_keys")
    show(answer, lambda got: rows_view("users", columns, got["users"]), as_json=as_json)


@user_app.command("show")
def show_user(
    name: NameArgument,
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """One user. Example: hexagone user show alice --tenant mairie"""
    _one_user("show", name, tenant, data, socket, as_json=as_json)


@user_app.command("disable")
def disable_user(
    name: NameArgument,
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a user's access keys and sessions, within five seconds.

    Example: hexagone user disable alice --tenant mairie
    """
    _one_user("disable", name, tenant, data, socket, as_json=as_json)


@user_app.command("enable")
def enable_user(
    name: NameArgument,
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a user's access keys again. Example: hexagone user enable alice --tenant mairie"""
    _one_user("enable", name, tenant, data, socket, as_json=as_json)


@user_app.command("delete")
def delete_user(
    name: NameArgument,
    tenant: TenantOption = "",
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a user and its access keys; what it has stored stays with the tenant.

    Example: hexagone user delete alice --tenant mairie --yes
    """
    confirm(say("User {name} and all its access keys will be gone.", name=name), yes=yes)
    _one_user("delete", name, tenant, data, socket, as_json=as_json)


@key_app.command("create")
def create_key(
    user: UserOption,
    tenant: TenantOption = "",
    secret_file: SecretFileOption = None,
    show_secret: ShowSecretOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an access key. Its secret can be had only now.

    Example: hexagone access-key create --tenant mairie --user alice --secret-file alice.env
    """
    fields = {"tenant": tenant, "user": user}
    make_key(
        lambda: asked(lambda: client_of(data, socket).access("access-key", "create", fields)),
        lambda answer: keys_view([answer["access_key"]]),
        secret_file,
        show_secret=show_secret,
        as_json=as_json,
    )


@key_app.command("list")
def list_keys(
    user: Annotated[str, typer.Option("--user", help="only those of this user")] = "",
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Access keys of a tenant, without their secrets.

    Example: hexagone access-key list --tenant mairie
    """
    fields = {"tenant": tenant, "user": user}
    answer = asked(lambda: client_of(data, socket).access("access-key", "list", fields))
    show(answer, lambda got: keys_view(got["access_keys"]), as_json=as_json)


@key_app.command("disable")
def disable_key(
    access_key_id: KeyArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse an access key, and sessions got with it, within five seconds.

    Example: hexagone access-key disable HX0123456789ABCDEF
    """
    _one_key("disable", access_key_id, data, socket, as_json=as_json)


@key_app.command("enable")
def enable_key(
    access_key_id: KeyArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an access key again. Example: hexagone access-key enable HX0123456789ABCDEF"""
    _one_key("enable", access_key_id, data, socket, as_json=as_json)


@key_app.command("delete")
def delete_key(
    access_key_id: KeyArgument,
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete an access key. Its secret is lost: what uses it needs another.

    Example: hexagone access-key delete HX0123456789ABCDEF
    """
    confirm(say("Access key {name} and its secret will be gone.", name=access_key_id), yes=yes)
    _one_key("delete", access_key_id, data, socket, as_json=as_json)


def _one_user(
    verb: str, name: str, tenant: str, data: Path | None, socket: Path | None, *, as_json: bool
) -> None:
    fields = {"tenant": tenant, "name": name}
    answer = asked(lambda: client_of(data, socket).access("user", verb, fields))
    title = next(iter(answer))
    show(answer, lambda got: one_view(title, got[title]), as_json=as_json)


def _one_key(
    verb: str, access_key_id: str, data: Path | None, socket: Path | None, *, as_json: bool
) -> None:
    fields = {"access_key_id": access_key_id}
    answer = asked(lambda: client_of(data, socket).access("access-key", verb, fields))
    show(answer, lambda got: keys_view(list(got.values())), as_json=as_json)


def make_key(
    make: Callable[[], Answer],
    view: Callable[[Answer], RenderableType],
    secret_file: Path | None,
    *,
    show_secret: bool,
    as_json: bool,
) -> None:
    """Make an access key once it is sure that somebody gets its secret."""
    if (secret_file is None) is (not show_secret):
        raise typer.BadParameter("say --secret-file FILE or --show-secret, and only one of them")
    descriptor = -1
    if secret_file is not None:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(secret_file, flags, SECRET_MODE)
        except OSError as error:
            raise typer.BadParameter(f"{secret_file}: {error.strerror}") from error
    answer: Answer | None = None
    try:
        answer = make()
    finally:
        if answer is None and secret_file is not None:
            os.close(descriptor)
            secret_file.unlink()
    key = answer["access_key"]
    if secret_file is not None:
        secret = key.pop("secret")
        with os.fdopen(descriptor, "w") as file:
            file.write(
                f"AWS_ACCESS_KEY_ID={key['access_key_id']}\nAWS_SECRET_ACCESS_KEY={secret}\n"
            )
    show(answer, view, as_json=as_json)
    if not as_json:
        typer.echo(say("access key: {name}", name=key["access_key_id"]))
        if secret_file is None:
            typer.echo(say("secret:     {secret}", secret=key["secret"]))
            typer.echo(say("the secret is not shown again"), err=True)
        else:
            typer.echo(say("secret in:  {path}", path=secret_file))
