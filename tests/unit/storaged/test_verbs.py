"""Arguments and results of the Node port's verbs: round trips, limits, any bytes."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storaged import verbs
from storaged.answers import answer_request
from storaged.base.errors import ProtocolError, StorageError
from storaged.base.ids import LogId, ShardId, StripeFamily, StripeId, datacenter_id, node_id
from storaged.base.limits import ATTRIBUTES_BYTES_MAX, LIST_LIMIT_MAX, WIRE_FIELDS_BYTES_MAX
from storaged.memory import MemoryNode
from storaged.node import (
    Fence,
    NodeIdentity,
    NodeStatus,
    Promise,
    ShardInfo,
    ShardMissing,
    ShardPage,
    ShardRetained,
)
from storaged.wire import Verb

SHARD = ShardId(StripeId(StripeFamily.COMMIT, 3, 9), 2)
LOG = LogId(b"l" * 16)


def _info(index: int, attributes: bytes = b"head") -> ShardInfo:
    return ShardInfo(
        shard=ShardId(StripeId(StripeFamily.DATA, 1, index), 0),
        attributes=attributes,
        content_bytes=index,
        stored_bytes=4096,
        retain_until_ms=5,
    )


@given(
    attributes=st.binary(max_size=ATTRIBUTES_BYTES_MAX),
    fence=st.none() | st.builds(Fence, log=st.just(LOG), epoch=st.integers(0, (1 << 56) - 1)),
    retain_until_ms=st.integers(0, verbs.INT64_MAX),
)
def test_put(attributes: bytes, fence: Fence | None, retain_until_ms: int) -> None:
    raw = verbs.encode_put(SHARD, attributes, fence=fence, retain_until_ms=retain_until_ms)
    assert verbs.request_verb(raw).name == "PUT"
    assert verbs.decode_put(raw) == (SHARD, attributes, fence, retain_until_ms)
    assert len(raw) <= WIRE_FIELDS_BYTES_MAX


def test_a_put_with_too_long_attributes_is_refused() -> None:
    raw = verbs.encode_put(SHARD, bytes(2049), fence=None, retain_until_ms=0)
    with pytest.raises(ProtocolError):
        verbs.decode_put(raw)


@given(offset=st.integers(-(1 << 70), 1 << 70), length=st.integers(-5, 1 << 40))
def test_get_carries_impossible_ranges_to_the_node(offset: int, length: int) -> None:
    shard, got_offset, got_length = verbs.decode_get(
        verbs.encode_get(SHARD, offset=offset, length=length)
    )
    assert shard == SHARD and got_length == length
    assert got_offset == max(-verbs.INT64_MAX, min(offset, verbs.INT64_MAX))


def test_other_requests() -> None:
    shards = tuple(_info(index).shard for index in range(1000))
    fields, content = verbs.encode_delete(shards)
    assert verbs.decode_delete(fields, memoryview(content)) == shards
    assert verbs.decode_one(verbs.encode_stat(SHARD)) == SHARD
    assert verbs.decode_one(verbs.encode_verify(SHARD)) == SHARD
    for end in (None, SHARD):
        raw = verbs.encode_list(SHARD, end, limit=7)
        assert verbs.decode_list(raw) == (SHARD, end, 7)
    with pytest.raises(ProtocolError):
        verbs.decode_list(verbs.encode_list(SHARD, None, limit=LIST_LIMIT_MAX + 1))
    raw = verbs.encode_fence(LOG, 4, b"i" * 16)
    assert verbs.decode_fence(raw) == (LOG, 4, b"i" * 16)
    assert verbs.request_verb(verbs.encode_status()).name == "STATUS"


def test_results() -> None:
    assert verbs.decode_range(verbs.encode_range(b"head", 1 << 22)) == (b"head", 1 << 22)
    assert verbs.decode_shard_info(verbs.encode_shard_info(_info(3))) == _info(3)
    verbs.decode_done(verbs.encode_done())
    for promise in (Promise(epoch=9, granted=True), Promise(epoch=0, granted=False)):
        assert verbs.decode_promise(verbs.encode_promise(promise)) == promise
    fields, content = verbs.encode_outcomes((None, ShardRetained(shard=SHARD), None))
    outcomes = verbs.decode_outcomes(fields, memoryview(content))
    assert outcomes[0] is None and outcomes[2] is None
    assert isinstance(outcomes[1], ShardRetained) and outcomes[1].fields["shard"] == str(SHARD)


@pytest.mark.parametrize("following", [None, SHARD])
def test_the_largest_page_fits_one_content(following: ShardId | None) -> None:
    infos = tuple(_info(index, bytes(ATTRIBUTES_BYTES_MAX)) for index in range(LIST_LIMIT_MAX))
    page = ShardPage(shards=infos, next=following)
    fields, content = verbs.encode_page(page)
    assert len(content) <= 4 * 1024 * 1024
    assert verbs.decode_page(fields, memoryview(content)) == page


def test_status_keeps_its_figures_and_cuts_its_text() -> None:
    status = NodeStatus(
        identity=NodeIdentity(node=node_id("p1"), datacenter=datacenter_id("paris"), country="fr"),
        in_service=True,
        writable=False,
        shard_count=1,
        stored_bytes=2,
        capacity_bytes=3,
        free_bytes=4,
        scrubbed_at_ms=5,
        scrub_progress=0.5,
        corrupt_shards=(SHARD,),
        detail="é" * 2000,
    )
    fields, content = verbs.encode_node_status(status)
    back = verbs.decode_node_status(fields, memoryview(content))
    assert back.detail == "é" * 512
    assert (back.identity, back.in_service, back.writable) == (status.identity, True, False)
    assert (back.shard_count, back.stored_bytes, back.capacity_bytes) == (1, 2, 3)
    assert (back.free_bytes, back.scrubbed_at_ms, back.scrub_progress) == (4, 5, 0.5)
    assert back.corrupt_shards == (SHARD,)


@pytest.mark.proves("L-05")
def test_a_status_tells_the_time_to_those_who_ask_only() -> None:
    """Gateways of before take no bytes behind the status, nodes of before read the verb only."""

    async def answered(fields: bytes) -> tuple[bytes, NodeStatus]:
        node = MemoryNode(identity, now_ms=lambda: 1_800_000_000_123)
        answer, content = await answer_request(node, fields, memoryview(b""))
        return answer, verbs.decode_node_status(answer, memoryview(content))

    identity = NodeIdentity(node=node_id("p1"), datacenter=datacenter_id("paris"), country="fr")
    by_new, told = asyncio.run(answered(verbs.encode_status()))
    by_old, untold = asyncio.run(answered(b"\x07"))
    assert verbs.encode_status() == b"\x07\x01" and told.at_ms == 1_800_000_000_123
    assert by_new == by_old + (1_800_000_000_123).to_bytes(8, "big")
    assert untold.at_ms is None and untold == replace(told, at_ms=None)
    assert asyncio.run(answered(b"\x07\x02"))[0] == by_old, "what a later gateway may ask for"
    assert verbs.request_verb(verbs.encode_status()) is Verb.STATUS, "all that an old node reads"
    for more in (*range(1, 8), 9):
        with pytest.raises(ProtocolError):
            verbs.decode_node_status(by_old + bytes(more), memoryview(b""))
    early, _ = verbs.encode_node_status(replace(told, at_ms=-1))
    assert verbs.decode_node_status(early, memoryview(b"")).at_ms == 0


def test_failures_are_raised_and_successes_are_not() -> None:
    verbs.raise_failure(verbs.encode_done())
    with pytest.raises(ShardMissing):
        verbs.raise_failure(verbs.encode_failure(ShardMissing(shard=SHARD)))
    with pytest.raises(ProtocolError):
        verbs.raise_failure(b"\0")


_REQUESTS: tuple[Callable[[bytes], object], ...] = (
    verbs.request_verb,
    verbs.decode_put,
    verbs.decode_get,
    verbs.decode_one,
    verbs.decode_list,
    verbs.decode_fence,
    lambda raw: verbs.decode_delete(raw[:3], memoryview(raw[3:])),
)
_RESPONSES: tuple[Callable[[bytes], object], ...] = (
    verbs.decode_range,
    verbs.decode_shard_info,
    verbs.decode_done,
    verbs.decode_promise,
    lambda raw: verbs.decode_outcomes(raw[:4], memoryview(raw[4:])),
    lambda raw: verbs.decode_page(raw[:4], memoryview(raw[4:])),
    lambda raw: verbs.decode_node_status(raw, memoryview(raw)),
)


@given(st.binary(max_size=120))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    for decode in _REQUESTS + _RESPONSES:
        try:
            decode(raw)
        except ProtocolError:
            continue
    with suppress(StorageError):
        verbs.raise_failure(raw)


def test_lengths_inside_results_are_checked() -> None:
    status = NodeStatus(
        identity=NodeIdentity(node=node_id("p1"), datacenter=datacenter_id("paris"), country="fr"),
        in_service=True,
        writable=True,
        shard_count=0,
        stored_bytes=0,
        capacity_bytes=0,
        free_bytes=0,
        scrubbed_at_ms=0,
        scrub_progress=0.0,
        corrupt_shards=(),
        detail="",
    )
    fields, _ = verbs.encode_node_status(status)
    shard_info = verbs.encode_shard_info(_info(1))
    page_fields, page = verbs.encode_page(ShardPage(shards=(_info(1),), next=None))
    outcome_fields, outcomes = verbs.encode_outcomes((None,))
    refused: tuple[Callable[[], object], ...] = (
        lambda: verbs.decode_node_status(fields + b"x", memoryview(b"")),
        lambda: verbs.decode_node_status(fields[:2] + b"\2" + fields[3:], memoryview(b"")),
        lambda: verbs.decode_node_status(fields, memoryview(bytes(17 * 1001))),
        lambda: verbs.decode_node_status(fields, memoryview(b"x")),
        lambda: verbs.decode_shard_info(shard_info[:-1]),
        lambda: verbs.decode_shard_info(shard_info + b"x"),
        lambda: verbs.decode_page(page_fields, memoryview(page + b"x")),
        lambda: verbs.decode_outcomes(outcome_fields, memoryview(outcomes + b"x")),
        lambda: verbs.decode_outcomes(outcome_fields, memoryview(b"\0\5abc")),
        lambda: verbs.encode_fence(LOG, 1, bytes(65)),
        lambda: verbs.decode_fence(verbs.encode_fence(LOG, 1, bytes(64)) + b"x"),
        lambda: verbs.decode_promise(struct.pack(">HQB", 0, 1, 2)),
        lambda: verbs.decode_done(b"\0\0\0"),
        lambda: verbs.decode_get(verbs.encode_get(SHARD, offset=0, length=0) + b"x"),
        lambda: verbs.request_verb(b""),
        lambda: verbs.request_verb(b"\x09"),
    )
    for decode in refused:
        with pytest.raises(ProtocolError):
            decode()


@pytest.mark.parametrize("attributes_bytes", [2049, 60_000])
def test_attributes_of_a_listed_shard_are_bounded(attributes_bytes: int) -> None:
    raw = verbs.encode_shard_info(_info(1, bytes(attributes_bytes)))
    with pytest.raises(ProtocolError):
        verbs.decode_shard_info(raw)
