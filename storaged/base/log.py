"""Structured logs over stdlib `logging`: an event name and fields.

As JSON lines or as text for people.

Not for the audit journal. Fields are escaped and capped, so no peer can forge a line or fill a
drive with one; a `Secret` shows nothing whatever is done with it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

FIELD_CHARS_MAX = 500  # of one value
FIELDS_MAX = 32  # of one event

request_id: ContextVar[str] = ContextVar("request_id", default="")


class LogFormat(StrEnum):
    """How a log line looks. AUTO: text on a terminal, JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class Secret:
    """A value that must never be printed; `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(redacted)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not pickled")


def clean(value: object) -> str:
    """Text of a field.

    Control and other unprintable characters escaped, at most FIELD_CHARS_MAX characters.
    """
    text = str(value)
    cut = len(text) > FIELD_CHARS_MAX
    text = text[:FIELD_CHARS_MAX]
    if not text.isprintable():
        text = "".join(
            character
            if character.isprintable()
            else character.encode("unicode_escape", "surrogatepass").decode("ascii")
            for character in text
        )
    return text + "…" if cut else text


class Log:
    """Events of one component. Field names are identifiers.

    Values are numbers, booleans, or become clean text.
    """

    def __init__(self, component: str) -> None:
        self._logger = logging.getLogger(component)

    def debug(self, event: str, **fields: object) -> None:
        """For developers."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """A normal turn of events that an operator may want to find later."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something was refused or failed and was coped with."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, *, error: BaseException | None = None, **fields: object) -> None:
        """Something is wrong; `error` adds its traceback."""
        self._write(logging.ERROR, event, fields, error)

    def _write(
        self,
        level: int,
        event: str,
        fields: Mapping[str, object],
        error: BaseException | None = None,
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, extra={"fields": fields}, exc_info=error)


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    given = getattr(record, "fields", None)
    fields: dict[str, object] = {}
    current = request_id.get()
    if current:
        fields["request_id"] = clean(current)
    if isinstance(given, Mapping):
        for name, value in list(given.items())[:FIELDS_MAX]:
            plain = value is None or type(value) in (bool, int, float)
            fields[clean(name)] = value if plain else clean(value)
    return fields


def _time_of(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(record.msecs):03d}Z"


class JsonFormatter(logging.Formatter):
    """One JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "component": record.name,
            "event": clean(record.getMessage()),
        }
        for name, value in _fields_of(record).items():
            entry.setdefault(name, value)
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=True, allow_nan=True, default=clean)


class TextFormatter(logging.Formatter):
    """One readable line, a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _fields_of(record).items())
        line = (
            f"{_time_of(record)} {record.levelname.lower():7} {record.name}: "
            f"{clean(record.getMessage())}"
        )
        if fields:
            line += f"  {fields}"
        if record.exc_info:
            rows = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n    {clean(row)}" for row in rows)
        return line


def configure_logs(
    format: LogFormat, level: int = logging.INFO, stream: TextIO | None = None
) -> None:
    """Send every log of this process to `stream` (standard error by default).

    Replaces earlier settings.
    """
    target = stream if stream is not None else sys.stderr
    as_text = format is LogFormat.TEXT or (format is LogFormat.AUTO and target.isatty())
    output = logging.StreamHandler(target)
    output.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    for former in list(root.handlers):
        root.removeHandler(former)
    root.addHandler(output)
    root.setLevel(level)
