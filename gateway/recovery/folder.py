"""Recovery on a keys folder: who the recipient is, the files that are backed up, where backups lie.

Not for shares or for what a backup looks like. In the folder of the keys:

    recovery.json          the public record of the shares, and where backups go
    recovery.state.json    the last backup: its number, and what it held
    recovery.pending       acts without a gateway, which the next start puts into the journal
    recovery.recording     those that it is putting there

Backups are `recovery-<number>.hxb` in each of the folders that the record names; the last three
stay. One that has a key that was destroyed since, or is of another set of shares, is taken away as
soon as a fresh one is durable everywhere.

Source: docs/recovery.md.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.journal.events import CLUSTER
from gateway.journal.notes import NOTE_BYTES_MAX
from gateway.journal.shelf import LOGS
from gateway.journal.store import CHECKPOINT
from gateway.recovery.backup import (
    ALSO,
    BACKUP_BYTES_MAX,
    FILES_MAX,
    BackupInvalid,
    Holding,
    Manifest,
    encode_document,
    holding_of,
    read_manifest,
    read_record,
    record_document,
    seal_backup,
)
from gateway.recovery.recipient import RecipientInvalid
from gateway.recovery.shares import ShareSet
from storaged.base.durable import replace_file, sync_directory
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

RECORD, STATE, PENDING = "recovery.json", "recovery.state.json", "recovery.pending"
TAKEN = "recovery.recording"
_OWN = frozenset({STATE, PENDING, TAKEN})  # no part of a backup
FORM = "hexagone-recovery/1"
KEPT = 3
SMALL_BYTES_MAX = 1 << 20
_PREFIX, _SUFFIX = "recovery-", ".hxb"
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


class NoRecovery(StorageError):
    """There are no recovery shares for this keys folder."""

    kind = Kind.NOT_FOUND
    hint = "`hexagone keys recovery init` makes them"


class RecoveryExists(StorageError):
    """There are recovery shares for this keys folder already."""

    kind = Kind.CONFLICT
    hint = "`hexagone keys recovery reshare` makes others, with a quorum of these"


class RecordInvalid(StorageError):
    """What is known about recovery is damaged."""

    kind = Kind.CORRUPT
    hint = "take recovery.json from a backup's manifest, or begin anew: move it away and `init`"


class BackupNotWritten(StorageError):
    """The backup could not be written to all its folders."""

    kind = Kind.UNAVAILABLE
    hint = "make room, or mount what is missing; it is tried again by itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What `recovery.json` says.

    Args:
        to: folders for backups. also: further files or folders by name, such as an HSM's token.
    """

    record: ShareSet
    to: tuple[Path, ...]
    also: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastBackup:
    """What `recovery.state.json` says. `fingerprint`: of what was in it."""

    number: int = 0
    made_at_ms: int = 0
    fingerprint: str = ""
    set_id: str = ""


def write_recovery(keys: Path, recovery: Recovery) -> None:
    """Make a set of shares the one that backups are made for. Raises: OSError."""
    document = {
        "form": FORM,
        "shares": record_document(recovery.record),
        "to": [str(path) for path in recovery.to],
        "also": {name: str(path) for name, path in recovery.also.items()},
    }
    replace_file(keys / RECORD, encode_document(document) + b"\n")


def read_recovery(keys: Path) -> Recovery:
    """Raises: NoRecovery, RecordInvalid."""
    try:
        document = json.loads(_content(keys / RECORD, SMALL_BYTES_MAX))
        if document["form"] != FORM:
            raise RecordInvalid(path=keys / RECORD, reason="another form")
        return Recovery(
            record=read_record(document["shares"]),
            to=tuple(Path(path) for path in document["to"]),
            also={str(name): Path(path) for name, path in document["also"].items()},
        )
    except FileNotFoundError as error:
        raise NoRecovery(keys=keys) from error
    except (*_MALFORMED, RecipientInvalid) as error:
        raise RecordInvalid(path=keys / RECORD) from error


