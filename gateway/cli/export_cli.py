"""`hexagone export`, `import` and `export-verify`: a tenant's data, out of a cluster and into one.

Exit codes: 0 whole; 1 something was left out, differs or was changed, or the gateway refused;
2 no gateway answers, or the command is wrong; 130 stopped, go on with --resume.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from gateway.cli.export_folder import (
    LEFT_OUT,
    Document,
    ExportDamaged,
    ExportFolderFailed,
    ExportFolderInvalid,
    Progress,
    read_lines,
)
from gateway.cli.export_plain import write_plain
from gateway.cli.export_run import Asked, Exporter
from gateway.cli.export_verify import Verified, verify_export
from gateway.cli.import_run import Importer, ImportRefused, Wanted
from gateway.cli.journal_files import journal_keys
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of
from gateway.journal.notes import VerifierKey
from gateway.terminal.language import heard, say
from gateway.terminal.refusals import printable, stop
from gateway.terminal.user_files import FileKind, FileUnusable
from storaged.base.errors import StorageError

TOLD = 20  # of a list, on a terminal
CUSTOMER_KEY_BYTES = 32  # AES-256, as SSE-C has it
CUSTOMER_KEYS = FileKind(
    bytes_max=1 << 20, hint="a line of it is the base64 of a key of 32 bytes; chmod 600 FILE"
)

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="folder of the export")]
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--customer-keys",
        help="file of clients' own keys (SSE-C), base64, a line each; only its owner may read it",
    ),
]


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on the `hexagone` command."""
    target.command("export")(export)
    target.command("import")(bring)
    target.command("export-verify")(verify)


