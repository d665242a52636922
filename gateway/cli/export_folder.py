"""The folder of an export: names of its files, bodies in packs, lines of versions, what is whole.

Not for gateways: whoever has the folder reads it without one. What a crash leaves behind the last
line of the progress file is cut off when the export goes on.

Source: docs/export-format.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from gateway.terminal.user_files import reason_of
from storaged.base.durable import replace_file
from storaged.base.errors import Kind, StorageError

Document = dict[str, Any]

FORMAT, FORMAT_VERSION = "hexagone-export", 1
HEAD, ACCOUNT, SUMMARY, FILES = "export.json", "account.json", "summary.json", "files.jsonl"
PROGRESS, LEFT_OUT, PROOF = "progress.jsonl", "left-out.jsonl", "finished.tlog-proof"
BUCKET, VERSIONS = "bucket.json", "versions.jsonl"
BUCKETS, BODIES, JOURNAL = "buckets", "bodies", "journal"
UNLISTED = frozenset({SUMMARY, FILES, PROGRESS, PROOF})

PACK_BYTES = 256 * 1024 * 1024
PIECE_BYTES = 1024 * 1024
LINE_BYTES_MAX = 16 * 1024 * 1024
DOCUMENT_BYTES_MAX = 64 * 1024 * 1024  # as the gateway takes them
OWNER_ONLY, FOLDER_OWNER_ONLY = 0o600, 0o700

Extent = list[Any]
"""[file below bodies/, offset, length]: a run of bytes of a body."""


class ExportFolderFailed(StorageError):
    """The folder of the export cannot be read or written."""

    kind = Kind.UNAVAILABLE
    hint = "name the folder that `hexagone export` has written, as a user who may read it"


class ExportFolderInvalid(StorageError):
    """The folder is not an export, or not the one that is meant."""

    kind = Kind.INVALID
    hint = "an export goes into a new or empty folder; --resume goes on with one that has stopped"


class ExportDamaged(StorageError):
    """A file of the export is not what was written."""

    kind = Kind.CORRUPT
    hint = "`hexagone export-verify DIR` names what was changed: use another copy of the export"


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """What goes wrong with files, as an error of ours."""
    try:
        yield
    except OSError as error:
        raise ExportFolderFailed(path=path, reason=reason_of(error)) from error


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Replace a file by one object, durably."""
    with on_disk(path):
        replace_file(path, json.dumps(document, indent=1, ensure_ascii=True).encode() + b"\n")


def read_json(path: Path) -> Document:
    """The object of a file. Raises: ExportFolderFailed, ExportDamaged."""
    with on_disk(path), path.open("rb") as file:
        raw = file.read(DOCUMENT_BYTES_MAX + 1)
    if len(raw) > DOCUMENT_BYTES_MAX:
        raise ExportDamaged(path=path, reason=f"larger than {DOCUMENT_BYTES_MAX} bytes")
    return read_object(path, raw)


def read_object(path: Path, raw: bytes) -> Document:
    """A JSON object. Raises: ExportDamaged."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ExportDamaged(path=path, reason="no JSON") from error
    if not isinstance(found, dict):
        raise ExportDamaged(path=path, reason="no JSON object")
    return found


def read_lines(path: Path) -> Iterator[Document]:
    """The objects of a file, a line each; none without the file."""
    if not path.exists():
        return
    with on_disk(path), path.open("rb") as file:
        while line := file.readline(LINE_BYTES_MAX):
            if not line.endswith(b"\n"):
                raise ExportDamaged(path=path, reason="a line has no end")
            yield read_object(path, line)


def write_file(path: Path, content: bytes) -> None:
    """Replace a file, durably."""
    with on_disk(path):
        replace_file(path, content)


def make_folder(path: Path) -> None:
    """A folder that only its owner sees; one that is there stays."""
    with on_disk(path):
        path.mkdir(mode=FOLDER_OWNER_ONLY, parents=True, exist_ok=True)


def bucket_folder(index: int) -> str:
    """Where the bucket of a number is, from 0 on."""
    return f"{BUCKETS}/{index + 1:04d}"


def file_digest(path: Path) -> tuple[int, str]:
    """Length and SHA-256 of a file."""
    digest, length = sha256(), 0
    with on_disk(path), path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            length += len(piece)
    return length, digest.hexdigest()


def paths_of(folder: Path) -> list[str]:
    """All files of an export that `files.jsonl` names, in order."""
    with on_disk(folder):
        found = [
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        ]
    return sorted(path for path in found if path not in UNLISTED)


class PackNumbers:
    """Gives each pack a number of its own."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._lock = Lock()

    def take(self) -> str:
        """Name of the next pack."""
        with self._lock:
            self._last += 1
            return f"{self._last:06d}.bin"


