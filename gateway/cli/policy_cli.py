"""Commands about what callers may do: policy, role, identity-provider. Only the admin port's
client.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.access_views import one_view, rows_view
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.terminal.language import say
from gateway.terminal.questions import confirm as confirm
from gateway.terminal.user_files import FileKind

DOCUMENT_BYTES_MAX = 32 * 1024
DOCUMENT = FileKind(
    bytes_max=DOCUMENT_BYTES_MAX, hint="it is JSON: docs/access.md has one of each kind"
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
TenantOption = Annotated[
    str, typer.Option("--tenant", help="name or id of the tenant (else that of the cluster's root)")
]
OfUserOption = Annotated[str, typer.Option("--user", help="name of a user")]
OfGroupOption = Annotated[str, typer.Option("--group", help="name of a group")]
OfRoleOption = Annotated[str, typer.Option("--role", help="name of a role")]
YesOption = Annotated[bool, typer.Option("--yes", help="do not ask")]

policy_app = typer.Typer(
    no_args_is_help=True,
    help="Policies of users, groups and roles: put, list, show, attach, detach, delete.",
)
role_app = typer.Typer(
    no_args_is_help=True, help="Roles for sessions (AssumeRole): put, list, show, delete."
)

provider_app = typer.Typer(
    no_args_is_help=True,
    help="Identity providers (OpenID Connect) whose tokens roles may trust: put, list, delete.",
)


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app."""
    target.add_typer(policy_app, name="policy")
    target.add_typer(role_app, name="role")
    target.add_typer(provider_app, name="identity-provider")
    target.command("who-may")(who_may)


def document_text(path: Path) -> str:
    """A document from a file, `-` = standard input. Raises: FileUnusable."""
    if str(path) != "-":
        return DOCUMENT.text(path)
    raw = sys.stdin.buffer.read(DOCUMENT_BYTES_MAX + 1)
    return DOCUMENT.decoded(path, DOCUMENT.checked(path, raw))


