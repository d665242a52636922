"""What the commands `hexagone keys recovery …` do, on the machine where the keys are.

Not for asking people (`gateway.cli.recovery_cli`). Shares and the recovery key never reach the
gateway's process. Every act is in the journal before it is done: a running gateway is told, and an
act that it refuses to record is not done; without a gateway it is kept beside the keys, and the
next start records it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.cli.client import AdminClient, GatewayNotRunning
from gateway.recovery.backup import (
    SERVICE,
    SERVICE_FILE,
    BackupInvalid,
    Manifest,
    read_manifest,
)
from gateway.recovery.folder import (
    NoRecovery,
    Recovery,
    RecoveryExists,
    chosen_backup,
    collect,
    read_backup,
    read_recovery,
    remember,
    write_backup,
    write_recovery,
)
from gateway.recovery.later import BACKUP
from gateway.recovery.restore import (
    Opened,
    differences,
    open_with,
)
from gateway.recovery.shares import Share, ShareSet, join_shares, make_shares
from gateway.terminal.language import say
from gateway.terminal.user_files import FileUnusable, reason_of
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

COMMAND = "command.recovery."


class ShareFolderUnfit(StorageError):
    """Shares do not belong there."""

    kind = Kind.INVALID
    hint = "name an empty folder that is no part of the cluster, best a drive that you take out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where commands about recovery work.

    Args:
        keys: the folder of the keys. client: of the gateway that may run on them.
        journal: folder of the journal, if it is known.
    """

    keys: Path
    client: AdminClient
    env: Env
    journal: Path | None = None

    @property
    def service(self) -> Path:
        """The folder of a key service on this machine, as `hexagone up` has it."""
        return self.keys.absolute().parent / SERVICE

    def announce(self, verb: str, fields: Mapping[str, str]) -> bool:
        """Have an act recorded before it is done; whether a gateway did.

        Raises: AdminRefused, and as the client; OSError.
        """
        try:
            self.client.recovery("POST", verb, fields)
        except GatewayNotRunning:
            remember(self.keys, COMMAND + verb, fields, self.env)
            return False
        return True

    def back_up(self, recovery: Recovery) -> int:
        """Make a backup; its number. Raises: as the client and `write_backup`."""
        if SERVICE not in recovery.also:  # else the gateway is not to see what the service keeps
            try:
                return int(self.client.recovery("POST", "backup", {})["number"])
            except GatewayNotRunning:
                pass
        held = collect(self.keys, recovery.also)
        manifest, _ = write_backup(self.keys, recovery, held, self.env, journal=self.journal)
        body: dict[str, str | int] = {
            "number": manifest.number,
            "set": manifest.record.set_id.hex(),
        }
        remember(self.keys, BACKUP, body, self.env)
        return manifest.number


def begin(
    place: Place,
    *,
    count: int,
    threshold: int,
    custodians: Sequence[str],
    to: Sequence[Path],
    also: Mapping[str, Path],
) -> tuple[Recovery, list[Share]]:
    """The first set of shares; nothing is in effect until `adopt`.

    Raises: RecoveryExists, ShareInvalid, KeysInvalid, OSError; as the client.
    """
    try:
        read_recovery(place.keys)
    except NoRecovery:
        pass
    else:
        raise RecoveryExists(keys=place.keys)
    cluster = collect(place.keys, {}).cluster
    record, shares = make_shares(
        cluster, count=count, threshold=threshold, env=place.env, custodians=custodians
    )
    place.announce("init", set_fields(record))
    service = place.service
    kept = {**({SERVICE: service} if (service / SERVICE_FILE).exists() else {}), **also}
    return Recovery(record=record, to=tuple(to), also=kept), shares


def begin_again(
    place: Place, shares: Sequence[Share], *, count: int, threshold: int, custodians: Sequence[str]
) -> tuple[Recovery, list[Share]]:
    """Another set of shares, which a quorum of the present one allows; in effect with `adopt`.

    Raises: NoRecovery; as `join_shares` and `begin`.
    """
    held = read_recovery(place.keys)
    join_shares(shares, held.record)
    record, fresh = make_shares(
        held.record.cluster,
        count=count,
        threshold=threshold,
        env=place.env,
        custodians=custodians,
    )
    place.announce("reshare", {**set_fields(record), "was": held.record.set_id.hex()})
    return replace(held, record=record), fresh