def read_state(keys: Path) -> LastBackup:
    """The last backup that was made here; a damaged record of it counts as none."""
    try:
        document = json.loads(_content(keys / STATE, SMALL_BYTES_MAX))
        return LastBackup(
            number=int(document["number"]),
            made_at_ms=int(document["made_at_ms"]),
            fingerprint=str(document["fingerprint"]),
            set_id=str(document["set"]),
        )
    except (FileNotFoundError, *_MALFORMED):
        return LastBackup()


def collect(keys: Path, also: Mapping[str, Path]) -> Holding:
    """The files that a backup holds. Raises: as `holding_of`, BackupNotWritten, OSError."""
    files = {
        name: _content(path, BACKUP_BYTES_MAX) for name, path in _walk(keys) if name not in _OWN
    }
    for name, path in also.items():
        found = dict(_walk(path)) if path.is_dir() else {"": path}
        if not found:  # not mounted: a backup without it would replace those with it
            raise BackupNotWritten(failed=f"{name}: nothing in {path}")
        for below, file in found.items():
            files[f"{ALSO}/{name}/{below}".rstrip("/")] = _content(file, BACKUP_BYTES_MAX)
    return holding_of(files)


def marks(keys: Path, also: Mapping[str, Path]) -> tuple[tuple[str, int, int, int], ...]:
    """What changes whenever a file that is backed up does: cheap enough to look every second."""
    found = []
    for folder in (keys, *also.values()):
        walked = _walk(folder) if folder.is_dir() else iter(((folder.name, folder),))
        for name, path in walked:
            if name not in _OWN:
                with suppress(FileNotFoundError):
                    about = path.stat()
                    found.append((str(path), about.st_ino, about.st_mtime_ns, about.st_size))
    return tuple(found)


def write_backup(
    keys: Path, recovery: Recovery, holding: Holding, env: Env, *, journal: Path | None = None
) -> tuple[Manifest, list[Path]]:
    """Make a backup and put it into every folder; older ones that must not stay are taken away.

    Returns: its manifest, and where it is. Raises: BackupNotWritten, KeysInvalid, OSError.
    """
    last = read_state(keys)
    number, now_ms = 1 + max(last.number, *map(_newest, recovery.to), 0), env.now_ms()
    content = seal_backup(
        holding, recovery.record, number=number, now_ms=now_ms, journal=_checkpoint(journal)
    )
    written, failed = [], []
    for folder in recovery.to:
        path = folder / f"{_PREFIX}{number:06d}{_SUFFIX}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, content)
            written.append(path)
        except OSError as error:
            failed.append(f"{folder}: {error.strerror}")
    if failed:
        raise BackupNotWritten(failed="; ".join(failed))
    manifest = read_manifest(content)
    state = {
        "number": number,
        "made_at_ms": now_ms,
        "fingerprint": holding.fingerprint(),
        "set": recovery.record.set_id.hex(),
    }
    replace_file(keys / STATE, encode_document(state) + b"\n")
    for folder in recovery.to:
        _prune(folder, manifest)
    return manifest, written


def backups_in(folder: Path) -> list[tuple[int, Path]]:
    """(number, path) of the backups in a folder, the oldest first."""
    found = []
    if folder.is_dir():
        for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            digits = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
            if digits.isascii() and digits.isdigit() and len(digits) < 10:
                found.append((int(digits), path))
    return sorted(found)


def read_backup(path: Path) -> bytes:
    """A backup's bytes. Raises: BackupInvalid, OSError."""
    content = _content(path, BACKUP_BYTES_MAX + 1)
    if len(content) > BACKUP_BYTES_MAX:
        raise BackupInvalid(path=path, reason="too long")
    return content


def remember(keys: Path, kind: str, body: Mapping[str, str | int], env: Env) -> None:
    """Keep an act that no gateway could record, for the journal. Raises: OSError."""
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = keys / PENDING
    held = _content(path, SMALL_BYTES_MAX) if path.exists() else b""
    line = encode_document({"at_ms": env.now_ms(), "type": kind, "body": dict(body)}) + b"\n"
    replace_file(path, held + line)


