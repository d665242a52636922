"""Codec of the node protocol: message header, hello, credits, and the one table of error codes.

Not for the state of a connection (`storaged.session`), nor for the arguments of verbs
(`storaged.verbs`).

A message is a 32-byte header, `fields_bytes` of fields, and `content_bytes` of raw content; all
integers are big-endian. The header has its own CRC32C; fields and content share one. Parsers
raise `ProtocolError` only.

Source: docs/wire.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from awscrt.checksums import crc32c

from storaged import node as port
from storaged.base import errors, ids
from storaged.base.errors import Kind, ProtocolError, StorageError
from storaged.base.limits import (
    CONTENT_BYTES_MAX,
    WIRE_ERROR_FIELDS_MAX,
    WIRE_ERROR_TEXT_BYTES_MAX,
    WIRE_FIELDS_BYTES_MAX,
    WIRE_SLICE_BYTES,
    WIRE_WINDOW_BYTES,
)
from storaged.node import Buffer

MAGIC = 0x4858  # "HX"
FRAMING = 1  # version of the header below; never changes within a connection
HEADER_BYTES = 32
VERSION = 1  # highest version of verbs and fields that this code speaks
VERSION_MIN = 1  # lowest
FEATURES = 0  # optional abilities, one bit each; both sides use the intersection

_HEADER = struct.Struct(">HBBIHHIIII")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_HELLO = struct.Struct(">BHHQIII")
checksum = crc32c  # of bytes, continuing an earlier one given as second argument
_NAME_BYTES_MAX = 255
_DIGITS_MAX = 20  # of an integer field of an error


class MessageType(IntEnum):
    """What a message is."""

    HELLO = 1  # both sides, first
    REQUEST = 2  # client: a verb, its arguments, the first slice of its content
    RESPONSE = 3  # server: outcome, result, the first slice of its content
    CONTENT = 4  # either: the next slice
    CANCEL = 5  # client: nobody waits for this request
    CREDIT = 6  # either: this much content has been released
    PING = 7  # either
    PONG = 8  # the answer, with the same fields
    GOAWAY = 9  # server: no further requests, those under way are finished


class Verb(IntEnum):
    """First byte of a request's fields: the verbs of the Node port."""

    PUT = 1
    GET = 2
    STAT = 3
    DELETE = 4
    LIST = 5
    VERIFY = 6
    STATUS = 7
    FENCE = 8


class Cancelled(StorageError):
    """The request was cancelled by its caller."""

    kind = Kind.UNAVAILABLE


ERROR_CODES: dict[type[StorageError], int] = {
    StorageError: 1,
    ProtocolError: 2,
    errors.DeadlineExceeded: 3,
    errors.ConfigError: 4,
    ids.InvalidId: 5,
    Cancelled: 6,
    port.ShardMissing: 16,
    port.ShardConflict: 17,
    port.ShardCorrupt: 18,
    port.ShardTooLarge: 19,
    port.RangeOutside: 20,
    port.FencedOut: 21,
    port.ShardRetained: 22,
    port.DriveFull: 23,
    port.DriveOutOfService: 24,
    port.NodeUnavailable: 25,
    port.NodeBusy: 26,
}
KIND_CODES = {
    Kind.INVALID: 256,
    Kind.DENIED: 257,
    Kind.NOT_FOUND: 258,
    Kind.CONFLICT: 259,
    Kind.PRECONDITION: 260,
    Kind.EXHAUSTED: 261,
    Kind.UNAVAILABLE: 262,
    Kind.TIMEOUT: 263,
    Kind.UNKNOWN_OUTCOME: 264,
    Kind.CORRUPT: 265,
}


def _error_of(kind: Kind) -> type[StorageError]:
    """A class for errors of one kind that have no code of their own; their name is a field."""
    name = f"Node{kind.value.title().replace('_', '')}Error"
    doc = "The node answered with an error of its own."
    return type(name, (StorageError,), {"kind": kind, "__doc__": doc, "__module__": __name__})


ERROR_CLASSES: dict[int, type[StorageError]] = {code: cls for cls, code in ERROR_CODES.items()}
ERROR_CLASSES.update({code: _error_of(kind) for kind, code in KIND_CODES.items()})
OK = 0  # code of an answer without error


