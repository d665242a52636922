"""Unique bodies, so that every byte that is read names the call that wrote it."""

from __future__ import annotations

import hashlib
from random import Random


class Bodies:
    """Unique bodies by number, with every ETag an object made of them can have."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.sizes: dict[int, int] = {}
        self.by_etag: dict[str, set[int]] = {}
        self.etags: dict[int, set[str]] = {}

    def make(self, size: int) -> int:
        """The number of a fresh body."""
        value = len(self.sizes) + 1
        self.sizes[value] = size
        self.know(value, hashlib.md5(self.content(value)).hexdigest())
        return value

    def know(self, value: int, etag: str) -> None:
        """An object with this body may have this ETag."""
        self.by_etag.setdefault(etag, set()).add(value)
        self.etags.setdefault(value, set()).add(etag)

    def content(self, value: int) -> bytes:
        """The bytes of a body."""
        return Random(f"{self._seed}.{value}").randbytes(self.sizes[value])
