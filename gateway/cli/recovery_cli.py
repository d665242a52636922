"""`hexagone keys recovery`: a second life for keys, which no single person has.

The commands work where the keys folder is. Shares come from files, or are typed unseen; never from
the command line, which other users of the machine can read.

Exit codes: 0 done; 1 refused, or a backup is not what is here; 2 the command is wrong.
"""

from __future__ import annotations

import typer

from gateway.cli import recovery_acts as acts
from gateway.cli.client import GatewayNotRunning
from gateway.cli.policy_cli import confirm
from gateway.cli.recovery_terminal import (
    AlsoOption,
    BackupOption,
    CountOption,
    CustodianOption,
    KeysOption,
    OutOption,
    PrintOption,
    ShareOption,
    ThresholdOption,
    ToOption,
    YesOption,
    check_way,
    done,
    folders,
    gather,
    give_out,
    made,
    named_paths,
    place_of,
    tell,
)
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption
from gateway.recovery.backup import read_manifest
from gateway.recovery.folder import read_recovery, recovery_document
from gateway.terminal.language import say


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
    check_way(out, on_terminal)

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
    check_way(out, on_terminal)
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

    Exit codes: 0 the backup has the keys that are here; 1 it differs, or a share is wrong; 2 the
    command is wrong
    """
    place = place_of(keys, data, socket)
    content = done(lambda: acts.newest_backup(place, backup or []))
    shares = gather(share or [], done(lambda: read_manifest(content)).record)
    opened, differ = done(lambda: acts.verify(place, content, shares))
    answer = acts.about(opened) | {"compared": differ is not None, "differ": differ or []}
    tell(answer, as_json=as_json)
    if differ:
        raise typer.Exit(1)
