"""`CrashableFiles`: the Files port in memory, with a drive that forgets what was not synced.

Each file has what is durable and the operations since its last sync. `crash` keeps any legal
subset of them: every write of 512 bytes on its own, holes and lengths on their own, and directory
changes in the order they were made, up to any point. Faults are switches: `fail(operation, after)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from threading import RLock

from storaged.base.errors import StorageError
from storaged.files import FileMissing, ReadFailed
from storaged.node import Buffer, DriveFull, DriveOutOfService

SECTOR_BYTES = 512

_Change = Callable[[bytearray], None]


class Content:
    """One file: durable bytes, current bytes, and the changes between them."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.current = bytearray()
        self.pending: list[_Change] = []
        self.bad_reads: set[int] = set()  # block numbers that the drive cannot read

    def change(self, *changes: _Change) -> None:
        for change in changes:
            change(self.current)
            self.pending.append(change)

    def sync(self) -> None:
        self.durable = bytearray(self.current)
        self.pending.clear()

    def crash(self, rng: Random) -> None:
        keep = rng.choice((0.0, 0.3, 0.7, 0.95, 1.0))
        for change in self.pending:
            if rng.random() < keep:
                change(self.durable)
        self.current = bytearray(self.durable)
        self.pending.clear()


def _write(offset: int, raw: bytes) -> _Change:
    def change(content: bytearray) -> None:
        if len(content) < offset + len(raw):
            content.extend(bytes(offset + len(raw) - len(content)))
        content[offset : offset + len(raw)] = raw

    return change


def _resize(length: int, *, only_grow: bool) -> _Change:
    def change(content: bytearray) -> None:
        if len(content) < length:
            content.extend(bytes(length - len(content)))
        elif not only_grow:
            del content[length:]

    return change


def _zero(offset: int, length: int) -> _Change:
    def change(content: bytearray) -> None:
        end = min(len(content), offset + length)
        if offset < end:
            content[offset:end] = bytes(end - offset)

    return change


class CrashableFiles:
    """See the module. `trace` notes (operation, file name) of all that succeeded."""

    def __init__(self, rng: Random, *, space_bytes: int = 1 << 40) -> None:
        self.rng = rng
        self.space_bytes = space_bytes
        self.trace: list[tuple[str, str]] = []
        self.lock = RLock()
        self._names: dict[str, Content] = {}
        self._durable_names: dict[str, Content] = {}
        self._directory: list[Callable[[dict[str, Content]], None]] = []
        self._faults: dict[str, tuple[int, Callable[[], StorageError]]] = {}
        self._epoch = 0
        self._left: int | None = None

    # -- the test's side

    def fail(
        self,
        operation: str,
        *,
        after: int = 0,
        error: Callable[[], StorageError] = DriveOutOfService,
    ) -> None:
        """Let `after` calls of an operation pass, and fail all later ones."""
        self._faults[operation] = (after, error)

    def stop_after(self, count: int) -> None:
        """Let `count` changing calls pass; then every call fails, until `crash` or `kill`."""
        self._left = count

    def mend(self) -> None:
        """Faults end."""
        self._faults.clear()

    def crash(self) -> None:
        """The machine stops. Handles of before are dead; what is left is what was durable."""
        with self.lock:
            self._epoch += 1
            self._left = None
            kept = self.rng.randint(0, len(self._directory))
            for change in self._directory[:kept]:
                change(self._durable_names)
            self._directory.clear()
            self._names = dict(self._durable_names)
            for content in self._names.values():
                content.crash(self.rng)
            self._faults.clear()

    def kill(self) -> None:
        """The process stops and the machine goes on: nothing is lost, handles are dead."""
        self._epoch += 1
        self._left = None
        self._faults.clear()

    def content(self, name: str) -> Content:
        """The inside of a file, for a test to damage."""
        return self._names[name]

    def used_bytes(self) -> int:
        """Bytes that are not in holes, by sectors of zeros."""
        return sum(len(content.current) for content in self._names.values())

    def passes(self, operation: str, name: str, epoch: int) -> None:
        """Account one call; raises its fault."""
        if epoch != self._epoch:
            raise DriveOutOfService(reason="the machine has crashed")
        if self._left is not None and operation not in ("read", "open"):
            if self._left == 0:
                raise DriveOutOfService(reason="the machine is stopping")
            self._left -= 1
        after, error = self._faults.get(operation, (1, DriveOutOfService))
        if operation in self._faults:
            if after == 0:
                raise error()
            self._faults[operation] = (after - 1, error)
        self.trace.append((operation, name))

    # -- the port

    def create(self, name: str) -> CrashableFile:
        with self.lock:
            self.passes("create", name, self._epoch)
            if name in self._names:
                raise DriveOutOfService(operation="create", file=name, errno="EEXIST")
            content = Content()
            self._names[name] = content

            def link(names: dict[str, Content]) -> None:
                names[name] = content

            self._directory.append(link)
            return CrashableFile(self, name, content, self._epoch)

    def open(self, name: str) -> CrashableFile:
        with self.lock:
            if name not in self._names:
                raise FileMissing(file=name)
            self.passes("open", name, self._epoch)
            return CrashableFile(self, name, self._names[name], self._epoch)

    def names(self) -> list[str]:
        return list(self._names)

    def replace(self, name: str, content: bytes) -> None:
        with self.lock:
            self.passes("replace", name, self._epoch)
            fresh = Content()
            fresh.current[:] = content
            fresh.sync()
            self._names[name] = fresh

            def link(names: dict[str, Content]) -> None:
                names[name] = fresh

            self._directory.append(link)
            self.sync_directory()

    def unlink(self, name: str) -> None:
        with self.lock:
            self.passes("unlink", name, self._epoch)
            self._names.pop(name, None)
            self._directory.append(lambda names: names.pop(name, None) and None)

    def sync_directory(self) -> None:
        with self.lock:
            self.passes("sync_directory", ".", self._epoch)
            self._directory.clear()
            self._durable_names = dict(self._names)

    def space(self) -> tuple[int, int]:
        return (self.space_bytes, max(0, self.space_bytes - self.used_bytes()))

    def close(self) -> None:
        """Nothing is held."""


