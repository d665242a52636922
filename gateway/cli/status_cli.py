"""Commands that ask a running gateway: status, durability, jobs. Only the admin port's
client.

Exit codes: 0 it answered; 1 it refused, or the job failed; 2 no gateway answers, or the command is
wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console, RenderableType

from gateway.cli import tables
from gateway.cli.client import AdminClient, AdminRefused
from gateway.cli.profile import usual_remote
from gateway.cli.session_file import SessionFile
from gateway.cli.tables import Answer
from gateway.terminal.language import heard
from gateway.terminal.refusals import refuse, said_error, stop
from gateway.terminal.remote import given
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError

DATA_VARIABLE = "HEXAGONE_DATA"
DATA_DEFAULT = Path("hexagone-data")
SOCKET_NAME = "admin.sock"
WATCH_S = 2.0
PIPE_COLUMNS = 200  # width of tables that do not go to a terminal

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help=f"folder of the cluster (else ${DATA_VARIABLE}, {DATA_DEFAULT})"),
]
SocketOption = Annotated[
    Path | None, typer.Option("--socket", help="admin socket (else DIR/admin.sock)")
]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]
AccountOption = Annotated[
    str, typer.Option("--account", help="an access key of the account (else the root account)")
]
JobArgument = Annotated[str, typer.Argument(help="name of a job, as `jobs list` shows it")]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Ask a running gateway.")
jobs_app = typer.Typer(no_args_is_help=True, help="Background jobs: list, run, pause, resume.")


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on another app (the `hexagone` command)."""
    target.command("status")(status)
    target.command("durability")(durability)
    target.add_typer(jobs_app, name="jobs")


def admin_socket(data: Path | None, socket: Path | None) -> Path:
    """Path of the admin socket: what is asked for, else the environment's folder, else the usual
    one.
    """
    if socket is not None:
        return socket
    return (data or Path(os.environ.get(DATA_VARIABLE) or DATA_DEFAULT)) / SOCKET_NAME


def status(
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="again every two seconds")] = False,
) -> None:
    """Nodes, tier, margins, repair and jobs, as the gateway sees them.

    Example: hexagone status --watch
    """
    while True:
        answer = asked(lambda: client_of(data, socket).status())
        if watch and not as_json:
            _console().clear()
        show(answer, tables.status_view, as_json=as_json)
        if not watch:
            return
        try:
            asyncio.run(RealEnv(threads_max=1).sleep(WATCH_S))
        except KeyboardInterrupt:
            return


def durability(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """What the model says of this layout and of production's, with its assumptions.

    Example: hexagone durability
    """
    answer = asked(lambda: client_of(data, socket).durability())
    show(answer, tables.durability_view, as_json=as_json)


@jobs_app.command("list")
def list_jobs(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """All jobs and how far they are. Example: hexagone jobs list"""
    answer = asked(lambda: client_of(data, socket).jobs())
    show(answer, lambda found: tables.jobs_view(found["jobs"]), as_json=as_json)


@jobs_app.command("run")
def run_job(
    name: JobArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one round of a job and wait for its end; also while the job is paused.

    Example: hexagone jobs run repair
    """

    def follow() -> Answer:
        answer: Answer = {}
        for answer in client_of(data, socket).run(name):
            if not as_json and "result" not in answer:
                _console(stderr=True).print(tables.text(_job_line(answer["job"])))
        return answer

    show(asked(follow), _job_view, as_json=as_json)


@jobs_app.command("pause")
def pause_job(
    name: JobArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a job after the step under way, until `resume` or a restart.

    Example: hexagone jobs pause compact
    """
    show(asked(lambda: client_of(data, socket).pause(name)), _job_view, as_json=as_json)


@jobs_app.command("resume")
def resume_job(
    name: JobArgument,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a paused job go on. Example: hexagone jobs resume compact"""
    show(asked(lambda: client_of(data, socket).resume(name)), _job_view, as_json=as_json)


def create_key(
    name: Annotated[str, typer.Argument(help="what clients give as the KMS key id")],
    account: AccountOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a named key; one that is there stays as it is. Example: hexagone keys create archives"""
    answer = asked(lambda: client_of(data, socket).create_key(name, account))
    show(answer, tables.keys_view, as_json=as_json)


app.command("status")(status)
app.command("durability")(durability)
app.add_typer(jobs_app, name="jobs")


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and key of s3://BUCKET/KEY; the key as it stands, nothing is decoded.

    Raises: typer.BadParameter.
    """
    scheme, separator, rest = url.partition("://")
    bucket, slash, key = rest.partition("/")
    if scheme.lower() != "s3" or not separator or not bucket or not slash or not key:
        raise typer.BadParameter("write it as s3://BUCKET/KEY", param_hint="URL")
    return bucket, key


def client_of(data: Path | None, socket: Path | None) -> AdminClient:
    """The client of the gateway that is meant: of the folder or socket that was named, else of the
    address that was, else of the usual folder. Ends the command where none can be.
    """
    try:
        remote = usual_remote(given()) if data is None and socket is None else None
        if remote is None:
            return AdminClient(admin_socket(data, socket))
        return AdminClient(remote, SessionFile(remote))
    except StorageError as error:
        stop(error, 2)


def asked(ask: Callable[[], Answer]) -> Answer:
    """What the gateway answers; ends the command when it does not."""
    try:
        return ask()
    except StorageError as error:
        _exit(error)


def _exit(error: StorageError) -> NoReturn:
    if not isinstance(error, AdminRefused):
        stop(error, 2)
    if error.said_title:
        refuse(said_error(error.said_title, error.details), heard(error.advice), 1, error)
    refuse(heard(error.text), heard(error.advice), 1, error)


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    return console


def show(
    answer: Answer,
    view: Callable[[Answer], RenderableType],
    *,
    as_json: bool,
) -> None:
    """Print an answer."""
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        _console().print(view(answer))


def _job_line(job: Answer) -> str:
    detail = job["progress"]["detail"]
    return f"{job['name']}: {tables.progress_text(job)}" + (f", {heard(detail)}" if detail else "")


def _job_view(answer: Answer) -> RenderableType:
    return tables.jobs_view([answer["job"]])
