"""`hexagone ca admin …`: the CA of administrators and of the admin listener, apart from the
cluster's. None of it talks to a gateway.

Not for accounts (`gateway.cli.admin_cli`): a certificate without an account lets nobody in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.admin_cli import PersonOption, RoleOption
from gateway.cli.authority import (
    ADMIN_DOMAIN,
    ADMINISTRATOR_DAYS,
    ADMINISTRATOR_DAYS_MAX,
    LISTENER_DAYS,
    AdminAuthority,
    Pair,
    create_admin_authority,
    issue_administrator,
    issue_listener,
    read_admin_authority,
    signing_request,
    write_admin_authority,
    write_pair,
)
from gateway.cli.status_cli import JsonOption
from gateway.model.administrators import checked_roles
from gateway.terminal.language import say
from gateway.terminal.refusals import stop
from gateway.terminal.user_files import FileKind
from storaged.base.durable import replace_file
from storaged.base.env import Env, RealEnv
from storaged.base.errors import StorageError

AUTHORITY_FILE = "admin-authority.pem"
LISTENER_FILE = "admin"
REQUEST = FileKind(bytes_max=64 * 1024, hint="`hexagone ca admin request NAME` writes NAME.csr")

FolderOption = Annotated[
    Path, typer.Option("--dir", help="folder of the admin CA (keep it off line)")
]
OutOption = Annotated[Path, typer.Option("--out", help="folder for what is made")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="of the account")]

admin_ca_app = typer.Typer(
    no_args_is_help=True, help="The admin CA: certificates of administrators and their listener."
)


@admin_ca_app.command("init")
def init_authority(
    folder: FolderOption,
    domain: Annotated[
        str, typer.Option("--domain", help="trust domain of the administrators")
    ] = ADMIN_DOMAIN,
    as_json: JsonOption = False,
) -> None:
    """Make the admin CA: admin-ca.crt to hand out, admin-ca.key (mode 0600) to lock away.

    Example: hexagone ca admin init --dir /secure/admin-ca
    """
    try:
        authority = create_admin_authority(domain, _env())
        write_admin_authority(authority, folder)
    except (StorageError, OSError) as error:
        stop(error)
    until = authority.certificate.not_valid_after_utc.isoformat()
    _tell({"domain": domain, "valid_until": until, "directory": str(folder)}, as_json=as_json)


@admin_ca_app.command("request")
def request_certificate(
    name: NameArgument, out: OutOption = Path("."), as_json: JsonOption = False
) -> None:
    """Make a private key, which stays here (OUT/NAME.key), and what is sent to the admin CA
    (OUT/NAME.csr).

    Example: hexagone ca admin request alice
    """
    key, request = out / f"{name}.key", out / f"{name}.csr"
    try:
        request_pem, key_pem = signing_request(name)
        if key.exists():
            raise FileExistsError(f"{key} is there already; it is not written over")
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(key, key_pem, mode=0o600)
        replace_file(request, request_pem, mode=0o644)
    except (StorageError, OSError) as error:
        stop(error)
    _tell({"key": str(key), "request": str(request)}, as_json=as_json)


@admin_ca_app.command("issue")
def issue(
    name: NameArgument,
    folder: FolderOption,
    person: PersonOption,
    roles: RoleOption,
    out: OutOption,
    request: Annotated[
        Path | None,
        typer.Option("--request", help="of `ca admin request`; else a key is made"),
    ] = None,
    days: Annotated[
        int, typer.Option("--days", min=1, max=ADMINISTRATOR_DAYS_MAX)
    ] = ADMINISTRATOR_DAYS,
    as_json: JsonOption = False,
) -> None:
    """Make or renew the certificate of an administrator, for these roles at most: OUT/NAME.pem.

    Example: hexagone ca admin issue alice --dir ca --person "Alice Martin" --role custodian --out .
    """
    try:
        authority = read_admin_authority(folder)
        pair = issue_administrator(
            authority,
            name,
            person,
            checked_roles(roles),
            _env(),
            days=days,
            request_pem=b"" if request is None else REQUEST.read(request),
        )
        answer = _keep(authority, pair, out, name)
    except (StorageError, OSError) as error:
        stop(error)
    _tell({**answer, "days": str(days)}, as_json=as_json)


@admin_ca_app.command("issue-listener")
def issue_listener_certificate(
    folder: FolderOption,
    names: Annotated[list[str], typer.Option("--name", help="DNS name or IP address; repeatable")],
    out: OutOption,
    as_json: JsonOption = False,
) -> None:
    """Make or renew the certificate of a gateway's admin listener: OUT/admin.pem, OUT/admin.key.

    Example: hexagone ca admin issue-listener --dir ca --name gateway-1.example.internal --out tls
    """
    try:
        authority = read_admin_authority(folder)
        answer = _keep(authority, issue_listener(authority, names, _env()), out, LISTENER_FILE)
    except (StorageError, OSError) as error:
        stop(error)
    _tell({**answer, "days": str(LISTENER_DAYS)}, as_json=as_json)


def _keep(authority: AdminAuthority, pair: Pair, out: Path, name: str) -> dict[str, str]:
    """Write what was issued beside the CA's certificate; where it is."""
    certificate, key, trusted = out / f"{name}.pem", out / f"{name}.key", out / AUTHORITY_FILE
    write_pair(pair, certificate, key)
    replace_file(trusted, authority.certificate_pem, mode=0o644)
    answer = {"certificate": str(certificate), "authority": str(trusted)}
    return {**answer, "key": str(key)} if pair.key_pem else answer


def _tell(answer: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer))
        return
    for name, value in answer.items():
        typer.echo(f"{say(name.replace('_', ' ')):<12} {value}")


def _env() -> Env:
    return RealEnv(threads_max=1)
