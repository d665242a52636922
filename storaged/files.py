"""The `Files` port, one directory of a drive, and `PosixFiles`, the real one.

Not for formats. It is the one place where `OSError` becomes an error of ours: no space is
`DriveFull`, a lack of descriptors is `NodeBusy`, a failed read is `ReadFailed`, a missing name is
`FileMissing`, and everything else is `DriveOutOfService`, after which nobody writes again.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from storaged.base.errors import ConfigError, Kind, StorageError
from storaged.base.limits import BLOCK_BYTES, LARGE_SHARD_BYTES
from storaged.base.spare import SPARE_FROM_BYTES, SpareBuffers
from storaged.node import Buffer, DriveFull, DriveOutOfService, NodeBusy

# Copying and checking so much costs 0.1 ms, which is less than the hop to a thread and back.
IN_PLACE_BYTES_MAX = 5 << 18
SPARE_READS_MAX = 8  # reads in place whose bytes somebody still holds

# Of all drives, as what is read in place is opened before the next read: the caches hold it.
_spare = SpareBuffers(SPARE_READS_MAX, IN_PLACE_BYTES_MAX)
_IOV_MAX = 1024  # buffers in one pwritev, Linux's UIO_MAXIOV
_FALLOC_KEEP_SIZE = 0x01
_FALLOC_PUNCH_HOLE = 0x02
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


class FileMissing(StorageError):
    """There is no file of this name."""

    kind = Kind.NOT_FOUND


class ReadFailed(StorageError):
    """The drive could not read these bytes."""

    kind = Kind.CORRUPT


class DirectoryInUse(ConfigError):
    """Another process has this directory open."""

    hint = "a node directory serves one process; stop the other one"


class DriveFile(Protocol):
    """One open file. Blocking; calls may come from any thread."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`; fewer than `length` only at the end. Raises `ReadFailed`."""
        ...

    def read_cached(self, offset: int, length: int) -> Buffer | None:
        """The same if that needs no wait for the drive, else None."""
        ...

    def write(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write buffers one after the other. Durable after `sync`. Raises `DriveFull`."""
        ...

    def sync(self) -> None:
        """Make content and length durable. An error is final: a second try would lie."""
        ...

    def allocate(self, offset: int, length: int) -> None:
        """Reserve space; the file is then at least `offset + length` long. Raises `DriveFull`."""
        ...

    def punch(self, offset: int, length: int) -> None:
        """Give space back; the bytes read as zero. Durable after `sync`."""
        ...

    def truncate(self, length: int) -> None:
        """Cut or extend. Durable after `sync`."""
        ...

    def length_bytes(self) -> int:
        """How long the file is, space allocated ahead included."""
        ...

    def close(self) -> None:
        """Release the descriptor. Idempotent."""
        ...


class Files(Protocol):
    """One flat directory. Names are durable after `sync_directory`. Blocking; any thread."""

    def create(self, name: str) -> DriveFile:
        """Create and open a file that is not there yet."""
        ...

    def open(self, name: str) -> DriveFile:
        """Open for reading and writing. Raises `FileMissing`."""
        ...

    def names(self) -> list[str]:
        """Names of all entries, in no order."""
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Set the content of a small file, all or nothing; durable when it returns."""
        ...

    def unlink(self, name: str) -> None:
        """Remove a name, also when it is not there."""
        ...

    def sync_directory(self) -> None:
        """Make names durable: what was created, replaced and unlinked."""
        ...

    def space(self) -> tuple[int, int]:
        """(capacity, free) in bytes."""
        ...

    def close(self) -> None:
        """Release the directory and its lock. Idempotent."""
        ...


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    if _libc.fallocate(fd, mode, offset, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc.fallocate.restype = ctypes.c_int


@contextmanager
def _translated(operation: str, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise translate(error, operation=operation, name=name) from error


def translate(error: OSError, *, operation: str, name: str) -> StorageError:
    """Our error for one of the operating system. After a failed sync nobody knows what is on the
    drive, whatever the reason was.
    """
    if error.errno in _NO_SPACE and operation != "sync":
        return DriveFull(operation=operation, file=name)
    if error.errno in _NO_DESCRIPTOR:
        return NodeBusy(operation=operation, file=name, reason="no file descriptor left")
    if error.errno == errno.ENOENT:
        return FileMissing(file=name)
    if operation == "read":
        return ReadFailed(file=name, errno=errno.errorcode.get(error.errno or 0))
    return DriveOutOfService(
        operation=operation, file=name, errno=errno.errorcode.get(error.errno or 0, "?")
    )


class PosixFile:
    """`DriveFile` over a descriptor."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._large: list[tuple[int, int]] = []  # written, not yet synced

    def read(self, offset: int, length: int) -> bytes:
        try:
            raw = os.pread(self._fd, length, offset)
            while len(raw) < length:  # a signal or a page boundary may cut a read short
                more = os.pread(self._fd, length - len(raw), offset + len(raw))
                if not more:
                    break
                raw += more
        except OSError as error:
            raise translate(error, operation="read", name=self._name) from error
        return raw

    def read_cached(self, offset: int, length: int) -> Buffer | None:
        buffer = bytearray(length) if length < SPARE_FROM_BYTES else _spare.take(length)
        try:
            count = os.preadv(self._fd, (buffer,), offset, os.RWF_NOWAIT)
        except OSError:
            return None  # the plain read that follows reports what is wrong
        return buffer if count == length else None

    def write(self, offset: int, buffers: Sequence[Buffer]) -> None:
        began = offset
        with _translated("write", self._name):
            for start in range(0, len(buffers), _IOV_MAX):
                offset += self._write_all(offset, buffers[start : start + _IOV_MAX])
        if offset - began >= LARGE_SHARD_BYTES:
            self._large.append((began, offset - began))

    def _write_all(self, offset: int, buffers: Sequence[Buffer]) -> int:
        expected = sum(map(len, buffers))
        written = os.pwritev(self._fd, buffers, offset)
        if written < expected:
            rest = memoryview(b"".join(buffers))
            while written < expected:
                written += os.pwrite(self._fd, rest[written:], offset + written)
        return expected

    def sync(self) -> None:
        with _translated("sync", self._name):
            os.fdatasync(self._fd)
        # Pages of large writes go back at once: the next ones then land on memory that is warm,
        # and uploads do not push what is read out of the page cache.
        large, self._large = self._large, []
        for offset, length in large:
            os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_DONTNEED)

    def allocate(self, offset: int, length: int) -> None:
        with _translated("allocate", self._name):
            try:
                _fallocate(self._fd, 0, offset, length)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                # Without fallocate, lack of space shows at the write, which can be taken back.

    def punch(self, offset: int, length: int) -> None:
        assert offset % BLOCK_BYTES == 0 and length % BLOCK_BYTES == 0
        with _translated("punch", self._name):
            try:
                _fallocate(self._fd, _FALLOC_PUNCH_HOLE | _FALLOC_KEEP_SIZE, offset, length)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                # The record must be gone all the same, before its delete record may go.
                os.pwrite(self._fd, bytes(BLOCK_BYTES), offset)

    def truncate(self, length: int) -> None:
        with _translated("truncate", self._name):
            os.ftruncate(self._fd, length)

    def length_bytes(self) -> int:
        with _translated("stat", self._name):
            return os.fstat(self._fd).st_size

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class PosixFiles:
    """`Files` over a directory, locked against other processes.

    Raises:
        DirectoryInUse: the directory is open elsewhere.
    """

    def __init__(self, directory: Path) -> None:
        with _translated("open", str(directory)):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._directory_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._directory_fd)
            raise DirectoryInUse(directory=str(directory)) from error

    def create(self, name: str) -> PosixFile:
        return self._open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def open(self, name: str) -> PosixFile:
        return self._open(name, os.O_RDWR)

    def _open(self, name: str, flags: int) -> PosixFile:
        with _translated("open", name):
            fd = os.open(name, flags | os.O_CLOEXEC, 0o600, dir_fd=self._directory_fd)
            return PosixFile(fd, name)

    def names(self) -> list[str]:
        with _translated("list", "."):
            return os.listdir(self._directory_fd)

    def replace(self, name: str, content: bytes) -> None:
        with _translated("replace", name):
            temporary = name + ".tmp"
            self.unlink(temporary)
            file = self.create(temporary)
            try:
                file.write(0, (content,))
                file.sync()
            finally:
                file.close()
            os.rename(temporary, name, src_dir_fd=self._directory_fd, dst_dir_fd=self._directory_fd)
            self.sync_directory()

    def unlink(self, name: str) -> None:
        with _translated("unlink", name):
            try:
                os.unlink(name, dir_fd=self._directory_fd)
            except FileNotFoundError:
                return

    def sync_directory(self) -> None:
        with _translated("sync", "."):
            os.fsync(self._directory_fd)

    def space(self) -> tuple[int, int]:
        with _translated("statvfs", "."):
            found = os.fstatvfs(self._directory_fd)
            return (found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    def close(self) -> None:
        if self._directory_fd >= 0:
            os.close(self._directory_fd)
            self._directory_fd = -1