class CrashableFile:
    """A handle; dead after a crash."""

    def __init__(self, files: CrashableFiles, name: str, content: Content, epoch: int) -> None:
        self._files = files
        self._name = name
        self._content = content
        self._epoch = epoch

    def read(self, offset: int, length: int) -> bytes:
        with self._files.lock:
            self._files.passes("read", self._name, self._epoch)
            blocks = range(offset // 4096, -(-(offset + length) // 4096))
            if not self._content.bad_reads.isdisjoint(blocks):
                raise ReadFailed(file=self._name, errno="EIO")
            return bytes(self._content.current[offset : offset + length])

    def read_cached(self, offset: int, length: int) -> bytes | None:
        return None

    def write(self, offset: int, buffers: Sequence[Buffer]) -> None:
        raw = b"".join(buffers)
        with self._files.lock:
            self._grow(offset + len(raw))
            self._files.passes("write", self._name, self._epoch)
            changes = []
            at = 0
            while at < len(raw):
                end = min(len(raw), at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES)
                changes.append(_write(offset + at, raw[at:end]))
                at = end
            self._content.change(*changes)

    def sync(self) -> None:
        with self._files.lock:
            self._files.passes("sync", self._name, self._epoch)
            self._content.sync()

    def allocate(self, offset: int, length: int) -> None:
        with self._files.lock:
            self._grow(offset + length)
            self._files.passes("allocate", self._name, self._epoch)
            self._content.change(_resize(offset + length, only_grow=True))

    def punch(self, offset: int, length: int) -> None:
        with self._files.lock:
            self._files.passes("punch", self._name, self._epoch)
            self._content.change(
                *(_zero(at, SECTOR_BYTES) for at in range(offset, offset + length, SECTOR_BYTES))
            )

    def truncate(self, length: int) -> None:
        with self._files.lock:
            self._files.passes("truncate", self._name, self._epoch)
            self._content.change(_resize(length, only_grow=False))

    def length_bytes(self) -> int:
        return len(self._content.current)

    def close(self) -> None:
        """Nothing is held."""

    def _grow(self, length: int) -> None:
        growth = length - len(self._content.current)
        if growth > 0 and self._files.used_bytes() + growth > self._files.space_bytes:
            raise DriveFull(file=self._name)
