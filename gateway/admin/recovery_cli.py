"""`hexagone keys recovery`: a second life for keys, which no single person has.

The commands work where the keys folder is. Shares come from files, or are typed unseen; never from
the command line, which other users of the machine can read.

Exit codes: 0 done; 1 refused, or a backup is not what is here; 2 the command is wrong.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gateway.admin import recovery_acts as acts
from gateway.admin.cli import (
    DATA_DEFAULT,
    DATA_VARIABLE,
    DataOption,
    JsonOption,
    SocketOption,
    client_of,
    keys_app,
)
from gateway.admin.client import GatewayNotRunning
from gateway.admin.policy_cli import confirm
from gateway.admin.recovery_api import recovery_document
from gateway.recovery.backup import read_manifest
from gateway.recovery.folder import Recovery, read_recovery
from gateway.recovery.shares import (
    COUNT_MAX,
    Share,
    ShareInvalid,
    ShareSet,
    WrongShareSet,
    check_share,
    read_share,
)
from gateway.terminal.language import say
from gateway.terminal.refusals import said, stop, write_refusal
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError

T = TypeVar("T")
MISTAKES_MAX = 5
SHARE_BYTES_MAX = 4096
CLEAR = "\x1b[2J\x1b[3J\x1b[H"

recovery_app = typer.Typer(
    no_args_is_help=True,
    help="Recovery of keys by a quorum of custodians: init, status, backup, verify, restore.",
)
keys_app.add_typer(recovery_app, name="recovery")

KeysOption = Annotated[
    Path | None, typer.Option("--keys", help="folder of the keys (else DATA/keys)")
]
CountOption = Annotated[int, typer.Option("--shares", min=2, max=COUNT_MAX, help="custodians")]
ThresholdOption = Annotated[
    int, typer.Option("--threshold", min=2, max=COUNT_MAX, help="how many of them are needed")
]
CustodianOption = Annotated[
    list[str] | None, typer.Option("--custodian", help="name of one, in order; repeatable")
]
ShareOption = Annotated[
    list[Path] | None,
    typer.Option("--share", help="file of a share; repeatable; those that lack are asked for"),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="empty folder for the new shares, a file for each")
]
PrintOption = Annotated[
    bool, typer.Option("--print", help="show each share once on this terminal, no file")
]
BackupOption = Annotated[
    list[Path] | None,
    typer.Option("--backup", help="file or folder of backups (else where they go); repeatable"),
]
ToOption = Annotated[
    list[Path] | None,
    typer.Option("--to", help="folder for backups, best on other drives (else DATA/recovery)"),
]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option(
        "--also", metavar="NAME=PATH", help="a file or folder that is backed up too: a token"
    ),
]
JournalOption = Annotated[
    Path | None, typer.Option("--journal", help="the journal, or an export (else DATA/journal)")
]
YesOption = Annotated[bool, typer.Option("--yes", help="do not ask")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="only say what would be done")]


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app (the `hexagone` command)."""
    target.add_typer(keys_app, name="keys")


