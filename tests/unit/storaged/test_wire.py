"""The message codec: exact bytes, every limit, every error class, any bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import storaged.base.errors
import storaged.base.ids
import storaged.node
from storaged import wire
from storaged.base.errors import Kind, ProtocolError, StorageError
from storaged.base.limits import (
    CONTENT_BYTES_MAX,
    WIRE_FIELDS_BYTES_MAX,
    WIRE_SLICE_BYTES,
    WIRE_WINDOW_BYTES,
)
from storaged.node import DriveFull, ShardMissing
from storaged.session import local_hello
from storaged.wire import Hello, MessageType


def test_a_message_has_the_bytes_of_the_page() -> None:
    raw = wire.encode_message(
        MessageType.REQUEST, 7, b"fields", b"content", total_bytes=9, deadline_ms=1500
    )
    start = struct.pack(
        ">2sBBIHHIIII",
        b"HX",
        1,
        2,
        7,
        6,
        0,
        7,
        9,
        1500,
        wire.checksum(b"fieldscontent"),
    )
    assert raw == start + struct.pack(">I", wire.checksum(start)) + b"fields"
    assert len(start) + 4 == wire.HEADER_BYTES == 32
    assert wire.checksum(b"123456789") == 0xE3069283  # CRC32C, not CRC32


@given(
    type=st.sampled_from(MessageType),
    request=st.integers(0, (1 << 32) - 1),
    fields=st.binary(max_size=100),
    content=st.binary(max_size=300),
    more=st.integers(0, CONTENT_BYTES_MAX - 300),
    deadline_ms=st.integers(0, (1 << 32) - 1),
)
def test_headers_round_trip(
    type: MessageType, request: int, fields: bytes, content: bytes, more: int, deadline_ms: int
) -> None:
    raw = wire.encode_message(
        type, request, fields, content, total_bytes=len(content) + more, deadline_ms=deadline_ms
    )
    header = wire.decode_header(b"xyz" + raw, 3)
    assert (header.type, header.request) == (type, request)
    assert (header.fields_bytes, header.content_bytes) == (len(fields), len(content))
    assert (header.total_bytes, header.deadline_ms) == (len(content) + more, deadline_ms)


@pytest.mark.proves("NOD-03")
@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_refused_or_a_header(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode_header(raw, 0)  # 32 random bytes have the checksum once in 2^32


@given(st.integers(0, 255))
def test_each_flipped_bit_of_a_header_is_seen(bit: int) -> None:
    raw = bytearray(wire.encode_message(MessageType.PING, 1, b""))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProtocolError):
        wire.decode_header(raw, 0)


@pytest.mark.parametrize(
    "values",
    [
        (MessageType.GOAWAY + 1, 0, 0, 0, 0),
        (0, 0, 0, 0, 0),
        (MessageType.REQUEST, WIRE_FIELDS_BYTES_MAX + 1, 0, 0, 0),
        (MessageType.REQUEST, 0, 1, 0, 0),
        (MessageType.REQUEST, 0, 0, WIRE_SLICE_BYTES + 1, CONTENT_BYTES_MAX),
        (MessageType.REQUEST, 0, 0, 0, CONTENT_BYTES_MAX + 1),
        (MessageType.REQUEST, 0, 0, 2, 1),
    ],
)
def test_lengths_and_types_have_limits(values: tuple[int, int, int, int, int]) -> None:
    type, fields_bytes, flags, content_bytes, total_bytes = values
    start = struct.pack(
        ">2sBBIHHIIII", b"HX", 1, type, 1, fields_bytes, flags, content_bytes, total_bytes, 0, 0
    )
    with pytest.raises(ProtocolError):
        wire.decode_header(start + struct.pack(">I", wire.checksum(start)), 0)


def _hello(**changes: object) -> Hello:
    values: dict[str, object] = {
        "version_max": 1,
        "version_min": 1,
        "features": 0,
        "requests_max": 256,
        "window_bytes": WIRE_WINDOW_BYTES,
        "slice_bytes": WIRE_SLICE_BYTES,
        "names": ("fr", "paris", "p1"),
    }
    return Hello(**(values | changes))  # type: ignore[arg-type]


def test_a_hello_round_trips_and_leaves_later_fields_alone() -> None:
    hello = local_hello(("fr", "paris", "p1"))
    assert wire.decode_hello(wire.encode_hello(hello) + b"later") == hello
    assert wire.decode_hello(wire.encode_hello(_hello(version_max=9, features=5))).features == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"version_min": 2, "version_max": 3},
        {"version_min": 0, "version_max": 0},
        {"version_min": 1, "version_max": 0},
        {"requests_max": 0},
        {"window_bytes": CONTENT_BYTES_MAX},
        {"slice_bytes": 100},
        {"slice_bytes": WIRE_SLICE_BYTES + 1},
    ],
)
def test_a_hello_nobody_could_work_with_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        wire.decode_hello(wire.encode_hello(_hello(**changes)))


@pytest.mark.proves("NOD-03")
@given(st.binary(max_size=300))
def test_any_hello_credit_or_error_is_decoded_or_refused(raw: bytes) -> None:
    for decode in (wire.decode_hello, wire.decode_credit, wire.decode_error):
        try:
            decode(raw)
        except ProtocolError:
            continue


def _all_errors() -> list[type[StorageError]]:
    modules = (storaged.base.errors, storaged.base.ids, storaged.node, wire)
    return [
        item
        for module in modules
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, StorageError)
    ]


@pytest.mark.parametrize("cls", sorted(set(_all_errors()), key=lambda cls: cls.__name__))
def test_every_error_of_the_port_has_a_code_and_comes_back(cls: type[StorageError]) -> None:
    assert cls in wire.ERROR_CODES
    error = cls(shard="data-1-2.0", epoch=7, low=-3, reason="é\n")
    back = wire.decode_error(wire.encode_error(error))
    assert type(back) is cls
    assert back.fields == error.fields
    assert str(back) == str(error)


def test_codes_are_unique_and_a_subclass_travels_as_its_ancestor() -> None:
    class DriveVeryFull(DriveFull):
        """A class that the other side does not know."""

    assert len(wire.ERROR_CLASSES) == len(wire.ERROR_CODES) + len(Kind)
    assert type(wire.decode_error(wire.encode_error(DriveVeryFull()))) is DriveFull


@pytest.mark.parametrize("kind", list(Kind))
def test_an_error_without_a_code_keeps_its_kind_and_name(kind: Kind) -> None:
    cls = type("Odd", (StorageError,), {"kind": kind, "__doc__": "Odd."})
    back = wire.decode_error(wire.encode_error(cls(epoch=5)))
    assert back.kind is kind
    assert back.fields == {"error": "Odd", "epoch": 5}
    again = wire.decode_error(wire.encode_error(back))
    assert type(again) is type(back) and again.fields == back.fields


def test_an_unknown_code_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="unknown error code"):
        wire.decode_error(struct.pack(">HB", 999, 0))


@given(st.dictionaries(st.text(max_size=80), st.text(max_size=400) | st.integers(), max_size=12))
def test_error_fields_are_bounded_and_always_decodable(fields: dict[str, object]) -> None:
    error = ShardMissing()
    error.fields = fields
    raw = wire.encode_error(error)
    assert len(raw) <= 3 + 8 * (3 + 64 + 200)
    assert isinstance(wire.decode_error(raw), ShardMissing)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        struct.pack(">HB", 16, 9),
        struct.pack(">HB", 16, 1),
        struct.pack(">HBBBB", 16, 1, 1, 0, 0),
        struct.pack(">HBBBB", 16, 1, 1, 0, 1) + b"a\xff",
        struct.pack(">HBBBB", 16, 1, 1, 1, 1) + b"ax",
        struct.pack(">HBBBB", 16, 1, 1, 1, 2) + b"a--",
        struct.pack(">HBBBB", 16, 1, 1, 1, 3) + b"a--5",
        struct.pack(">HB", 16, 0) + b"more",
    ],
)
def test_malformed_errors_are_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode_error(raw)


def test_a_hello_whose_names_are_cut_short_is_refused() -> None:
    raw = wire.encode_hello(local_hello(("fr", "paris", "p1")))
    for length in range(len(raw)):
        with pytest.raises(ProtocolError):
            wire.decode_hello(raw[:length])