class PackWriter:
    """Bodies, one behind the other, in files of PACK_BYTES at the most. For one thread."""

    def __init__(self, folder: Path, numbers: PackNumbers) -> None:
        self._folder = folder
        self._numbers = numbers
        self._file: BinaryIO | None = None
        self._name = ""
        self._at = 0
        self._digest = sha256()
        self.closed: dict[str, tuple[int, str]] = {}

    def append(self, piece: bytes | memoryview, extents: list[Extent]) -> None:
        """Write a piece behind the others; `extents` grow by where it is."""
        while piece:
            if self._file is None or self._at >= PACK_BYTES:
                self._next()
            assert self._file is not None
            taken = piece[: PACK_BYTES - self._at]
            with on_disk(self._folder / self._name):
                self._file.write(taken)
            self._digest.update(taken)
            last = extents[-1] if extents else None
            if last is not None and last[0] == self._name and last[1] + last[2] == self._at:
                last[2] += len(taken)
            else:
                extents.append([self._name, self._at, len(taken)])
            self._at += len(taken)
            piece = piece[len(taken) :]

    def sync(self) -> None:
        """What was written is on the drive when this returns."""
        if self._file is not None:
            with on_disk(self._folder / self._name):
                self._file.flush()
                os.fdatasync(self._file.fileno())

    def open_pack(self) -> dict[str, int]:
        """The pack that is being written, and its length."""
        return {self._name: self._at} if self._file is not None else {}

    def close(self) -> None:
        """The pack that is being written is over."""
        if self._file is not None:
            self.sync()
            self._file.close()
            self.closed[self._name] = (self._at, self._digest.hexdigest())
            self._file = None

    def _next(self) -> None:
        self.close()
        self._name, self._at, self._digest = self._numbers.take(), 0, sha256()
        path = self._folder / self._name
        with on_disk(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
            self._file = os.fdopen(descriptor, "wb")


@dataclass(slots=True)
class Mark:
    """How far an export is: everything up to here is whole and on the drive.

    Args:
        bucket: its number; those before it are done.
        cursor: where its listing goes on; None with `versions_bytes` 0: it has not begun.
        open_packs: lengths of packs that are being written.
        closed_packs: length and SHA-256 of those that are over.
        fresh_packs: those of them that no line of the progress file has.
    """

    bucket: int = 0
    cursor: Document | None = None
    versions_bytes: int = 0
    left_out_bytes: int = 0
    open_packs: dict[str, int] = field(default_factory=dict)
    closed_packs: dict[str, list[Any]] = field(default_factory=dict)
    fresh_packs: dict[str, list[Any]] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)

    def close_pack(self, name: str, length: int, digest: str) -> None:
        """A pack is over. Idempotent."""
        if name not in self.closed_packs:
            self.closed_packs[name] = self.fresh_packs[name] = [length, digest]

    def document(self) -> Document:
        """As a line of the progress file; packs that are over are in the line that ended them."""
        return {
            "bucket": self.bucket,
            "cursor": self.cursor,
            "versions_bytes": self.versions_bytes,
            "left_out_bytes": self.left_out_bytes,
            "open_packs": self.open_packs,
            "closed_packs": self.fresh_packs,
            "counts": self.counts,
        }


def read_mark(folder: Path) -> Mark:
    """The last mark of an export; the first when there is none. Raises: ExportDamaged."""
    path, last = folder / PROGRESS, Mark()
    if not path.exists():
        return last
    closed: dict[str, list[Any]] = {}
    with on_disk(path):
        lines = path.read_bytes().split(b"\n")
    for line in lines[:-1]:  # what has no end was being written in the crash
        found = read_object(path, line)
        closed |= found["closed_packs"]
        last = Mark(**{**found, "closed_packs": dict(closed)})
    return last


def cut_to(folder: Path, mark: Mark) -> None:
    """Take away what was written behind a mark; its open packs are over by that.

    Raises: ExportFolderFailed, ExportDamaged.
    """
    for path in sorted((folder / BODIES).glob("*.bin")):
        kept = mark.open_packs.get(path.name)
        if path.name in mark.closed_packs:
            kept = int(mark.closed_packs[path.name][0])
        if kept is None:
            with on_disk(path):
                path.unlink()
        else:
            _cut(path, kept)
    versions = folder / bucket_folder(mark.bucket) / VERSIONS
    if versions.exists():
        _cut(versions, mark.versions_bytes)
    if (folder / LEFT_OUT).exists():
        _cut(folder / LEFT_OUT, mark.left_out_bytes)
    progress = folder / PROGRESS
    if progress.exists():
        with on_disk(progress):
            raw = progress.read_bytes()
        _cut(progress, raw.rfind(b"\n") + 1)
    for name in mark.open_packs:
        mark.close_pack(name, *file_digest(folder / BODIES / name))
    mark.open_packs = {}


def _cut(path: Path, length: int) -> None:
    with on_disk(path):
        if path.stat().st_size < length:
            raise ExportDamaged(path=path, reason="shorter than what was on the drive already")
        os.truncate(path, length)


def append_lines(path: Path, lines: bytes) -> int:
    """Add lines to a file, durably; how long it is."""
    with on_disk(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, OWNER_ONLY)
        with os.fdopen(descriptor, "ab") as file:
            file.write(lines)
            file.flush()
            os.fdatasync(file.fileno())
            return file.tell()


class BodyReader:
    """Reads bodies from packs; for one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / BODIES
        self._name = ""
        self._file: BinaryIO | None = None

    def pieces(self, extents: list[Extent]) -> Iterator[bytes]:
        """The bytes of a body. Raises: ExportDamaged, ExportFolderFailed."""
        for name, offset, length in extents:
            path = self._folder / str(name)
            if path.parent != self._folder:
                raise ExportDamaged(path=path, reason="not a file of bodies")
            left = int(length)
            if int(offset) < 0 or left < 0:
                raise ExportDamaged(path=path, reason="no run of bytes")
            with on_disk(path):
                file = self._opened(str(name))
                file.seek(int(offset))
            while left:
                with on_disk(path):
                    piece = file.read(min(left, PIECE_BYTES))
                if not piece:
                    raise ExportDamaged(path=path, reason="too short")
                left -= len(piece)
                yield piece

    def _opened(self, name: str) -> BinaryIO:
        if self._file is None or self._name != name:
            self.close()
            # Not by a link: an export from elsewhere is no way to read this machine's files.
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            self._file, self._name = os.fdopen(descriptor, "rb"), name
        return self._file

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None


Progress = Callable[[int, int], None]
"""Told of versions and bytes that are done, since the last time."""