@recovery_app.command("init")
def init(
    count: CountOption,
    threshold: ThresholdOption,
    custodian: CustodianOption = None,
    out: OutOption = None,
    on_terminal: PrintOption = False,
    to: ToOption = None,
    also: AlsoOption = None,
    keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a recovery key that nobody has, give its shares out, and back the keys up for it. From
    then on a backup is made whenever a key is.

    Example: hexagone keys recovery init --shares 5 --threshold 3 --out /media/shares --to /srv/copy
    """
    place, targets = place_of(keys, data, socket), folders(to, data)
    _check_way(out, on_terminal)

    def act() -> dict[str, object]:
        if out is not None:
            acts.check_share_folder(out, place, targets)
        recovery, shares = acts.begin(
            place,
            count=count,
            threshold=threshold,
            custodians=custodian or [],
            to=targets,
            also=named_paths(also or []),
        )
        given = give_out(shares, recovery.record, out)
        number = acts.adopt(place, recovery)
        return made(recovery, given, number)

    tell(done(act), as_json=as_json)


@recovery_app.command("reshare")
def reshare(
    count: CountOption,
    threshold: ThresholdOption,
    share: ShareOption = None,
    custodian: CustodianOption = None,
    out: OutOption = None,
    on_terminal: PrintOption = False,
    yes: YesOption = False,
    keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Another recovery key and other shares, which a quorum of the present custodians allows. The
    shares of before open no backup that is made from then on; backups for them are taken away.

    Example: hexagone keys recovery reshare --shares 5 --threshold 3 --out /media/new
    """
    place = place_of(keys, data, socket)
    _check_way(out, on_terminal)
    held = done(lambda: read_recovery(place.keys))
    if out is not None:
        chosen = out
        done(lambda: acts.check_share_folder(chosen, place, held.to))
    present = gather(share or [], held.record)
    confirm(say("The present shares open no later backup."), yes=yes)

    def act() -> dict[str, object]:
        recovery, fresh = acts.begin_again(
            place, present, count=count, threshold=threshold, custodians=custodian or []
        )
        given = give_out(fresh, recovery.record, out)
        return made(recovery, given, acts.adopt(place, recovery))

    tell(done(act), as_json=as_json)


@recovery_app.command("backup")
def backup(
    keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a backup now. No share is needed.

    Example: hexagone keys recovery backup
    """
    place = place_of(keys, data, socket)
    recovery = done(lambda: read_recovery(place.keys))
    number = done(lambda: place.back_up(recovery))
    tell({"backup": number, "to": [str(path) for path in recovery.to]}, as_json=as_json)


@recovery_app.command("status")
def status(
    keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """The shares there are, where backups go, and whether the last one has every key.

    Example: hexagone keys recovery status
    """
    place = place_of(keys, data, socket)

    def look() -> dict[str, object]:
        try:
            return place.client.recovery("GET", "", {})
        except GatewayNotRunning:
            return recovery_document(place.keys)

    tell(done(look), as_json=as_json)


@recovery_app.command("verify")
def verify(
    backup: BackupOption = None,
    share: ShareOption = None,
    keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open a backup in memory with a quorum of shares and compare it with the keys that are here.
    Nothing is written, nothing secret is told. A share that is wrong is named.

    Example: hexagone keys recovery verify --share a/share-1.txt --share b/share-4.txt
    """
    place = place_of(keys, data, socket)
    content = done(lambda: acts.newest_backup(place, backup or []))
    shares = gather(share or [], done(lambda: read_manifest(content)).record)
    opened, differ = done(lambda: acts.verify(place, content, shares))
    answer: dict[str, object] = {
        "backup": opened.manifest.number,
        "made_at_ms": opened.manifest.made_at_ms,
        "shares": list(opened.used),
        "files": len(opened.holding.files),
        "keys": len(opened.manifest.living),
        "compared": differ is not None,
        "differ": differ or [],
    }
    tell(answer, as_json=as_json)
    if differ:
        raise typer.Exit(1)


@recovery_app.command("restore")
def restore(
    backup: BackupOption = None,
    share: ShareOption = None,
    journal: JournalOption = None,
    no_journal: Annotated[
        bool, typer.Option("--no-journal", help="there is none: nobody tells what was destroyed")
    ] = False,
    newer: Annotated[
        list[Path] | None,
        typer.Option("--newer", help="a newer backup, for what it tells was destroyed"),
    ] = None,
    without_destroyed: Annotated[
        bool,
        typer.Option("--without-destroyed", help="leave out keys that were destroyed since"),
    ] = False,
    bring_back: Annotated[
        list[str] | None,
        typer.Option(
            "--bring-back", metavar="TENANT/EPOCH", help="undo its erasure: its exact name"
        ),
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the keys back from a backup, with a quorum of shares; the gateway must be stopped.
    Refused if a key would come back that was destroyed since.

    Example: hexagone keys recovery restore --backup /srv/copy --keys new/keys --journal journal
    """
    place = place_of(keys, data, socket, journal)
    if place.journal is None and not no_journal:
        raise typer.BadParameter(
            say("say where the journal is, --journal DIR, or that there is none, --no-journal")
        )
    content = done(lambda: acts.newest_backup(place, backup or []))
    shares = gather(share or [], done(lambda: read_manifest(content)).record)
    if not dry_run:
        confirm(say("Keys are written into {folder}.", folder=place.keys), yes=yes)
    opened, written, left = done(
        lambda: acts.restore(
            place,
            content,
            shares,
            newer=newer or [],
            without_destroyed=without_destroyed,
            bring_back=frozenset(bring_back or []),
            dry_run=dry_run,
        )
    )
    answer: dict[str, object] = {
        "backup": opened.manifest.number,
        "made_at_ms": opened.manifest.made_at_ms,
        "shares": list(opened.used),
        "written": [str(path) for path in written],
        "left_out": left,
        "keys": len(opened.manifest.living) - len(left),
    }
    tell(answer, as_json=as_json)


# What commands and the ceremony share


def done(act: Callable[[], T]) -> T:
    """What an act answers; ends the command when it is refused."""
    try:
        return act()
    except (StorageError, OSError) as error:
        stop(error)


def place_of(
    keys: Path | None, data: Path | None, socket: Path | None, journal: Path | None = None
) -> acts.Place:
    """Where the command works: DATA/keys and DATA/journal, unless other folders are named."""
    folder = data or Path(os.environ.get(DATA_VARIABLE) or DATA_DEFAULT)
    if journal is None and (folder / "journal" / "logs").is_dir():
        journal = folder / "journal"
    return acts.Place(
        keys=keys or folder / "keys",
        client=client_of(data, socket),
        env=RealEnv(threads_max=1),
        journal=journal,
    )


def folders(to: Sequence[Path] | None, data: Path | None) -> list[Path]:
    """Where backups go."""
    folder = data or Path(os.environ.get(DATA_VARIABLE) or DATA_DEFAULT)
    return [path.absolute() for path in to or [folder / "recovery"]]


def named_paths(also: Sequence[str]) -> dict[str, Path]:
    """NAME=PATH. Raises: typer.BadParameter."""
    found = {}
    for text in also:
        name, mark, path = text.partition("=")
        if (
            not mark
            or not name.replace("-", "").replace("_", "").isalnum()
            or not Path(path).exists()
        ):
            raise typer.BadParameter(say("--also takes NAME=PATH of something that exists"))
        found[name] = Path(path).absolute()
    return found


def gather(files: Sequence[Path], record: ShareSet) -> list[Share]:
    """Shares from files; as many as are still needed are asked for and typed unseen."""
    shares: dict[int, Share] = {}
    for path in files:
        shared = done(lambda: share_of(path, record))  # noqa: B023
        shares[shared.place] = shared
    if not _is_asked():
        return list(shares.values())
    mistakes = 0
    while len(shares) < record.threshold:
        typed = typer.prompt(
            say("share {n} of {needed}", n=len(shares) + 1, needed=record.threshold),
            hide_input=True,
            err=True,
        )
        try:
            shared = read_share(typed)
            check_share(shared, record)
        except (ShareInvalid, WrongShareSet) as error:
            write_refusal(*said(error))
            mistakes += 1
            if mistakes >= MISTAKES_MAX:
                raise typer.Exit(1) from error
            continue
        shares[shared.place] = shared
        typer.echo(say("{holder} is right", holder=record.holder(shared.place)), err=True)
    return list(shares.values())


def give_out(shares: Sequence[Share], record: ShareSet, out: Path | None) -> list[str]:
    """Shares to their custodians: files, or once on the terminal; names of the files.

    Raises: OSError.
    """
    if out is not None:
        return [str(acts.write_share(out, share, record)) for share in shares]
    for share in shares:
        typer.prompt(
            say("{holder}: be alone, then press Enter", holder=record.holder(share.place)),
            default="",
            show_default=False,
        )
        typer.echo(acts.share_text(share, record))
        typer.prompt(say("Written down? Press Enter"), default="", show_default=False)
        typer.echo(CLEAR, nl=False)
    return []


def tell(answer: dict[str, object], *, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        typer.echo(json.dumps(answer))
        return
    for name, value in answer.items():
        typer.echo(f"{name.replace('_', ' '):<12} {_shown(name, value)}")


def _shown(name: str, value: object) -> str:
    if name.endswith("_at_ms") and isinstance(value, int):
        return f"{datetime.fromtimestamp(value // 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={_shown(key, one)}" for key, one in value.items())
    return str(value)


def made(recovery: Recovery, given: list[str], number: int) -> dict[str, object]:
    """What is told of a set of shares that has come into effect."""
    record = recovery.record
    return {
        "set": record.set_id.hex(),
        "threshold": record.threshold,
        "shares": given or len(record.digests),
        "backup": number,
        "to": [str(path) for path in recovery.to],
    }


def _check_way(out: Path | None, on_terminal: bool) -> None:
    if (out is None) != on_terminal:
        raise typer.BadParameter(say("say --out DIR or --print"))


def share_of(path: Path, record: ShareSet) -> Share:
    """A share of the set, from its file. Raises: ShareInvalid, WrongShareSet, OSError."""
    with path.open(encoding="utf-8", errors="replace") as file:
        share = read_share(file.read(SHARE_BYTES_MAX))
    check_share(share, record)
    return share


def _is_asked() -> bool:
    return typer.get_text_stream("stdin").isatty()
