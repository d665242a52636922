"""Messages between a gateway and the key service: bytes → messages, and back. Pure.

Not for what a verb does. A message is a head of 10 bytes ‖ payload. Head: u32 payload bytes ‖ u8
version = 1 ‖ u8 verb, or in an answer 0 = done, 1 = refused ‖ u32 request id. Many requests may be
under way; answers carry the id of their request and come in any order. A payload is fields one
after the other, each as its verb's shape says: bytes and text as u32 length ‖ bytes, numbers as
u64, lists as u32 count ‖ elements.

Any bytes give messages or ProtocolError, never anything else, and nothing longer than its limit is
waited for.

Source: docs/key-service.md, "Protocol".
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from gateway.model.key_states import KeyEpoch, KeyState
from storaged.base.errors import ProtocolError

VERSION = 1
HEAD = Struct(">IBBI")
HEAD_BYTES = HEAD.size

SMALL_BYTES_MAX = 1 << 20  # a payload, but for those that carry a whole keyring
WHOLE_BYTES_MAX = 64 << 20  # KEYS_MAX keys with the longest of names
LIST_MAX = 100_000  # elements of one list
REQUEST_ID_MAX = (1 << 32) - 1

DONE, REFUSED = 0, 1

Value = bytes | str | int | list[bytes] | list[str] | list[KeyEpoch]


class Verb(IntEnum):
    """What a gateway may ask for."""

    HELLO = 10
    STATUS = 11
    CREATE_TENANT_KEY = 20
    TENANT_EPOCHS = 21
    ACTIVE_EPOCH = 22
    ADD_TENANT_EPOCH = 23
    SET_TENANT_EPOCH = 24
    WRAP_BUCKET_KEY = 30
    UNWRAP_BUCKET_KEY = 31
    NEW_BUCKET_KEY = 32
    REWRAP_BUCKET_KEY = 33
    OPEN_BUCKET_KEY = 34
    OPEN_WINDOW = 35
    OPEN_UNDER_BUCKET = 36
    RESEAL_UNDER_BUCKET = 38
    CREATE_NAMED_KEY = 40
    HAS_NAMED_KEY = 41
    NAMED_KEYS = 42
    WRAP_NAMED = 43
    UNWRAP_NAMED = 44
    NAMED_EPOCHS = 45
    ADD_NAMED_EPOCH = 46
    SET_NAMED_EPOCH = 47
    EXPORT_SEALED = 50
    IS_WHOLE = 51
    IMPORT_SEALED = 52
    SEAL_CREDENTIAL = 60
    SIGNING_KEY = 61
    SIGN_V2 = 62
    RESEAL_CREDENTIAL = 63
    APPROVERS = 70
    SET_APPROVERS = 71
    SPEND_WARRANT = 72


class Shape(NamedTuple):
    """The fields of a request and of its answer: b bytes, s text, i number, L list of bytes, S list
    of texts, E list of key epochs.
    """

    request: str
    answer: str


_BUCKET = "bbiib"  # tenant, bucket, epoch, epoch of the tenant's key, the wrapped key
SHAPES = {
    Verb.HELLO: Shape("b", "s"),
    Verb.STATUS: Shape("", "b"),
    Verb.CREATE_TENANT_KEY: Shape("b", ""),
    Verb.TENANT_EPOCHS: Shape("b", "E"),
    Verb.ACTIVE_EPOCH: Shape("b", "i"),
    Verb.ADD_TENANT_EPOCH: Shape("b", "i"),
    Verb.SET_TENANT_EPOCH: Shape("bisb", ""),
    Verb.WRAP_BUCKET_KEY: Shape("bbibi", "b"),
    Verb.UNWRAP_BUCKET_KEY: Shape("bbibi", "b"),
    Verb.NEW_BUCKET_KEY: Shape("bbii", "b"),
    Verb.REWRAP_BUCKET_KEY: Shape(_BUCKET + "i", "b"),
    Verb.OPEN_BUCKET_KEY: Shape(_BUCKET, "b"),
    Verb.OPEN_WINDOW: Shape(_BUCKET, "bb"),
    Verb.OPEN_UNDER_BUCKET: Shape(_BUCKET + "sbb", "b"),
    # The label, how the contexts begin before and after, how each ends, the records.
    Verb.RESEAL_UNDER_BUCKET: Shape(_BUCKET + _BUCKET + "sbbLL", "L"),
    Verb.CREATE_NAMED_KEY: Shape("bs", ""),
    Verb.HAS_NAMED_KEY: Shape("bs", "i"),
    Verb.NAMED_KEYS: Shape("b", "S"),
    Verb.WRAP_NAMED: Shape("bsbb", "b"),
    Verb.UNWRAP_NAMED: Shape("bsbb", "b"),
    Verb.NAMED_EPOCHS: Shape("bs", "E"),
    Verb.ADD_NAMED_EPOCH: Shape("bs", "i"),
    Verb.SET_NAMED_EPOCH: Shape("bsisb", ""),
    Verb.EXPORT_SEALED: Shape("", "b"),
    Verb.IS_WHOLE: Shape("b", "i"),
    Verb.IMPORT_SEALED: Shape("b", ""),
    Verb.SEAL_CREDENTIAL: Shape("bss", "b"),
    Verb.SIGNING_KEY: Shape("bsbsss", "b"),
    Verb.SIGN_V2: Shape("bsbb", "b"),
    Verb.RESEAL_CREDENTIAL: Shape("bsb", "b"),
    Verb.APPROVERS: Shape("", "b"),
    Verb.SET_APPROVERS: Shape("bb", ""),
    Verb.SPEND_WARRANT: Shape("sbs", ""),
}
WHOLE_REQUESTS = frozenset({Verb.IS_WHOLE, Verb.IMPORT_SEALED})
assert SHAPES.keys() == set(Verb)

_U32, _U64 = Struct(">I"), Struct(">Q")
_EPOCH = Struct(">IBBQQ")
_STATES = tuple(KeyState)


class Message(NamedTuple):
    """A request (`code` is a verb) or an answer (DONE or REFUSED), its payload still in bytes."""

    code: int
    request_id: int
    payload: bytes

    def __repr__(self) -> str:
        return f"Message({self.code}, {self.request_id}, …)"


def encode_message(code: int, request_id: int, payload: bytes) -> bytes:
    """A message as it is sent."""
    return HEAD.pack(len(payload), VERSION, code, request_id) + payload


def encode_fields(shape: str, values: Sequence[Value]) -> bytes:
    """Fields of a payload."""
    assert len(shape) == len(values), "as many values as the shape has"
    return b"".join([_encoded(kind, value) for kind, value in zip(shape, values, strict=True)])


def decode_fields(shape: str, payload: bytes) -> list[Value]:
    """The fields of a payload. Raises: ProtocolError: cut short, too long, not of this shape."""
    reader = _Reader(payload)
    values = [reader.field(kind) for kind in shape]
    if reader.at != len(payload):
        raise ProtocolError(reason="bytes after the last field", payload_bytes=len(payload))
    return values


class Messages:
    """Received bytes, cut into messages.

    Args:
        requests: these come from a gateway, so verbs say how long they may be; else they are
            answers.
    """

    __slots__ = ("_buffer", "_requests")

    def __init__(self, *, requests: bool) -> None:
        self._buffer = bytearray()
        self._requests = requests

    def receive(self, data: bytes) -> list[Message]:
        """Take bytes; the messages that are whole by now. Raises: ProtocolError: what was received
        is no message; the connection is of no more use.
        """
        buffer = self._buffer
        buffer += data
        found: list[Message] = []
        at = 0
        while len(buffer) - at >= HEAD_BYTES:
            payload_bytes, version, code, request_id = HEAD.unpack_from(buffer, at)
            if version != VERSION:
                raise ProtocolError(reason="version", version=version, known=VERSION)
            if payload_bytes > self._most(code):
                raise ProtocolError(reason="too long", code=code, payload_bytes=payload_bytes)
            end = at + HEAD_BYTES + payload_bytes
            if len(buffer) < end:
                break
            payload = bytes(memoryview(buffer)[at + HEAD_BYTES : end])
            found.append(Message(code, request_id, payload))
            at = end
        del buffer[:at]
        return found

    @property
    def held_bytes(self) -> int:
        """Bytes of a message that has begun and not ended."""
        return len(self._buffer)

    def _most(self, code: int) -> int:
        if not self._requests:
            if code not in (DONE, REFUSED):
                raise ProtocolError(reason="no answer", code=code)
            return WHOLE_BYTES_MAX
        return WHOLE_BYTES_MAX if code in WHOLE_REQUESTS else SMALL_BYTES_MAX


def _encoded(kind: str, value: Value) -> bytes:
    if isinstance(value, bytes):
        assert kind == "b"
        return _U32.pack(len(value)) + value
    if isinstance(value, str):
        assert kind == "s"
        raw = value.encode("utf-8", "surrogatepass")
        return _U32.pack(len(raw)) + raw
    if isinstance(value, int):
        assert kind == "i"
        return _U64.pack(value)
    assert kind in "LSE"
    parts = [_U32.pack(len(value))]
    if kind == "L":  # thousands of them in a second of a rotation: no call for each
        for one in value:
            assert isinstance(one, bytes)
            parts += (len(one).to_bytes(4, "big"), one)
        return b"".join(parts)
    for one in value:
        if isinstance(one, KeyEpoch):
            parts.append(
                _EPOCH.pack(
                    one.epoch,
                    _STATES.index(one.state),
                    _STATES.index(one.before),
                    one.created_at_ms,
                    one.changed_at_ms,
                )
            )
        else:
            parts.append(_encoded("s", one))
    return b"".join(parts)


class _Reader:
    """A payload, read from its start."""

    __slots__ = ("_payload", "at")

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.at = 0

    def field(self, kind: str) -> Value:
        """The next field. Raises: ProtocolError."""
        if kind == "b":
            return self._bytes()
        if kind == "s":
            return self._text()
        if kind == "i":
            return int(_U64.unpack(self._take(_U64.size))[0])
        count = self._count()
        if kind == "L":
            return self._many_bytes(count)
        if kind == "S":
            return [self._text() for _ in range(count)]
        return [self._epoch() for _ in range(count)]

    def _take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._payload):
            raise ProtocolError(reason="cut short", payload_bytes=len(self._payload))
        taken = self._payload[self.at : end]
        self.at = end
        return taken

    def _bytes(self) -> bytes:
        return self._take(_U32.unpack(self._take(_U32.size))[0])

    def _many_bytes(self, count: int) -> list[bytes]:
        """As `_bytes` so many times, without a call for each."""
        payload, at, found = self._payload, self.at, []
        for _ in range(count):
            start = at + 4
            at = start + int.from_bytes(payload[at:start], "big")
            found.append(payload[start:at])
            if at > len(payload):
                raise ProtocolError(reason="cut short", payload_bytes=len(payload))
        self.at = at
        return found

    def _text(self) -> str:
        try:
            return self._bytes().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise ProtocolError(reason="no text") from error

    def _count(self) -> int:
        count: int = _U32.unpack(self._take(_U32.size))[0]
        if count > LIST_MAX:
            raise ProtocolError(reason="list too long", count=count)
        return count

    def _epoch(self) -> KeyEpoch:
        epoch, state, before, created_at_ms, changed_at_ms = _EPOCH.unpack(self._take(_EPOCH.size))
        if max(state, before) >= len(_STATES):
            raise ProtocolError(reason="no state of a key", state=state)
        return KeyEpoch(
            epoch=epoch,
            state=_STATES[state],
            before=_STATES[before],
            created_at_ms=created_at_ms,
            changed_at_ms=changed_at_ms,
        )
