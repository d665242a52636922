"""Shard attributes: form, parsing of anything, and tags that bind place and content."""

from __future__ import annotations

from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.data import shard_header as sh
from gateway.data.shard_header import ShardHeaderInvalid, TagMismatch
from gateway.limits import TAG_UNIT_BYTES as UNIT
from gateway.model.layout import Geometry
from storaged.base.ids import StripeFamily, StripeId

GEO = Geometry(2, 1)
STRIPE = StripeId(StripeFamily.COMMIT, 3, 4)
CELL = 2 * UNIT + 77


def key(stripe: StripeId = STRIPE, **changes: int | bytes) -> AESGCM:
    fields: dict[str, object] = {"cell_bytes": CELL, "payload_bytes": 2 * CELL, "common": b"log"}
    return sh.tag_key(b"i" * 32, b"c" * 16, stripe, GEO, **(fields | changes))  # type: ignore[arg-type]


def made(common: bytes = b"log") -> tuple[memoryview, list[bytes]]:
    cells = memoryview(Random(1).randbytes(3 * CELL))
    parts = {i: cells[i * CELL : (i + 1) * CELL] for i in range(3)}
    shards = sh.tagged_shards(
        key(common=common),
        GEO,
        cell_bytes=CELL,
        payload_bytes=2 * CELL,
        common=common,
        cells=parts,
    )
    headers = [attributes for attributes, _ in shards.values()]
    return cells, headers


def test_form_is_the_documented_one() -> None:
    tags = [(1, b"T" * 16)]
    (got,) = sh.encode_headers(
        Geometry(4, 2), cell_bytes=258, payload_bytes=1000, common=b"abc", tags=tags
    )
    assert got == (
        b"HXS\x01\x01\x04\x02\x00\x00\x00\x01\x02\x00\x00\x03\xe8\x00\x03abc\x00\x01" + b"T" * 16
    )


def test_round_trip() -> None:
    _, headers = made(b"x" * 300)
    for index, raw in enumerate(headers):
        header = sh.parse_header(raw)
        assert (header.index, header.geometry, header.common) == (index, GEO, b"x" * 300)
        assert (header.cell_bytes, header.payload_bytes) == (CELL, 2 * CELL)
        assert len(header.tags) == 3 * 16


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda b: b"HXS\x01" + b))
def test_any_bytes_parse_or_are_refused(raw: bytes) -> None:
    try:
        header = sh.parse_header(raw)
    except ShardHeaderInvalid:
        return
    assert header.index < header.geometry.n


@given(st.data())
def test_a_shortened_or_longer_header_is_refused(draw: st.DataObject) -> None:
    raw = made()[1][0]
    cut = draw.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(ShardHeaderInvalid):
        sh.parse_header(raw[:cut])
    with pytest.raises(ShardHeaderInvalid):
        sh.parse_header(raw + b"\x00")


def test_every_range_of_units_checks() -> None:
    cells, headers = made()
    for index, raw in enumerate(headers):
        header = sh.parse_header(raw)
        cell = cells[index * CELL : (index + 1) * CELL]
        for start, end in [(0, CELL), (0, UNIT), (UNIT, 2 * UNIT), (2 * UNIT, CELL), (UNIT, CELL)]:
            sh.check_range(key(), header, start, cell[start:end])


@pytest.mark.proves("B-02")
@settings(max_examples=60)
@given(st.integers(0, 2), st.integers(0, CELL - 1), st.integers(0, 7))
def test_every_flipped_bit_is_seen(index: int, position: int, bit: int) -> None:
    cells, headers = made()
    cell = bytearray(cells[index * CELL : (index + 1) * CELL])
    cell[position] ^= 1 << bit
    with pytest.raises(TagMismatch):
        sh.check_range(key(), sh.parse_header(headers[index]), 0, cell)


@pytest.mark.proves("B-02", "NOD-05")
def test_cells_cannot_pass_for_others() -> None:
    cells, headers = made()
    first, second = cells[:CELL], cells[CELL : 2 * CELL]
    header = sh.parse_header(headers[0])
    wrong = {
        "another index": (key(), sh.parse_header(headers[1]), 0, first),
        "another cell": (key(), header, 0, second),
        "another unit": (key(), header, UNIT, first[:UNIT]),
        "another stripe": (key(StripeId(StripeFamily.COMMIT, 3, 5)), header, 0, first),
        "another common": (key(common=b"forged"), header, 0, first),
        "another length": (key(payload_bytes=2 * CELL - 1), header, 0, first),
    }
    for name, (its_key, its_header, offset, content) in wrong.items():
        with pytest.raises(TagMismatch):
            sh.check_range(its_key, its_header, offset, content)
            pytest.fail(name)
    sh.check_range(key(), header, 0, first)


def test_nonces_of_a_stripe_are_distinct() -> None:
    """D4: (index, unit) ↔ nonce is one to one."""
    nonces = {sh._NONCE.pack(index, unit) for index in range(32) for unit in range(70)}
    assert len(nonces) == 32 * 70 and {len(nonce) for nonce in nonces} == {12}


def test_a_range_beyond_the_cell_is_refused() -> None:
    cells, headers = made()
    header = sh.parse_header(headers[0])
    with pytest.raises(TagMismatch):
        sh.check_range(key(), header, 0, cells[: 3 * UNIT])
