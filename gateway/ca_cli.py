"""`hexagone ca …`: certificates without which a cluster cannot start.

`ca init` makes the internal CA of one cluster; `ca issue-…` makes, or renews, the certificate of a
node, a gateway or the S3 endpoint. None of them talks to a running daemon or overwrites a CA: where
there is one, they refuse.

Not for S3 access keys, nor for the root key (`gateway.cli.root_key_cli`), and no place to keep
anything: the folder of the CA belongs on a machine that serves nobody.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway.cli.authority_cli import admin_ca_app
from gateway.terminal import language, refusals
from storaged.base.env import Env, RealEnv
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import datacenter_id, node_id, operator_id
from storaged.endpoint_certificate import SERVER_DAYS, issue_server
from storaged.identity import (
    CA_CERTIFICATE_FILE,
    CA_KEY_FILE,
    CERTIFICATE_DAYS,
    Authority,
    Issued,
    create_authority,
    gateway_uri,
    issue_gateway,
    issue_node,
    node_uri,
    read_authority,
    write_authority,
    write_issued,
    write_public,
)
from storaged.node import NodeIdentity
from storaged.renewal_ca import trusted_pem

DOMAIN = "hexagone.internal"
AUTHORITY_FILE = "authority.pem"

ca_app = typer.Typer(no_args_is_help=True, help="The internal CA: who is who in the cluster.")
ca_app.add_typer(admin_ca_app, name="admin")

DirOption = Annotated[Path, typer.Option("--dir", help="folder of the CA (keep it off line)")]
OutOption = Annotated[
    Path, typer.Option("--out", help="folder for the certificate, its key and authority.pem")
]
DaysOption = Annotated[
    int,
    typer.Option("--days", min=1, max=1096, help="of its life; more than 7 where nobody renews it"),
]
IdOption = Annotated[str, typer.Option("--id", help="lower-case name, e.g. paris-1")]
OperatorOption = Annotated[
    str, typer.Option("--operator", help="who runs it, lower-case; with three, none can decode")
]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]


class AuthorityExists(StorageError):
    """There is a CA in this folder."""

    kind = Kind.CONFLICT
    hint = "every node and gateway trusts it; take another folder for another cluster"


def add_commands(target: typer.Typer) -> None:
    """Put `ca` on another app (the `hexagone` command)."""
    target.add_typer(ca_app, name="ca")


@ca_app.command("init")
def ca_init(
    folder: DirOption,
    domain: Annotated[str, typer.Option("--domain", help="trust domain of the cluster")] = DOMAIN,
    as_json: JsonOption = False,
) -> None:
    """Make the CA of a cluster: ca.crt to hand out, ca.key (mode 0600) to lock away.

    Example: hexagone ca init --dir ca --domain hexagone.internal
    """
    try:
        if (folder / CA_KEY_FILE).exists() or (folder / CA_CERTIFICATE_FILE).exists():
            raise AuthorityExists(directory=folder)
        authority = create_authority(domain, _env())
        write_authority(authority, folder)
    except (StorageError, OSError) as error:
        stop(error)
    say({"domain": domain, "valid_until": _until(authority), "directory": str(folder)}, as_json)


@ca_app.command("issue-node")
def ca_issue_node(
    folder: DirOption,
    name: IdOption,
    datacenter: Annotated[str, typer.Option("--datacenter", help="where it stands")],
    out: OutOption,
    country: Annotated[str, typer.Option("--country", help="two letters, ISO 3166-1")] = "fr",
    operator: OperatorOption = "",
    days: DaysOption = CERTIFICATE_DAYS,
    as_json: JsonOption = False,
) -> None:
    """Make or renew the certificate that makes its holder this node: OUT/ID.pem and OUT/ID.key.

    Example: hexagone ca issue-node --dir ca --id paris-1 --datacenter paris --out paris-1
    """
    try:
        authority = read_authority(folder)
        identity = NodeIdentity(
            node=node_id(name),
            datacenter=datacenter_id(datacenter),
            country=country,
            operator=operator_id(operator),
        )
        issued = issue_node(authority, identity, _env(), days=days)
        answer = _keep(folder, authority, issued, out, name, days)
    except (StorageError, OSError) as error:
        stop(error)
    say({"name": node_uri(authority.domain, identity), **answer}, as_json)


@ca_app.command("issue-gateway")
def ca_issue_gateway(
    folder: DirOption,
    name: IdOption,
    out: OutOption,
    days: DaysOption = CERTIFICATE_DAYS,
    as_json: JsonOption = False,
) -> None:
    """Make or renew the certificate with which a gateway connects to nodes: OUT/ID.pem and .key.

    Example: hexagone ca issue-gateway --dir ca --id gateway-1 --out gateway-1
    """
    try:
        authority = read_authority(folder)
        issued = issue_gateway(authority, name, _env(), days=days)
        answer = _keep(folder, authority, issued, out, name, days)
    except (StorageError, OSError) as error:
        stop(error)
    say({"name": gateway_uri(authority.domain, name), **answer}, as_json)


@ca_app.command("issue-server")
def ca_issue_server(
    folder: DirOption,
    names: Annotated[
        list[str], typer.Option("--name", help="DNS name (wildcards too) or IP address; repeatable")
    ],
    out: OutOption,
    file: Annotated[str, typer.Option("--file", help="name of the files")] = "s3",
    as_json: JsonOption = False,
) -> None:
    """Make or renew the certificate of the S3 endpoint: OUT/s3.pem and OUT/s3.key.

    Example: hexagone ca issue-server --dir ca --name s3.example.fr --out s3
    """
    try:
        authority = read_authority(folder)
        issued = issue_server(authority, names, _env())
        answer = _keep(folder, authority, issued, out, file, SERVER_DAYS)
    except (StorageError, OSError) as error:
        stop(error)
    say({"name": ", ".join(names), **answer}, as_json)


def _env() -> Env:
    return RealEnv(threads_max=1)


def _until(authority: Authority) -> str:
    return authority.certificate.not_valid_after_utc.isoformat()


def _keep(
    folder: Path, authority: Authority, issued: Issued, out: Path, name: str, days: int
) -> dict[str, str]:
    """Write the pair and what is to be trusted; returns where they are."""
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, key = out / f"{name}.pem", out / f"{name}.key"
    write_issued(issued, certificate, key)
    write_public(out / AUTHORITY_FILE, trusted_pem(folder, authority))
    return {"certificate": str(certificate), "key": str(key), "days": str(days)}


def say(answer: dict[str, str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer))
        return
    labels = {name: language.say(name.replace("_", " ")) for name in answer}
    width = max(12, *map(len, labels.values()))
    for name, value in answer.items():
        typer.echo(f"{labels[name]:<{width}} {value}")


def stop(error: Exception) -> NoReturn:
    """One line for people, and what to do."""
    refusals.stop(error)
