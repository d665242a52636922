"""`hexagone approver` and `hexagone approvals`: keys of approvers, who they are, and their
signatures under requests.

`keygen` and `sign` ask no gateway: a private key stays on the machine of its owner, and what he
signs is the text that he was shown. Passphrases and names are asked for, never taken from the
command line, which other users of the machine can read.

Exit codes: 0 done; 1 refused; 2 no gateway answers, or the command is wrong.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gateway.approvals.approvers import ApproverSet, read_approver
from gateway.approvals.request import Act, read_request
from gateway.approvals.warrant import approve, encode_approval, read_approval
from gateway.cli import erasure_views as views
from gateway.cli.approval_files import APPROVAL, PRIVATE_KEY, PUBLIC_KEY, REQUEST
from gateway.cli.approver_keys import read_key, write_key
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.terminal.language import heard, say
from gateway.terminal.questions import confirm
from gateway.terminal.refusals import stop
from storaged.base.env import RealEnv
from storaged.base.errors import Kind, StorageError


class NameNotOfRequest(StorageError):
    """The request is not about what was typed."""

    kind = Kind.PRECONDITION
    hint = (
        "nothing was signed: type the name exactly as whoever asks has told you, such as photos/1,"
        " mairie or s3://photos/a.jpg; if you were told another one, do not sign"
    )


approver_app = typer.Typer(no_args_is_help=True, help="People who approve: keygen, list, set.")
approvals_app = typer.Typer(
    no_args_is_help=True, help="What they approve: list, show, sign, submit."
)

RequestArgument = Annotated[str, typer.Argument(help="id of a request")]


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app (the `hexagone` command)."""
    target.add_typer(approver_app, name="approver")
    target.add_typer(approvals_app, name="approvals")


@approver_app.command("keygen")
def keygen(
    name: Annotated[str, typer.Option("--name", help="small letters and digits")],
    out: Annotated[Path, typer.Option("--out", help="file of the private key, mode 0600")],
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="ask for one that the file is sealed with")
    ] = False,
) -> None:
    """Make an approver's key on his own machine; what is printed goes to who registers him.

    Example: hexagone approver keygen --name alice --out alice.key --passphrase
    """
    said = _passphrase(confirmed=True) if passphrase else None
    try:
        typer.echo(write_key(out, name, said, RealEnv(threads_max=1)).text)
    except (StorageError, OSError) as error:
        stop(error)


@approver_app.command("list")
def list_approvers(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """Who approves, and how many have to.

    Example: hexagone approver list
    """
    found = asked(lambda: client_of(data, socket).approvals("approvers"))
    show(found, views.approvers_view, as_json=as_json)


@approver_app.command("set")
def set_approvers(
    files: Annotated[list[Path], typer.Argument(help="what `keygen` has printed")],
    threshold: Annotated[int, typer.Option("--threshold", min=2, help="so many have to approve")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say who it would be")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register approvers. The first set freely; to change it, the present ones have to approve:
    then the same command again.

    Example: hexagone approver set --threshold 2 alice.pub bruno.pub chloe.pub
    """
    named = []
    for path in files:
        with PUBLIC_KEY.of(path):
            named.append(read_approver(PUBLIC_KEY.text(path)))
    client = client_of(data, socket)
    before = asked(lambda: client.approvals("approvers"))
    try:
        version = before["version"] + 1
        wanted = ApproverSet(version=version, threshold=threshold, approvers=tuple(named))
    except StorageError as error:
        stop(error, 2)
    texts = [one.text for one in wanted.approvers]
    planned = {"version": wanted.version, "threshold": threshold, "approvers": texts}
    if dry_run:
        show(planned, views.approvers_view, as_json=as_json)
        return
    confirm(
        say(
            "From then on {threshold} of {count} people have to approve each destruction.",
            threshold=threshold,
            count=len(texts),
        ),
        yes=yes,
    )
    done = asked(lambda: client.approvals("approvers/set", {"document": wanted.document}))
    show(done, views.approvers_view, as_json=as_json)


@approvals_app.command("list")
def list_requests(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """Requests for approval, and who has approved them.

    Example: hexagone approvals list
    """
    found = asked(lambda: client_of(data, socket).approvals("approvals"))
    show(found, views.requests_view, as_json=as_json)


@approvals_app.command("show")
def show_request(
    request: RequestArgument,
    out: Annotated[Path | None, typer.Option("--out", help="write the text to be signed")] = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """A request in words, and its text for `approvals sign`.

    Example: hexagone approvals show ID --out request.txt
    """
    client = client_of(data, socket)
    found = asked(lambda: client.erasure("GET", "approvals/show", {"id": request}))
    if out is not None:
        try:
            out.write_text(found["text"])
        except OSError as error:
            stop(error)
    show(found, views.request_view, as_json=as_json)


@approvals_app.command("sign")
def sign(
    file: Annotated[Path, typer.Argument(help="what `approvals show --out` wrote")],
    key: Annotated[Path, typer.Option("--key", help="of `approver keygen`")],
    out: Annotated[Path, typer.Option("--out", help="file of the approval")],
) -> None:
    """Approve a request, without a gateway: it is shown in words, and the name of what is lost, or
    of the backup that is to come back, has to be typed.

    Example: hexagone approvals sign request.txt --key alice.key --out alice.approval
    """
    with REQUEST.of(file):
        request = read_request(REQUEST.text(file))
    for line in request.in_words():
        typer.echo(heard(line), err=True)
    asks = say("Type the exact name of what is lost")
    if request.act is Act.RESTORE_KEYS:
        asks = say("Type which backup comes back, as you were told: backup/NUMBER")
    named = typer.prompt(asks, err=True)
    if not request.is_about(str(named)):
        stop(NameNotOfRequest(request=request.request_id))
    with PRIVATE_KEY.of(key):
        name, private = read_key(key, lambda: _passphrase(confirmed=False))
    try:
        approval = encode_approval(approve(request.text, name, private))
        out.write_text(json.dumps({"request": request.request_id, **approval}) + "\n")
    except (StorageError, OSError) as error:
        stop(error)
    typer.echo(say("signed by {name}; the approval is in {path}", name=name, path=out), err=True)
    typer.echo(say("it counts once it was handed in: hexagone approvals submit FILE"), err=True)


@approvals_app.command("submit")
def submit(
    files: Annotated[list[Path], typer.Argument(help="what `approvals sign` wrote")],
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hand approvals in.

    Example: hexagone approvals submit alice.approval bruno.approval
    """
    handed_in = [_approval(path) for path in files]
    client = client_of(data, socket)
    for fields in handed_in:
        found = asked(partial(client.approvals, "approvals/submit", fields))
        show(found, views.request_view, as_json=as_json)


def _approval(path: Path) -> dict[str, str]:
    held = APPROVAL.document(path)
    request = held.pop("request", None)
    if not isinstance(request, str):
        raise APPROVAL.unusable(path, "it names no request")
    with APPROVAL.of(path):
        return {"id": request, **encode_approval(read_approval(held))}


def _passphrase(*, confirmed: bool) -> bytes:
    said = typer.prompt(say("Passphrase"), hide_input=True, confirmation_prompt=confirmed, err=True)
    return str(said).encode()