@policy_app.command("put")
def put_policy(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON; - = standard input")],
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set a policy; whom it is attached to has it so within five seconds.

    Example: hexagone policy put readers readers.json --tenant mairie
    """
    fields = {"tenant": tenant, "name": name, "text": document_text(file)}
    answer = asked(lambda: client_of(data, socket).access("policy", "put", fields))
    show(answer, lambda got: one_view("policy", got["policy"]), as_json=as_json)


@policy_app.command("list")
def list_policies(
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Policies of a tenant. Example: hexagone policy list --tenant mairie"""
    answer = asked(lambda: client_of(data, socket).access("policy", "list", {"tenant": tenant}))
    columns = ("name", "characters")
    show(answer, lambda got: rows_view("policies", columns, got["policies"]), as_json=as_json)


@policy_app.command("show")
def show_policy(
    name: NameArgument,
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """A policy as it was put, and whom it is attached to.

    Example: hexagone policy show readers --tenant mairie
    """
    fields = {"tenant": tenant, "name": name}
    answer = asked(lambda: client_of(data, socket).access("policy", "show", fields))
    show(answer, lambda got: one_view("policy", got["policy"]), as_json=as_json)
    if not as_json:
        typer.echo(answer["policy"]["text"])


@policy_app.command("attach")
def attach_policy(
    name: NameArgument,
    user: OfUserOption = "",
    group: OfGroupOption = "",
    role: OfRoleOption = "",
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a policy to a user, a group or a role.

    Example: hexagone policy attach readers --group readers --tenant mairie
    """
    fields = {"tenant": tenant, "name": name, "user": user, "group": group, "role": role}
    answer = asked(lambda: client_of(data, socket).access("policy", "attach", fields))
    show(answer, lambda got: one_view("attached", got["attached"]), as_json=as_json)


@policy_app.command("detach")
def detach_policy(
    name: NameArgument,
    user: OfUserOption = "",
    group: OfGroupOption = "",
    role: OfRoleOption = "",
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a policy from a user, a group or a role.

    Example: hexagone policy detach readers --group readers
    """
    fields = {"tenant": tenant, "name": name, "user": user, "group": group, "role": role}
    answer = asked(lambda: client_of(data, socket).access("policy", "detach", fields))
    show(answer, lambda got: one_view("attached", got["attached"]), as_json=as_json)


@policy_app.command("delete")
def delete_policy(
    name: NameArgument,
    tenant: TenantOption = "",
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a policy that is attached to nobody.

    Example: hexagone policy delete readers --tenant mairie
    """
    confirm(say("Policy {name} will be gone.", name=name), yes=yes)
    fields = {"tenant": tenant, "name": name}
    answer = asked(lambda: client_of(data, socket).access("policy", "delete", fields))
    show(answer, lambda got: one_view("deleted", got["deleted"]), as_json=as_json)


@role_app.command("put")
def put_role(
    name: NameArgument,
    trust: Annotated[Path, typer.Option("--trust", help="policy of trust, JSON; - = input")],
    session_s: Annotated[int, typer.Option("--session-seconds", help="900 to 43200")] = 3600,
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a role, or set who may become it.

    Example: hexagone role put backup --trust trust.json --tenant mairie
    """
    fields = {
        "tenant": tenant,
        "name": name,
        "trust": document_text(trust),
        "session_s": str(session_s),
    }
    answer = asked(lambda: client_of(data, socket).access("role", "put", fields))
    show(answer, lambda got: one_view("role", got["role"]), as_json=as_json)


@role_app.command("list")
def list_roles(
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Roles of a tenant. Example: hexagone role list --tenant mairie"""
    answer = asked(lambda: client_of(data, socket).access("role", "list", {"tenant": tenant}))
    columns = ("name", "arn", "session_s_max", "policies")
    show(answer, lambda got: rows_view("roles", columns, got["roles"]), as_json=as_json)


@role_app.command("show")
def show_role(
    name: NameArgument,
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """A role and who may become it. Example: hexagone role show backup --tenant mairie"""
    fields = {"tenant": tenant, "name": name}
    answer = asked(lambda: client_of(data, socket).access("role", "show", fields))
    show(answer, lambda got: one_view("role", got["role"]), as_json=as_json)
    if not as_json:
        typer.echo(answer["role"]["trust"])


@role_app.command("delete")
def delete_role(
    name: NameArgument,
    tenant: TenantOption = "",
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a role; its sessions are refused within five seconds.

    Example: hexagone role delete backup --tenant mairie
    """
    confirm(say("Role {name} and its sessions will be gone.", name=name), yes=yes)
    fields = {"tenant": tenant, "name": name}
    answer = asked(lambda: client_of(data, socket).access("role", "delete", fields))
    show(answer, lambda got: one_view("deleted", got["deleted"]), as_json=as_json)


@provider_app.command("put")
def put_provider(
    name: NameArgument,
    issuer: Annotated[str, typer.Option("--issuer", help="https://…, as its tokens name it")],
    audience: Annotated[
        list[str], typer.Option("--audience", help="whom its tokens are for; may be said again")
    ],
    jwks: Annotated[Path, typer.Option("--jwks", help="its public keys, JSON; - = input")],
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take tokens of an identity provider, or set its keys. Nothing is ever fetched from it.

    Example: curl -s https://id.example.fr/realms/x/certs | hexagone identity-provider put id
    --issuer https://id.example.fr/realms/x --audience s3 --jwks - --tenant mairie
    """
    fields = {
        "tenant": tenant,
        "name": name,
        "issuer": issuer,
        "audiences": "\n".join(audience),
        "jwks": document_text(jwks),
    }
    answer = asked(lambda: client_of(data, socket).access("identity-provider", "put", fields))
    title = "identity_provider"
    show(answer, lambda got: one_view("identity provider", got[title]), as_json=as_json)


@provider_app.command("list")
def list_providers(
    tenant: TenantOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Identity providers of a tenant. Example: hexagone identity-provider list --tenant mairie"""
    fields = {"tenant": tenant}
    answer = asked(lambda: client_of(data, socket).access("identity-provider", "list", fields))
    columns, title = ("name", "issuer", "audiences", "keys"), "identity providers"
    show(answer, lambda got: rows_view(title, columns, got["identity_providers"]), as_json=as_json)


@provider_app.command("delete")
def delete_provider(
    name: NameArgument,
    tenant: TenantOption = "",
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take no more tokens of an identity provider; sessions got with them last to their end.

    Example: hexagone identity-provider delete id --tenant mairie
    """
    confirm(say("Identity provider {name} will be gone.", name=name), yes=yes)
    fields = {"tenant": tenant, "name": name}
    answer = asked(lambda: client_of(data, socket).access("identity-provider", "delete", fields))
    show(answer, lambda got: one_view("deleted", got["deleted"]), as_json=as_json)


def who_may(
    url: Annotated[str, typer.Argument(metavar="s3://BUCKET[/KEY]")],
    action: Annotated[
        list[str] | None, typer.Option("--action", help="such as s3:GetObject; may be said again")
    ] = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who may do what to a bucket or an object: every user, role and root that is let in.

    Decided as for a request that comes without anything a condition might ask for.

    Example: hexagone who-may s3://archives/2026/a.pdf --action s3:GetObject
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise typer.BadParameter("write it as s3://BUCKET/KEY", param_hint="URL")
    fields = {"bucket": bucket, "key": key, "actions": "\n".join(action or ())}
    answer = asked(lambda: client_of(data, socket).access("right", "who", fields))
    columns = ("tenant", "kind", "name", "actions")
    show(answer, lambda got: rows_view(url, columns, got["who"]), as_json=as_json)
