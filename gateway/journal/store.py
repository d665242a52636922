"""One log on a drive: lines in segment files, kept hashes beside them, the last signed checkpoint.

Not for tenants, tasks or time. Everything here blocks.

    events/<first event, 16 digits>.events   lines, appended and synced
    hashes                                   32 bytes each, as `tree.stored_index` has them
    checkpoint                               a signed note

Lines are the truth: kept hashes are synced with a checkpoint only, and made again from lines when a
crash has taken them. What stands behind the last whole line after a crash was never acknowledged;
it is put aside in a file of its own, not deleted.

Source: docs/journal.md.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from gateway.journal import tree
from gateway.journal.events import Event, NameHasher, check_line, encode_line
from gateway.journal.notes import (
    NOTE_BYTES_MAX,
    Checkpoint,
    NoteInvalid,
    SignerKey,
    VerifierKey,
    open_checkpoint,
    sign_checkpoint,
)
from storaged.base.durable import replace_file, sync_directory
from storaged.base.errors import Kind, StorageError

SEGMENT_EVENTS = 65_536  # after that a segment is closed at the end of its batch
SEGMENT_BYTES = 64 << 20
EVENTS, HASHES, CHECKPOINT = "events", "hashes", "checkpoint"
SUFFIX = ".events"
REPLAY_HASHES = 65_536  # hashes that are written at once


class JournalUnavailable(StorageError):
    """The journal cannot be written."""

    kind = Kind.UNAVAILABLE
    hint = "acts that must be recorded first are refused until the journal's drive takes events"


class JournalDamaged(StorageError):
    """The journal is not what was signed."""

    kind = Kind.CORRUPT
    hint = "`hexagone journal verify` says where; keep a copy before anything else"


def segment_name(first: int) -> str:
    return f"{first:016d}{SUFFIX}"


def segments_of(folder: Path) -> list[tuple[int, Path]]:
    """(first event, path) of the segments of a log, in order; other files are not looked at."""
    found = []
    for path in (folder / EVENTS).glob(f"*{SUFFIX}"):
        digits = path.name.removesuffix(SUFFIX)
        if len(digits) == 16 and digits.isascii() and digits.isdigit():
            found.append((int(digits), path))
    return sorted(found)


def read_lines(folder: Path, first: int, count: int) -> Iterator[bytes]:
    """Lines of events `first` to `first + count`, as far as they are there. Nothing is checked."""
    segments = segments_of(folder)
    at = max(bisect_right([start for start, _ in segments], first) - 1, 0)
    for start, path in segments[at:]:
        seq = start
        with path.open("rb") as file:
            for line in file:
                if seq >= first + count:
                    return
                if seq >= first:
                    yield line
                seq += 1


class LogStore:
    """One log. Not for several threads at once.

    Args:
        former: public keys that have signed before `signers`, the latest last.

    Raises (on construction): JournalDamaged, NoteInvalid, OSError.
    """

    def __init__(
        self,
        folder: Path,
        origin: str,
        signers: Sequence[SignerKey],
        names: NameHasher,
        former: Sequence[Sequence[VerifierKey]] = (),
    ) -> None:
        self.folder = folder
        self.origin = origin
        self.names = names
        self.signers = signers
        self.signed_size = 0  # 0 as well: by a former key, to be signed again
        self.put_aside_bytes = 0  # behind the last whole line, when the log was opened
        self._former = former
        self._edge = tree.Edge()
        self._segment = -1
        self._segment_first = 0
        self._segment_bytes = 0
        self._must_cut = False
        if not (folder / EVENTS).is_dir():
            (folder / EVENTS).mkdir(mode=0o700, parents=True, exist_ok=True)
            for directory in (folder, folder.parent):
                sync_directory(directory)
        self._hashes = os.open(folder / HASHES, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        is_open = False
        try:
            self._recover()
            is_open = True
        finally:
            if not is_open:
                self.close()

    @property
    def size(self) -> int:
        """How many events there are."""
        return self._edge.size

    def root(self) -> bytes:
        return self._edge.root()

    def close(self) -> None:
        """Release the files. Idempotent."""
        for fd in (self._segment, self._hashes):
            if fd >= 0:
                os.close(fd)
        self._segment = self._hashes = -1

    def append(self, events: Sequence[Event], salts: bytes) -> None:
        """Add events. Durable when: this returns. After a failure none of them is in the log.

        Args:
            salts: 16 random bytes for each.

        Raises: JournalUnavailable.
        """
        edge, lines, hashes = self._edge.copy(), [], []
        for at, event in enumerate(events):
            salt = salts[16 * at : 16 * at + 16]
            line, leaf = encode_line(edge.size, event, salt, self.names)
            lines.append(line)
            hashes += edge.append(leaf)
        content = b"".join(lines)
        try:
            self._cut()
            self._roll()
            self._must_cut = True
            self._write(self._segment, content, self._segment_bytes)
            kept = tree.stored_count(self._edge.size) * tree.HASH_BYTES
            self._write(self._hashes, b"".join(hashes), kept)
            os.fdatasync(self._segment)
        except OSError as error:
            with suppress(OSError):
                self._cut()
            raise JournalUnavailable(reason=error.strerror) from error
        self._must_cut = False
        self._segment_bytes += len(content)
        self._edge = edge

    def sign(self, extensions: tuple[str, ...] = ()) -> Checkpoint:
        """Write a checkpoint over all events. Raises: JournalUnavailable."""
        checkpoint = Checkpoint(
            origin=self.origin, size=self.size, root=self.root(), extensions=extensions
        )
        try:
            os.fdatasync(self._hashes)
            replace_file(self.folder / CHECKPOINT, sign_checkpoint(checkpoint, self.signers))
        except OSError as error:
            raise JournalUnavailable(reason=error.strerror) from error
        self.signed_size = checkpoint.size
        return checkpoint

    def signed_note(self) -> bytes:
        """The last checkpoint as it stands on the drive. Raises: OSError."""
        with (self.folder / CHECKPOINT).open("rb") as file:
            return file.read(NOTE_BYTES_MAX)

    def read_hash(self, level: int, place: int) -> bytes:
        """A kept hash. Raises: JournalDamaged."""
        at = tree.stored_index(level, place) * tree.HASH_BYTES
        found = os.pread(self._hashes, tree.HASH_BYTES, at)
        if len(found) != tree.HASH_BYTES:
            raise JournalDamaged(log=self.origin, reason="a kept hash is not there")
        return found

    def root_at(self, size: int) -> bytes:
        return tree.edge_at(size, self.read_hash).root()

    def _write(self, fd: int, content: bytes, offset: int) -> None:
        view = memoryview(content)
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written

    def _cut(self) -> None:
        """Take away what a failed append has left. Raises: OSError."""
        if self._must_cut:
            os.ftruncate(self._segment, self._segment_bytes)
            self._must_cut = False

    def _roll(self) -> None:
        """Open the next segment where there is none, or the last one is full. Raises: OSError."""
        count = self._edge.size - self._segment_first
        if self._segment >= 0 and count < SEGMENT_EVENTS and self._segment_bytes < SEGMENT_BYTES:
            return
        path = self.folder / EVENTS / segment_name(self._edge.size)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        opened = os.open(path, flags, 0o600)
        try:
            os.ftruncate(opened, 0)  # of a try that failed
            sync_directory(path.parent)
        except OSError:
            os.close(opened)
            raise
        if self._segment >= 0:
            os.close(self._segment)
        self._segment, self._segment_first, self._segment_bytes = opened, self._edge.size, 0

    def _recover(self) -> None:
        """Find the end of the log. Raises: JournalDamaged, NoteInvalid, OSError."""
        checkpoint = Checkpoint(origin=self.origin, size=0, root=tree.EMPTY_ROOT)
        with suppress(FileNotFoundError):
            checkpoint = self._open_checkpoint(self.signed_note())
        if checkpoint.origin != self.origin:
            raise JournalDamaged(log=self.origin, reason="a checkpoint of another log")
        if self._is_kept(checkpoint):
            self._edge = tree.edge_at(checkpoint.size, self.read_hash)
        self._replay(checkpoint)
        if self.size < checkpoint.size:
            raise JournalDamaged(log=self.origin, events=self.size, signed=checkpoint.size)

    def _open_checkpoint(self, note: bytes) -> Checkpoint:
        """The last checkpoint, also where a crash kept it from being signed again with the present
        keys. Raises: NoteInvalid.
        """
        present = [signer.verifier(self.origin) for signer in self.signers]
        try:
            checkpoint = open_checkpoint(note, present)
        except NoteInvalid:
            if not self._former:
                raise
            return open_checkpoint(note, self._former[-1])
        self.signed_size = checkpoint.size
        return checkpoint

    def _is_kept(self, checkpoint: Checkpoint) -> bool:
        needed = tree.stored_count(checkpoint.size) * tree.HASH_BYTES
        if os.fstat(self._hashes).st_size < needed:
            return False
        return tree.edge_at(checkpoint.size, self.read_hash).root() == checkpoint.root

    def _replay(self, checkpoint: Checkpoint) -> None:
        """Read the lines from where the kept hashes end; the last segment becomes the open one."""
        segments = segments_of(self.folder)
        from_seq = self._edge.size
        hashes: list[bytes] = []
        kept = tree.stored_count(from_seq)
        for at, (first, path) in enumerate(segments):
            is_last = at == len(segments) - 1
            if not is_last and segments[at + 1][0] <= from_seq:
                continue
            good, seq = 0, first
            with path.open("rb") as file:
                for line in file:
                    if seq >= from_seq:
                        if seq != self._edge.size or not _is_whole(line, seq):
                            break
                        hashes += self._edge.append(check_line(line, seq))
                        if self.size == checkpoint.size and self.root() != checkpoint.root:
                            raise JournalDamaged(log=self.origin, reason="another root")
                    seq, good = seq + 1, good + len(line)
                    if len(hashes) >= REPLAY_HASHES:
                        kept = self._keep(hashes, kept)
            if not is_last:
                if seq != segments[at + 1][0]:
                    raise JournalDamaged(log=self.origin, event=seq, segment=path.name)
                continue
            if seq < self._edge.size:
                raise JournalDamaged(log=self.origin, events=seq, signed=checkpoint.size)
            self._reopen(path, first, good)
        self._keep(hashes, kept)

    def _keep(self, hashes: list[bytes], kept: int) -> int:
        self._write(self._hashes, b"".join(hashes), kept * tree.HASH_BYTES)
        kept += len(hashes)
        hashes.clear()
        return kept

    def _reopen(self, path: Path, first: int, good: int) -> None:
        """Go on in the last segment, behind its last whole line."""
        with path.open("rb") as file:
            file.seek(good)
            tail = file.read()
        if tail:
            at = 0
            while (aside := path.with_name(f"{path.name}.torn-{at}")).exists():
                at += 1
            replace_file(aside, tail)
            self.put_aside_bytes = len(tail)
        self._segment = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._segment_first, self._segment_bytes = first, good
        if tail:
            os.ftruncate(self._segment, good)
            os.fdatasync(self._segment)


def _is_whole(line: bytes, seq: int) -> bool:
    try:
        check_line(line, seq)
    except StorageError:
        return False
    return True
