"""Bodies of events erased, where a law wants somebody forgotten; the tree stays as it is.

The leaf of an event is its header, which holds the hash of the body, and the body begins with a
salt: so a body can go, and every proof of before still holds. What stands in its place has the same
length. First an event says in the same log which bodies go: a body that is erased without one is a
finding of `verify`. Only accesses and acts of S3 can be forgotten, neither what administrators did
nor what the journal says of itself.

Source: docs/journal.md, "Forgetting". Requirement: E-07.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.journal.events import Event, Phase, is_erased, read_line
from gateway.journal.events import erased_body as filled
from gateway.journal.journal import Journal
from gateway.journal.shelf import LOGS
from gateway.journal.store import LogStore, read_lines, segments_of
from storaged.base.errors import Kind, StorageError

FORGOTTEN = "journal.erase"
FORGETTABLE = "s3."
EVENTS_MAX = 10_000  # in one go
SCANNED_MAX = 10_000_000


class NotForgettable(StorageError):
    """These events cannot be forgotten."""

    kind = Kind.INVALID


class ErasedBodies:
    """Looks, while a log is verified, whether every erased body was announced."""

    def __init__(self) -> None:
        self._erased: list[int] = []
        self._said: list[tuple[int, int]] = []

    def take(self, line: bytes, seq: int) -> None:
        """See a line that was checked. Raises: EntryInvalid."""
        header, _, body = line.partition(b"\t")
        if is_erased(body[:-1]):
            is_of_s3 = b'"type":"' + FORGETTABLE.encode() in header
            self._erased.append(seq if is_of_s3 else ~seq)
        elif b'"type":"' + FORGOTTEN.encode() + b'"' in header:
            said = read_line(line, seq).body
            first, last = said.get("first"), said.get("last")
            if isinstance(first, int) and isinstance(last, int):
                self._said.append((first, last))

    def judge(self, log: str, find: Callable[[str], None], tell: Callable[[str], None]) -> None:
        """Tell what was found in a whole log."""
        for seq in self._erased:
            if seq < 0:
                find(f"log {log}: the body of event {~seq} was erased; such events stay")
            elif not any(first <= seq <= last for first, last in self._said):
                find(f"log {log}: the body of event {seq} was erased, and no event says so")
        if self._erased:
            tell(f"log {log}: bodies that were erased: {len(self._erased)}")


def events_of(journal: Journal, log: str, subject: str) -> list[int]:
    """Events of S3 that somebody caused, by access key id or what else `who` says; the first
    EVENTS_MAX. Blocking: offload it.
    """
    wanted = f'"who":"{subject}"'.encode()
    found: list[int] = []
    for seq, line in enumerate(read_lines(journal.folder / LOGS / log, 0, SCANNED_MAX)):
        if wanted in line:
            entry = read_line(line, seq)
            if entry.type.startswith(FORGETTABLE) and entry.body.get("who") == subject:
                found.append(seq)
                if len(found) >= EVENTS_MAX:
                    break
    return found


async def forget(journal: Journal, log: str, seqs: Sequence[int]) -> int:
    """Erase the bodies of events; an event says so first. Idempotent; the number of events.

    Raises: NotForgettable, JournalUnavailable, EntryInvalid.
    """
    wanted = sorted(set(seqs))
    if not wanted or len(wanted) > EVENTS_MAX:
        raise NotForgettable(events=len(wanted), most=EVENTS_MAX)
    await journal.reading(log, lambda store: _check(store, wanted))
    for first, last in _runs(wanted):
        event = Event(journal.env.now_ms(), FORGOTTEN, Phase.NOTE, {"first": first, "last": last})
        await journal.record(log, event)
    await journal.reading(log, lambda store: _overwrite(store.folder, set(wanted)))
    return len(wanted)


def _check(store: LogStore, seqs: Sequence[int]) -> None:
    for seq in seqs:
        line = b"".join(read_lines(store.folder, seq, 1))
        if not line:
            raise NotForgettable(seq=seq, reason="there is no such event")
        if not read_line(line, seq).type.startswith(FORGETTABLE):
            raise NotForgettable(seq=seq, reason="only events of S3 are forgotten")


def _runs(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbours together: (first, last)."""
    runs: list[tuple[int, int]] = []
    for seq in seqs:
        if runs and runs[-1][1] == seq - 1:
            runs[-1] = (runs[-1][0], seq)
        else:
            runs.append((seq, seq))
    return runs


def _overwrite(folder: Path, seqs: set[int]) -> None:
    for start, path in segments_of(folder):
        if not any(seq >= start for seq in seqs):
            return
        with path.open("r+b") as file:
            places = []
            at, seq = 0, start
            for line in file:
                if seq in seqs:
                    before = line.index(b"\t") + 1
                    places.append((at + before, len(line) - before - 1))
                at, seq = at + len(line), seq + 1
            for place, length in places:
                file.seek(place)
                file.write(filled(length))
            if places:
                file.flush()
                os.fsync(file.fileno())