def export(
    folder: FolderArgument,
    tenant: Annotated[str, typer.Option("--tenant", help="name or id")] = "",
    bucket: Annotated[
        list[str] | None, typer.Option("--bucket", help="only this one; several times: these")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on where it stopped; copies nothing twice")
    ] = False,
    check: Annotated[
        bool, typer.Option("--verify", help="read everything once more when it is written")
    ] = False,
    plain: Annotated[
        Path | None,
        typer.Option("--plain", help="also: current objects as files with their keys as paths"),
    ] = None,
    customer_keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take everything of a tenant out: objects, versions, metadata, rights, journal.

    The tenant's journal has it before the first byte is told. Without --bucket: all buckets.

    Example: hexagone export --tenant mairie /mnt/disk/mairie --verify
    """
    if not tenant and not resume:
        raise typer.BadParameter(say("name the tenant"), param_hint="--tenant")
    wanted = Asked(
        folder=folder,
        tenant=tenant,
        buckets=tuple(bucket or ()),
        customer_keys=_customer_keys(customer_keys),
        resume=resume,
    )
    with _refused():
        exporter = Exporter(client_of(data, socket), wanted)
        summary = _export(exporter, quiet=as_json)
        found = _verified(folder, (), quiet=as_json) if check else None
        left = _plain(folder, plain, quiet=as_json) if plain is not None else []
    if as_json:
        extra: Document = {} if found is None else {"verified": found.document()}
        typer.echo(json.dumps({**summary, **extra, "not_plain": left}))
    else:
        _tell_export(folder, summary, found, left)
    if summary["left_out"] or (found is not None and found.problems):
        raise typer.Exit(1)


def _export(exporter: Exporter, *, quiet: bool) -> Document:
    if exporter.is_whole:
        return exporter.summary()
    told = exporter.begin()
    if not told["switching"]:
        text = say("what leaves is billed as egress: `hexagone plan set --switching` frees it")
        typer.echo(say("note: {text}", text=text), err=True)
    versions, held_bytes = exporter.done
    total = max(sum(one["bytes"] for one in told["buckets"]), held_bytes)
    with _bar(say("export"), total, quiet=quiet, done=(versions, held_bytes)) as progress:
        return exporter.run(progress)


def _tell_export(
    folder: Path, summary: Document, found: Verified | None, left: Sequence[Document]
) -> None:
    versions = sum(one["versions"] for one in summary["buckets"])
    typer.echo(
        say(
            "{versions} versions of {buckets} buckets are in {folder}",
            versions=versions,
            buckets=len(summary["buckets"]),
            folder=folder,
        )
    )
    typer.echo(say("SHA-256 of its list of files: {digest}", digest=summary["files_sha256"]))
    if summary["left_out"]:
        typer.echo(
            say("{count} versions could not be taken along:", count=summary["left_out"]), err=True
        )
        for _, one in zip(range(TOLD), read_lines(folder / LEFT_OUT), strict=False):
            typer.echo(printable(f"  s3://{one['bucket']}/{one['key']}: {one['reason']}"), err=True)
    if left:
        typer.echo(say("{count} objects are no plain files:", count=len(left)), err=True)
        for one in left[:TOLD]:
            typer.echo(printable(f"  s3://{one['bucket']}/{one['key']}: {one['reason']}"), err=True)
    if found is not None:
        _tell_verified(found)


def verify(
    folder: FolderArgument,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="public keys of the journal, as `journal keys` prints them"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read an export once more and say what was changed. Asks no gateway.

    Example: hexagone export-verify /mnt/disk/mairie --keys journal.pub
    """
    with _refused():
        known = () if keys is None else tuple(journal_keys(keys))
        found = _verified(folder, known, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(found.document()))
    else:
        _tell_verified(found)
    if found.problems:
        raise typer.Exit(1)


def _tell_verified(found: Verified) -> None:
    for problem in found.problems[:TOLD]:
        typer.echo(printable(heard(problem)), err=True)
    if found.problems:
        typer.echo(say("{count} problems", count=len(found.problems)), err=True)
        return
    typer.echo(
        say(
            "intact: {files} files, {versions} versions",
            files=found.files,
            versions=found.versions,
        )
    )


def bring(
    folder: FolderArgument,
    tenant: Annotated[
        str, typer.Option("--tenant", help="name of the tenant here; else as it was")
    ] = "",
    rename: Annotated[
        list[str] | None, typer.Option("--rename-bucket", metavar="OLD=NEW", help="a bucket")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be done and what is in the way")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="send only what is not there yet")
    ] = False,
    read_back: Annotated[
        bool, typer.Option("--read-back", help="at the end, read every body from the cluster")
    ] = False,
    customer_keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring an export into this cluster: versions with their ids, dates, locks and ETags.

    What is in the way is told before anything is made. At the end both sides are compared.

    Example: hexagone import /mnt/disk/mairie --rename-bucket photos=mairie-photos --dry-run
    """
    wanted = Wanted(
        folder=folder,
        tenant=tenant,
        renamed=_renamed(rename or ()),
        customer_keys=_customer_keys(customer_keys),
        resume=resume,
        read_back=read_back,
    )
    with _refused():
        importer = Importer(client_of(data, socket), wanted)
        plan = importer.plan()
        if plan["conflicts"] or dry_run:
            _tell_plan(plan, as_json=as_json)
            raise typer.Exit(1 if plan["conflicts"] else 0)
        for note in plan["notes"]:
            typer.echo(printable(say("note: {text}", text=heard(note))), err=True)
        total = sum(one["bytes"] for one in importer.summary["buckets"])
        with _bar(say("import"), total, quiet=as_json) as progress:
            brought = importer.run(progress)
    if as_json:
        typer.echo(json.dumps(brought.document()))
    else:
        _tell_brought(brought.document())
    if brought.failed or brought.differences:
        raise typer.Exit(1)


def _tell_plan(plan: Document, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(plan))
        return
    for text in plan["conflicts"]:
        typer.echo(printable(say("in the way: {text}", text=heard(text))), err=True)
    for text in plan["notes"]:
        typer.echo(printable(say("note: {text}", text=heard(text))), err=True)
    if plan["conflicts"]:
        typer.echo(say("nothing was changed"), err=True)
    elif plan["makes_tenant"]:
        typer.echo(say("nothing is in the way; the tenant would be made"))
    else:
        typer.echo(say("nothing is in the way"))


def _tell_brought(brought: Document) -> None:
    typer.echo(
        say(
            "{installed} versions were brought, {held} were there, {compared} were compared",
            installed=brought["installed"],
            held=brought["held"],
            compared=brought["compared"],
        )
    )
    for one in brought["failed"][:TOLD]:
        typer.echo(printable(f"s3://{one['bucket']}/{one['key']}: {one['error']}"), err=True)
    if brought["failed"]:
        count = len(brought["failed"]) + brought["failed_untold"]
        text = say("{count} versions were not brought; buckets stay open", count=count)
        typer.echo(text, err=True)
    for text in brought["differences"][:TOLD]:
        typer.echo(printable(text), err=True)
    if not brought["failed"] and not brought["differences"]:
        name = brought["tenant"]
        text = say("keys do not travel: `hexagone access-key create --tenant {name} …`", name=name)
        typer.echo(say("note: {text}", text=text))


def _verified(folder: Path, keys: Sequence[VerifierKey], *, quiet: bool) -> Verified:
    with _bar(say("verify"), None, quiet=quiet) as progress:
        return verify_export(folder, progress, keys)


def _plain(folder: Path, out: Path, *, quiet: bool) -> list[Document]:
    with _bar(say("plain files"), None, quiet=quiet) as progress:
        return [
            {"bucket": bucket, "key": key, "reason": reason}
            for bucket, key, reason in write_plain(folder, out, progress)
        ]


def _renamed(told: Sequence[str]) -> Mapping[str, str]:
    """New names of buckets by the old ones. Raises: typer.BadParameter."""
    found: dict[str, str] = {}
    for one in told:
        old, sign, new = one.partition("=")
        if not (old and sign and new):
            raise typer.BadParameter(say("write it as OLD=NEW"), param_hint="--rename-bucket")
        found[old] = new
    return found


def _customer_keys(path: Path | None) -> tuple[str, ...]:
    """Keys of a file that nobody else can read. Raises: BadParameter, FileUnusable."""
    if path is None:
        return ()
    with CUSTOMER_KEYS.of(path):
        is_open = path.stat().st_mode & 0o077
    if is_open:
        raise typer.BadParameter(
            say("others may read it: chmod 600 {path}", path=path), param_hint="--customer-keys"
        )
    return tuple(_checked_key(one, path) for one in CUSTOMER_KEYS.text(path).split())


def _checked_key(told: str, path: Path) -> str:
    """A key as it stands in the file, which an error never shows. Raises: FileUnusable."""
    try:
        is_one = len(base64.b64decode(told, validate=True)) == CUSTOMER_KEY_BYTES
    except ValueError:
        is_one = False
    if not is_one:
        raise CUSTOMER_KEYS.unusable(path, "a line of it is no key")
    return told


@contextmanager
def _refused() -> Iterator[None]:
    """Ends the command where the gateway refuses, or the folder is not what it has to be."""
    try:
        yield
    except FileUnusable:
        raise
    except (ExportFolderFailed, ExportFolderInvalid, ExportDamaged, ImportRefused) as error:
        stop(error, 1)
    except StorageError as error:
        asked(partial(_raised, error))


def _raised(error: StorageError) -> NoReturn:
    raise error


@contextmanager
def _bar(
    title: str, total: int | None, *, quiet: bool, done: tuple[int, int] = (0, 0)
) -> Iterator[Progress]:
    """A progress bar: objects, bytes, rate, time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[objects]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr, quiet=quiet or not sys.stderr.isatty())
    objects = done[0]
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, total=total, completed=done[1], objects=str(objects))

        def progress(versions: int, held_bytes: int) -> None:
            nonlocal objects
            objects += versions
            bars.update(task, advance=held_bytes, objects=str(objects))

        yield progress