class Header(NamedTuple):
    """The fixed part of a message.

    `total_bytes` is the content of the whole request or response.
    """

    type: int
    request: int
    fields_bytes: int
    content_bytes: int
    total_bytes: int
    deadline_ms: int
    payload_crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What each side says first. `names`: country, datacenter, node of a node.

    The id of a gateway.
    """

    version_max: int
    version_min: int
    features: int
    requests_max: int
    window_bytes: int
    slice_bytes: int
    names: tuple[str, ...]


def encode_message(
    type: MessageType,
    request: int,
    fields: bytes,
    content: Buffer = b"",
    *,
    total_bytes: int = 0,
    deadline_ms: int = 0,
) -> bytes:
    """Header and fields of one message; the caller sends `content` right behind.

    Args:
        fields: at most WIRE_FIELDS_BYTES_MAX bytes.
        content: at most WIRE_SLICE_BYTES bytes, one slice of `total_bytes`.
        deadline_ms: remaining milliseconds, 0 where there is none.
    """
    fields_bytes, content_bytes = len(fields), len(content)
    assert fields_bytes <= WIRE_FIELDS_BYTES_MAX and content_bytes <= WIRE_SLICE_BYTES
    payload_crc = checksum(fields)
    if content_bytes:
        payload_crc = checksum(content, payload_crc)
    start = _HEADER.pack(
        MAGIC,
        FRAMING,
        type,
        request,
        fields_bytes,
        0,
        content_bytes,
        total_bytes,
        deadline_ms,
        payload_crc,
    )
    return b"".join((start, _U32.pack(checksum(start)), fields))


def decode_header(buffer: Buffer, offset: int) -> Header:
    """Parse the 32 bytes at `offset` and hold every length against its limit.

    Raises:
        ProtocolError: checksum, magic, framing version, or a length over its limit.
    """
    start = memoryview(buffer)[offset : offset + HEADER_BYTES - 4]
    (
        magic,
        framing,
        type_,
        request,
        fields_bytes,
        flags,
        content_bytes,
        total_bytes,
        deadline,
        crc,
    ) = _HEADER.unpack(start)
    if magic != MAGIC or framing != FRAMING:
        raise ProtocolError(reason="not a message of this protocol")
    if _U32.unpack_from(buffer, offset + HEADER_BYTES - 4)[0] != checksum(start):
        raise ProtocolError(reason="header checksum")
    if not MessageType.HELLO <= type_ <= MessageType.GOAWAY or flags:
        raise ProtocolError(reason="message type or flags", type=type_, flags=flags)
    if (
        fields_bytes > WIRE_FIELDS_BYTES_MAX
        or content_bytes > WIRE_SLICE_BYTES
        or total_bytes > CONTENT_BYTES_MAX
        or content_bytes > total_bytes
    ):
        raise ProtocolError(
            reason="length", fields=fields_bytes, content=content_bytes, total=total_bytes
        )
    return Header(type_, request, fields_bytes, content_bytes, total_bytes, deadline, crc)


def cut_text(text: str, bytes_max: int) -> bytes:
    """UTF-8 of `text`, at most `bytes_max` bytes, never cut inside a character."""
    raw = text.encode(errors="replace")
    return raw if len(raw) <= bytes_max else raw[:bytes_max].decode(errors="ignore").encode()


def take_text(raw: bytes, at: int, length: int) -> str:
    """`length` bytes of UTF-8 at `at`. Raises ProtocolError."""
    if at + length > len(raw):
        raise ProtocolError(reason="cut short")
    try:
        return raw[at : at + length].decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(reason="text is not UTF-8") from error


def encode_hello(hello: Hello) -> bytes:
    """Fields of a HELLO message: 25 fixed bytes, then one-byte-length names."""
    fixed = _HELLO.pack(
        len(hello.names),
        hello.version_max,
        hello.version_min,
        hello.features,
        hello.requests_max,
        hello.window_bytes,
        hello.slice_bytes,
    )
    names = [name.encode() for name in hello.names]
    assert all(len(name) <= _NAME_BYTES_MAX for name in names)
    return fixed + b"".join(bytes((len(name),)) + name for name in names)


def decode_hello(fields: bytes) -> Hello:
    """Parse a HELLO. Bytes behind the names belong to later versions and are left alone.

    Raises:
        ProtocolError: cut short, or limits that no sender could work with.
    """
    if len(fields) < _HELLO.size:
        raise ProtocolError(reason="hello cut short")
    count, version_max, version_min, features, requests_max, window, slice_bytes = (
        _HELLO.unpack_from(fields)
    )
    names, at = [], _HELLO.size
    for _ in range(count):
        if at >= len(fields):
            raise ProtocolError(reason="hello cut short")
        names.append(take_text(fields, at + 1, fields[at]))
        at += 1 + fields[at]
    if version_min > VERSION or version_max < VERSION_MIN or version_min > version_max:
        raise ProtocolError(reason="no common version", low=version_min, high=version_max)
    if not (
        requests_max >= 1
        and CONTENT_BYTES_MAX * 4 // 3 <= window <= WIRE_WINDOW_BYTES * 64
        and 4096 <= slice_bytes <= WIRE_SLICE_BYTES
    ):
        raise ProtocolError(reason="limits in hello")
    return Hello(
        version_max=version_max,
        version_min=version_min,
        features=features,
        requests_max=requests_max,
        window_bytes=window,
        slice_bytes=slice_bytes,
        names=tuple(names),
    )


def encode_credit(released_bytes: int) -> bytes:
    """Fields of a CREDIT message: bytes released, u32."""
    return _U32.pack(released_bytes)


def decode_credit(fields: bytes) -> int:
    """Released bytes, 1 or more. Raises ProtocolError."""
    if len(fields) != 4 or fields == b"\0\0\0\0":
        raise ProtocolError(reason="credit")
    released: int = _U32.unpack(fields)[0]
    return released


def encode_error(error: StorageError) -> bytes:
    """Code u16, count u8, then per field: name length u8, value type u8, value length u8, name.

    Value.

    A class without a code of its own travels as its nearest ancestor of the same kind that has
    one, or else by its kind, with its name as a field. Long texts are cut.
    """
    cls = type(error)
    fields = error.fields
    nearest = next(ancestor for ancestor in cls.__mro__ if ancestor in ERROR_CODES)
    if nearest.kind is cls.kind and (nearest is not StorageError or cls is StorageError):
        code = ERROR_CODES[nearest]
    else:
        code = KIND_CODES[cls.kind]
        fields = {"error": fields.get("error", cls.__name__), **fields}
    pairs = list(fields.items())[:WIRE_ERROR_FIELDS_MAX]
    parts = [_U16.pack(code), bytes((len(pairs),))]
    for name, value in pairs:
        number = type(value) is int and abs(value) < 10 ** (_DIGITS_MAX - 1)
        raw_name = cut_text(name, 64)
        raw_value = cut_text(str(value), WIRE_ERROR_TEXT_BYTES_MAX)
        parts.append(bytes((len(raw_name), 1 if number else 0, len(raw_value))))
        parts.append(raw_name + raw_value)
    return b"".join(parts)


def decode_error(raw: bytes) -> StorageError:
    """The error that `encode_error` described.

    Raises:
        ProtocolError: the code is unknown, or the fields are malformed.
    """
    if len(raw) < 3:
        raise ProtocolError(reason="error cut short")
    code = _U16.unpack_from(raw)[0]
    cls = ERROR_CLASSES.get(code)
    if cls is None:
        raise ProtocolError(reason="unknown error code", code=code)
    if raw[2] > WIRE_ERROR_FIELDS_MAX:
        raise ProtocolError(reason="too many error fields")
    fields: dict[str, object] = {}
    at = 3
    for _ in range(raw[2]):
        if at + 3 > len(raw):
            raise ProtocolError(reason="error cut short")
        name_bytes, is_number, value_bytes = raw[at], raw[at + 1], raw[at + 2]
        name = take_text(raw, at + 3, name_bytes)
        value = take_text(raw, at + 3 + name_bytes, value_bytes)
        at += 3 + name_bytes + value_bytes
        fields[name] = _number(value) if is_number else value
    if at != len(raw):
        raise ProtocolError(reason="bytes behind the error")
    return _rebuild(cls, fields)


def _number(text: str) -> int:
    if not (text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) <= _DIGITS_MAX):
        raise ProtocolError(reason="error field is not a number")
    try:
        return int(text)
    except ValueError as error:
        raise ProtocolError(reason="error field is not a number") from error


def _rebuild(cls: type[StorageError], fields: dict[str, object]) -> StorageError:
    """An error with these fields, whatever their names are (`self` is no keyword argument)."""
    error = cls()
    error.fields = fields
    error.args = (error.message(),)
    return error
