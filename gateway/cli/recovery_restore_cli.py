"""`hexagone keys recovery request` and `restore`: keys come back from a backup, with shares of a
quorum of custodians and, where approvers are registered in it, with their approvals.

Not for what is done (`gateway.cli.recovery_restore`).

Exit codes: 0 done; 1 refused; 2 the command is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import recovery_acts as acts
from gateway.cli import recovery_restore as restoring
from gateway.cli.policy_cli import confirm
from gateway.cli.recovery_terminal import (
    BackupOption,
    BringBackOption,
    DryRunOption,
    JournalOption,
    KeysOption,
    NoJournalOption,
    PlacesOption,
    ShareOption,
    YesOption,
    done,
    gather,
    named_paths,
    place_with_journal,
    tell,
)
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption
from gateway.recovery.backup import read_manifest
from gateway.recovery.consent import has_approvers
from gateway.terminal.language import heard, say
from gateway.terminal.user_files import FileKind

PASSPHRASE = FileKind(bytes_max=4096, hint="it holds what seals the secret of the key service")
RequestOption = Annotated[
    Path | None, typer.Option("--request", dir_okay=False, help="what approvers have signed")
]
ApprovalOption = Annotated[
    list[Path] | None,
    typer.Option("--approval", dir_okay=False, help="file of an approval; repeatable"),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--keyd-passphrase",
        dir_okay=False,
        help="file of what seals the key service's secret, where it is not in the backup",
    ),
]


def request(
    out: Annotated[Path, typer.Option("--out", help="file of the text that approvers sign")],
    backup: BackupOption = None,
    journal: JournalOption = None,
    no_journal: NoJournalOption = False,
    bring_back: BringBackOption = None,
    also: PlacesOption = None,
    requester: Annotated[
        str, typer.Option("--requester", help="who asks, as approvers are named; he cannot approve")
    ] = "",
    dry_run: DryRunOption = False,
    keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask approvers for a restore: the text that they sign, for exactly this backup into exactly
    this place. It wants the options that `restore` will get, and no share.

    Example: hexagone keys recovery request --backup /srv/copy --journal journal --out request.txt
    """
    place = place_with_journal(keys, data, socket, journal, no_journal)
    wish = _wish(place, backup or [], bring_back or [], also or [])
    plan, asked = done(lambda: restoring.request(wish, requester))
    if not as_json:
        for line in asked.in_words():
            typer.echo(heard(line), err=True)
    if not dry_run:
        done(lambda: out.write_text(asked.text, encoding="ascii"))
    answer = {
        "request": asked.request_id,
        "name": plan.name,
        "has_approvers": has_approvers(plan.manifest),
        "expires_at_ms": asked.expires_ms,
        "permits": list(asked.permits),
        "written": [] if dry_run else [str(out)],
    }
    tell(answer, as_json=as_json)


def restore(
    backup: BackupOption = None,
    share: ShareOption = None,
    request: RequestOption = None,
    approval: ApprovalOption = None,
    keyd_passphrase: PassphraseOption = None,
    journal: JournalOption = None,
    no_journal: NoJournalOption = False,
    newer: Annotated[
        list[Path] | None,
        typer.Option("--newer", help="a newer backup, for what it tells was destroyed"),
    ] = None,
    without_destroyed: Annotated[
        bool,
        typer.Option("--without-destroyed", help="leave out keys that were destroyed since"),
    ] = False,
    bring_back: BringBackOption = None,
    also: PlacesOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the keys back from a backup, with a quorum of shares; the gateway must be stopped.
    Refused if a key would come back that was destroyed since. Where approvers are registered in the
    backup, with their approvals too: `keys recovery request` writes what they sign.

    Example: hexagone keys recovery restore --backup /srv/copy --keys new/keys --journal journal
    """
    place = place_with_journal(keys, data, socket, journal, no_journal)
    wish = _wish(place, backup or [], bring_back or [], also or [])
    signed = done(lambda: restoring.read_signed(request, approval or []))
    if not dry_run:
        done(lambda: restoring.check_asked(wish.content, signed))
    shares = gather(share or [], done(lambda: read_manifest(wish.content)).record)
    if not dry_run:
        confirm(say("Keys are written into {folder}.", folder=place.keys), yes=yes)
    found = done(
        lambda: restoring.restore(
            wish,
            shares,
            signed,
            newer=newer or [],
            without_destroyed=without_destroyed,
            dry_run=dry_run,
            passphrase=PASSPHRASE.read(keyd_passphrase) if keyd_passphrase else None,
        )
    )
    tell(restoring.told(found), as_json=as_json)


def _wish(
    place: acts.Place, backup: Sequence[Path], bring_back: Sequence[str], also: Sequence[str]
) -> restoring.Wish:
    return restoring.Wish(
        place=place,
        content=done(lambda: acts.newest_backup(place, backup)),
        bring_back=frozenset(bring_back),
        also=named_paths(also, exist=False),
    )
