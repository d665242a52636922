"""multipart/form-data as browsers send it to S3: fields, then one file, then what is ignored.

Sans-IO: bytes in, events out. Not for what fields mean (`post_form_policy`, `post_form_auth`). The
file is never held: its content is given on as it comes, but for the few bytes that may be the
beginning of its end.

Source: RFC 7578; RFC 2046 §5.1; Amazon S3 API Reference, "POST Object".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import NoReturn

from gateway.s3.errors import S3Error

BOUNDARY_CHARACTERS_MAX = 70  # RFC 2046
FIELDS_BYTES_MAX = 20 * 1024  # S3's bound for all that comes before the file
FILE_FIELD = "file"

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]*[0-9A-Za-z'()+_,\-./:=?]")
_PARAMETER = re.compile(r';[ \t]*([A-Za-z0-9_.*-]+)=(?:"((?:\\"|[^"])*)"|([^\s";]+))[ \t]*')
_FORM_DATA = re.compile(r"form-data[ \t]*(?=;|$)", re.IGNORECASE)


@dataclass(slots=True)
class FormField:
    """A field before the file; `name` in lower case."""

    name: str
    value: str


@dataclass(slots=True)
class FileBegins:
    """The file comes next; `offset` is where its content begins in the body."""

    file_name: str
    offset: int


@dataclass(slots=True)
class FileContent:
    """Some of the file; at least one byte of it is still to come unless `FileEnds` follows."""

    piece: memoryview


class FileEnds:
    """The file is complete; what follows is not looked at but for the end of the form."""


Event = FormField | FileBegins | FileContent | FileEnds


class _State(Enum):
    FIELDS = auto()
    FILE = auto()
    DELIMITED = auto()  # what follows the file's delimiter is still to be seen
    AFTER = auto()


def malformed() -> NoReturn:
    """Refuse the form. Raises S3Error: MalformedPOSTRequest."""
    raise S3Error("MalformedPOSTRequest")


def boundary_of(content_type: str) -> bytes:
    """The boundary that a multipart/form-data content type names.

    Raises:
        S3Error: PreconditionFailed (another type), MalformedPOSTRequest.
    """
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        extra = {"Condition": "Bucket POST must be of the enclosure-type multipart/form-data"}
        raise S3Error("PreconditionFailed", extra=extra)
    found = _parameters(";" + parameters).get("boundary", "")
    if len(found) > BOUNDARY_CHARACTERS_MAX or _BOUNDARY.fullmatch(found) is None:
        malformed()
    return found.encode("ascii")


def _parameters(text: str) -> dict[str, str]:
    """The parameters of a header, each once. Raises S3Error: MalformedPOSTRequest."""
    found: dict[str, str] = {}
    at = 0
    text = text.strip()
    while at < len(text) and text[at:] != ";":
        match = _PARAMETER.match(text, at)
        if match is None or match[1].lower() in found:
            malformed()
        quoted: str | None = match[2]
        found[match[1].lower()] = match[3] if quoted is None else quoted.replace('\\"', '"')
        at = match.end()
    return found


class FormParser:
    """One form. `feed` until the body ends, then `finish`."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._state = _State.FIELDS
        self._held = b"\r\n"  # as if a line had ended before the first boundary
        self._offset = -2  # of `_held` in the body
        self._in_part = False  # `_held` begins after a delimiter
        self._name: str | None = None  # of the field whose value comes next

    def feed(self, piece: bytes | bytearray | memoryview) -> list[Event]:
        """What a piece of the body completes.

        Raises:
            S3Error: MalformedPOSTRequest, MaxPostPreDataLengthExceeded, InvalidArgument.
        """
        events: list[Event] = []
        if self._state is _State.AFTER:
            return events
        self._held = self._held + piece if self._held else bytes(piece)
        if self._state is _State.FIELDS:
            while self._state is _State.FIELDS and self._step(events):
                pass
            if self._state is _State.FIELDS:
                if self._offset + len(self._held) > FIELDS_BYTES_MAX:
                    raise S3Error("MaxPostPreDataLengthExceededError")
                return events
        if self._state is _State.FILE:
            self._content(events)
        if self._state is _State.DELIMITED:
            self._follow()
        return events

    def finish(self) -> None:
        """The body has ended. Raises S3Error: MalformedPOSTRequest unless the file has."""
        if self._state is not _State.AFTER:
            malformed()

    def _skip(self, count: int) -> None:
        self._held = self._held[count:]
        self._offset += count
        if self._offset > FIELDS_BYTES_MAX:
            raise S3Error("MaxPostPreDataLengthExceededError")

    def _step(self, events: list[Event]) -> bool:
        """Take one thing from what is held; False when more is needed for that."""
        if self._name is not None:
            return self._value(events, self._name)
        if self._in_part:
            return self._part_head(events)
        at = self._held.find(self._delimiter)
        if at < 0:
            return False
        self._skip(at + len(self._delimiter))
        self._in_part = True
        return True

    def _part_head(self, events: list[Event]) -> bool:
        if self._held.startswith(b"--"):
            extra = {"ArgumentName": FILE_FIELD, "ArgumentValue": "0"}
            text = "POST requires exactly one file upload per request."
            raise S3Error("InvalidArgument", text, extra=extra)
        end = self._held.find(b"\r\n\r\n")
        line_end = self._held.find(b"\r\n")
        if line_end > 0 and self._held[:line_end].strip(b" \t"):
            malformed()  # only blanks may follow a boundary
        if end < 0:
            return False
        name, file_name = _disposition(self._held[line_end + 2 : end] if end > line_end else b"")
        self._skip(end + 4)
        self._in_part = False
        if name.lower() == FILE_FIELD:
            self._state = _State.FILE
            events.append(FileBegins(file_name or "", self._offset))
        else:
            self._name = name.lower()
        return True

    def _value(self, events: list[Event], name: str) -> bool:
        at = self._held.find(self._delimiter)
        if at < 0:
            return False
        try:
            value = self._held[:at].decode("utf-8")
        except UnicodeDecodeError:
            malformed()
        events.append(FormField(name, value))
        self._name = None
        self._skip(at + len(self._delimiter))
        self._in_part = True
        return True

    def _content(self, events: list[Event]) -> None:
        held = self._held
        at = held.find(self._delimiter)
        if at >= 0:
            if at:
                events.append(FileContent(memoryview(held)[:at]))
            events.append(FileEnds())
            self._held = held[at + len(self._delimiter) :]
            self._state = _State.DELIMITED
            return
        # One byte more than the beginning of a delimiter can be: so the last content comes last.
        ready = len(held) - len(self._delimiter)
        if ready > 0:
            events.append(FileContent(memoryview(held)[:ready]))
            self._held = held[ready:]

    def _follow(self) -> None:
        """After the file's delimiter: the end of the form, or of a line."""
        held = self._held.lstrip(b" \t")
        if len(held) < 2:
            if len(self._held) > FIELDS_BYTES_MAX:
                malformed()
            return
        if held[:2] not in (b"--", b"\r\n"):
            malformed()
        self._held = b""
        self._state = _State.AFTER


def _disposition(head: bytes) -> tuple[str, str | None]:
    """(name, file name) of a part by its headers. Raises S3Error: MalformedPOSTRequest."""
    try:
        lines = head.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        malformed()
    found: list[str] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            malformed()
        if name.strip().lower() == "content-disposition":
            found.append(value.strip())
    if len(found) != 1:
        malformed()
    kind = _FORM_DATA.match(found[0])
    if kind is None:
        malformed()
    parameters = _parameters(found[0][kind.end() :])
    if "name" not in parameters:
        malformed()
    return parameters["name"], parameters.get("filename")
