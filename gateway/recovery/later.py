"""What the journal tells of the time since a backup: keys that were destroyed, newer backups, what
approvals were used for a restore.

Not for what to do about it (`gateway.recovery.restore`). Whether the journal is whole is for
`gateway.journal.verify`; here every line is held against its own checks, and to name a key that was
never destroyed keeps it from coming back, not more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.journal.certificate import DESTROYED as ERASED
from gateway.journal.events import CLUSTER, LOG_NAME, Entry, EntryInvalid, read_line
from gateway.journal.notes import NOTE_BYTES_MAX, NoteInvalid, read_checkpoint, read_note
from gateway.journal.shelf import LOGS
from gateway.journal.store import CHECKPOINT, segments_of
from gateway.recovery.kept_epochs import KeyOf, owner_of

DESTROYED, BACKUP = "recovery.destroyed", "recovery.backup"
RESTORED = "command.recovery.restore"
_ACT = "admin.key-epochs.destroy"
_WANTED = tuple(f'"type":"{kind}"'.encode() for kind in (DESTROYED, BACKUP, RESTORED, _ACT, ERASED))
_ITEM = re.compile(r"tenant-key/([0-9a-f]{32})/([1-9][0-9]{0,8})")


@dataclass(slots=True)
class Later:
    """Destroyed epochs of keys with the time; the newest backup and the shares it was made
    for; ids of the requests that restores were approved by.
    """

    destroyed: dict[KeyOf, int] = field(default_factory=dict)
    approved: set[str] = field(default_factory=set)
    number: int = 0
    set_id: str = ""


def read_later(journal: Path) -> Later:
    """What a journal, or an export of one, tells. Raises: OSError."""
    found = Later()
    logs = journal / LOGS
    for folder in sorted(logs.iterdir()) if logs.is_dir() else []:
        if LOG_NAME.fullmatch(folder.name):
            _read_log(folder, found)
    return found


def reach_of(journal: Path) -> int:
    """How many events of the cluster's log the last checkpoint of a journal is of; 0: none is
    there, so the journal tells nothing. Its signatures are for `journal verify`.
    """
    try:
        with (journal / LOGS / CLUSTER / CHECKPOINT).open("rb") as file:
            return read_checkpoint(read_note(file.read(NOTE_BYTES_MAX)).text).size
    except (OSError, NoteInvalid):
        return 0


def _read_log(folder: Path, found: Later) -> None:
    begun: dict[object, KeyOf] = {}
    for entry in _entries(folder):
        body = entry.body
        if entry.phase == "intent":
            # Such an act is in the log of the tenant that it names.
            name = str(body.get("named_key", ""))
            key = _key(owner_of(folder.name, name.encode()), body.get("epoch"))
            is_act = entry.type == _ACT and folder.name != CLUSTER
            if is_act and key and (name or body.get("tenant")):
                begun[body.get("request")] = key
        elif entry.type == DESTROYED:
            key = _key(body.get("tenant"), body.get("epoch"))
            if key:
                found.destroyed[key] = entry.at_ms
        elif entry.type == ERASED:
            item = _ITEM.fullmatch(str(body.get("item")))
            if item:
                found.destroyed[item[1], int(item[2])] = entry.at_ms
        elif entry.type == RESTORED:
            found.approved.add(str(body.get("request", "")))
        elif entry.type == BACKUP:
            number = body.get("number")
            if isinstance(number, int) and number > found.number:
                found.number, found.set_id = number, str(body.get("set"))
        elif body.get("status") == 200 and body.get("request") in begun:
            found.destroyed[begun[body.get("request")]] = entry.at_ms


def _entries(folder: Path) -> Iterator[Entry]:
    for first, path in segments_of(folder):
        with path.open("rb") as file:
            for seq, line in enumerate(file, first):
                if any(wanted in line for wanted in _WANTED):
                    try:
                        yield read_line(line, seq)
                    except EntryInvalid:
                        continue  # `journal verify` tells of it


def _key(tenant: object, epoch: object) -> KeyOf | None:
    text = str(epoch)
    if not isinstance(tenant, str) or not (text.isascii() and text.isdigit() and len(text) < 10):
        return None
    return tenant, int(text)
