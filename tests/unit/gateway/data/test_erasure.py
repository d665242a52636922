"""The code is zfec's, whoever computes it, and every loss of m cells comes back."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
import zfec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.data import erasure
from gateway.data.erasure import Codec, CodecMismatch, codec_for
from gateway.model.layout import Geometry

GEOMETRIES = [Geometry(2, 1), Geometry(4, 2), Geometry(5, 4), Geometry(6, 3), Geometry(8, 4)]
BACKENDS = [True, False]


def filled(geometry: Geometry, cell: int, seed: int = 1) -> memoryview:
    cells = bytearray(Random(seed).randbytes(geometry.k * cell)) + bytearray(geometry.m * cell)
    return memoryview(cells)


def split(cells: memoryview, cell: int) -> list[bytes]:
    return [bytes(cells[i : i + cell]) for i in range(0, len(cells), cell)]


def test_this_machine_computes_with_isal() -> None:
    assert erasure.backend_name() == "isal" == codec_for(Geometry(4, 2)).backend_name
    assert Codec(Geometry(4, 2), use_isal=False).backend_name == "zfec"


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("use_isal", BACKENDS)
@pytest.mark.parametrize("cell", [1, 31, 1088, 65_552])
def test_cells_are_byte_identical_with_zfec(geometry: Geometry, use_isal: bool, cell: int) -> None:
    cells = filled(geometry, cell)
    Codec(geometry, use_isal=use_isal).encode_into(cells, cell)
    blocks = split(cells, cell)
    encoder = zfec.Encoder(geometry.k, geometry.n)
    assert [bytes(b) for b in encoder.encode(blocks[: geometry.k])] == blocks


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("use_isal", BACKENDS)
def test_every_loss_comes_back(geometry: Geometry, use_isal: bool) -> None:
    cell = 37
    codec = Codec(geometry, use_isal=use_isal)
    cells = filled(geometry, cell)
    codec.encode_into(cells, cell)
    blocks = split(cells, cell)
    for count in range(1, geometry.m + 1):
        for lost in list(combinations(range(geometry.n), count))[:120]:
            present = {i: blocks[i] for i in range(geometry.n) if i not in lost}
            got = codec.reconstruct(present, lost, cell)
            assert {i: bytes(b) for i, b in got.items()} == {i: blocks[i] for i in lost}


def test_sources_may_be_any_kind_of_buffer() -> None:
    codec = codec_for(Geometry(4, 2))
    cells = filled(Geometry(4, 2), 100)
    codec.encode_into(cells, 100)
    blocks = split(cells, 100)
    present = {1: blocks[1], 2: bytearray(blocks[2]), 4: memoryview(blocks[4]), 5: cells[500:600]}
    got = codec.reconstruct(present, [0, 3], 100)
    assert bytes(got[0]) == blocks[0] and bytes(got[3]) == blocks[3]


def test_sources_are_not_changed_and_stay_free() -> None:
    codec = codec_for(Geometry(2, 1))
    first, parity = bytearray(b"abc"), bytearray(b"xyz")
    before = bytes(first), bytes(parity)
    codec.reconstruct({0: first, 2: parity}, [1], 3)
    assert (bytes(first), bytes(parity)) == before
    first.append(1)  # no buffer is still exported


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(GEOMETRIES), st.integers(1, 300), st.randoms(use_true_random=False))
def test_ranges_of_cells_decode_alone(geometry: Geometry, cell: int, rng: Random) -> None:
    codec = codec_for(geometry)
    cells = filled(geometry, cell, rng.randrange(1000))
    codec.encode_into(cells, cell)
    blocks = split(cells, cell)
    start = rng.randrange(cell)
    end = rng.randrange(start, cell) + 1
    kept = rng.sample(range(geometry.n), geometry.k)
    lost = [i for i in range(geometry.n) if i not in kept]
    got = codec.reconstruct({i: blocks[i][start:end] for i in kept}, lost, end - start)
    assert all(bytes(got[i]) == blocks[i][start:end] for i in lost)


def test_a_wrong_library_is_noticed_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(Geometry(4, 2))
    monkeypatch.setattr(codec, "_parity_table", bytes(32 * 4 * 2))
    with pytest.raises(CodecMismatch):
        codec.self_check()


def test_decode_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "DECODE_TABLES_MAX", 3)
    codec = Codec(Geometry(4, 2))
    cells = filled(Geometry(4, 2), 10)
    codec.encode_into(cells, 10)
    blocks = split(cells, 10)
    for lost in combinations(range(6), 2):
        present = {i: blocks[i] for i in range(6) if i not in lost}
        codec.reconstruct(present, lost, 10)
        assert len(codec._decode_tables) <= 3


def test_without_parity_nothing_is_written() -> None:
    codec = Codec(Geometry(3, 0))
    cells = memoryview(bytearray(b"abcdef"))
    codec.encode_into(cells, 2)
    assert cells == b"abcdef"
    codec.self_check()


def test_where_isal_does_not_load_zfec_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "_library_paths", lambda: ["no-such-library.so"])
    monkeypatch.setattr(erasure, "_ISAL", erasure._load_isal())
    assert erasure.backend_name() == "zfec" == Codec(Geometry(2, 1)).backend_name


def test_the_system_library_is_tried_where_pyeclib_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise erasure.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(erasure.metadata, "files", absent)
    assert erasure._library_paths() == ["libisal.so.2"]


def test_buffers_with_gaps_are_refused_and_none_stays_exported() -> None:
    codec = codec_for(Geometry(2, 1))
    good = bytearray(b"abc")
    gaps = memoryview(b"x.y.z.")[::2]
    with pytest.raises(BufferError):
        codec.reconstruct({0: good, 2: gaps}, [1], 3)
    good.append(1)


def test_wrong_decoding_is_noticed_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(Geometry(4, 2))
    monkeypatch.setattr(codec, "_decode_table", lambda sources, targets: bytes(32 * 4 * 2))
    with pytest.raises(CodecMismatch):
        codec.self_check()