def adopt(place: Place, recovery: Recovery) -> int:
    """Put a set of shares, which custodians hold by now, into effect; the number of its backup.

    Raises: OSError; as `Place.back_up`.
    """
    write_recovery(place.keys, recovery)
    return place.back_up(recovery)


def check_share_folder(folder: Path, place: Place, to: Sequence[Path]) -> None:
    """Raises: ShareFolderUnfit."""
    out = folder.absolute()
    for taken in (place.keys, *to):
        if out.is_relative_to(taken.absolute()) or taken.absolute().is_relative_to(out):
            raise ShareFolderUnfit(folder=folder, reason=f"{taken} is a part of the cluster")
    if out.exists() and any(out.iterdir()):
        raise ShareFolderUnfit(folder=folder, reason="it is not empty")


def write_share(folder: Path, share: Share, record: ShareSet) -> Path:
    """A share in a file of its own, mode 0600. Raises: OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"share-{share.place}.txt"
    replace_file(path, share_text(share, record).encode())
    return path


def share_text(share: Share, record: ShareSet) -> str:
    """A share as its custodian keeps it, in the language in use; what is read again is in none."""
    name = next(iter(record.custodians[share.place - 1 : share.place]), "")
    whose = say(
        "Hexagone: recovery share {place} of {count}{custodian}.",
        place=share.place,
        count=share.count,
        custodian=f" ({name})" if name else "",
    )
    back = say(
        "Any {threshold} of them bring the keys of cluster {cluster} back.",
        threshold=share.threshold,
        cluster=record.cluster.hex(),
    )
    away = say("Keep it away from the others and from the cluster.")
    return (
        f"{whose}\n{back}\n{away}\n\n"
        f"set:     {record.set_id.hex()}\n"
        f"share:   {share.encode()}\n"
        f"digest:  {share.digest()}\n"
    )


def newest_backup(place: Place, named_paths: Sequence[Path]) -> bytes:
    """The backup that is meant: the newest of those named, else of the folders they go to.

    Raises: NoRecovery, BackupInvalid, FileUnusable.
    """
    paths = list(named_paths) or list(read_recovery(place.keys).to)
    return backup_of(chosen_backup(paths))


def backup_of(path: Path) -> bytes:
    """The bytes of a backup. Raises: BackupInvalid, FileUnusable."""
    try:
        return read_backup(path)
    except OSError as error:
        raise FileUnusable(
            path,
            hint="`hexagone keys recovery backup` writes backups; name one, or their folder",
            reason=reason_of(error),
        ) from error


def verify(
    place: Place, content: bytes, shares: Sequence[Share]
) -> tuple[Opened, list[str] | None]:
    """Open a backup in memory and compare it; names of files that differ, None: nothing is here.

    Raises: as `open_with`, `Place.announce`.
    """
    manifest = read_manifest(content)
    fields = {"set": manifest.record.set_id.hex(), "number": str(manifest.number)}
    is_here = place.keys.is_dir() and any(place.keys.iterdir())
    if is_here:
        check_set(place, manifest)
        place.announce("verify", fields)
    opened = open_with(content, shares)
    return opened, differences(opened, place.keys) if is_here else None


def about(opened: Opened) -> dict[str, object]:
    """What is told of a backup that was opened."""
    return {
        "backup": opened.manifest.number,
        "made_at_ms": opened.manifest.made_at_ms,
        "shares": list(opened.used),
        "files": len(opened.holding.files),
        "keys": len(opened.manifest.living),
    }


def check_set(place: Place, manifest: Manifest) -> None:
    """A backup is for the shares that are in use here. Raises: WrongShareSet, BackupInvalid."""
    try:
        current = read_recovery(place.keys).record
    except NoRecovery:
        return
    if current.cluster != manifest.record.cluster:
        raise BackupInvalid(reason="of another cluster", cluster=manifest.record.cluster.hex())


def set_fields(record: ShareSet) -> dict[str, str]:
    """What the journal is told of a set of shares."""
    return {
        "set": record.set_id.hex(),
        "threshold": str(record.threshold),
        "shares": str(len(record.digests)),
    }
