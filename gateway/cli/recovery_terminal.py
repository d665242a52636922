"""What commands about recovery of keys ask and tell on a terminal, and their options.

Not for what they do (`gateway.cli.recovery_acts`). Shares are read from files or typed unseen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gateway.cli import recovery_acts as acts
from gateway.cli.status_cli import DATA_DEFAULT, DATA_VARIABLE, client_of
from gateway.recovery.folder import Recovery
from gateway.recovery.shares import (
    COUNT_MAX,
    Share,
    ShareInvalid,
    ShareSet,
    WrongShareSet,
    check_share,
    read_share,
)
from gateway.terminal.language import heard, say
from gateway.terminal.refusals import said, stop, write_refusal
from gateway.terminal.times import moment
from gateway.terminal.user_files import FileKind
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError

T = TypeVar("T")
MISTAKES_MAX = 5
SHARE = FileKind(
    bytes_max=4096, hint="a custodian's file: `hexagone keys recovery init` has made one for each"
)
CLEAR = "\x1b[2J\x1b[3J\x1b[H"

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
PlacesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--also", metavar="NAME=PATH", help="where it belongs (else below the keys folder)"
    ),
]
JournalOption = Annotated[
    Path | None, typer.Option("--journal", help="the journal, or an export (else DATA/journal)")
]
NoJournalOption = Annotated[
    bool, typer.Option("--no-journal", help="there is none: nobody tells what was destroyed")
]
BringBackOption = Annotated[
    list[str] | None,
    typer.Option("--bring-back", metavar="TENANT/EPOCH", help="undo its erasure: its exact name"),
]
YesOption = Annotated[bool, typer.Option("--yes", help="do not ask")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="only say what would be done")]


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


def place_with_journal(
    keys: Path | None, data: Path | None, socket: Path | None, journal: Path | None, none: bool
) -> acts.Place:
    """As `place_of`, where somebody has said whether there is a journal. Raises: BadParameter."""
    place = place_of(keys, data, socket, journal)
    if place.journal is None and not none:
        raise typer.BadParameter(
            say("say where the journal is, --journal DIR, or that there is none, --no-journal")
        )
    return place


def named_paths(also: Sequence[str], *, exist: bool = True) -> dict[str, Path]:
    """NAME=PATH. Raises: typer.BadParameter."""
    found = {}
    for text in also:
        name, mark, path = text.partition("=")
        is_name = name.replace("-", "").replace("_", "").isalnum()
        if not mark or not is_name or (exist and not Path(path).exists()):
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
    labels = {name: say(name.removesuffix("_ms").replace("_", " ")) for name in answer}
    width = max(12, *map(len, labels.values()))
    for name, value in answer.items():
        typer.echo(f"{labels[name]:<{width}} {_shown(name, value)}")


def _shown(name: str, value: object) -> str:
    if name.endswith("_at_ms") and isinstance(value, int):
        return moment(value)
    if isinstance(value, bool):
        return say("yes") if value else say("no")
    if isinstance(value, list | tuple):
        return ", ".join(heard(str(one)) for one in value)
    if isinstance(value, dict):
        return ", ".join(
            f"{say(key.removesuffix('_ms').replace('_', ' '))} {_shown(key, one)}"
            if isinstance(one, int)
            else f"{key}={one}"
            for key, one in value.items()
        )
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


def check_way(out: Path | None, on_terminal: bool) -> None:
    """Shares go one way or the other. Raises: typer.BadParameter."""
    if (out is None) != on_terminal:
        raise typer.BadParameter(say("say --out DIR or --print"))


def share_of(path: Path, record: ShareSet) -> Share:
    """A share of the set, from its file. Raises: ShareInvalid, WrongShareSet, FileUnusable."""
    share = read_share(SHARE.text(path))
    check_share(share, record)
    return share


def _is_asked() -> bool:
    return typer.get_text_stream("stdin").isatty()
