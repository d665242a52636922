"""What stands around an LMDB environment: its folder's lock, and its errors in our words.

Not for rows. LMDB's exceptions are translated here and nowhere else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import lmdb

from gateway.meta.kv import IndexFull, MetaUnavailable, RowCorrupt
from storaged.base.errors import Kind, StorageError


class IndexLocked(StorageError):
    """Another process has the index open."""

    kind: ClassVar[Kind] = Kind.CONFLICT
    hint = "is another gateway running on this folder?"


class IndexForeign(StorageError):
    """The index is of another format or was made under another key."""

    kind: ClassVar[Kind] = Kind.INVALID


@contextmanager
def translated() -> Iterator[None]:
    """LMDB's errors as ours. Raises: RowCorrupt, IndexFull, MetaUnavailable."""
    try:
        yield
    except lmdb.Error as error:
        raise translate(error) from error


def translate(error: lmdb.Error) -> StorageError:
    """Our error for one of LMDB's."""
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError):
        return RowCorrupt(reason=str(error))
    if isinstance(error, lmdb.MapFullError):
        return IndexFull()
    return MetaUnavailable(reason=str(error))


def lock_folder(path: Path) -> int:
    """Descriptor of the folder's lock file, locked exclusively for as long as it is open.

    Raises: IndexLocked.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise IndexLocked(directory=str(path.parent)) from error
    return descriptor
