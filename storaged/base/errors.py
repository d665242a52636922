"""The root of every error Hexagone raises on purpose, and the kinds that decide what a caller does
next.

Not for programmer errors: those are `assert`, `TypeError` and friends, and nobody catches them by
type.

A subclass is a noun; the first line of its docstring is the message; its fields are data. Retry is
a property of the kind, so no wrapper needs a list of classes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """What an error means for the caller."""

    INVALID = "invalid"  # the caller asked nonsense
    DENIED = "denied"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"  # state changed under us: read again, decide again
    PRECONDITION = "precondition"  # the caller's own condition failed
    EXHAUSTED = "exhausted"  # limit, quota, no space
    UNAVAILABLE = "unavailable"  # try again, maybe elsewhere
    TIMEOUT = "timeout"
    UNKNOWN_OUTCOME = "unknown"  # may have happened: ask before repeating
    CORRUPT = "corrupt"  # bytes fail a check


RETRYABLE = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT})


class StorageError(Exception):
    """Storage error."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE
    hint: str | None = None  # what to do next; of the class, or of one error

    def __init__(self, **fields: object) -> None:
        self.fields = fields
        super().__init__(self.message())

    @classmethod
    def title(cls) -> str:
        """First line of the class docstring, without the full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")

    def message(self) -> str:
        """Title and fields on one line; fields must never hold a secret."""
        fields = ", ".join(f"{name}={value}" for name, value in self.fields.items())
        return f"{self.title()} ({fields})" if fields else self.title()

    @property
    def retryable(self) -> bool:
        return self.kind in RETRYABLE


class ProtocolError(StorageError):
    """Received bytes are not of the protocol or format."""

    kind = Kind.INVALID


class DeadlineExceeded(StorageError):
    """The operation did not end before its deadline."""

    kind = Kind.TIMEOUT


class ConfigError(StorageError):
    """The configuration is not usable."""

    kind = Kind.INVALID
    hint = (
        "deploy/ has examples that say what each key means; `hexagone config check` looks at a file"
    )
