"""`hexagone erase` and `hexagone purge`: erase an object, a bucket or a tenant for good; see how
far that is; take it back; get and verify the certificate. But for `verify`, only the admin port's
client.

Exit codes: 0 done; 1 refused, or a certificate that does not hold; 2 no gateway answers, or the
command is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import erasure_views as views
from gateway.cli.journal_files import journal_keys
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.journal.certificate import CERTIFICATE_BYTES_MAX, verify_certificate
from gateway.terminal.language import heard, say
from gateway.terminal.questions import confirm
from gateway.terminal.refusals import refuse, said, stop
from gateway.terminal.user_files import FileKind
from storaged.base.errors import StorageError

CERTIFICATE = FileKind(
    bytes_max=CERTIFICATE_BYTES_MAX,
    hint="`hexagone erase certificate ID --out FILE` writes it; get it again, unchanged",
)

erase_app = typer.Typer(
    invoke_without_command=True,
)

YesOption = Annotated[bool, typer.Option("--yes", help="do not ask")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="only say what would be lost")]
ErasureArgument = Annotated[
    str, typer.Argument(help="as `erase status` shows it, 8 digits or more")
]


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app (the `hexagone` command)."""
    target.add_typer(erase_app, name="erase")
    target.command("purge")(purge)


@erase_app.callback()
def erase(
    context: typer.Context,
    url: Annotated[str, typer.Option("--object", help="s3://BUCKET/KEY")] = "",
    version: Annotated[str, typer.Option("--version", help="of the object; else all")] = "",
    bucket: Annotated[str, typer.Option("--bucket", help="with all that is in it")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="name or id; with all it has")] = "",
    certify: Annotated[
        bool,
        typer.Option("--certify", help="an object: rotate keys, destroy the older ones, certify"),
    ] = False,
    lose: Annotated[
        str, typer.Option("--lose", metavar="NAME", help="what is lost, by its exact name")
    ] = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase an object, a bucket or a tenant for good: notice, approvals, certificate.

    A tenant: after 21 days of notice, which he finds in his journal; then keys
    are disabled for a day, then destroyed. A bucket: without the notice. An object: deleted, and
    with --certify its keys are made worthless, by rotations that take nobody's data.

    Examples:

        hexagone erase --tenant mairie --lose mairie

        hexagone erase --object s3://photos/a.jpg --certify --lose s3://photos/a.jpg
    """
    if context.invoked_subcommand is not None:
        return
    if bool(url) + bool(bucket) + bool(tenant) != 1:
        raise typer.BadParameter(say("say one of --object, --bucket and --tenant"))
    fields = {"tenant": tenant, "bucket": bucket, "version": version}
    if url:
        fields["bucket"], fields["key"] = views.parse_object(url)
    fields = {name: value for name, value in fields.items() if value}
    client = client_of(data, socket)
    planned = asked(lambda: client.erasure("GET", "erasure/plan", fields))
    if dry_run:
        show(planned, views.plan_view, as_json=as_json)
        return
    confirm(views.loss_text(planned), yes=yes)
    begun = {**fields, "lose": lose, **({"certify": "1"} if certify else {})}
    answer = asked(lambda: client.erasure("POST", "erasure/begin", begun))
    show(answer, views.begun_view, as_json=as_json)


@erase_app.command("status")
def status(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """Erasures under way and those that have ended, the latest first.

    Example: hexagone erase status
    """
    show(
        asked(lambda: client_of(data, socket).erasure("GET", "erasure", {})),
        views.erasures_view,
        as_json=as_json,
    )


@erase_app.command("cancel")
def cancel(
    erasure: ErasureArgument,
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an erasure back, as long as no key was destroyed; what was disabled is enabled again.

    Example: hexagone erase cancel 0f3a9c51
    """
    confirm(say("The erasure is taken back."), yes=yes)
    client = client_of(data, socket)
    answer = asked(lambda: client.erasure("POST", "erasure/cancel", {"id": erasure}))
    show(answer, views.begun_view, as_json=as_json)


@erase_app.command("certificate")
def certificate(
    erasure: Annotated[str, typer.Argument(help="the whole id")],
    out: Annotated[Path | None, typer.Option("--out", help="file to write, else printed")] = None,
    data: DataOption = None,
    socket: SocketOption = None,
) -> None:
    """The signed deletion certificate of an erasure that has ended.

    Example: hexagone erase certificate ID --out erased.json
    """
    client = client_of(data, socket)
    answer = asked(lambda: client.erasure("GET", "erasure/certificate", {"id": erasure}))
    if out is None:
        typer.echo(answer["certificate"], nl=False)
        return
    try:
        out.write_text(answer["certificate"])
    except OSError as error:
        stop(error)


@erase_app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="a certificate")],
    keys: Annotated[
        Path,
        typer.Option("--keys", help="public keys, as `journal keys` prints"),
    ],
    as_json: JsonOption = False,
) -> None:
    """Verify a deletion certificate: no gateway, no network, only the file and the public keys.

    Example: hexagone erase verify erased.json --keys journal.pub

    Exit codes: 0 it holds; 1 it does not; 2 the command is wrong
    """
    known, content = journal_keys(keys), CERTIFICATE.read(file)
    try:
        verified = verify_certificate(content, known)
    except StorageError as error:
        text, advice = said(error)
        refuse(text, advice or heard(CERTIFICATE.hint), 1, error)
    show(
        {"holds": True, "certificate": dict(verified.body), "text": verified.text},
        views.verified_view,
        as_json=as_json,
    )


def purge(
    bucket: Annotated[str, typer.Option("--bucket")],
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take away what lies under destroyed keys of a bucket: nobody can read it, it fills space, and
    listings fail on it.

    Example: hexagone purge --bucket photos --dry-run
    """
    client, fields = client_of(data, socket), {"bucket": bucket}
    planned = asked(lambda: client.erasure("GET", "purge/plan", fields))
    if dry_run:
        show(planned, views.purge_view, as_json=as_json)
        return
    count = sum(planned["left"].values())
    confirm(say("{count} row(s) that nothing opens are taken away.", count=count), yes=yes)
    done = asked(lambda: client.erasure("POST", "purge", fields))
    show(done, views.purge_view, as_json=as_json)
