"""Files that somebody names on the command line: read within a bound, and refused in words.

Not for files of a cluster (`storaged.base.durable`), nor for what is right in a file: parsers say
that, and `FileKind.of` puts the file's name and the hint to what they say.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storaged.base.errors import Kind, StorageError

# What an errno means, in words of the catalogue; all others are told as the system does.
OS_SAYS = {
    errno.ENOENT: "there is no such file or folder",
    errno.EISDIR: "it is a folder",
    errno.ENOTDIR: "something on the way to it is no folder",
    errno.EACCES: "the system does not allow it",
    errno.EPERM: "the system does not allow it",
    errno.EEXIST: "it is there already",
    errno.ENOSPC: "no space is left on the drive",
    errno.EROFS: "the drive is read-only",
    errno.ENAMETOOLONG: "the name is too long",
}


def reason_of(error: OSError) -> str:
    """Why the system has refused something, without its number."""
    return OS_SAYS.get(error.errno or 0) or error.strerror or str(error)


class FileUnusable(StorageError):
    """The file is not usable."""

    kind = Kind.INVALID

    def __init__(self, path: Path, *, hint: str, **fields: object) -> None:
        self.hint = hint
        super().__init__(file=path, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKind:
    """What a command wants of a file.

    Args:
        bytes_max: more is never read.
        hint: what makes such a file, for whoever has named another one.
    """

    bytes_max: int
    hint: str

    def read(self, path: Path) -> bytes:
        """All of it. Raises: FileUnusable: it is not there, empty, or too large."""
        with self.of(path), path.open("rb") as file:
            return self.checked(path, file.read(self.bytes_max + 1))

    def checked(self, path: Path, content: bytes) -> bytes:
        """Bytes that were read already. Raises: FileUnusable: there are none, or too many."""
        if not content:
            raise self.unusable(path, "it is empty")
        if len(content) > self.bytes_max:
            raise FileUnusable(path, hint=self.hint, reason="it is too large", most=self.bytes_max)
        return content

    def text(self, path: Path) -> str:
        """As text. Raises: FileUnusable: as `read`, or it is no UTF-8."""
        return self.decoded(path, self.read(path))

    def decoded(self, path: Path, content: bytes) -> str:
        """Bytes as text. Raises: FileUnusable."""
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.unusable(path, "it is no text in UTF-8") from error

    def document(self, path: Path) -> dict[str, Any]:
        """As a JSON object. Raises: FileUnusable: as `text`, or it is none."""
        text = self.text(path)
        try:
            held = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.unusable(path, "it is no JSON") from error
        if not isinstance(held, dict):
            raise self.unusable(path, "it is no JSON object")
        return held

    def unusable(self, path: Path, reason: str) -> FileUnusable:
        """The error that says why a file of this kind is none."""
        return FileUnusable(path, hint=self.hint, reason=reason)

    @contextmanager
    def of(self, path: Path) -> Iterator[None]:
        """Whatever is refused within is said of this file. Raises: FileUnusable."""
        try:
            yield
        except FileUnusable:
            raise
        except StorageError as error:
            fields = {name: value for name, value in error.fields.items() if name != "path"}
            fields.setdefault("reason", error.title())
            raise FileUnusable(path, hint=error.hint or self.hint, **fields) from error
        except OSError as error:
            raise self.unusable(path, reason_of(error)) from error