def remembered(keys: Path, file: str = PENDING) -> list[tuple[int, str, dict[str, str | int]]]:
    """(at ms, type, body) of acts that wait for a journal; damaged lines are passed over."""
    found = []
    with suppress(FileNotFoundError):
        for line in _content(keys / file, SMALL_BYTES_MAX).splitlines():
            with suppress(*_MALFORMED):
                document = json.loads(line)
                body = {str(name): value for name, value in document["body"].items()}
                found.append((int(document["at_ms"]), str(document["type"]), body))
    return found


def take_remembered(keys: Path) -> None:
    """Put acts that wait aside, so that others may be added. Raises: OSError."""
    if not (keys / TAKEN).exists():
        with suppress(FileNotFoundError):
            (keys / PENDING).rename(keys / TAKEN)


def forget_taken(keys: Path) -> None:
    """What was put aside is in the journal. Raises: OSError."""
    (keys / TAKEN).unlink(missing_ok=True)
    sync_directory(keys)


def _prune(folder: Path, newest: Manifest) -> None:
    # Of what nobody can look into only the newest stays: an older one may have a destroyed key.
    kept = 1 if newest.is_opaque else KEPT
    for number, path in backups_in(folder):
        if number < newest.number and (number <= newest.number - kept or _must_go(path, newest)):
            _erase(path)
    sync_directory(folder)


def _must_go(path: Path, newest: Manifest) -> bool:
    try:
        manifest = read_manifest(read_backup(path))
    except (BackupInvalid, OSError):
        return False  # not ours to judge: it goes when it is old
    is_other = manifest.record.set_id != newest.record.set_id
    return is_other or manifest.may_hold(newest.epochs)


def _erase(path: Path) -> None:
    """Overwrite once, then unlink: a drive that keeps old blocks keeps ciphertext only."""
    with suppress(FileNotFoundError):
        with path.open("r+b") as file:
            file.write(bytes(os.fstat(file.fileno()).st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()


def _newest(folder: Path) -> int:
    found = backups_in(folder)
    return found[-1][0] if found else 0


def _checkpoint(journal: Path | None) -> str:
    if journal is None:
        return ""
    try:
        return _content(journal / LOGS / CLUSTER / CHECKPOINT, NOTE_BYTES_MAX).decode(
            "ascii", "replace"
        )
    except OSError:
        return ""


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name with slashes, path) of the regular files below a folder; links are not followed."""
    count = 0
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent) / name
            is_file = stat.S_ISREG(path.lstat().st_mode)
            if not is_file or (name.startswith(".") and name.endswith(".partial")):
                continue
            count += 1
            if count > FILES_MAX:
                raise RecordInvalid(folder=folder, files_max=FILES_MAX)
            yield path.relative_to(folder).as_posix(), path


def _content(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def chosen_backup(paths: Sequence[Path]) -> Path:
    """The newest backup of files and folders that were named. Raises: NoRecovery."""
    found = []
    for path in paths:
        found += backups_in(path) if path.is_dir() else [(0, path)]
    if not found:
        raise NoRecovery(reason="no backup there")
    return max(found)[1]


def recovery_document(keys: Path) -> dict[str, Any]:
    """What is known of recovery without a share. Raises: RecordInvalid, KeysInvalid, OSError."""
    try:
        recovery = read_recovery(keys)
    except NoRecovery:
        return {"is_set_up": False, "keys": str(keys)}
    last, record = read_state(keys), recovery.record
    held = collect(keys, recovery.also)
    is_current = last.set_id == record.set_id.hex() and last.fingerprint == held.fingerprint()
    return {
        "is_set_up": True,
        "keys": str(keys),
        "cluster": record.cluster.hex(),
        "set": record.set_id.hex(),
        "threshold": record.threshold,
        "shares": len(record.digests),
        "custodians": list(record.custodians),
        "made_at_ms": record.made_at_ms,
        "to": [str(path) for path in recovery.to],
        "also": {name: str(path) for name, path in recovery.also.items()},
        "backup": {"number": last.number, "made_at_ms": last.made_at_ms, "is_current": is_current},
    }
