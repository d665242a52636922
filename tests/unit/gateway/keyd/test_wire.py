"""Messages of the key service: any bytes give messages or ProtocolError."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.data.envelope import SealInvalid, TenantKeyMissing
from gateway.keyd.refusals import KeydFailed, decode_refusal, encode_refusal
from gateway.keyd.wire import (
    DONE,
    HEAD,
    LIST_MAX,
    SHAPES,
    SMALL_BYTES_MAX,
    VERSION,
    WHOLE_BYTES_MAX,
    Messages,
    Value,
    Verb,
    decode_fields,
    encode_fields,
    encode_message,
)
from gateway.model.key_states import KeyEpoch, KeyState
from storaged.base.errors import ProtocolError, StorageError

EPOCH = KeyEpoch(
    epoch=3, state=KeyState.DISABLED, before=KeyState.ACTIVE, created_at_ms=5, changed_at_ms=7
)


def test_fields_come_back_as_they_were() -> None:
    values: list[Value] = [b"\x00raw", "tëxt", 1 << 63, [b"a", b""], ["x", "é"], [EPOCH, EPOCH]]
    assert decode_fields("bsiLSE", encode_fields("bsiLSE", values)) == values


@given(
    st.binary(max_size=400), st.sampled_from(sorted({s for pair in SHAPES.values() for s in pair}))
)
def test_any_bytes_are_fields_or_refused(payload: bytes, shape: str) -> None:
    try:
        values = decode_fields(shape, payload)
    except ProtocolError:
        return
    assert encode_fields(shape, values) == payload or "S" in shape or "s" in shape or "E" in shape


@pytest.mark.proves("NOD-03")
@given(st.lists(st.binary(max_size=60), max_size=12), st.booleans())
def test_any_bytes_are_messages_or_refused(pieces: list[bytes], requests: bool) -> None:
    messages = Messages(requests=requests)
    try:
        for piece in pieces:
            messages.receive(piece)
    except ProtocolError:
        pass


@given(
    st.lists(st.tuples(st.sampled_from(list(Verb)), st.binary(max_size=50)), max_size=6),
    st.data(),
)
def test_however_they_are_cut_messages_are_the_same(
    sent: list[tuple[Verb, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(encode_message(verb, at, raw) for at, (verb, raw) in enumerate(sent))
    messages, found, at = Messages(requests=True), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 40))
        found += messages.receive(stream[at : at + size])
        at += size
    assert [(m.code, m.request_id, m.payload) for m in found] == [
        (verb, at, raw) for at, (verb, raw) in enumerate(sent)
    ]
    assert not messages.held_bytes


@pytest.mark.parametrize(
    ("head", "requests"),
    [
        (HEAD.pack(0, VERSION + 1, Verb.STATUS, 1), True),
        (HEAD.pack(SMALL_BYTES_MAX + 1, VERSION, Verb.STATUS, 1), True),
        (HEAD.pack(WHOLE_BYTES_MAX + 1, VERSION, Verb.IMPORT_SEALED, 1), True),
        (HEAD.pack(WHOLE_BYTES_MAX + 1, VERSION, DONE, 1), False),
        (HEAD.pack(0, VERSION, Verb.STATUS, 1), False),
    ],
)
def test_a_head_that_cannot_be_is_refused_before_its_payload(head: bytes, requests: bool) -> None:
    with pytest.raises(ProtocolError):
        Messages(requests=requests).receive(head)


def test_a_whole_keyring_may_be_long() -> None:
    head = HEAD.pack(SMALL_BYTES_MAX + 1, VERSION, Verb.IMPORT_SEALED, 1)
    messages = Messages(requests=True)
    assert messages.receive(head) == [] and messages.held_bytes == len(head)


@pytest.mark.parametrize(
    ("shape", "payload"),
    [
        ("b", b"\x00\x00\x00\x05abc"),
        ("i", b"\x00"),
        ("s", b"\x00\x00\x00\x01\xff"),
        ("L", (LIST_MAX + 1).to_bytes(4, "big")),
        ("E", b"\x00\x00\x00\x01" + b"\x00\x00\x00\x01\x09\x00" + bytes(16)),
        ("", b"x"),
    ],
)
def test_fields_that_cannot_be_are_refused(shape: str, payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_fields(shape, payload)


def test_errors_arrive_as_what_they_are() -> None:
    error = decode_refusal(encode_refusal(TenantKeyMissing(tenant="ab", epoch=2)))
    assert type(error) is TenantKeyMissing and error.fields == {"tenant": "ab", "epoch": "2"}
    assert isinstance(decode_refusal(encode_refusal(SealInvalid(label="x" * 999))), SealInvalid)

    class Unheard(StorageError):
        """Nobody knows this."""

    other = decode_refusal(encode_refusal(Unheard(why="so")))
    assert type(other) is KeydFailed and other.fields == {"error": "Nobody knows this", "why": "so"}


@given(st.binary(max_size=300))
def test_any_bytes_are_an_error_or_refused(payload: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode_refusal(payload), StorageError)
