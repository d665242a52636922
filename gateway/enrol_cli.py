"""`hexagone ca invite | request | approve | withdraw | register`: how a machine becomes a node.

`request` runs on the machine, all others where the CA is. Nothing here talks to a daemon: an
invitation's token and a request are carried by people.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.ca_cli import (
    AUTHORITY_FILE,
    DirOption,
    IdOption,
    JsonOption,
    OperatorOption,
    OutOption,
    ca_app,
    say,
    stop,
)
from gateway.terminal import language
from gateway.terminal.times import moment
from gateway.terminal.user_files import FileKind
from storaged.base.env import Env, RealEnv
from storaged.base.errors import StorageError
from storaged.base.ids import datacenter_id, node_id, operator_id
from storaged.enrolment import (
    HOURS,
    REQUEST_BYTES_MAX,
    approve,
    invite,
    invited,
    make_request,
    read_register,
    read_request,
    register_head,
    take_back,
)
from storaged.identity import node_uri, read_authority, write_public
from storaged.node import NodeIdentity
from storaged.renewal_ca import trusted_pem

TOKEN = FileKind(bytes_max=256, hint="`hexagone ca invite` prints the token; put it in a file")
REQUEST = FileKind(
    bytes_max=REQUEST_BYTES_MAX, hint="`hexagone ca request` writes ID.request on the machine"
)


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on `hexagone ca`, and that on another app."""
    ca_app.command("invite")(ca_invite)
    ca_app.command("withdraw")(ca_withdraw)
    ca_app.command("request")(ca_request)
    ca_app.command("approve")(ca_approve)
    ca_app.command("register")(ca_register)
    target.add_typer(ca_app, name="ca")


def ca_invite(
    folder: DirOption,
    name: IdOption,
    datacenter: Annotated[str, typer.Option("--datacenter", help="where it stands")],
    country: Annotated[str, typer.Option("--country", help="two letters, ISO 3166-1")] = "fr",
    operator: OperatorOption = "",
    hours: Annotated[int, typer.Option("--hours", min=1, max=24 * 30)] = HOURS,
    as_json: JsonOption = False,
) -> None:
    """Invite a node. The token is shown once; it is good for one key.

    Example: hexagone ca invite --dir ca --id paris-4 --datacenter paris --country fr
    """
    try:
        authority = read_authority(folder)
        identity = NodeIdentity(
            node=node_id(name),
            datacenter=datacenter_id(datacenter),
            country=country,
            operator=operator_id(operator),
        )
        token = invite(folder, identity, _env(), hours=hours)
    except (StorageError, OSError) as error:
        stop(error)
    say(
        {"name": node_uri(authority.domain, identity), "token": token, "hours": str(hours)}, as_json
    )


def ca_withdraw(folder: DirOption, name: IdOption, as_json: JsonOption = False) -> None:
    """Take an invitation back that nobody has used. A certificate is not taken back by it.

    Example: hexagone ca withdraw --dir ca --id paris-4

    Exit codes: 0 it was taken back; 1 there was none, or it was refused; 2 the command is wrong
    """
    try:
        done = take_back(folder, name, _env())
    except (StorageError, OSError) as error:
        stop(error)
    withdrawn = "yes" if done else "there was none"
    said = withdrawn if as_json else language.heard(withdrawn)
    say({"node": name, "withdrawn": said}, as_json)
    raise typer.Exit(0 if done else 1)


def ca_request(
    name: IdOption,
    token: Annotated[Path, typer.Option("--token", help="file with the invitation's token")],
    out: OutOption,
    as_json: JsonOption = False,
) -> None:
    """On the machine: make OUT/ID.key, which stays there, and OUT/ID.request for the CA.

    Example: hexagone ca request --id paris-4 --token token.txt --out paris-4
    """
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TOKEN.of(token):
            text = _token(token)
            request, fingerprint = make_request(name, text, out / f"{node_id(name)}.key")
        path = out / f"{name}.request"
        write_public(path, request)
    except (StorageError, OSError) as error:
        stop(error)
    say({"request": str(path), "key_sha256": fingerprint}, as_json)


def _token(path: Path) -> str:
    text = TOKEN.text(path).strip()
    try:
        base64.b32decode(text.upper())
    except ValueError as error:
        raise TOKEN.unusable(path, "it holds no token") from error
    return text


def ca_approve(
    folder: DirOption,
    request: Annotated[Path, typer.Argument(metavar="ID.request")],
    out: OutOption,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    as_json: JsonOption = False,
) -> None:
    """Certify the invited node for the key of a request: OUT/ID.pem and authority.pem, no secrets.

    Compare the key's fingerprint with what the machine has printed, over another channel.

    Example: hexagone ca approve paris-4.request --dir ca --out paris-4
    """
    try:
        authority = read_authority(folder)
        with REQUEST.of(request):
            asked = read_request(REQUEST.read(request))
        held = invited(folder, asked, _env())
        uri = node_uri(authority.domain, held.identity)
        if not yes:
            key = language.say("key {fingerprint}", fingerprint=asked.fingerprint)
            typer.echo(f"{uri}\n{key}", err=True)
            question = language.say("the name of the node, to approve it")
            if typer.prompt(question, err=True) != asked.name:
                raise typer.Exit(1)
        certificate = approve(folder, authority, asked, _env())
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = out / f"{asked.name}.pem"
        write_public(path, certificate.public_bytes(Encoding.PEM))
        write_public(out / AUTHORITY_FILE, trusted_pem(folder, authority))
    except (StorageError, OSError) as error:
        stop(error)
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    say({"name": uri, "certificate": str(path), "certificate_sha256": fingerprint}, as_json)


def ca_register(folder: DirOption, as_json: JsonOption = False) -> None:
    """Who was invited and approved, and when; every line is checked against the one before.

    Example: hexagone ca register --dir ca
    """
    try:
        entries = read_register(folder)
        head = register_head(folder)
    except (StorageError, OSError) as error:
        stop(error)
    if as_json:
        typer.echo(json.dumps({"entries": entries, "head": head}))
        return
    for entry in entries:
        place = f"{entry['node']} {entry['datacenter']} {entry['country']}"
        if entry.get("operator"):
            place += f" run by {entry['operator']}"
        key = entry.get("certificate_sha256", "")
        typer.echo(f"{moment(entry['at_ms'])}  {entry['what']:<10} {place}  {key}".rstrip())
    typer.echo(language.say("head {hash}", hash=head))


def _env() -> Env:
    return RealEnv(threads_max=1)
