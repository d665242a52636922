"""The session machines against each other: slices, credits, cancellation, every cut, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storaged import wire
from storaged.base.errors import ProtocolError
from storaged.base.limits import (
    CONTENT_BYTES_MAX,
    WIRE_SLICE_BYTES,
    WIRE_WINDOW_BYTES,
)
from storaged.session import (
    Answered,
    ClientSession,
    Draining,
    Event,
    PeerReady,
    RequestCancelled,
    Requested,
    ServerSession,
    local_hello,
)
from storaged.wire import MessageType

NODE_NAMES = ("fr", "paris", "p1")
MIB = 1 << 20


def _output(session: ClientSession | ServerSession) -> bytes:
    raw = b""
    while session.has_output():
        raw += b"".join(session.take_output())
    return raw


def _pair(requests_max: int = 256) -> tuple[ClientSession, ServerSession]:
    client = ClientSession(local_hello(("g1",)))
    server = ServerSession(local_hello(NODE_NAMES, requests_max=requests_max))
    (ready,) = server.receive(_output(client))
    assert isinstance(ready, PeerReady) and ready.hello.names == ("g1",)
    (ready,) = client.receive(_output(server))
    assert isinstance(ready, PeerReady) and ready.hello.names == NODE_NAMES
    return client, server


def _content(length: int) -> memoryview:
    return memoryview((bytes(range(251)) * (length // 251 + 1))[:length])


def _requests(events: list[Event]) -> dict[int, Requested]:
    return {event.request: event for event in events if isinstance(event, Requested)}


@pytest.mark.parametrize("length", [0, 1, 4096, 16384, 16385, 262144, 262145, CONTENT_BYTES_MAX])
def test_a_request_and_its_answer_arrive_whole(length: int) -> None:
    client, server = _pair()
    request = client.request(b"ask", _content(length), deadline_ms=1234)
    (asked,) = server.receive(_output(client))
    assert asked == Requested(
        request=request, fields=b"ask", content=_content(length), deadline_ms=1234, damaged=False
    )
    server.respond(request, b"say", _content(length))
    (answered,) = client.receive(_output(server))
    assert answered == Answered(
        request=request, fields=b"say", content=_content(length), damaged=False
    )
    assert client.under_way_count == server.under_way_count == 0


def test_a_small_request_overtakes_a_large_one() -> None:
    client, server = _pair()
    large = client.request(b"large", _content(4 * MIB), deadline_ms=1)
    events = server.receive(b"".join(client.take_output()))
    small = client.request(b"small", _content(4096), deadline_ms=1)
    assert events == []
    assert list(_requests(server.receive(b"".join(client.take_output())))) == [small]
    assert list(_requests(server.receive(_output(client)))) == [large]


def test_large_contents_take_turns() -> None:
    client, _ = _pair()
    for _ in range(3):
        client.request(b"", _content(MIB), deadline_ms=1)
    raw = _output(client)
    order, at = [], 0
    while at < len(raw):
        header = wire.decode_header(raw, at)
        order.append(header.request)
        at += 32 + header.fields_bytes + header.content_bytes
    assert order == [1, 2, 3] * (MIB // WIRE_SLICE_BYTES)


def test_content_waits_for_credit_and_all_of_it_comes() -> None:
    client, server = _pair()
    count = 3 * WIRE_WINDOW_BYTES // (4 * MIB)
    for _ in range(count):
        client.request(b"", _content(4 * MIB), deadline_ms=1)
    first = _requests(server.receive(_output(client)))
    assert len(first) == WIRE_WINDOW_BYTES // (4 * MIB)
    assert not client.has_output()
    seen = set(first)
    waiting = list(first)
    while waiting:
        server.respond(waiting.pop(0), b"")
        client.receive(_output(server))
        arrived = _requests(server.receive(_output(client)))
        seen |= set(arrived)
        waiting += list(arrived)
    assert len(seen) == count
    assert client.under_way_count == 0


def test_a_request_without_content_needs_no_credit() -> None:
    client, server = _pair()
    for _ in range(5):
        client.request(b"", _content(4 * MIB), deadline_ms=1)
    _output(client)
    free = client.request(b"stat", _content(0), deadline_ms=1)
    assert wire.decode_header(_output(client), 0).request == free
    assert server.under_way_count == 0


def test_cancelling_before_a_byte_went_out_leaves_nothing() -> None:
    client, _ = _pair()
    for _ in range(4):
        client.request(b"", _content(4 * MIB), deadline_ms=1)
    _output(client)
    waiting = client.request(b"", _content(MIB), deadline_ms=1)
    client.cancel(waiting)
    assert not client.has_output() and client.under_way_count == 4


def test_cancelling_in_the_middle_of_content_gives_the_window_back() -> None:
    client, server = _pair()
    for _ in range(3 * WIRE_WINDOW_BYTES // (4 * MIB)):
        request = client.request(b"", _content(4 * MIB), deadline_ms=1)
        assert server.receive(b"".join(client.take_output())) == []
        client.cancel(request)
        assert server.receive(_output(client)) == []
        (answer,) = client.receive(_output(server))
        assert isinstance(answer, Answered) and answer.request == request
        assert isinstance(wire.decode_error(answer.fields), wire.Cancelled)
    last = client.request(b"", _content(4 * MIB), deadline_ms=1)
    assert list(_requests(server.receive(_output(client)))) == [last]


def test_cancelling_what_the_node_is_busy_with_tells_it() -> None:
    client, server = _pair()
    request = client.request(b"ask", _content(0), deadline_ms=1)
    server.receive(_output(client))
    client.cancel(request)
    assert server.receive(_output(client)) == [RequestCancelled(request=request)]
    server.respond(request, b"x")
    client.cancel(request)
    assert server.receive(_output(client)) == []  # it crossed the answer
    (answer,) = client.receive(_output(server))
    assert isinstance(answer, Answered)


def test_the_client_keeps_to_the_servers_number_of_requests() -> None:
    client, server = _pair(requests_max=2)
    client.request(b"", _content(0), deadline_ms=1)
    client.request(b"", _content(0), deadline_ms=1)
    assert not client.has_room()
    with pytest.raises(AssertionError):
        client.request(b"", _content(0), deadline_ms=1)
    raw = _output(client) + wire.encode_message(MessageType.REQUEST, 9, b"x")
    with pytest.raises(ProtocolError, match="too many requests"):
        server.receive(raw)


def test_ping_goaway() -> None:
    client, server = _pair()
    client.ping()
    server.receive(_output(client))
    assert client.receive(_output(server)) == []
    server.drain()
    assert client.receive(_output(server)) == [Draining()]
    assert not client.has_room()


@pytest.mark.parametrize("length", [100, 100_000, 600_000])
def test_damaged_content_is_marked_and_the_connection_lives(length: int) -> None:
    client, server = _pair()
    request = client.request(b"fields", _content(length), deadline_ms=1)
    raw = bytearray(_output(client))
    raw[-1] ^= 1
    (asked,) = server.receive(raw)
    assert isinstance(asked, Requested) and asked.damaged and asked.request == request
    client.request(b"", _content(10), deadline_ms=1)
    (asked,) = server.receive(_output(client))
    assert isinstance(asked, Requested) and not asked.damaged


def _message(type: MessageType, request: int = 1, fields: bytes = b"", **more: int) -> bytes:
    return wire.encode_message(type, request, fields, **more)


@pytest.mark.parametrize(
    "raw",
    [
        _message(MessageType.HELLO),
        _message(MessageType.RESPONSE),
        _message(MessageType.GOAWAY),
        _message(MessageType.CREDIT, fields=b"\0\0\0\1"),
        _message(MessageType.CREDIT, fields=b"\0\0\0\0"),
        _message(MessageType.PING, total_bytes=5),
        _message(MessageType.REQUEST, total_bytes=5),
        wire.encode_message(MessageType.CONTENT, 1, b"", b"x", total_bytes=1) + b"x",
        wire.encode_message(MessageType.REQUEST, 1, b"", b"x", total_bytes=3)
        + b"x"
        + wire.encode_message(MessageType.CONTENT, 1, b"", b"xyz", total_bytes=3),
        wire.encode_message(MessageType.REQUEST, 1, b"", b"x", total_bytes=3)
        + b"x"
        + wire.encode_message(MessageType.REQUEST, 1, b"", b"x", total_bytes=3),
        _message(MessageType.REQUEST) + _message(MessageType.REQUEST),
        b"".join(
            wire.encode_message(MessageType.REQUEST, n, b"", b"x", total_bytes=4 * MIB) + b"x"
            for n in range(5)
        ),
        b"".join(
            wire.encode_message(MessageType.REQUEST, n, b"", b"x", total_bytes=2) + b"x"
            for n in range(300)
        ),
        b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n",
    ],
)
def test_what_a_server_refuses(raw: bytes) -> None:
    _, server = _pair()
    with pytest.raises(ProtocolError):
        server.receive(raw)


@pytest.mark.parametrize(
    "raw",
    [
        _message(MessageType.HELLO),
        _message(MessageType.REQUEST),
        _message(MessageType.CANCEL),
        _message(MessageType.RESPONSE, fields=b"\0\0"),
        _message(MessageType.CREDIT, fields=b"\0\0\0\1"),
    ],
)
def test_what_a_client_refuses(raw: bytes) -> None:
    client, _ = _pair()
    with pytest.raises(ProtocolError):
        client.receive(raw)


def test_the_hello_comes_first() -> None:
    for session in (ServerSession(local_hello(NODE_NAMES)), ClientSession(local_hello(("g1",)))):
        with pytest.raises(ProtocolError, match="before hello"):
            session.receive(_message(MessageType.PING, fields=b"x"))


def _conversation() -> bytes:
    client, _ = _pair()
    script = ClientSession(local_hello(("g1",)))
    raw = _output(script)
    client.request(b"put", _content(300_000), deadline_ms=9)
    client.request(b"small", _content(5000), deadline_ms=9)
    client.request(b"none", _content(0), deadline_ms=9)
    raw += b"".join(client.take_output())
    client.ping()
    client.cancel(3)
    return raw + _output(client)


_CONVERSATION = _conversation()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400_000) | st.integers(1, 70), min_size=1, max_size=40))
def test_any_cut_gives_the_same_events(cuts: list[int]) -> None:
    whole = ServerSession(local_hello(NODE_NAMES)).receive(_CONVERSATION)
    assert [type(event).__name__ for event in whole] == [
        "PeerReady",
        "Requested",
        "Requested",
        "Requested",
        "RequestCancelled",
    ]
    server, events, at, turn = ServerSession(local_hello(NODE_NAMES)), [], 0, 0
    while at < len(_CONVERSATION):
        length = cuts[turn % len(cuts)] if turn < 2000 else len(_CONVERSATION)
        events += server.receive(_CONVERSATION[at : at + length])
        at, turn = at + length, turn + 1
    assert events == whole


@pytest.mark.proves("NOD-03")
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_events_or_a_protocol_error(raw: bytes, greeted: bool) -> None:
    client, server = _pair()
    fresh_client, fresh_server = (
        ClientSession(local_hello(("g1",))),
        ServerSession(local_hello(NODE_NAMES)),
    )
    for session in (client, server) if greeted else (fresh_client, fresh_server):
        try:
            session.receive(raw)
        except ProtocolError:
            continue


_MESSAGES = st.builds(
    lambda type, request, fields, content, more, deadline_ms: (
        wire.encode_message(
            type, request, fields, content, total_bytes=len(content) + more, deadline_ms=deadline_ms
        )
        + content
    ),
    st.sampled_from(MessageType),
    st.integers(0, 4),
    st.binary(max_size=8) | st.just(b"\0\0\0\1"),
    st.binary(max_size=40),
    st.sampled_from([0, 0, 1, 40, MIB]),
    st.sampled_from([0, 1, (1 << 32) - 1]),
)


@pytest.mark.proves("NOD-03")
@settings(max_examples=300, deadline=None)
@given(st.lists(_MESSAGES, max_size=12))
def test_any_messages_give_events_or_a_protocol_error(messages: list[bytes]) -> None:
    client, server = _pair()
    client.request(b"", _content(0), deadline_ms=1)
    client.request(b"", _content(10), deadline_ms=1)
    for session in (client, server):
        try:
            for message in messages:
                for event in session.receive(message):
                    if isinstance(event, Requested) and isinstance(session, ServerSession):
                        session.respond(event.request, b"\0\0")
        except ProtocolError:
            continue


def test_many_small_messages_in_one_stream_wrap_around_the_buffer() -> None:
    _, server = _pair()
    pings = [_message(MessageType.PING, fields=bytes([n % 251]) * 9) for n in range(5000)]
    assert server.receive(b"".join(pings)) == []
    raw = _output(server)
    assert len(raw) == 5000 * 41
    assert raw[32 + 41 * 4999 :] == bytes([4999 % 251]) * 9


def test_cancelling_content_that_has_credit_and_no_slice_out_leaves_nothing() -> None:
    client, server = _pair()
    for _ in range(3):
        first = client.request(b"", _content(4 * MIB), deadline_ms=1)
        second = client.request(b"", _content(4 * MIB), deadline_ms=1)
        client.cancel(second)
        client.cancel(first)
        assert not client.has_output() and client.under_way_count == 0
    for _ in range(4):  # the whole window is there again
        client.request(b"", _content(4 * MIB), deadline_ms=1)
    assert len(_requests(server.receive(_output(client)))) == 4


def test_cancelling_what_has_ended_is_nothing() -> None:
    client, _ = _pair()
    client.cancel(77)
    assert not client.has_output()


def test_request_ids_come_round_and_skip_those_under_way() -> None:
    client, _ = _pair()
    first = client.request(b"", _content(0), deadline_ms=1)
    client._next_request = (1 << 32) - 1
    last = client.request(b"", _content(0), deadline_ms=1)
    following = client.request(b"", _content(0), deadline_ms=1)
    assert (first, last, following) == (1, (1 << 32) - 1, 2)


def test_a_node_knows_what_it_has_not_sent() -> None:
    client, server = _pair()
    request = client.request(b"", _content(0), deadline_ms=1)
    server.receive(_output(client))
    server.respond(request, b"", _content(MIB))
    assert server.pending_bytes == MIB
    _output(server)
    assert server.pending_bytes == 0


def test_damaged_fields_of_a_message_without_content_end_the_connection() -> None:
    _, server = _pair()
    raw = bytearray(_message(MessageType.PING, fields=b"12345678"))
    raw[-1] ^= 1
    with pytest.raises(ProtocolError, match="fields checksum"):
        server.receive(raw)
